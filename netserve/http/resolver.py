"""Where names and literal addresses meet the guard, so that what was checked is connected to (S11).

aiohttp connects to exactly the addresses that its resolver gave, and asks the resolver anew for
each new connection (or takes its cache of such answers). So a name that changes its answer gives
nothing but checked addresses. Literal addresses do not pass the resolver: `GuardedConnector`
checks these as each request, and each redirect, asks for its connection.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Final

from aiohttp import ClientTimeout, TCPConnector
from aiohttp.abc import AbstractResolver, ResolveResult

from netserve.connection import Tracker
from netserve.http.errors import AddressForbidden
from netserve.http.guard import AddressGuard
from netserve.http.tapping import report

if TYPE_CHECKING:
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.client_reqrep import ClientRequest
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace


_REMEMBERED: Final = 1024
"""Hosts of URLs that are known to be fine: a guard never changes."""


class GuardedResolver(AbstractResolver):
    """Gives the addresses of a name that the guard lets pass.

    Arguments:
        guard: the service's.
        inner: does the work of resolving.
    """

    def __init__(self, guard: AddressGuard, inner: AbstractResolver) -> None:
        self._guard = guard
        self._inner = inner

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The checked addresses of a name.

        Raises:
            AddressForbidden: it has addresses, but none that may be connected to.
            OSError: it has none.
        """
        found = await self._inner.resolve(host, port, family)
        if self._guard.allows_name(host):
            return found
        passed, reason = [], "it has no address"
        for result in found:
            refusal = self._guard.refusal(ipaddress.ip_address(result["host"]))
            if refusal is None:
                passed.append(result)
            else:
                reason = refusal
        if not passed:
            raise AddressForbidden(f"{host}: not allowed: {reason}")
        return passed

    async def close(self) -> None:
        """Let go of the inner resolver."""
        await self._inner.close()


class GuardedConnector(TCPConnector):
    """A pool of connections to guarded addresses.

    Arguments:
        guard: the service's.
        resolver: resolves names, unguarded.
        tracker: records each connection that is opened.
        options: the further arguments of aiohttp's `TCPConnector`.
    """

    def __init__(
        self, guard: AddressGuard, resolver: AbstractResolver, tracker: Tracker, **options: Any
    ) -> None:
        super().__init__(resolver=GuardedResolver(guard, resolver), **options)
        self._guard = guard
        self._tracker = tracker
        self._passed: set[str] = set()

    def connect(
        self, req: ClientRequest, traces: list[Trace], timeout: ClientTimeout
    ) -> Coroutine[Any, Any, Connection]:
        """A connection for a request, after the look at its host.

        Raises:
            AddressForbidden: the host is an address that may not be connected to.
        """
        host = req.url.raw_host or ""
        if host not in self._passed:
            refusal = self._guard.host_refusal(host)
            if refusal is not None:
                raise AddressForbidden(f"{host}: not allowed: {refusal}")
            if len(self._passed) >= _REMEMBERED:
                self._passed.clear()
            self._passed.add(host)
        return super().connect(req, traces, timeout)

    async def _create_connection(
        self,
        req: ClientRequest,
        traces: list[Trace],
        timeout: ClientTimeout,  # noqa: ASYNC109 - aiohttp's
    ) -> ResponseHandler:
        """Open a connection; this is where aiohttp's own connectors differ from one another."""
        protocol = await super()._create_connection(req, traces, timeout)
        report(protocol, self._tracker, tls=req.url.scheme == "https")
        return protocol
