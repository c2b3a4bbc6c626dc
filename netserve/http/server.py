"""An HTTP server (aiohttp's) as an asyncio protocol factory, for `Hosted.stream`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from twisted.logger import Logger
from twisted.python.failure import Failure

HEAD_TIME: Final = 60.0
"""Seconds for a request's line and headers, from the first byte of them."""
HEAD_SIZE: Final = 64 * 1024
"""Bytes of a request's line and headers together."""

_LONGEST_REASON: Final = 200
"""Characters of what is logged about a request that is not HTTP."""

_REFUSAL: Final = (
    "HTTP/1.1 {status}\r\nServer: netserve\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
)


class DrainingHandler(web.RequestHandler):
    """One connection; `drain` lets the request in flight finish, then closes.

    A client that sends its headers byte by byte keeps the idle sweep away; the time for them is
    looked at when more of them comes. aiohttp limits each header and their number, whose product is
    too much: it is held for whoever connects. One that closes its sending side, as ``nc -N`` does,
    gets the answers to what it has asked, unless such a client is to be given up.

    Arguments:
        server: what the connections share.
        log: gets one line for a request that is not HTTP, and our own bugs.
        head_time: seconds for a request's line and headers.
        head_size: bytes of a request's line and headers.
        give_up: whether a client that closes its sending side is taken to be gone.
        options: for aiohttp's `RequestHandler`.
    """

    __slots__ = (
        "_ended", "_give_up", "_head_deadline", "_head_left", "_head_size", "_head_time", "_log",
    )  # fmt: skip

    def __init__(
        self,
        server: web.Server,
        log: Logger,
        *,
        head_time: float,
        head_size: int,
        give_up: bool,
        **options: Any,
    ) -> None:
        super().__init__(server, **options)
        self._log = log
        self._give_up = give_up
        self._ended = False
        self._head_time = head_time
        self._head_size = self._head_left = head_size
        self._head_deadline: float | None = None

    def data_received(self, data: bytes) -> None:
        """Bytes of requests."""
        super().data_received(data)
        if self._waiter is None or self._waiter.done():
            self._head_deadline = None
            return
        now = self._loop.time()
        if self._head_deadline is None:
            self._head_deadline = now + self._head_time
            self._head_left = self._head_size
        self._head_left -= len(data)
        if self._head_left < 0:
            self._refuse("431 Request Header Fields Too Large", "{peer} sent too large headers")
        elif now > self._head_deadline:
            self._refuse("408 Request Timeout", "{peer} took too long for its headers")

    def _refuse(self, status: str, why: str) -> None:
        """End a connection on which a request is awaited."""
        if self.transport is not None:
            self._log.info(why, peer=self._peer())
            self.transport.write(_REFUSAL.format(status=status).encode())
            self.force_close()

    def eof_received(self) -> bool:  # type: ignore[override]  # aiohttp's gives None, as False
        """The client sends no more; tells whether it is still written to."""
        if self._give_up:
            return False
        self._ended = True
        # In the next turn, when what came last has been taken up.
        self._loop.call_soon(self._end)
        return True

    def _end(self) -> None:
        if self.transport is not None and (self._is_quiet() or self._lacks_a_body()):
            self.force_close()

    def _is_quiet(self) -> bool:
        """Whether no request is being answered, or waits to be."""
        return not self._messages and self._waiter is not None and not self._waiter.done()

    def _lacks_a_body(self) -> bool:
        """Whether the body of the last request is incomplete, as far as it has been looked at."""
        if self._messages:
            return not self._messages[-1][1].is_eof()
        return self._current_request is not None and not self._current_request.content.is_eof()

    async def finish_response(self, *args: Any) -> tuple[web.StreamResponse, bool]:
        """Send an answer to its end."""
        finished = await super().finish_response(*args)
        if self._ended and not self._messages:
            self.close()
        return finished

    def drain(self) -> None:
        """Called by the hosting layer when the service stops."""
        quiet = self._is_quiet()
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
        if isinstance(exc, HttpProcessingError):
            # Here and not below: aiohttp keeps some of them from its log.
            self._log_what_is_not_http(exc)
        response = super().handle_error(request, status, exc, message)
        response.headers["Server"] = "netserve"
        return response

    def _peer(self) -> str:
        """The client's address, for the log."""
        name = self.transport.get_extra_info("peername") if self.transport else None
        return str(name[0]) if isinstance(name, tuple) else "a client"

    def _log_what_is_not_http(self, error: HttpProcessingError) -> None:
        # Without the mark that aiohttp puts below a part of the request.
        reason = " ".join(error.message.split()).removesuffix(" ^")
        if len(reason) > _LONGEST_REASON:
            reason = f"{reason[:_LONGEST_REASON]}..."
        self._log.info(
            "a request of {peer} is not HTTP: {reason}", peer=self._peer(), reason=reason
        )

    def log_exception(self, *args: Any, **options: Any) -> None:
        """One record; aiohttp's own way would be a traceback on standard error."""
        error = options.get("exc_info")
        if isinstance(error, HttpProcessingError):
            return  # it is told as it is answered
        if isinstance(error, BaseException):
            self._log.failure(
                "a request of {peer} failed", failure=Failure(error), peer=self._peer()
            )
        else:
            self._log.error("a request of {peer} failed: {what}", peer=self._peer(), what=str(args))


Handler: TypeAlias = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


def _named(handler: Handler) -> Handler:
    """The handler, with answers that name netserve, where aiohttp would name itself and Python."""

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        response = await handler(request)
        if not response.prepared:
            response.headers.setdefault("Server", "netserve")
        return response

    return answer


class HttpServer:
    """Makes the protocol of each connection.

    Arguments:
        handler: answers one request.
        log: gets what goes wrong with requests.
        give_up: whether the handler is cancelled when its client is gone, or closes its sending
            side.
        head_time: seconds for a request's line and headers.
        head_size: bytes of a request's line and headers.
        options: for aiohttp's `RequestHandler`, such as ``max_line_size``.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        log: Logger | None = None,
        give_up: bool = False,
        head_time: float = HEAD_TIME,
        head_size: int = HEAD_SIZE,
        **options: Any,
    ) -> None:
        self._handler = _named(handler)
        self._log = log or Logger()
        self._give_up = give_up
        self._options = {
            "access_log": None, "head_time": head_time, "head_size": head_size,
            "give_up": give_up, **options,
        }  # fmt: skip
        self._server: web.Server | None = None

    def __call__(self) -> asyncio.Protocol:
        # Made with the first connection, when the loop runs: aiohttp's server holds on to it.
        loop = asyncio.get_running_loop()
        if self._server is None:
            self._server = web.Server(self._handler, handler_cancellation=self._give_up, loop=loop)
        return DrainingHandler(self._server, self._log, loop=loop, **self._options)
