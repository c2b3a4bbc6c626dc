"""The HTTP/1.1 server machine against any client at all.

An input is: options, where the second way cuts, and behind these two bytes what the client sends, as
`coding` writes it. What must hold:

- no exception, whatever comes;
- the same events and the same bytes for an input whole, in pieces of one to seven bytes, and cut at
  any place;
- the same requests, and the same end, as a second, simple reading of the input finds
  (`http_reading`), as long as no limit is passed;
- the fields are the very bytes that came, and no event holds a byte that did not come (S27);
- what goes out is one response for each request, in order, and one more where the input is refused;
  the client machine can read all of it;
- what is held is within the limits, however much comes (S8); after the end, nothing is.
"""

from __future__ import annotations

from typing import Any, Final

from netserve.http.h1 import (
    ClientMachine,
    End,
    Fields,
    Kind,
    Limits,
    Request,
    Response,
    ServerMachine,
    Signal,
    State,
    Violation,
    make_field,
)
from tests.fuzz.coding import decode, encode
from tests.fuzz.held import held
from tests.fuzz.http_reading import read_requests

NAME: Final = "http_server"

WORDS: Final = [
    b"\r\n", b"\r\n\r\n", b"GET / HTTP/1.1\r\n", b"Host: a\r\n", b"POST /x HTTP/1.1\r\n",
    b"Content-Length: 3\r\n", b"abc", b"Transfer-Encoding: chunked\r\n", b"3\r\nabc\r\n",
    b"0\r\n\r\n", b"0\r\n", b"GET / HTTP/1.0\r\n\r\n", b"Connection: close\r\n",
    b"Connection: keep-alive\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"Expect: 100-continue\r\n",
    b"Connection: upgrade\r\nUpgrade: x\r\n", b"CONNECT a:1 HTTP/1.1\r\n", b"OPTIONS * HTTP/1.1\r\n",
    b"GET http://b:8/c?d HTTP/1.1\r\n", b"HEAD / HTTP/1.1\r\n", b"Content-Length: 0\r\n",
    b"Content-Length: ", b"Transfer-Encoding: ", b"chunked", b"gzip", b"X: y\r\n", b" ", b"\t", b":",
    b"\n", b"\r", b"\0", b"\xff", b"HTTP/1.1", b"HTTP/1.0\r\n", b"HTTP/2.0\r\n", b"x" * 24,
    b"5;a=b\r\nhello\r\n", b'1;a="\\""\r\nx\r\n', b"A: b\r\n" * 4, b"00", b"ffffffffffffffff\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"Host: ", b"[::1]:80", b"a.b", b"%41", b"#", b",", b";", b"=",
    b'"', b"1\r\nx\r\n" * 5,
]  # fmt: skip

_LARGE: Final = Limits()
_SMALL: Final = Limits(
    method=8, start_line=48, field_line=40, head=160, fields=6, body=64, chunk_line=24,
    chunk_extensions=24, trailer_section=40, trailers=3,
)  # fmt: skip
_STEPS: Final = (1, 2, 3, 7)
"""Bytes of a piece, for the third way."""
_FIXED: Final = 3000
"""Of what is held: names, defaults, and the fields of the head before."""
_BODY: Final = Fields([make_field(b"Content-Length", b"2")])
_CHUNKS: Final = Fields([make_field(b"X", b"y")])


def seeds() -> list[bytes]:
    """Sessions to begin with."""
    return [
        encode([0, 9, WORDS[2], WORDS[3], WORDS[0], WORDS[14]], WORDS),
        encode([1, 9, WORDS[4], WORDS[3], WORDS[5], WORDS[0], WORDS[6], WORDS[14]], WORDS),
        encode(
            [2, 9, WORDS[4], WORDS[3], WORDS[7], WORDS[0], WORDS[8], WORDS[38], WORDS[9]], WORDS
        ),
        encode(
            [3, 9, WORDS[4], WORDS[3], WORDS[7], WORDS[0], WORDS[8], WORDS[10], WORDS[26]], WORDS
        ),
        encode([0, 9, WORDS[11], WORDS[14]], WORDS),
        encode([4, 9, WORDS[2], WORDS[3], WORDS[16], WORDS[0], WORDS[6], WORDS[2]], WORDS),
        encode([0, 9, WORDS[17], WORDS[3], WORDS[0], WORDS[33]], WORDS),
        encode([8, 9, WORDS[4], WORDS[3], WORDS[5], WORDS[15], WORDS[0], WORDS[6]], WORDS),
        encode([0, 9, WORDS[18], WORDS[3], WORDS[0], WORDS[19], WORDS[3], WORDS[0]], WORDS),
        encode([16, 9, WORDS[2], WORDS[3], WORDS[40], WORDS[0]], WORDS),
    ]


class Outside:
    """What is around the machine: answers, and notes all that happens.

    Arguments:
        options: as bits: 1 answers as soon as there is a head, 2 answers in chunks, 4 takes an
            upgrade, 8 sends informational responses, 16 has small limits, 32 ends after a request.
    """

    def __init__(self, options: int) -> None:
        self.options = options
        self.machine = ServerMachine(_SMALL if options & 16 else _LARGE)
        self.transcript: list[Any] = []
        self.sent = b""
        self.methods: list[bytes] = []
        self.answered = 0
        self.violation: Violation | None = None
        self.raw = False

    def feed(self, data: bytes) -> None:
        self.machine.receive(data)
        self.run()

    def run(self) -> None:
        machine = self.machine
        while True:
            event = machine.next_event()
            kind = event.__class__
            if event is Signal.PAUSED:
                assert len(self.methods) > self.answered
                self.answer(200)
            elif kind is Signal:
                if event is Signal.CLOSED and self.raw and machine.response_state is State.RAW:
                    machine.send_end()
                return
            else:
                assert self.violation is None, "something behind a violation"
                self.note(event)

    def note(self, event: Any) -> None:
        self.transcript.append(event)
        if event.__class__ is Request:
            self.methods.append(event.method)
            if event.expects_continue or self.options & 8:
                self.sent += self.machine.send_informational(100, b"Continue")
            if self.options & 32 and len(self.methods) == 2:
                self.machine.end_after_response()
            if self.options & 1:
                self.answer(200)
        elif event.__class__ is Violation:
            self.violation = event
            if self.machine.response_state is State.HEAD:
                self.answer(event.status)

    def answer(self, status: int) -> None:
        machine = self.machine
        request = machine._request
        self.answered += 1
        if status == 200 and request.upgrade and self.options & 4:
            self.sent += machine.send_response(101, b"", ())
        else:
            fields = _CHUNKS if self.options & 2 else _BODY
            self.sent += machine.send_response(status, b"So", fields)
        self.raw = machine.response_state is State.RAW
        if not self.raw:
            if request.method != b"HEAD":
                self.sent += b"".join(machine.send_data(b"ok"))
            self.sent += machine.send_end()

    def comparable(self) -> list[Any]:
        """All that happened, with bodies in one piece."""
        seen: list[Any] = []
        for event in self.transcript:
            if event.__class__ is bytes and seen and seen[-1].__class__ is bytes:
                seen[-1] += event
            else:
                seen.append(event)
        return [*seen, self.sent]

    def check_held(self) -> None:
        """S8."""
        limits = self.machine._limits
        assert held(self.machine) <= _FIXED + 6 * limits.head + self.machine.buffered

    def check_end(self) -> None:
        """When the client is gone, it is over."""
        machine = self.machine
        machine.receive_eof()
        self.run()
        assert machine.request_state in {State.CLOSED, State.DONE, State.BROKEN}
        self.run()
        machine.receive(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        if machine.request_state is State.CLOSED:
            assert machine.next_event() is Signal.CLOSED


def check_against_reading(outside: Outside, stream: bytes) -> None:
    """The second reading finds the same."""
    violation = outside.violation
    if violation is not None and violation.kind is Kind.TOO_LARGE:
        return
    if outside.raw or outside.options & (4 | 16 | 32):
        return
    requests, bodies, trailers, ended = [], [], [], 0
    for event in outside.transcript:
        if event.__class__ is Request:
            requests.append(event)
            bodies.append(b"")
        elif event.__class__ is bytes:
            bodies[-1] += event
        elif event.__class__ is End:
            ended += 1
            trailers.append([(field.name, field.value) for field in event.trailers])
    if any(request.method == b"CONNECT" for request in requests):
        return
    messages, end = read_requests(stream)
    for message, request, body, tail in zip(messages, requests, bodies, trailers, strict=False):
        assert message.first[:2] == (request.method, request.target)
        assert message.fields == [(field.name, field.value) for field in request.fields]
        assert (message.body, message.trailers) == (body, tail)
    if outside.options & 1:
        return  # an answer may end the connection before the request is complete
    assert ended == len(messages), (ended, messages, end)
    if end == "bad":
        assert violation is not None, (end, stream)
    elif end == "end":
        assert violation is None, (violation, stream)


def check_sent(outside: Outside) -> None:
    """The client machine reads all of it: one response for each request, in order."""
    client = ClientMachine()
    client.receive(outside.sent)
    methods = [*outside.methods, *([b"GET"] if outside.violation else [])][: outside.answered]
    upgrade = [make_field(b"Connection", b"upgrade"), make_field(b"Upgrade", b"x")]
    host = make_field(b"Host", b"a")
    rest = outside.sent
    for index, method in enumerate(methods):
        client = ClientMachine()
        target = b"a:1" if method == b"CONNECT" else b"/"
        client.send_request(method, target, [host, *(upgrade if outside.options & 4 else [])])
        client.send_end()
        client.receive(rest)
        event: Any = client.next_event()
        while event.__class__ is not Response:
            assert event.__class__ is not Violation, (event, rest)
            assert event.__class__ is not Signal, (event, rest, index, methods)
            event = client.next_event()
        if event.switched:
            return
        while event.__class__ is not End:
            event = client.next_event()
            assert event.__class__ is not Violation
            if event is Signal.NEED_DATA:  # the body ends with the connection
                client.receive_eof()
        rest = rest[len(rest) - client.buffered :] if client.buffered else b""
    assert not rest.replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"")


def run_one(data: bytes) -> None:
    """One input."""
    options, cut = (data + b"\0\0")[:2]
    stream = decode(data[2:], WORDS)
    whole, tail, pieces = (Outside(options) for _ in range(3))
    whole.feed(stream)
    at = cut * len(stream) >> 8
    tail.feed(stream[:at])
    tail.feed(stream[at:])
    step = _STEPS[options >> 6]
    for at in range(0, len(stream), step):
        pieces.feed(stream[at : at + step])
    if not cut & 15:
        pieces.check_held()
        whole.check_held()
    seen = whole.comparable()
    assert pieces.comparable() == seen
    assert tail.comparable() == seen
    for event in whole.transcript:
        if event.__class__ is Request:
            assert event.fields.block in stream
            assert event.target in stream
    check_against_reading(whole, stream)
    check_sent(whole)
    pieces.check_end()
    whole.check_end()
