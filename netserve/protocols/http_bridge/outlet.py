"""The way of an answer to its client over HTTP, whether or not that client reads it.

A slot to the upstream is given back as soon as the upstream's answer has come. So that a client
that reads slowly does not hold one, up to `AHEAD` bytes of an answer wait in its transport, counted
as held for the client's address. A client that takes less than 64 KiB in ``client_timeout`` is cut.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, Final

from aiohttp import web

from netserve.fairness.shares import Holding, Shares
from netserve.http.requests import PACED

AHEAD: Final = 256 * 1024
"""Bytes of an answer that may wait for their client while more of it comes."""
UNWATCHED: Final = 64 * 1024
"""Bytes that may wait for any client, uncounted: what transports hold by default."""


class TooSlow(Exception):
    """The client does not take its answer."""


class Outlet:
    """Writes one answer; `close` has to follow.

    Arguments:
        request: what is answered.
        response: not prepared yet.
        memory: what is held for all clients.
        address: the client's.
        timeout: seconds in which the next 64 KiB have to be taken.
    """

    __slots__ = ("_ahead", "_connection", "_holding", "_request", "_response", "_timeout")

    def __init__(
        self,
        request: web.BaseRequest,
        response: web.StreamResponse,
        *,
        memory: Shares,
        address: str,
        timeout: float,
    ) -> None:
        self._request = request
        self._response = response
        self._connection: Any = request.protocol  # a `netserve.http.connection.HttpConnection`
        self._holding = Holding(memory, address)
        self._timeout = timeout
        self._ahead = UNWATCHED

    async def begin(self, size: int | None) -> None:
        """Write the head.

        Arguments:
            size: bytes of the body, where they are known.
        """
        ahead = AHEAD if size is None else min(size, AHEAD)
        if ahead > UNWATCHED and self._holding.grow(ahead):
            self._set_limit(ahead)
        await self._response.prepare(self._request)

    async def write(self, piece: bytes) -> None:
        """Write a part of the body, once there is room for it.

        Raises:
            TooSlow: the client does not take what was written before.
            OSError: it is gone.
        """
        await self._in_time(self._response.write(piece))

    async def end(self) -> None:
        """Write the end of the body, and wait until the client has taken most of it.

        Raises:
            TooSlow: it does not.
            OSError: it is gone.
        """
        await self._in_time(self._response.write_eof())
        if self._holding.size:
            allowed = self._allowed()
            self._set_limit(UNWATCHED)
            await self._in_time(self._connection.drained(), allowed)

    def close(self) -> None:
        """Hold nothing any more."""
        if self._ahead != UNWATCHED:
            self._set_limit(UNWATCHED)
        self._holding.close()

    def _allowed(self) -> float:
        """Seconds in which what waits has to be taken, but for the last of it."""
        return self._timeout * max(self._ahead / PACED, 1)

    async def _in_time(self, work: Awaitable[None], seconds: float | None = None) -> None:
        try:
            async with asyncio.timeout(seconds or self._allowed()):
                await work
        except TimeoutError:
            raise TooSlow from None

    def _set_limit(self, size: int) -> None:
        self._ahead = size
        transport = self._request.transport
        if transport is not None:
            transport.set_write_buffer_limits(high=size)
