"""Puts the parts of delivery by SMTP together: TLS, DNS, policies, logins, sessions."""

from __future__ import annotations

from netserve.protocols.smtp_relay.delivery.dns.resolver import Resolver
from netserve.protocols.smtp_relay.delivery.facilities import Facilities
from netserve.protocols.smtp_relay.delivery.login.logins import Logins
from netserve.protocols.smtp_relay.delivery.login.options import Login
from netserve.protocols.smtp_relay.delivery.smtp.changes import changes_of, weak_keys
from netserve.protocols.smtp_relay.delivery.smtp.dialing import Dialer
from netserve.protocols.smtp_relay.delivery.smtp.options import SmtpOptions, SmtpRoute, TLSLevel
from netserve.protocols.smtp_relay.delivery.smtp.preparing import Preparer
from netserve.protocols.smtp_relay.delivery.tls.client_tls import ClientTLS
from netserve.protocols.smtp_relay.delivery.tls.security import WITH_DNS, Securing


def make_dialer(route: SmtpRoute, facilities: Facilities, login: Login | None = None) -> Dialer:
    """What begins the sessions of a route.

    Raises:
        ValueError: the login can't work.
    """
    log, reactor = facilities.log, facilities.reactor
    for warning in weak_keys(route):
        log.warn("{warning}", warning=warning)
    return Dialer(
        route,
        hostname=facilities.hostname,
        reactor=reactor,
        log=log,
        turns=facilities.turns,
        tracker=facilities.outside.tracker,
        preparer=Preparer(changes_of(route), wall=facilities.wall, reactor=reactor, log=log),
        logins=Logins(login, facilities.tokens),
    )


def make_securing(route: SmtpOptions, level: TLSLevel, facilities: Facilities) -> Securing:
    """What decides how the servers of a route are spoken to.

    Raises:
        ValueError: the file of `ca` can't work.
    """
    resolver = resolver_for(level, facilities) if level in WITH_DNS else None
    policy = None
    if resolver is not None and "mta-sts" in level:
        policy = facilities.policies(route.ca, route.allow_addresses, resolver).find
    return Securing(
        level,
        ClientTLS(route.ca),
        resolver=resolver,
        policy=policy,
        wall=facilities.wall,
        log=facilities.log,
    )


def resolver_for(level: TLSLevel, facilities: Facilities) -> Resolver:
    """What asks the name servers for a route; DANE needs answers that are validated."""
    return facilities.resolver(dnssec="dane" in level)
