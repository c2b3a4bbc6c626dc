"""The HTTP/1.1 client machine against any server at all.

An input is: options, the methods of up to four requests (two bits each), where the second way cuts,
and behind these three bytes what the server sends, as `coding` writes it, with a NUL between its
turns: before each turn a request is sent, if the machine lets us. Each turn is fed three ways: whole, cut
once, and in pieces of one to seven bytes. What must hold:

- no exception, whatever comes;
- the same events for all ways;
- the same responses as a second, simple reading of the input finds (`http_reading`), as long as no
  limit is passed;
- the fields are the very bytes that came (S27);
- unexpected data on an idle connection never become a response, or a part of one;
- what is held is within the limits, however much comes (S8).
"""

from __future__ import annotations

from typing import Any, Final

from netserve.http.h1 import (
    ClientMachine,
    End,
    Informational,
    Kind,
    Limits,
    Response,
    Signal,
    State,
    Violation,
    make_field,
)
from tests.fuzz.coding import decode, encode
from tests.fuzz.held import held
from tests.fuzz.http_reading import Bad, More, Reading, ends, read_response

NAME: Final = "http_client"

WORDS: Final = [
    b"\r\n", b"\r\n\r\n", b"HTTP/1.1 200 OK\r\n", b"Content-Length: 3\r\n", b"abc",
    b"Transfer-Encoding: chunked\r\n", b"3\r\nabc\r\n", b"0\r\n\r\n", b"0\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 x\r\nLink: a\r\n\r\n", b"HTTP/1.0 200 OK\r\n",
    b"HTTP/1.1 204 No Content\r\n", b"HTTP/1.1 304 x\r\n", b"HTTP/1.1 101 x\r\nUpgrade: x\r\n",
    b"Connection: close\r\n", b"Connection: keep-alive\r\n", b"Content-Length: 0\r\n",
    b"Content-Length: ", b"Transfer-Encoding: ", b"chunked", b"gzip", b"X: y\r\n", b" ", b"\t", b":",
    b"\n", b"\r", b"\xff", b"HTTP/1.1", b"HTTP/2.0 200 OK\r\n", b"x" * 24, b"5;a=b\r\nhello\r\n",
    b'1;a="\\""\r\nx\r\n', b"A: b\r\n" * 4, b"00", b"ffffffffffffffff\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", b"HTTP/1.1 200\r\n", b"HTTP/1.1 999 x\r\n",
    b"220 mx\r\n", b"1\r\nx\r\n" * 5, b"\0",
]  # fmt: skip
TURN: Final = b"\0"

_METHODS: Final = (b"GET", b"HEAD", b"POST", b"CONNECT")
_LARGE: Final = Limits()
_SMALL: Final = Limits(
    start_line=48, field_line=40, head=160, fields=6, body=64, chunk_line=24, chunk_extensions=24,
    trailer_section=40, trailers=3, informational=3,
)  # fmt: skip
_STEPS: Final = (1, 2, 3, 7)
"""Bytes of a piece, for the third way."""
_FIXED: Final = 3000
_HOST: Final = make_field(b"Host", b"a")
_UPGRADE: Final = [make_field(b"Connection", b"upgrade"), make_field(b"Upgrade", b"x")]


def seeds() -> list[bytes]:
    """Sessions to begin with."""
    return [
        encode([0, 0, 9, WORDS[37], 0, WORDS[37]], WORDS),
        encode([0, 1, 9, WORDS[2], WORDS[3], WORDS[0], 0, WORDS[37]], WORDS),
        encode([0, 0, 9, WORDS[2], WORDS[5], WORDS[0], WORDS[6], WORDS[8], WORDS[22]], WORDS),
        encode([1, 0, 9, WORDS[9], WORDS[10], WORDS[12], WORDS[0], 0, WORDS[13], WORDS[0]], WORDS),
        encode([4, 0, 9, WORDS[14], WORDS[0], WORDS[4]], WORDS),
        encode([2, 3, 9, WORDS[2], WORDS[0], WORDS[4]], WORDS),
        encode([2, 0, 9, WORDS[11], WORDS[0], WORDS[4]], WORDS),
        encode([1, 0, 9, WORDS[2], WORDS[34], WORDS[0]], WORDS),
        encode([0, 0, 9, WORDS[37], WORDS[4], 0, WORDS[37]], WORDS),
    ]


class Driver:
    """What is around the machine: asks, and notes all that happens.

    Arguments:
        options: as bits: 1 has small limits, 2 ends the input, 4 asks for an upgrade.
        methods: two bits each.
    """

    def __init__(self, options: int, methods: int) -> None:
        self.options = options
        self.methods = [_METHODS[methods >> at & 3] for at in (0, 2, 4, 6)]
        self.machine = ClientMachine(_SMALL if options & 1 else _LARGE)
        self.asked: list[bytes] = []
        self.transcript: list[Any] = []
        self.over = False

    def ask(self) -> None:
        """Send a request, where that may be."""
        self.transcript.append("turn")
        machine = self.machine
        if machine.is_idle and len(self.asked) < len(self.methods):
            method = self.methods[len(self.asked)]
            target = b"a:1" if method == b"CONNECT" else b"/"
            fields = [_HOST, *(_UPGRADE if self.options & 4 else ())]
            machine.send_request(method, target, fields)
            machine.send_end()
            self.asked.append(method)

    def feed(self, data: bytes) -> None:
        self.machine.receive(data)
        self.run()

    def run(self) -> None:
        while True:
            event = self.machine.next_event()
            if event.__class__ is Signal:
                if event is Signal.CLOSED and not self.over:
                    self.over = True
                    self.transcript.append("over")
                return
            assert not self.over, "something behind the end"
            if event.__class__ is bytes and self.transcript[-1].__class__ is bytes:
                self.transcript[-1] += event
            else:
                self.transcript.append(event)
            if event.__class__ is Violation:
                assert self.machine.next_event() is Signal.CLOSED

    def check_held(self) -> None:
        """S8."""
        limits = self.machine._limits
        assert held(self.machine) <= _FIXED + 6 * limits.head + self.machine.buffered


def check_against_reading(driver: Driver, turns: list[bytes]) -> None:
    """The second reading finds the same responses, as far as each is within one turn."""
    groups: list[list[Any]] = []
    for event in driver.transcript:
        if event == "turn":
            groups.append([])
        else:
            groups[-1].append(event)
    for index, (turn, method, found) in enumerate(zip(turns, driver.asked, groups, strict=False)):
        if not turn:
            return
        last = index == len(turns) - 1
        reading = Reading(turn)
        upgrade = bool(driver.options & 4)
        eof = bool(driver.options & 2) and last
        response = next((each for each in found if each.__class__ is Response), None)
        violation = next((each for each in found if each.__class__ is Violation), None)
        if violation is not None and violation.kind is Kind.TOO_LARGE:
            return
        try:
            message = read_response(reading, method, upgrade=upgrade, eof=eof)
        except Bad:
            assert violation is not None, (found, turn)
            return
        except More:
            assert not any(each.__class__ is End for each in found), (found, turn)
            return
        assert response is not None, (found, turn)
        assert message.first[1:] == (b"%d" % response.status, response.reason)
        assert message.fields == [(field.name, field.value) for field in response.fields]
        assert message.body == b"".join(each for each in found if each.__class__ is bytes)
        assert message.switched == response.switched
        if message.switched:
            return
        assert violation is None
        (end,) = [each for each in found if each.__class__ is End]
        assert message.trailers == [(field.name, field.value) for field in end.trailers]
        if reading.at < len(turn) or ends(message, message.first[0]) or driver.over:
            assert driver.over
            return


def run_one(data: bytes) -> None:
    """One input."""
    options, methods, cut = (data + b"\0\0\0")[:3]
    turns = decode(data[3:], WORDS).split(TURN)
    whole, tail, pieces = (Driver(options, methods) for _ in range(3))
    step = _STEPS[options >> 6]
    for turn in turns:
        for driver in (whole, tail, pieces):
            driver.ask()
        whole.feed(turn)
        at = cut * len(turn) >> 8
        tail.feed(turn[:at])
        tail.feed(turn[at:])
        for at in range(0, len(turn), step):
            pieces.feed(turn[at : at + step])
        pieces.run()
    if options & 2:
        for driver in (whole, tail, pieces):
            driver.machine.receive_eof()
            driver.run()
    if not cut & 15:
        pieces.check_held()
    assert pieces.transcript == whole.transcript
    assert tail.transcript == whole.transcript
    stream = b"".join(turns)
    for event in whole.transcript:
        if event.__class__ is Response or event.__class__ is Informational:
            assert event.fields.block in stream
    check_against_reading(whole, turns)
    check_end(pieces)


def check_end(driver: Driver) -> None:
    """When the server is gone, it is over."""
    machine = driver.machine
    machine.receive_eof()
    driver.run()
    assert driver.over or machine.response_state is State.DONE
    driver.feed(b"HTTP/1.1 200 OK\r\n\r\n")
    assert not machine.is_idle
