"""What the ways of one service share: the process around them, name servers, policies, threads."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from netserve.config.types import Network
from netserve.fairness.turns import Share, Turns
from netserve.http import AddressGuard, HttpClients
from netserve.protocols.smtp_relay.delivery.accounts import Accounts
from netserve.protocols.smtp_relay.delivery.dns.resolver import Resolver
from netserve.protocols.smtp_relay.delivery.login.tokens import Tokens
from netserve.protocols.smtp_relay.delivery.outside import Outside
from netserve.protocols.smtp_relay.delivery.tls.policies import (
    Names,
    Policies,
    client_options,
)

WRITERS: Final = 8
"""Threads that write into Maildirs; syncing waits for the disk."""


class Facilities:
    """What a way may use. The parts below are made when a way asks for them.

    Arguments:
        hostname: our name, for EHLO, for the names of files and for bounces.
        reactor: connects, and is the clock.
        log: of the service.
        http: gives the clients for hooks, and for MTA-STS policies.
        accounts: of the process.
        tokens: of the process, for logins with OAuth2, or None.
        wall: gives unix seconds.
        outside: the network around the process.
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
        self.hostname = hostname
        self.reactor = reactor
        self.log = log
        self.http = http
        self.accounts = accounts
        self.tokens = tokens
        self.wall = wall
        self.outside = outside
        self.turns: Share = outside.turns or Turns.of(reactor).share(self._failed)
        self._resolvers: dict[bool, Resolver] = {}
        self._policies: dict[tuple[Path | None, tuple[Network, ...]], Policies] = {}
        self._writers: ThreadPool | None = None

    def _failed(self, error: Exception) -> None:
        self.log.failure("a session with a server failed", Failure(error))

    def resolver(self, *, dnssec: bool) -> Resolver:
        """What asks the name servers.

        Arguments:
            dnssec: ask for answers that are validated.
        """
        resolver = self._resolvers.get(dnssec)
        if resolver is None:
            resolver = self._resolvers[dnssec] = Resolver(
                self.outside.dns, clock=self.reactor, dnssec=dnssec
            )
        return resolver

    def policies(
        self, ca: Path | None, networks: tuple[Network, ...], resolver: Resolver
    ) -> Policies:
        """MTA-STS policies; ways with the same trust have the same.

        Arguments:
            ca: trust only these certificates, not the system's.
            networks: that the servers of policies may be in though they are not public.
            resolver: asks for their records.
        """
        trust = (ca, networks)
        policies = self._policies.get(trust)
        if policies is None:
            policies = self._policies[trust] = self._make_policies(ca, networks, resolver)
        return policies

    def _make_policies(
        self, ca: Path | None, networks: tuple[Network, ...], resolver: Resolver
    ) -> Policies:
        file = None
        if self.outside.policies is not None:
            trust = hashlib.sha256(repr((ca, networks)).encode()).hexdigest()
            file = self.outside.policies / f"{trust[:16]}.json"
        options = client_options(AddressGuard(networks=networks), ca)
        return Policies(
            resolver,
            self.http.client(options, resolver=Names(resolver)),
            wall=self.wall,
            reactor=self.reactor,
            log=self.log,
            file=file,
            port=self.outside.policy_port,
        )

    def in_thread(self, work: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        """Do work that waits for the disk in a thread."""
        if self._writers is None:
            self._writers = ThreadPool(0, WRITERS, "maildir")
            self._writers.start()
        return deferToThreadPool(self.reactor, self._writers, work, *arguments)

    async def close(self) -> None:
        """Let go of what was made."""
        if self.tokens is not None:
            await self.tokens.idle()
        policies, self._policies = list(self._policies.values()), {}
        await gatherResults([Deferred.fromCoroutine(each.close()) for each in policies])
        for resolver in self._resolvers.values():
            resolver.close()
        writers, self._writers = self._writers, None
        if writers is not None:
            writers.stop()
