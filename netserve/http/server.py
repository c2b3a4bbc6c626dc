"""An HTTP server (aiohttp's) as an asyncio protocol factory, for `Hosted.stream`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from twisted.logger import Logger
from twisted.python.failure import Failure


class DrainingHandler(web.RequestHandler):
    """One connection; `drain` lets the request in flight finish, then closes.

    Arguments:
        server: what the connections share.
        log: gets one line for a request that is not HTTP, and our own bugs.
        options: for aiohttp's `RequestHandler`.
    """

    __slots__ = ("_log",)

    def __init__(self, server: web.Server, log: Logger, **options: Any) -> None:
        super().__init__(server, **options)
        self._log = log

    def drain(self) -> None:
        """Called by the hosting layer when the service stops."""
        quiet = self._waiter is not None
        self.close()
        self.keep_alive(False)
        if quiet:
            # aiohttp leaves a connection open that waits for its next request.
            self.force_close()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The reply for what is not HTTP, or for a bug of ours."""
        response = super().handle_error(request, status, exc, message)
        response.headers["Server"] = "netserve"
        return response

    def log_exception(self, *args: Any, **options: Any) -> None:
        """One line for a request that is not HTTP; aiohttp's own way would be a traceback."""
        error = options.get("exc_info")
        name = self.transport.get_extra_info("peername") if self.transport else None
        peer = name[0] if isinstance(name, tuple) else "a client"
        if isinstance(error, HttpProcessingError):
            reason = " ".join(error.message.split())
            self._log.info("a request of {peer} is not HTTP: {reason}", peer=peer, reason=reason)
        elif isinstance(error, BaseException):
            self._log.failure("a request of {peer} failed", failure=Failure(error), peer=peer)
        else:
            self._log.error("a request of {peer} failed: {what}", peer=peer, what=str(args))


class HttpServer:
    """Makes the protocol of each connection.

    Arguments:
        handler: answers one request.
        log: gets what goes wrong with requests.
        give_up: whether the handler is cancelled when its client is gone.
        options: for aiohttp's `RequestHandler`, such as ``max_line_size``.
    """

    def __init__(
        self,
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        *,
        log: Logger | None = None,
        give_up: bool = False,
        **options: Any,
    ) -> None:
        self._handler = handler
        self._log = log or Logger()
        self._give_up = give_up
        self._options = {"access_log": None, **options}
        self._server: web.Server | None = None

    def __call__(self) -> asyncio.Protocol:
        # Made with the first connection, when the loop runs: aiohttp's server holds on to it.
        loop = asyncio.get_running_loop()
        if self._server is None:
            self._server = web.Server(self._handler, handler_cancellation=self._give_up, loop=loop)
        return DrainingHandler(self._server, self._log, loop=loop, **self._options)
