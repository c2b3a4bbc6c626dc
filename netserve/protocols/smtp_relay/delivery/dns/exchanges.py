"""Asks DNS for the servers of a domain (RFC 5321, 5.1): the MX way's `Servers`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Final

from twisted.internet.defer import Deferred, gatherResults

from netserve.http import AddressGuard
from netserve.mail.envelope import Reply
from netserve.mail.mx import (
    MAX_SESSIONS,
    Address,
    Exchange,
    Host,
    NotNow,
    addresses_to_try,
    by_preference,
    literal_address,
    no_such_domain,
)
from netserve.protocols.smtp_relay.delivery.dns.resolver import Resolver
from netserve.protocols.smtp_relay.delivery.smtp.jobs import SessionFailed
from netserve.protocols.smtp_relay.delivery.smtp.targets import Security, Target
from netserve.protocols.smtp_relay.delivery.tls.security import Securing

NO_ANSWER: Final = "4.4.3"
"""The status where DNS does not answer (RFC 3463, 3.5)."""


class Exchanges:
    """Finds the servers of domains, for one route.

    Arguments:
        resolver: of the service.
        securing: says how to speak to them.
        guard: the addresses that mail may go to.
        is_own: whether an address is ours.
        own_name: this host's, in lower case.
        port: of the servers.
        random: the source of the order among equals.
    """

    def __init__(
        self,
        resolver: Resolver,
        securing: Securing,
        *,
        guard: AddressGuard,
        is_own: Callable[[Address], bool],
        own_name: str,
        port: int,
        random: Random,
    ) -> None:
        self.securing = securing
        self._resolver = resolver
        self._guard = guard
        self._is_own = is_own
        self._own_name = own_name
        self._port = port
        self._random = random

    async def find(self, hop: str) -> list[Target]:
        """The addresses to try for a domain or an address literal, in order.

        Arguments:
            hop: what `netserve.mail.mx.next_hop` gave.

        Raises:
            NotNow: DNS does not answer.
            Undeliverable: there is no server.
        """
        literal = literal_address(hop)
        if literal is not None:
            hosts, signed, domain = [Host(str(literal), 0, (literal,))], False, ""
        else:
            hosts, signed = await self._hosts(hop)
            domain = hop
        ways = addresses_to_try(hop, hosts, is_own=self._is_own, refusal=self._guard.refusal)
        return [
            Target(host.name, self._port, str(address), domain, signed, host.preference)
            for host, address in ways
        ]

    async def _hosts(self, domain: str) -> tuple[list[Host], bool]:
        """The hosts with their addresses, and whether DNSSEC vouches for their names."""
        answer = await self._resolver.lookup(domain, "MX")
        if not answer.exists:
            raise no_such_domain(domain)
        # Without an MX record the domain is its own server.
        exchanges: Sequence[Exchange] = answer.records or (Exchange(0, domain),)
        exchanges = by_preference(domain, exchanges, own_name=self._own_name, random=self._random)
        lookups = [Deferred.fromCoroutine(self._host(exchange)) for exchange in exchanges]
        hosts = await gatherResults(lookups, consumeErrors=True)
        if not answer.records and not hosts[0].addresses and not hosts[0].failed:
            raise no_such_domain(domain)
        return hosts, answer.secure

    async def _host(self, exchange: Exchange) -> Host:
        try:
            found = await self._resolver.addresses(exchange.host)
        except NotNow:
            return Host(exchange.host, exchange.preference, failed=True)
        addresses = list(found.addresses)
        self._random.shuffle(addresses)
        return Host(exchange.host, exchange.preference, tuple(addresses))


class DomainServers:
    """The servers of one domain, or of one address literal.

    Arguments:
        exchanges: of the route.
        hop: what `netserve.mail.mx.next_hop` gave.
    """

    sessions: int | None = MAX_SESSIONS

    def __init__(self, exchanges: Exchanges, hop: str) -> None:
        self._exchanges = exchanges
        self._hop = hop

    async def targets(self) -> Sequence[Target]:
        """See `targets.Servers`."""
        try:
            return await self._exchanges.find(self._hop)
        except NotNow as error:
            raise SessionFailed(Reply(451, NO_ANSWER, str(error)), "") from None

    async def security(self, target: Target) -> Security:
        """See `targets.Servers`."""
        return await self._exchanges.securing.of(target)
