"""MTA-STS policies of domains: found by DNS, fetched over HTTPS, and kept (RFC 8461, 3 and 5).

A policy that is kept counts until its time is over, also where DNS or its server are silent or
say that there is none: else whoever is on the way could take it away. It is fetched again where
the id in DNS is another one, and once half of its time is over. What can't be fetched is left
alone for a while. Inside it is asyncio's, as the HTTP client is.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from aiohttp.abc import AbstractResolver, ResolveResult
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from yarl import URL

from netserve.crossing import from_asyncio
from netserve.http import AddressGuard, ClientOptions, HttpClient, HttpError
from netserve.mail.mta_sts import (
    MAX_SIZE,
    POLICY_PATH,
    BadPolicy,
    Policy,
    parse_policy,
    policy_host,
    policy_id,
    record_name,
)
from netserve.mail.mx import NotNow
from netserve.protocols.smtp_relay.delivery.dns.cache import TimedCache
from netserve.protocols.smtp_relay.delivery.dns.resolver import Resolver
from netserve.protocols.smtp_relay.delivery.tls.policy_file import Kept, load, save

HTTPS: Final = 443
MOST: Final = 1000
"""Policies that are kept; the one that was asked for longest ago goes first."""
FAILURE: Final = 300.0
"""Seconds for which a policy that can't be fetched is left alone (RFC 8461, 3.3)."""
RENEW: Final = 0.5
"""The part of a policy's time after which it is fetched again."""


def client_options(guard: AddressGuard, ca: Path | None) -> ClientOptions:
    """What the HTTP client for policies may do: no redirects, little time, small answers."""
    return ClientOptions(
        guard=guard,
        connect_timeout=10.0,
        read_timeout=20.0,
        total_timeout=30.0,
        redirects=0,
        connections=20,
        keepalive=1.0,
        response_size=MAX_SIZE,
        ca=ca,
    )


class Policies:
    """Finds and keeps policies.

    Arguments:
        resolver: asks for the TXT records.
        client: fetches, with `client_options`; closed with this.
        wall: unix time.
        reactor: for the time between tries, and for a thread that writes.
        log: of the service.
        file: where they are kept over a restart, or None.
        port: of the policies' servers; tests give a high one.
    """

    def __init__(
        self,
        resolver: Resolver,
        client: HttpClient,
        *,
        wall: Callable[[], float],
        reactor: Any,
        log: Logger,
        file: Path | None = None,
        port: int = HTTPS,
    ) -> None:
        self._resolver = resolver
        self._client = client
        self._wall = wall
        self._reactor = reactor
        self._log = log
        self._file = file
        self._port = port
        self._kept: dict[str, Kept] | None = None  # in the order in which they were asked for
        self._failed: TimedCache[tuple[str, str], bool] = TimedCache(MOST, reactor.seconds)
        self._fetching: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._saving: Deferred[None] | None = None
        self._changed = False

    def find(self, domain: str) -> Deferred[Policy | None]:
        """The policy that counts for a domain, in A-labels, or None."""
        return from_asyncio(self._find(domain))

    async def close(self) -> None:
        """Write down what is not written yet, and close the client."""
        for task in list(self._fetching.values()):
            task.cancel()
        if self._saving is not None:
            await self._saving
        await self._client.close()

    async def _find(self, domain: str) -> Policy | None:
        kept = self._known(domain)
        try:
            records = (await self._resolver.ask(record_name(domain), "TXT")).records
        except NotNow:
            records = ()
        current = policy_id(records)
        if current is not None and self._wants_fetching(domain, kept, current):
            await self._fetch_once(domain, current)
            kept = self._known(domain)
        return kept.policy if kept is not None else None

    def _wants_fetching(self, domain: str, kept: Kept | None, current: str) -> bool:
        fresh = kept is not None and kept.id == current and kept.age_share(self._wall()) < RENEW
        return not fresh and self._failed.get((domain, current)) is None

    def _known(self, domain: str) -> Kept | None:
        policies = self._policies()
        kept = policies.pop(domain, None)
        if kept is None or kept.age_share(self._wall()) >= 1:
            return None
        policies[domain] = kept
        return kept

    # Fetching.

    async def _fetch_once(self, domain: str, current: str) -> None:
        """Fetch, once for all who wait; who gives up does not take it from the others."""
        key = (domain, current)
        task = self._fetching.get(key)
        if task is None:
            task = self._fetching[key] = asyncio.ensure_future(self._fetch(domain, current))
            task.add_done_callback(lambda _: self._fetching.pop(key, None))
        await asyncio.shield(task)

    async def _fetch(self, domain: str, current: str) -> None:
        try:
            policy = await self._fetched(domain)
        except (HttpError, BadPolicy) as error:
            self._failed.put((domain, current), True, FAILURE)
            self._log.warn(
                "no MTA-STS policy of {domain}: {reason}", domain=domain, reason=str(error)
            )
            return
        policies = self._policies()
        policies.pop(domain, None)
        while len(policies) >= MOST:
            del policies[next(iter(policies))]
        policies[domain] = Kept(policy, current, self._wall())
        self._log.info(
            "MTA-STS policy of {domain}: {mode}, for {age} s",
            domain=domain,
            mode=policy.mode,
            age=policy.max_age,
        )
        self._save()

    async def _fetched(self, domain: str) -> Policy:
        """What the policy's server says.

        Raises:
            HttpError: it says nothing.
            BadPolicy: it is no policy.
        """
        url = URL.build(scheme="https", host=policy_host(domain), port=self._port, path=POLICY_PATH)
        answer = await self._client.fetch("GET", url)
        if answer.status != 200:
            raise BadPolicy(f"its server answers {answer.status}")
        kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind != "text/plain":
            raise BadPolicy("it is not text/plain")
        return parse_policy(answer.body)

    # On disk.

    def _policies(self) -> dict[str, Kept]:
        if self._kept is None:
            self._kept = {}
            if self._file is not None:
                try:
                    self._kept = load(self._file, self._wall())
                except (OSError, ValueError) as error:
                    self._log.warn(
                        "the MTA-STS policies in {file} are not used: {reason}",
                        file=str(self._file),
                        reason=str(error),
                    )
        return self._kept

    def _save(self) -> None:
        """Write them all in a thread, one writing after the other."""
        if self._file is None:
            return
        self._changed = True
        if self._saving is None:
            self._saving = Deferred.fromCoroutine(self._write(self._file))

    async def _write(self, file: Path) -> None:
        while self._changed:
            self._changed = False
            try:
                await deferToThreadPool(
                    self._reactor, self._reactor.getThreadPool(), save, file, dict(self._policies())
                )
            except OSError as error:
                self._log.warn(
                    "the MTA-STS policies can't be kept in {file}: {reason}",
                    file=str(file),
                    reason=str(error),
                )
        self._saving = None


class Names(AbstractResolver):
    """The addresses of the policies' servers, from the same DNS as everything else.

    Arguments:
        resolver: of the service.
    """

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of a name.

        Raises:
            OSError: there are none.
        """
        try:
            found = (await self._resolver.ask_addresses(host.lower())).addresses
        except NotNow as error:
            raise OSError(None, str(error)) from None
        families = {4: socket.AF_INET, 6: socket.AF_INET6}
        results: list[ResolveResult] = [
            {
                "hostname": host,
                "host": str(address),
                "port": port,
                "family": families[address.version],
                "proto": 0,
                "flags": socket.AI_NUMERICHOST,
            }
            for address in found
            if family in {socket.AF_UNSPEC, families[address.version]}
        ]
        if not results:
            raise OSError(None, "the name has no address")
        return results

    async def close(self) -> None:
        """Nothing of its own is open."""
