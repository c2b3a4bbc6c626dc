"""HTTP upstreams on loopback for tests, and tests that are coroutines of asyncio.

::

    @in_asyncio
    async def test_it():
        async def answer(request):
            return web.Response(text="hello")

        async with upstream(answer) as url:
            ...                          # url is http://127.0.0.1:PORT
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, ParamSpec

from aiohttp import web
from twisted.internet.defer import Deferred
from yarl import URL

from netserve.crossing import from_asyncio

P = ParamSpec("P")

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
Conversation = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def in_asyncio(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, Deferred[None]]:
    """Make a test of a coroutine of asyncio; it fails when it takes more than 30 seconds."""

    @functools.wraps(test)
    def run(*args: P.args, **options: P.kwargs) -> Deferred[None]:
        return from_asyncio(test(*args, **options), timeout=30, what=test.__name__)

    return run


@asynccontextmanager
async def upstream(handler: Handler, *, ssl: Any = None) -> AsyncIterator[URL]:
    """An HTTP server whose handler is cancelled when its client is gone; gives its URL."""
    loop = asyncio.get_running_loop()
    server = web.Server(handler, handler_cancellation=True, access_log=None)
    listening = await loop.create_server(server, "127.0.0.1", 0, ssl=ssl)
    port = listening.sockets[0].getsockname()[1]
    try:
        yield URL(f"{'https' if ssl else 'http'}://127.0.0.1:{port}")
    finally:
        listening.close()
        await server.shutdown(0)


@asynccontextmanager
async def raw_upstream(talk: Conversation) -> AsyncIterator[URL]:
    """A server that says what it likes over each connection; gives its URL."""
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())  # type: ignore[arg-type]  # this is one
        try:
            await talk(reader, writer)
        finally:
            writer.close()

    listening = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield URL(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}")
    finally:
        listening.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
