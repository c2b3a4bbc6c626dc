"""How a server is spoken to: from the route's level of TLS, TLSA records and MTA-STS policies.

==============  ======================================================================
level           what is done
==============  ======================================================================
none, may,
encrypt, verify the same for each server
dane            secure TLSA records: TLS with the certificate that they name (RFC
                7672); if none of them is usable, TLS with any; no records: `may`
mta-sts         the policy of the domain in mode enforce: TLS to its MX hosts only,
                chain and name checked (RFC 8461); else `may`
dane+mta-sts    by usable TLSA records; where there are none, by the policy; else TLS
                with any certificate if there are records at all, else `may`
==============  ======================================================================

Whoever can keep an answer from us must not win by it: where DNS does not answer, the server is
not spoken to at `dane`. A policy that can't be fetched counts for nothing only where none is kept
from before, as its RFC says.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Final

from cryptography import x509
from twisted.logger import Logger

from netserve.mail import tlsa
from netserve.mail.envelope import Reply
from netserve.mail.mta_sts import Policy
from netserve.mail.mx import NotNow
from netserve.protocols.smtp_relay.delivery.dns.resolver import Resolver
from netserve.protocols.smtp_relay.delivery.smtp.jobs import SessionFailed
from netserve.protocols.smtp_relay.delivery.smtp.options import TLSLevel
from netserve.protocols.smtp_relay.delivery.smtp.targets import Security, Target
from netserve.protocols.smtp_relay.delivery.tls.client_tls import ClientTLS, is_address

WITH_DNS: Final = ("dane", "mta-sts", "dane+mta-sts")
"""Levels for which DNS is asked."""

FindPolicy = Callable[[str], Awaitable[Policy | None]]


class Securing:
    """Decides for one route.

    Arguments:
        level: of the route.
        tls: makes the handshakes.
        resolver: for the levels that need DNS.
        policy: finds the policy of a domain, for the levels with MTA-STS.
        wall: the time of day, for the dates of certificates.
        log: of the service.
    """

    def __init__(
        self,
        level: TLSLevel,
        tls: ClientTLS,
        *,
        resolver: Resolver | None = None,
        policy: FindPolicy | None = None,
        wall: Callable[[], float],
        log: Logger,
    ) -> None:
        self._level = level
        self._tls = tls
        self._resolver = resolver
        self._policy = policy
        self._wall = wall
        self._log = log
        self._told = False

    async def of(self, target: Target) -> Security:
        """How to speak to a server.

        Raises:
            SessionFailed: not at all, for now.
        """
        level, host = self._level, target.host
        match level:
            case "none":
                return Security(level, level, None)
            case "may" | "encrypt":
                return Security(level, level, self._tls.unchecked(host))
            case "verify":
                return Security(level, level, self._tls.verified(host))
            case _:
                return await self._by_dns(target)

    async def _by_dns(self, target: Target) -> Security:
        found: Security | None = None
        if self._level != "mta-sts":
            found = await self._by_tlsa(target)
        if self._policy is not None and (found is None or found.name != "dane"):
            found = await self._by_policy(target, self._policy) or found
        return found or Security("may", "may", self._tls.unchecked(target.host))

    # DANE.

    async def _by_tlsa(self, target: Target) -> Security | None:
        try:
            base, records = await self._secure_records(target)
        except NotNow as error:
            raise SessionFailed(Reply(451, "4.4.3", str(error)), str(target)) from None
        if not records:
            return None
        usable = tlsa.usable(records)
        if not usable:
            return Security("encrypt", "encrypt", self._tls.unchecked(target.host))
        # RFC 7672, 3.2.2: the certificate of an authority's may be for any of these.
        names = dict.fromkeys(name for name in (base, target.host, target.domain) if name)
        check = partial(self._check, usable, tuple(names))
        return Security("encrypt", "dane", self._tls.matching(base, check))

    def _check(
        self,
        records: Sequence[tlsa.TLSA],
        names: Sequence[str],
        chain: Sequence[x509.Certificate],
    ) -> None:
        tlsa.verify(records, chain, names, datetime.fromtimestamp(self._wall(), UTC))

    async def _secure_records(self, target: Target) -> tuple[str, Sequence[tlsa.TLSA]]:
        """The TLSA records that DNSSEC vouches for, and the name that they stand at.

        Nothing is asked where the way there is not secure: such names often have name servers
        that do not answer such questions (RFC 7672, 2.2.2).

        Raises:
            NotNow: DNS does not answer.
        """
        resolver, host = self._resolver, target.host
        if resolver is None or not target.signed or is_address(host):
            return host, ()
        self._tell_of_trust(resolver)
        found = await resolver.addresses(host)
        bases = [host]
        if found.secure:
            bases = list(dict.fromkeys((found.name, host)))
        elif found.name == host or not (await resolver.lookup(host, "CNAME")).secure:
            return host, ()
        for base in bases:
            answer = await resolver.lookup(f"_{target.port}._tcp.{base}", "TLSA")
            if answer.secure and answer.records:
                return base, answer.records
        return host, ()

    def _tell_of_trust(self, resolver: Resolver) -> None:
        """DANE is worth as much as the way to the name server."""
        if self._told:
            return
        self._told = True
        far = [str(server) for server in resolver.name_servers() if not server.is_here]
        if far:
            self._log.warn(
                "tls: {tls} trusts name servers that are not on this machine: {servers}",
                tls=self._level,
                servers=", ".join(far),
            )

    # MTA-STS.

    async def _by_policy(self, target: Target, find: FindPolicy) -> Security | None:
        policy = await find(target.domain) if target.domain else None
        if policy is None or policy.mode != "enforce":
            return None
        if not policy.names(target.host):
            text = f"the MTA-STS policy of {target.domain} does not name this server"
            raise SessionFailed(Reply(451, "4.7.5", text), str(target))
        return Security("verify", "mta-sts", self._tls.verified(target.host))
