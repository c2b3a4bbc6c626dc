"""An HTTP server (aiohttp's) as an asyncio protocol factory, for `Hosted.stream`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web


class DrainingHandler(web.RequestHandler):
    """One connection; `drain` lets the request in flight finish, then closes."""

    def drain(self) -> None:
        """Called by the hosting layer when the service stops."""
        self.close()
        self.keep_alive(False)


class HttpServer:
    """Makes the protocol of each connection.

    Arguments:
        handler: answers one request.
        give_up: whether the handler is cancelled when its client is gone.
        options: for aiohttp's `RequestHandler`, such as ``max_line_size``.
    """

    def __init__(
        self,
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        *,
        give_up: bool = False,
        **options: Any,
    ) -> None:
        self._handler = handler
        self._give_up = give_up
        self._options = {"access_log": None, **options}
        self._server: web.Server | None = None

    def __call__(self) -> asyncio.Protocol:
        # Made with the first connection, when the loop runs: aiohttp's server holds on to it.
        loop = asyncio.get_running_loop()
        if self._server is None:
            self._server = web.Server(self._handler, handler_cancellation=self._give_up, loop=loop)
        return DrainingHandler(self._server, loop=loop, **self._options)
