"""Puts the parts of a route's delivery together: servers, TLS, DNS, policies, connections."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import Logger
from twisted.python.failure import Failure

from netserve.config.types import Network
from netserve.fairness.turns import Turns
from netserve.http import AddressGuard, HttpClients
from netserve.protocols.smtp_relay.delivery.accounts import Accounts
from netserve.protocols.smtp_relay.delivery.changes import changes_of, weak_keys
from netserve.protocols.smtp_relay.delivery.dialing import Dialer
from netserve.protocols.smtp_relay.delivery.domains import DomainPools
from netserve.protocols.smtp_relay.delivery.exchanges import Exchanges
from netserve.protocols.smtp_relay.delivery.hook import HookClient
from netserve.protocols.smtp_relay.delivery.logins import Logins
from netserve.protocols.smtp_relay.delivery.outside import Outside
from netserve.protocols.smtp_relay.delivery.own import OwnAddresses
from netserve.protocols.smtp_relay.delivery.policies import Names, Policies, client_options
from netserve.protocols.smtp_relay.delivery.pool import ServerPool
from netserve.protocols.smtp_relay.delivery.preparing import Preparer
from netserve.protocols.smtp_relay.delivery.resolver import Resolver
from netserve.protocols.smtp_relay.delivery.security import WITH_DNS, Securing
from netserve.protocols.smtp_relay.delivery.settings import Deliver
from netserve.protocols.smtp_relay.delivery.slots import SeveralSlots
from netserve.protocols.smtp_relay.delivery.targets import (
    Avoided,
    Security,
    Target,
    smarthost_target,
)
from netserve.protocols.smtp_relay.delivery.tls import ClientTLS
from netserve.protocols.smtp_relay.delivery.tokens import Tokens

AnyPool: TypeAlias = ServerPool | DomainPools | HookClient


class SmarthostServers:
    """The smarthosts of a route.

    Arguments:
        deliver: of the route.
        securing: says how to speak to them.
    """

    sessions: int | None = None

    def __init__(self, deliver: Deliver, securing: Securing) -> None:
        self._targets = [
            smarthost_target(one, at) for at, one in enumerate(deliver.smarthost or ())
        ]
        self._securing = securing

    async def targets(self) -> Sequence[Target]:
        """See `targets.Servers`."""
        return self._targets

    async def security(self, target: Target) -> Security:
        """See `targets.Servers`."""
        return await self._securing.of(target)


class PoolMaker:
    """Makes the pools of one service's routes; name servers and policies are theirs together.

    Arguments:
        hostname: our name.
        reactor: connects, and is the clock.
        log: of the service.
        http: gives the clients for hooks, and for MTA-STS policies.
        accounts: of the process.
        tokens: of the process, for logins with OAuth2, or None.
        wall: gives unix seconds.
        outside: what there is around us.
    """

    def __init__(
        self,
        *,
        hostname: str,
        reactor: Any,
        log: Logger,
        http: HttpClients,
        accounts: Accounts,
        tokens: Tokens | None,
        wall: Callable[[], float],
        outside: Outside,
    ) -> None:
        self._hostname = hostname
        self._reactor = reactor
        self._log = log
        self._http = http
        self._accounts = accounts
        self._tokens = tokens
        self._wall = wall
        self._outside = outside
        self._turns = outside.turns or Turns.of(reactor).share(self._failed)
        self._resolvers: dict[bool, Resolver] = {}
        self._policies: dict[tuple[Path | None, tuple[Network, ...]], Policies] = {}

    def _failed(self, error: Exception) -> None:
        self._log.failure("a session with a server failed", Failure(error))

    def make(self, way: Deliver) -> AnyPool:
        """What delivers by a way to servers.

        Raises:
            ValueError: the settings can't work (the file of `ca`).
        """
        reactor, log = self._reactor, self._log
        if way.http is not None:
            return HookClient(way.http, connections=way.connections, clients=self._http)
        for warning in weak_keys(way):
            log.warn("{warning}", warning=warning)
        dialer = Dialer(
            way,
            hostname=self._hostname,
            reactor=reactor,
            log=log,
            turns=self._turns,
            tracker=self._outside.tracker,
            preparer=Preparer(changes_of(way), wall=self._wall, reactor=reactor, log=log),
            logins=Logins(way.login, self._tokens),
        )
        securing = self._securing(way)
        if not way.mx:
            servers = SmarthostServers(way, securing)
            slots = SeveralSlots(lambda: [self._accounts.slots(way)])
            return ServerPool(way, servers, dialer, Avoided(reactor), log=log, slots=slots)
        exchanges = Exchanges(
            self._resolver(way),
            securing,
            guard=AddressGuard(networks=way.allow_addresses),
            is_own=OwnAddresses(self._outside.listens, way.port),
            own_name=self._hostname.lower(),
            port=way.port,
            random=self._outside.random,
        )
        return DomainPools(
            way, exchanges, dialer, accounts=self._accounts, reactor=reactor, log=log
        )

    async def close(self) -> None:
        """Let go of what the pools had together."""
        if self._tokens is not None:
            await self._tokens.idle()
        policies, self._policies = list(self._policies.values()), {}
        await gatherResults([Deferred.fromCoroutine(each.close()) for each in policies])
        for resolver in self._resolvers.values():
            resolver.close()

    def _securing(self, way: Deliver) -> Securing:
        level = way.tls_level
        needs_dns = level in WITH_DNS
        return Securing(
            level,
            ClientTLS(way.ca),
            resolver=self._resolver(way) if needs_dns else None,
            policy=self._policies_for(way).find if "mta-sts" in level else None,
            wall=self._wall,
            log=self._log,
        )

    def _resolver(self, way: Deliver) -> Resolver:
        dnssec = "dane" in way.tls_level
        resolver = self._resolvers.get(dnssec)
        if resolver is None:
            resolver = self._resolvers[dnssec] = Resolver(
                self._outside.dns, clock=self._reactor, dnssec=dnssec
            )
        return resolver

    def _policies_for(self, way: Deliver) -> Policies:
        """Ways with the same trust have the same policies."""
        trust = (way.ca, way.allow_addresses)
        policies = self._policies.get(trust)
        if policies is None:
            policies = self._policies[trust] = self._make_policies(way)
        return policies

    def _make_policies(self, way: Deliver) -> Policies:
        outside, resolver = self._outside, self._resolver(way)
        options = client_options(AddressGuard(networks=way.allow_addresses), way.ca)
        file = None
        if outside.policies is not None:
            trust = hashlib.sha256(repr((way.ca, way.allow_addresses)).encode()).hexdigest()
            file = outside.policies / f"{trust[:16]}.json"
        return Policies(
            resolver,
            self._http.client(options, resolver=Names(resolver)),
            wall=self._wall,
            reactor=self._reactor,
            log=self._log,
            file=file,
            port=outside.policy_port,
        )
