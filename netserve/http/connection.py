"""One connection of an HTTP server (aiohttp's): turns, limits, refusals, and its end."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from aiohttp import StreamReader, web
from aiohttp.http_exceptions import HttpProcessingError
from twisted.python.failure import Failure

from netserve.connection import connection_id
from netserve.fairness.reading import LARGE, PacedReading
from netserve.fairness.turns import Turn
from netserve.reactor.lingering import LINGER
from netserve.wire.peer import counting_key

if TYPE_CHECKING:
    from netserve.http.server import HttpServer

SLICE: Final = 4 * 1024
"""Bytes that are parsed in one go."""
_LONGEST_REASON: Final = 200
"""Characters of what is told about a request that is not HTTP."""


class HttpConnection(web.RequestHandler):
    """One connection; `drain` lets the request in flight finish, then closes.

    What comes is parsed in slices, when it is this connection's turn
    (`netserve.fairness.turns`): small chunks and short headers take far longer than their bytes.

    A client that sends its headers byte by byte keeps the idle sweep away; the time for them is
    looked at when more of them comes. aiohttp limits each header and their number, whose product is
    too much: it is held for whoever connects. One that closes its sending side, as ``nc -N`` does,
    gets the answers to what it has asked, unless such a client is to be given up.

    Arguments:
        server: what the connections share.
        shared: of the `HttpServer`.
        options: for aiohttp's `RequestHandler`.
    """

    __slots__ = (
        "_at", "_ended", "_head_deadline", "_head_left", "_lingering", "_own_pause", "_refuses",
        "_rest", "_shared", "_traces", "_turn", "_unread", "connection_id",
    )  # fmt: skip

    _turn: Turn

    def __init__(self, server: web.Server, shared: HttpServer, **options: Any) -> None:
        super().__init__(server, **options)
        self._shared = shared
        self._ended = False
        self._unread: deque[bytes] = deque()
        self._at = 0
        self._own_pause = False
        self._refuses = False
        # The body of a request that was answered before the whole body came; aiohttp drops it.
        self._rest: StreamReader | None = None
        self._lingering: PacedReading | None = None
        self._head_left = shared.head_size
        self._head_deadline: float | None = None
        self._traces = 0
        self.connection_id = ""
        """The connection's, for the log."""

    @property
    def address(self) -> str:
        """The client's, as `netserve.wire.peer.counting_key` has it."""
        return self._turn.address

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        name = transport.get_extra_info("peername")
        address = counting_key(str(name[0])) if isinstance(name, tuple) else ""
        self.connection_id = connection_id(transport) or self._shared.new_id()
        self._turn = self._shared.turns.turn(address, self._work, self._abort)
        super().connection_made(transport)

    def new_trace(self) -> str:
        """An id for what a request of this connection begins, such as a message."""
        self._traces += 1
        return f"{self.connection_id}-{self._traces}"

    def connection_lost(self, exc: BaseException | None) -> None:
        """The connection is gone."""
        self._turn.drop()
        if self._lingering is not None:
            self._lingering.stopProducing()
        self._unread.clear()
        super().connection_lost(exc)

    def _abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Bytes of requests; none, when aiohttp has room for more of what it has already."""
        if self._lingering is not None:
            if len(data) >= LARGE:
                self._lingering.pauseProducing()
                self._lingering.resumeProducing()
        elif not data:
            super().data_received(data)
        elif not self._unread and len(data) <= SLICE and self._shared.turns.turns.has_time():
            self._take(data)
        else:
            self._unread.append(data)
            self._turn.ask()
            if self._unread and not self._own_pause and self.transport is not None:
                self._own_pause = True
                self.transport.pause_reading()

    def _work(self) -> bool:
        """Parse what has come, a slice at a time."""
        while self._unread and not self._is_full():
            piece, at = self._unread[0], self._at
            if at + SLICE >= len(piece):
                self._unread.popleft()
                self._at = 0
            else:
                self._at = at + SLICE
            self._take(piece[at : at + SLICE])
            if self._turn.is_over():
                break
        if not self._unread:
            if self._own_pause:
                self._own_pause = False
                if not self._is_full():
                    super()._resume_transport_reading()
            if self._ended:
                self._loop.call_soon(self._end)
        return bool(self._unread) and not self._is_full()

    def _is_full(self) -> bool:
        """Whether aiohttp wants no more for now, or ever."""
        return self._reading_paused or self._buffer_paused or self.transport is None

    def _resume_transport_reading(self) -> None:
        if self._unread:
            self._turn.ask()
        elif not self._own_pause:
            super()._resume_transport_reading()

    def _take(self, data: bytes) -> None:
        super().data_received(data)
        if self._messages and self._drops_a_body():
            self._refuse_rest()
            return
        if self._waiter is None or self._waiter.done():
            self._head_deadline = None
            return
        now = self._loop.time()
        shared = self._shared
        if self._head_deadline is None:
            self._head_deadline = now + shared.head_time
            self._head_left = shared.head_size
        self._head_left -= len(data)
        if self._head_left < 0:
            self._give_up(431, "the headers are too large")
        elif now > self._head_deadline:
            self._give_up(408, "the headers took too long")

    def _give_up(self, status: int, reason: str) -> None:
        """End a connection on which a request is awaited."""
        self._log_refusal(reason)
        response = self._shared.refuse(status, reason)
        if self.transport is not None:
            self.transport.write(_written(response))
        self._linger()

    def _linger(self) -> None:
        """Close behind what was written, without a reset that could take it from the client.

        What the client still sends is read and dropped for a moment
        (`netserve.reactor.lingering`).
        """
        transport = self.transport
        if transport is None or not transport.can_write_eof():
            self.force_close()
            return
        self._unread.clear()
        self._at = 0
        transport.write_eof()
        self._lingering = PacedReading(_Reading(transport), self._shared.turns, self.address)
        self._loop.call_later(LINGER, transport.close)
        if self._is_full() or self._own_pause:
            transport.resume_reading()
        # aiohttp takes it for closed.
        self._force_close = True
        if self._waiter is not None:
            self._waiter.cancel()
        self.transport = None

    def eof_received(self) -> bool:  # type: ignore[override]  # aiohttp's gives None, as False
        """The client sends no more; tells whether it is still written to."""
        if self._shared.give_up:
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
        if self._messages or self._unread:
            return False
        return self._waiter is not None and not self._waiter.done()

    def _lacks_a_body(self) -> bool:
        """Whether the body of the last request is incomplete, as far as it has been looked at."""
        if self._unread:
            return False
        if self._drops_a_body():
            return True
        if self._messages:
            return not self._messages[-1][1].is_eof()
        return self._current_request is not None and not self._current_request.content.is_eof()

    def _drops_a_body(self) -> bool:
        """Whether an answer was sent, and the rest of the request's body is still to come."""
        return self._rest is not None and not self._rest.is_eof()

    def _refuse_rest(self) -> None:
        """The rest of a body that is dropped is not HTTP: nothing after it can be understood."""
        self._log_refusal("the rest of its body is malformed")
        self._messages.clear()
        self._linger()

    async def drained(self) -> None:
        """Wait until the client has taken so much that there is room for more."""
        await self._drain_helper()

    async def finish_response(
        self, request: web.BaseRequest, *args: Any
    ) -> tuple[web.StreamResponse, bool]:
        """Send an answer to its end."""
        finished = await super().finish_response(request, *args)
        self._rest = None if request.content.is_eof() else request.content
        if self._refuses:
            self._linger()
        elif self._ended and not self._messages and not self._unread:
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
        """The answer to what is not HTTP, or after a bug of ours; the connection ends."""
        if isinstance(exc, HttpProcessingError):
            status, reason = _why_not_http(exc)
            self._shared.log.info(
                "a request of {peer} is not HTTP: {reason}",
                peer=self._peer(),
                reason=reason,
                connection_id=self.connection_id,
            )
        elif isinstance(exc, ConnectionError):
            raise exc  # the client is gone
        else:
            reason = "something went wrong here"
            self._log_bug(exc)
        if request.writer.output_size > 0:
            raise ConnectionError("half an answer was sent, and then something went wrong")
        return self.refusal(status, reason)

    def refusal(self, status: int, reason: str) -> web.Response:
        """The answer to a request behind which nothing more is understood."""
        response = self._shared.refuse(status, reason)
        response.headers["Server"] = "netserve"
        response.force_close()
        self._refuses = True
        return response

    def _peer(self) -> str:
        """The client's address, for the log."""
        name = self.transport.get_extra_info("peername") if self.transport else None
        return str(name[0]) if isinstance(name, tuple) else "a client"

    def _log_refusal(self, reason: str) -> None:
        self._shared.log.info(
            "refused a request of {peer}: {reason}",
            peer=self._peer(),
            reason=reason,
            connection_id=self.connection_id,
        )

    def _log_bug(self, error: BaseException | None) -> None:
        failure = None if error is None else Failure(error)
        self._shared.log.failure(
            "a request of {peer} failed",
            failure,
            peer=self._peer(),
            connection_id=self.connection_id,
        )

    def log_exception(self, *args: Any, **options: Any) -> None:
        """One record; aiohttp's own way would be a traceback on standard error."""
        error = options.get("exc_info")
        if isinstance(error, web.RequestPayloadError):
            self._log_refusal("the rest of its body is malformed")
            return
        if isinstance(error, RuntimeError) and self.transport is None:
            return  # aiohttp was still reading the rest of a body when the connection closed
        self._log_bug(error if isinstance(error, BaseException) else None)


class _Reading:
    """The reading of an asyncio transport, by Twisted's names."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.pauseProducing = transport.pause_reading
        self.resumeProducing = transport.resume_reading


def _why_not_http(error: HttpProcessingError) -> tuple[int, str]:
    """The status and the reason for what aiohttp's parser does not understand."""
    # Without the mark that aiohttp puts below a part of the request.
    reason = " ".join(error.message.split()).removesuffix(" ^")
    if len(reason) > _LONGEST_REASON:
        reason = f"{reason[:_LONGEST_REASON]}..."
    status = 505 if "Invalid HTTP version" in reason else 400
    return status, reason


def _written(response: web.Response) -> bytes:
    """An answer without a request, as bytes."""
    body = response.body if isinstance(response.body, bytes) else b""
    head = (
        f"HTTP/1.1 {response.status} {response.reason}\r\nServer: netserve\r\n"
        f"Content-Type: {response.headers.get('Content-Type', 'text/plain')}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
