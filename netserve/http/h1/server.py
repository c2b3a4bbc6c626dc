"""The server as a machine: bytes of requests in, events out; responses in, bytes out.

Theory of operation
    `receive` takes what the client sent, and `next_event` gives what it means, one event at a time:
    `Request`, `bytes` of its body, `End`; or a `Violation`, or a `Signal` of what to do first. The
    methods ``send_…`` give the bytes that are to be written, and write nothing themselves.

    An exchange has two halves, each with a table in `netserve.http.h1.states`::

        request   IDLE --head--> BODY --end--> DONE --next--> IDLE
        response  IDLE --request--> HEAD --head--> BODY --end--> DONE --next--> IDLE

    They run side by side: a response may begin, and end, before its request is complete. When both
    are DONE they begin again together, or the connection is to be closed (`Signal.CLOSED`). Until
    then the machine is PAUSED, whatever was pipelined, so responses are in order by construction.

    After a `Violation` nothing more is read. Where no response has begun, `send_response` may still
    say what was wrong; the connection ends after it.

    After 101, and after 2xx to CONNECT, both halves are RAW: bytes pass as they are.

What the machine adds to a response: ``Transfer-Encoding: chunked`` where its fields do not say how
long the body is, ``Connection: close`` where the connection ends after it, and ``Connection:
keep-alive`` for a client of HTTP/1.0 where it does not. What it leaves out: the fields of framing
that must not be sent (RFC 9110, 8.6; RFC 9112, 6.1), and chunks to HTTP/1.0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from netserve.http.h1.bodies import (
    CHUNKED,
    NO_BODY,
    NOTHING,
    RAW_READER,
    UNFRAMED,
    ChunkedReader,
    Reader,
    SizedReader,
    SizedWriter,
    Writer,
)
from netserve.http.h1.events import (
    NEED_DATA,
    NOTHING_FOLLOWS,
    PAUSED,
    End,
    Request,
    ServerEvent,
)
from netserve.http.h1.fields import Field, Fields, as_fields, without
from netserve.http.h1.framing import (
    FRAMING,
    has_no_body,
    read_request,
    sent_length,
)
from netserve.http.h1.limits import DEFAULTS, Limits
from netserve.http.h1.lines import Input, Section
from netserve.http.h1.reasons import USUAL
from netserve.http.h1.request_line import RequestLine, check_start, read_request_line
from netserve.http.h1.states import (
    BODY,
    CLOSED,
    DONE,
    HEAD,
    IDLE,
    RAW,
    REQUEST,
    RESPONSE,
)
from netserve.http.h1.status_line import is_reason
from netserve.http.h1.violations import Kind, Unsendable, Violated, Violation

# The ways that every exchange goes, looked up once.
_REQUEST_BEGUN: Final = REQUEST[IDLE]["head"]
_REQUEST_ENDED: Final = REQUEST[BODY]["end"]
_NEXT_REQUEST: Final = REQUEST[DONE]["next"]
_RESPONSE_WANTED: Final = RESPONSE[IDLE]["request"]
_RESPONSE_BEGUN: Final = RESPONSE[HEAD]["head"]
_RESPONSE_ENDED: Final = RESPONSE[BODY]["end"]
_NEXT_RESPONSE: Final = RESPONSE[DONE]["next"]

_NO_REQUEST: Final = Request(b"", b"", Fields(), keep_alive=False)
"""What a response answers where the request could not be read."""


class ServerMachine:
    """One connection of one client.

    Arguments:
        limits: what a request may bring.
    """

    __slots__ = (
        "_began", "_closing", "_continued", "_eof", "_head", "_keeps", "_limits", "_reader",
        "_request", "_source", "_writer", "has_left_unread", "request_state", "response_state",
    )  # fmt: skip

    def __init__(self, limits: Limits = DEFAULTS) -> None:
        self.request_state = IDLE
        self.response_state = IDLE
        self.has_left_unread = False
        "Whether it has ended before the request was complete: the client may still send."
        self._limits = limits
        self._source = Input()
        self._head: Section[RequestLine] = Section(
            most=limits.head,
            most_fields=limits.fields,
            longest_field=limits.field_line,
            longest_first=limits.start_line,
            read_first=lambda line: read_request_line(line, limits.method),
            check_start=check_start,
            first_too_long=("request line too long", 414),
            empty_lines=1,
        )
        self._request = _NO_REQUEST
        self._reader: Reader = NOTHING
        self._writer: Writer = UNFRAMED
        self._keeps = True  # the connection lives on after this exchange
        self._closing = False  # we want no further request
        self._continued = False  # 100 was sent
        self._began = False  # a piece of the body has come
        self._eof = False

    # Reading.

    @property
    def buffered(self) -> int:
        """Bytes that came and were not read yet."""
        return len(self._source)

    @property
    def is_idle(self) -> bool:
        """Whether it is between two requests, and nothing of the next one has come."""
        return self.request_state is IDLE and not self._head.has_begun and not len(self._source)

    @property
    def is_bodiless(self) -> bool:
        """Whether the response that has begun ends with its head, as one to HEAD does."""
        return self._request.method == b"HEAD"

    @property
    def has_ended(self) -> bool:
        """Whether the client sends no more."""
        return self._eof

    def receive(self, data: bytes) -> None:
        """Take what the client sent."""
        self._source.add(data)

    def receive_eof(self) -> None:
        """The client sends no more; it may still read."""
        self._eof = True

    def next_event(self) -> ServerEvent:
        """What happened next, or a signal of what is to be done first."""
        state = self.request_state
        if state is IDLE:
            return self._read_head()
        if state is BODY or state is RAW:
            return self._read_body()
        return PAUSED if state is DONE else NOTHING_FOLLOWS

    def _read_head(self) -> ServerEvent:
        if self._closing:
            self._close()
            return NOTHING_FOLLOWS
        head = self._head
        try:
            if not head.read(self._source):
                return self._await_head()
            assert head.first is not None  # noqa: S101 - it is complete
            request = read_request(head.first, head.fields, self._limits)
        except Violated as error:
            return self._break(error.violation)
        head.clear()
        self.request_state = _REQUEST_BEGUN
        self.response_state = _RESPONSE_WANTED
        self._request = request
        self._keeps = request.keep_alive
        length = request.length
        if length == 0:
            self._reader = NOTHING
        elif length is None:
            self._reader = ChunkedReader(self._limits)
        else:
            self._reader = SizedReader(length)
        self._began = self._continued = False
        return request

    def _await_head(self) -> ServerEvent:
        if not self._eof:
            return NEED_DATA
        if self._head.has_begun or len(self._source):
            return self._break(
                Violation(400, "connection closed in the header section", Kind.INCOMPLETE)
            )
        self._close()
        return NOTHING_FOLLOWS

    def _read_body(self) -> ServerEvent:
        try:
            event = self._reader.read(self._source)
            if event is None:
                if not self._eof:
                    return NEED_DATA
                event = self._reader.at_eof()
        except Violated as error:
            return self._break(error.violation)
        if event.__class__ is End:
            self._end_request()
        else:
            self._began = True
        return event

    def _end_request(self) -> None:
        if self.request_state is RAW:
            self.request_state = REQUEST[RAW]["end"]
        else:
            self.request_state = _REQUEST_ENDED
            if self.response_state is RAW:
                self._switch()
            elif self.response_state is DONE:
                self._next()

    def _break(self, violation: Violation) -> Violation:
        """Read no more; there is a response to be sent, unless one has begun."""
        if self.request_state is IDLE:
            self._request = _NO_REQUEST
            self.response_state = RESPONSE[self.response_state]["request"]
        self.request_state = REQUEST[self.request_state]["violation"]
        self._keeps = False
        if self.response_state is DONE:
            self._close()
        return violation

    # Writing.

    def send_informational(self, status: int, reason: bytes, fields: Sequence[Field] = ()) -> bytes:
        """An informational response: 100 where the client waits for it, 103, and others.

        Returns:
            The bytes to be written: none to HTTP/1.0, which knows none (RFC 9110, 15.2).

        Raises:
            Unsendable: it is none, or not the time for it.
        """
        if self.response_state is not HEAD or not 100 <= status <= 199 or status == 101:
            raise Unsendable(f"a response with the status {status} cannot be sent now")
        _check_reason(reason)
        self.response_state = RESPONSE[HEAD]["informational"]
        if self._request.minor == 0 or self._request is _NO_REQUEST:
            return b""
        if status == 100:
            self._continued = True
        return _head(status, reason, _unframed(as_fields(fields)).block)

    def send_response(self, status: int, reason: bytes, fields: Sequence[Field] = ()) -> bytes:
        """The head of the final response, or of 101 to a request with Upgrade.

        Arguments:
            status: 101, or 200 to 999.
            reason: may be empty.
            fields: sent in this order. Content-Length, Transfer-Encoding and Connection: close are
                gone by, as the module says.

        Raises:
            Unsendable: it is none, or not the time for it.
        """
        if self.response_state is not HEAD:
            raise Unsendable("there is no request to respond to")
        if reason not in USUAL:  # which need no look
            _check_reason(reason)
        request = self._request
        fields = as_fields(fields)
        if status < 200 or status > 999:
            self._check_switch(status)
        if status == 101 or (request.method == b"CONNECT" and status <= 299):
            self._writer = UNFRAMED
            self.response_state = RESPONSE[HEAD]["switched"]
            if self.request_state is DONE:
                self._switch()
            kept = fields if status == 101 else _unframed(fields)
            return _head(status, reason, kept.block)
        block = self._frame(status, fields)
        options = fields.options
        if b"close" in options or self._must_close():
            self._keeps = False
        if not self._keeps:
            if b"close" not in options:
                block += b"Connection: close\r\n"
        elif request.minor == 0 and b"keep-alive" not in options:
            block += b"Connection: keep-alive\r\n"
        self.response_state = _RESPONSE_BEGUN
        return _head(status, reason, block)

    def _frame(self, status: int, fields: Fields) -> bytes:
        """Choose the writer; the lines of the fields that go with it."""
        request = self._request
        length = sent_length(fields.values)
        chunks = request.minor > 0
        if has_no_body(status, request.method):
            self._writer = NO_BODY
            if status == 204 or (length is None and not chunks):
                fields = _unframed(fields)
        elif length is not None and length >= 0:
            self._writer = SizedWriter(length)
        elif chunks:
            self._writer = CHUNKED
            if length is not None:
                return fields.block + b"Transfer-Encoding: chunked\r\n"
        else:
            self._writer = UNFRAMED
            self._keeps = False
            fields = _unframed(fields)
        return fields.block

    def _check_switch(self, status: int) -> None:
        if status != 101:
            raise Unsendable(f"not a status of a final response: {status}")
        if not self._request.upgrade:
            raise Unsendable("101 without an Upgrade request")

    def _must_close(self) -> bool:
        """Whether we want to, or nobody can say what will come next (RFC 9110, 10.1.1)."""
        if self._closing:
            return True
        return (
            self._request.expects_continue
            and not (self._continued or self._began or len(self._source))
            and self.request_state is BODY
        )

    def send_data(self, data: bytes) -> tuple[bytes, ...]:
        """A piece of the body, or of what follows a switch, in the pieces that are to be written.

        Raises:
            Unsendable: there is no body, or it is longer than was announced.
        """
        if self.response_state is not BODY and self.response_state is not RAW:
            raise Unsendable("there is no response under way")
        return self._writer.write(data)

    def send_end(self, trailers: Sequence[Field] = ()) -> bytes:
        """The end of the response.

        Raises:
            Unsendable: the body is shorter than was announced; the connection has to be aborted, so
                that nobody takes it for complete.
        """
        if self.response_state is not BODY and self.response_state is not RAW:
            raise Unsendable("there is no response under way")
        data = self._writer.end(trailers)
        if self.response_state is RAW:
            self.response_state = RESPONSE[RAW]["end"]
        else:
            self.response_state = _RESPONSE_ENDED
            if self.request_state is DONE:
                self._next()
            elif not self._keeps:
                self.has_left_unread = True
                self._close()
        return data

    def give_up(self) -> None:
        """Read no more: the rest of the request has taken too long."""
        if self.request_state in {IDLE, BODY}:
            self._break(Violation(408, "request timed out", Kind.INCOMPLETE))

    def end_after_response(self) -> None:
        """Take no further request after the one under way."""
        self._closing = True

    # Both.

    def _next(self) -> None:
        """Both halves are done."""
        if self._keeps and not self._closing:
            self.request_state = _NEXT_REQUEST
            self.response_state = _NEXT_RESPONSE
        else:
            self._close()

    def _switch(self) -> None:
        self.request_state = REQUEST[DONE]["switched"]
        self._reader = RAW_READER

    def _close(self) -> None:
        if self.request_state is not CLOSED:
            self.request_state = REQUEST[self.request_state]["closed"]
        if self.response_state is not CLOSED:
            self.response_state = RESPONSE[self.response_state]["closed"]


def _check_reason(reason: bytes) -> None:
    if not is_reason(reason):
        raise Unsendable("a reason with a control character in it")


def _head(status: int, reason: bytes, block: bytes) -> bytes:
    return b"HTTP/1.1 %d %b\r\n%b\r\n" % (status, reason, block)


def _unframed(fields: Fields) -> Fields:
    """Without the fields of framing."""
    return Fields(without(fields, FRAMING))
