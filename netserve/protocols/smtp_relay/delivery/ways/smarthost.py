"""Hands mail to servers that the file names.

The outcome is what the server says: 2yz delivered, 4yz deferred, 5yz failed; whatever keeps us
from a server that could say something defers.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from netserve.config.types import Section
from netserve.errors import InvalidValue
from netserve.protocols.smtp_relay.delivery.facilities import Facilities
from netserve.protocols.smtp_relay.delivery.login.options import Login
from netserve.protocols.smtp_relay.delivery.options import ConnectionOptions
from netserve.protocols.smtp_relay.delivery.slots import SeveralSlots
from netserve.protocols.smtp_relay.delivery.smtp.making import make_dialer, make_securing
from netserve.protocols.smtp_relay.delivery.smtp.options import (
    SmtpOptions,
    SmtpRoute,
    TLSLevel,
    level_of,
)
from netserve.protocols.smtp_relay.delivery.smtp.pool import ServerPool
from netserve.protocols.smtp_relay.delivery.smtp.smarthosts import (
    Smarthost,
    Smarthosts,
    SmarthostServers,
)
from netserve.protocols.smtp_relay.delivery.smtp.targets import Avoided
from netserve.protocols.smtp_relay.delivery.ways.way import Way

_MAIL_PORTS: Final = frozenset({25, 465, 587, 2525})


class SmarthostOptions(Section):
    """Options of `smarthost`."""

    smarthost: Smarthosts | None = None
    """Servers that take the mail, as `host:port`, in order: the next where one can't be reached."""
    login: Login | None = None
    """Name and password for the smarthosts, or OAuth2."""


class SmarthostRoute(SmarthostOptions, SmtpRoute):
    """All that a route of this way has."""


class ToSmarthost(Way[SmarthostRoute]):
    """See the module."""

    name = "smarthost"
    options = SmarthostOptions
    shared = (SmtpOptions, ConnectionOptions)

    def check(self, route: SmarthostRoute) -> None:
        """See `Way`."""
        level = tls_level(route)
        if route.login and level != "verify" and not route.login.in_clear:
            raise InvalidValue(
                "tls: {level} could give the " + route.login.word + " to anyone on the way;"
                " write tls: verify, or in_clear: true in login",
                level=level,
            )

    def label(self, route: SmarthostRoute) -> str:
        """See `Way`."""
        return f"smtp:{_user(route)}{','.join(map(str, route.smarthost or ()))}"

    def account_names(self, route: SmarthostRoute) -> Iterable[str]:
        """See `Way`."""
        return [f"smtp:{_user(route)}{_server(one)}" for one in route.smarthost or ()]

    def open(self, route: SmarthostRoute, facilities: Facilities) -> ServerPool:
        """See `Way`."""
        dialer = make_dialer(route, facilities, route.login)
        securing = make_securing(route, tls_level(route), facilities)
        servers = SmarthostServers(route.smarthost or (), securing)
        slots = SeveralSlots(lambda: [facilities.accounts.slots(route)])
        avoided = Avoided(facilities.reactor)
        return ServerPool(route, servers, dialer, avoided, log=facilities.log, slots=slots)


def tls_level(route: SmarthostRoute) -> TLSLevel:
    """The level of TLS: by default the servers of a login are verified."""
    return level_of(route, "verify" if route.login else "may")


def _user(route: SmarthostRoute) -> str:
    return f"{route.login.user}@" if route.login else ""


def _server(smarthost: Smarthost) -> str:
    """A server by one name, whichever of its ports for mail is used."""
    host = smarthost.host.rstrip(".")
    with suppress(ValueError):
        host = ipaddress.ip_address(host).compressed
    host = f"[{host}]" if ":" in host else host
    return host if smarthost.port in _MAIL_PORTS else f"{host}:{smarthost.port}"
