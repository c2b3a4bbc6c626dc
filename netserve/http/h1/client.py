"""The client as a machine: requests in, bytes out; bytes of responses in, events out.

Theory of operation
    `send_request`, `send_data` and `send_end` give the bytes that are to be written. `receive`
    takes what the server sent, and `next_event` gives what it means, one event at a time: any
    number of `Informational`, then `Response`, `bytes` of its body, `End`; or a `Violation`, or a
    `Signal`.

    The two halves of an exchange have the same tables as on the server's side, see
    `netserve.http.h1.states`. When both are DONE, `is_idle` says whether the next request may be
    sent; a request is never sent before that (no pipelining).

    Data that was not requested, such as bytes after a complete response, makes the connection
    unusable, but does not affect the response: `Signal.CLOSED` follows it, and `spoiled` says why.

The machine adds nothing to a request. Its fields have to hold one Host, and say how long the body
is: by Content-Length, or by ``Transfer-Encoding: chunked``; without either there is none.
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
    UntilCloseReader,
    Writer,
)
from netserve.http.h1.events import (
    NEED_DATA,
    NOTHING_FOLLOWS,
    PAUSED,
    ClientEvent,
    End,
    Informational,
    Response,
)
from netserve.http.h1.fields import Field, Fields, as_fields, is_token
from netserve.http.h1.framing import read_response, sent_length
from netserve.http.h1.limits import DEFAULTS, Limits
from netserve.http.h1.lines import Input, Section
from netserve.http.h1.request_line import is_target
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
from netserve.http.h1.status_line import StatusLine, check_start, read_status_line
from netserve.http.h1.violations import Kind, Unsendable, Violated, Violation

# The ways that every exchange goes, looked up once.
_REQUEST_BEGUN: Final = REQUEST[IDLE]["head"]
_REQUEST_ENDED: Final = REQUEST[BODY]["end"]
_NEXT_REQUEST: Final = REQUEST[DONE]["next"]
_RESPONSE_WANTED: Final = RESPONSE[IDLE]["request"]
_RESPONSE_BEGUN: Final = RESPONSE[HEAD]["head"]
_RESPONSE_ENDED: Final = RESPONSE[BODY]["end"]
_NEXT_RESPONSE: Final = RESPONSE[DONE]["next"]

_METHODS: Final = frozenset(
    {b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"CONNECT", b"TRACE"}
)
"""The usual methods, which need no look at their bytes."""


class ClientMachine:
    """One connection to one server.

    Arguments:
        limits: what a response may bring.
    """

    __slots__ = (
        "_eof", "_head", "_informational", "_keeps", "_limits", "_method", "_reader", "_source",
        "_upgrades", "_writer", "has_answer_begun", "request_state", "response_state", "spoiled",
    )  # fmt: skip

    def __init__(self, limits: Limits = DEFAULTS) -> None:
        self.request_state = IDLE
        self.response_state = IDLE
        self.spoiled = ""
        "Why the connection cannot be used again, where the server has sent what nobody asked for."
        self.has_answer_begun = False
        "Whether a byte has come since the last request was sent."
        self._limits = limits
        self._source = Input()
        self._head: Section[StatusLine] = Section(
            most=limits.head,
            most_fields=limits.fields,
            longest_field=limits.field_line,
            longest_first=limits.start_line,
            read_first=read_status_line,
            check_start=check_start,
            first_too_long=("status line too long", 431),
        )
        self._reader: Reader = NOTHING
        self._writer: Writer = UNFRAMED
        self._method = b""
        self._upgrades = False
        self._keeps = True
        self._informational = 0
        self._eof = False

    # Writing.

    @property
    def is_idle(self) -> bool:
        """Whether a request may be sent."""
        return (
            self.request_state is IDLE
            and self.response_state is IDLE
            and not self._eof
            and self._source.at >= len(self._source.data)
        )

    @property
    def has_sent_all(self) -> bool:
        """Whether only the end of the request is to be said, since its announced length is out."""
        writer = self._writer
        return self.request_state is BODY and isinstance(writer, SizedWriter) and writer.is_done

    def send_request(self, method: bytes, target: bytes, fields: Sequence[Field]) -> bytes:
        """The head of a request.

        Arguments:
            method: a token.
            target: as it is to stand in the request line.
            fields: sent in this order, and as the module says.

        Raises:
            Unsendable: it is no request, or another one is under way.
        """
        if not self.is_idle:
            raise Unsendable("another request is under way")
        if method not in _METHODS and not is_token(method):
            raise Unsendable("the method is not a token")
        if not is_target(target):
            raise Unsendable("the request target holds what it must not")
        fields = as_fields(fields)
        values = fields.values
        if len(values.get(b"host", ())) != 1:
            raise Unsendable("a request has one Host")
        length = sent_length(values)
        if length is None:
            self._writer = CHUNKED
        else:
            self._writer = SizedWriter(length) if length > 0 else NO_BODY
        options = fields.options
        self._keeps = b"close" not in options
        self._upgrades = b"upgrade" in options and b"upgrade" in values
        self._method = method
        self._informational = 0
        self.has_answer_begun = False
        self.request_state = _REQUEST_BEGUN
        self.response_state = _RESPONSE_WANTED
        return b"%b %b HTTP/1.1\r\n%b\r\n" % (method, target, fields.block)

    def send_data(self, data: bytes) -> tuple[bytes, ...]:
        """A piece of the body, or of what follows a switch, in the pieces that are to be written.

        Raises:
            Unsendable: there is no body, or it is longer than was announced.
        """
        if self.request_state is not BODY and self.request_state is not RAW:
            raise Unsendable("there is no request under way")
        return self._writer.write(data)

    def send_end(self, trailers: Sequence[Field] = ()) -> bytes:
        """The end of the request.

        Raises:
            Unsendable: the body is shorter than was announced; the connection has to be aborted.
        """
        if self.request_state is not BODY and self.request_state is not RAW:
            raise Unsendable("there is no request under way")
        data = self._writer.end(trailers)
        if self.request_state is RAW:
            self.request_state = REQUEST[RAW]["end"]
        else:
            self.request_state = _REQUEST_ENDED
            if self.response_state is RAW:
                self._switch()
            elif self.response_state is DONE:
                self._next()
        return data

    # Reading.

    @property
    def buffered(self) -> int:
        """Bytes that came and were not read yet."""
        return len(self._source)

    def receive(self, data: bytes) -> None:
        """Take what the server sent."""
        self.has_answer_begun = True
        self._source.add(data)

    def receive_eof(self) -> None:
        """The server sends no more."""
        self._eof = True

    def next_event(self) -> ClientEvent:
        """What happened next, or a signal of what is to be done first."""
        state = self.response_state
        if state is HEAD:
            return self._read_head()
        if state is BODY or state is RAW:
            return self._read_body()
        if state is DONE:
            return PAUSED
        if state is IDLE:
            return self._await_nothing()
        return NOTHING_FOLLOWS

    def _await_nothing(self) -> ClientEvent:
        if len(self._source):
            self.spoiled = "unexpected data on an idle connection"
        elif not self._eof:
            return NEED_DATA
        self._close()
        return NOTHING_FOLLOWS

    def _read_head(self) -> ClientEvent:
        head = self._head
        try:
            if not head.read(self._source):
                return self._await_head()
            line = head.first
            assert line is not None  # noqa: S101 - it is complete
            fields = head.fields
            head.clear()
            if line.status < 200 and line.status != 101:
                return self._take_informational(line, fields)
            if line.status == 101 and not self._upgrades:
                return self._break(Violation(502, "101 without an Upgrade request"))
            response = read_response(line, fields, self._limits, method=self._method)
        except Violated as error:
            return self._break(error.violation)
        if response.switched:
            self._begin_raw()
        else:
            self._begin_body(response)
        return response

    def _begin_body(self, response: Response) -> None:
        if not response.keep_alive:
            self._keeps = False
        self.response_state = _RESPONSE_BEGUN
        length = response.length
        if length == 0:
            self._reader = NOTHING
        elif length is not None:
            self._reader = SizedReader(length)
        elif b"transfer-encoding" in response.fields.values:
            self._reader = ChunkedReader(self._limits)
        else:
            self._reader = UntilCloseReader(self._limits.body)

    def _take_informational(self, line: StatusLine, fields: Fields) -> ClientEvent:
        self._informational += 1
        if self._informational > self._limits.informational:
            return self._break(Violation(502, "too many informational responses", Kind.TOO_LARGE))
        self.response_state = RESPONSE[HEAD]["informational"]
        return Informational(line.status, line.reason, fields)

    def _await_head(self) -> ClientEvent:
        if not self._eof:
            return NEED_DATA
        begun = self._head.has_begun or len(self._source)
        reason = (
            "connection closed in the header section"
            if begun
            else "connection closed without a response"
        )
        return self._break(Violation(502, reason, Kind.INCOMPLETE))

    def _read_body(self) -> ClientEvent:
        try:
            event = self._reader.read(self._source)
            if event is None:
                if not self._eof:
                    return NEED_DATA
                event = self._reader.at_eof()
        except Violated as error:
            return self._break(error.violation)
        if event.__class__ is End:
            if self.response_state is RAW:
                self.response_state = RESPONSE[RAW]["end"]
            else:
                self.response_state = _RESPONSE_ENDED
                if self.request_state is DONE:
                    self._next()
        return event

    def _break(self, violation: Violation) -> Violation:
        self.response_state = RESPONSE[self.response_state]["violation"]
        self._keeps = False
        return violation

    # Both.

    def _next(self) -> None:
        """Both halves are done."""
        if len(self._source):
            self.spoiled = "data after the end of the response"
        if self._keeps and not self.spoiled and not self._eof:
            self.request_state = _NEXT_REQUEST
            self.response_state = _NEXT_RESPONSE
        else:
            self._close()

    def _begin_raw(self) -> None:
        self.response_state = RESPONSE[HEAD]["switched"]
        self._reader = RAW_READER
        if self.request_state is DONE:
            self._switch()

    def _switch(self) -> None:
        self.request_state = REQUEST[DONE]["switched"]
        self._writer = UNFRAMED

    def _close(self) -> None:
        if self.request_state is not CLOSED:
            self.request_state = REQUEST[self.request_state]["closed"]
        if self.response_state is not CLOSED:
            self.response_state = RESPONSE[self.response_state]["closed"]
