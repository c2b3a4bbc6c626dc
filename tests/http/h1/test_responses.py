"""The table of responses, fed whole, byte by byte and cut (S13, S27)."""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserve.http.h1 import (
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
from netserve.testing.machines import feed_all
from tests.http.h1 import responses
from tests.http.h1.machines import Asking, body_of, chunkings, compared, three_ways, trailers_of

UPGRADE = [make_field(b"Connection", b"upgrade"), make_field(b"Upgrade", b"websocket")]


@pytest.mark.parametrize("case", responses.TAKEN, ids=lambda case: case[0])
def test_is_taken(case: tuple[str, bytes, bytes, int, bytes, bytes, bool, bool]) -> None:
    _, method, data, status, reason, body, until_close, lives = case
    events = three_ways(partial(Asking, method), data, eof=until_close)
    response = events[0]
    assert isinstance(response, Response), events
    assert (response.status, response.reason) == (status, reason)
    assert body_of(events) == body
    assert any(isinstance(event, End) for event in events)
    assert (events[-1] is not Signal.CLOSED) is lives
    assert response.keep_alive is lives


@pytest.mark.parametrize("case", responses.REFUSED, ids=lambda case: case[0])
def test_is_refused(case: tuple[str, bytes, str]) -> None:
    """S13, S27."""
    _, data, reason = case
    events = three_ways(Asking, data)
    violation = next(event for event in events if isinstance(event, Violation))
    assert violation.reason == reason
    assert events[-1] is Signal.CLOSED


@pytest.mark.parametrize(
    ("method", "data"),
    [
        (b"GET", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
        (b"GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
        (b"GET", b"HTTP/1.1 304 x\r\nContent-Length: 9\r\n\r\n"),
        (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"),
        (b"HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (b"GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    ],
)
@pytest.mark.parametrize("excess", [b"x", b"\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"])
def test_excess_bytes_spoil_only_the_connection(method: bytes, data: bytes, excess: bytes) -> None:
    """nginx's cases of extra data: the response stands, the connection does not."""
    (response, *rest) = three_ways(partial(Asking, method), data + excess)
    assert isinstance(response, Response)
    assert excess not in body_of(rest)
    assert not [event for event in rest if isinstance(event, Violation)]
    assert rest[-1] is Signal.CLOSED
    asking = Asking(method)
    asking.feed(data + excess)
    assert asking.machine.spoiled
    assert not asking.machine.is_idle


def test_a_response_that_nobody_asked_for() -> None:
    asking = Asking()
    asking.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert asking.machine.is_idle
    assert asking.feed(b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n") == [
        Signal.CLOSED
    ]
    assert asking.machine.spoiled == "unexpected data on an idle connection"


def test_informational_responses_come_first() -> None:
    """llhttp's cases of 100 and 103."""
    data = (
        b"HTTP/1.1 100 Continue\r\n\r\n"
        b"HTTP/1.1 103 Early Hints\r\nLink: </s.css>; rel=preload\r\nContent-Length: 5\r\n\r\n"
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    )
    first, second, response, body, end = three_ways(Asking, data)
    assert (first.status, second.status) == (100, 103)
    assert isinstance(first, Informational)
    assert second.fields[0].line == b"Link: </s.css>; rel=preload"
    assert (response.status, body) == (200, b"ok")
    assert isinstance(end, End)


def test_too_many_informational_responses() -> None:
    """S8."""
    data = b"HTTP/1.1 102 x\r\n\r\n" * 4
    events = three_ways(lambda: Asking(limits=Limits(informational=3)), data)
    assert [type(event) for event in events[:4]] == [Informational] * 3 + [Violation]
    assert events[3].kind is Kind.TOO_LARGE


def test_a_switch_of_protocols() -> None:
    """llhttp's: lengths in 101 mean nothing, and what follows is not HTTP."""
    data = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nContent-Length: 4\r\n\r\n\x81\x05raw"
    events = three_ways(lambda: Asking(more=UPGRADE), data)
    assert events[0].switched
    assert events[1:] == [b"\x81\x05raw"]
    asking = Asking(more=UPGRADE)
    asking.feed(data)
    assert asking.machine.request_state is asking.machine.response_state is State.RAW
    assert asking.machine.send_data(b"more") == (b"more",)
    assert asking.eof() == [End(), Signal.CLOSED]
    assert asking.machine.send_data(b"still") == (b"still",)
    assert asking.machine.send_end() == b""
    assert asking.machine.request_state is State.CLOSED


def test_connect() -> None:
    data = b"HTTP/1.1 200 Connection established\r\nTransfer-Encoding: chunked\r\n\r\nraw"
    events = three_ways(partial(Asking, b"CONNECT"), data)
    assert events[0].switched
    assert events[1:] == [b"raw"]


def test_trailers_are_given() -> None:
    data = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX-Sum: 1\r\nx-b:2\r\n\r\n"
    assert trailers_of(three_ways(Asking, data)) == [(b"X-Sum", b"1"), (b"x-b", b"2")]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "connection closed without a response"),
        (b"HTTP", "connection closed in the header section"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n", "connection closed in the header section"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", "connection closed without a response"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no", "connection closed in the body"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
            "connection closed in the body",
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\n",
            "connection closed in the body",
        ),
    ],
)
def test_a_response_that_ends_early(data: bytes, reason: str) -> None:
    events = three_ways(Asking, data, eof=True)
    violation = next(event for event in events if isinstance(event, Violation))
    assert (violation.reason, violation.kind) == (reason, Kind.INCOMPLETE)
    assert events[-1] is Signal.CLOSED


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 " + b"x" * 300,
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 300,
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 300,
        b"HTTP/1.1 200 OK\r\nContent-Length: 51\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 51,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 51,
    ],
)
def test_a_response_that_is_too_large(data: bytes) -> None:
    """S8."""
    limits = Limits(start_line=40, field_line=40, head=100, fields=8, body=50)
    events = three_ways(lambda: Asking(limits=limits), data)
    (violation,) = [event for event in events if isinstance(event, Violation)]
    assert violation.kind is Kind.TOO_LARGE
    assert len(body_of(events)) <= 50


PARTS = st.sampled_from(
    [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 103 x\r\n", b"\r\n", b"\n", b"\r", b"Content-Length: 3\r\n",
     b"abc", b"Transfer-Encoding: chunked\r\n", b"3\r\nabc\r\n", b"0\r\n\r\n", b"x: y\r\n", b" ", b"\0",
     b"Connection: close\r\n", b"HTTP/1.0 204 x\r\n", b"0\r\n", b"5;a=b\r\nhello\r\n", b"\xff"]
)  # fmt: skip


@given(parts=st.lists(PARTS, max_size=14), eof=st.booleans(), data=st.data())
def test_how_the_input_is_cut_never_matters(
    parts: list[bytes], eof: bool, data: st.DataObject
) -> None:
    stream = b"".join(parts)
    method = data.draw(st.sampled_from([b"GET", b"HEAD"]))
    whole, cut = Asking(method), Asking(method)
    seen = feed_all(cut, data.draw(chunkings(stream))) + (cut.eof() if eof else [])
    assert compared(seen) == compared(whole.feed(stream) + (whole.eof() if eof else []))
