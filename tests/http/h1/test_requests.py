"""The table of requests, fed whole, byte by byte and cut (S13, S27)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserve.http.h1 import End, Limits, Request, Signal, Violation
from netserve.testing.machines import feed_all
from tests.http.h1 import requests
from tests.http.h1.machines import (
    Answering,
    body_of,
    chunkings,
    compared,
    pairs,
    three_ways,
    trailers_of,
)

CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("case", requests.TAKEN, ids=lambda case: case[0])
def test_is_taken(case: tuple[str, bytes, bytes, bytes, bytes, bytes]) -> None:
    _, data, method, target, authority, body = case
    events = three_ways(Answering, data)
    request = events[0]
    assert isinstance(request, Request), events
    assert (request.method, request.target) == (method, target)
    assert request.authority == authority
    assert body_of(events) == body
    assert any(isinstance(event, End) for event in events)


@pytest.mark.parametrize("case", requests.REFUSED, ids=lambda case: case[0])
def test_is_refused(case: tuple[str, bytes, int, str]) -> None:
    """S13, S27."""
    _, data, status, reason = case
    events = three_ways(Answering, data)
    assert isinstance(events[0], Violation), events
    assert (events[0].status, events[0].reason) == (status, reason)
    assert events[1:] == [Signal.CLOSED]


@pytest.mark.parametrize("host", requests.HOSTS_TAKEN)
@pytest.mark.parametrize("where", ["Host", "target"])
def test_hosts_that_are_taken(host: bytes, where: str) -> None:
    if where == "Host":
        data = b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % host
    else:
        data = b"GET http://%b/ HTTP/1.1\r\nHost: z\r\n\r\n" % host
    request = three_ways(Answering, data)[0]
    assert isinstance(request, Request)
    assert request.authority == host


@pytest.mark.parametrize("host", requests.HOSTS_REFUSED)
def test_hosts_that_are_refused(host: bytes) -> None:
    """S13."""
    (violation, _) = three_ways(Answering, b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % host)
    assert isinstance(violation, Violation)
    assert (violation.status, violation.reason) == (400, "invalid Host")


@pytest.mark.parametrize("host", [h for h in requests.HOSTS_REFUSED if not set(h) & set(b" \t/?#")])
def test_hosts_of_targets_that_are_refused(host: bytes) -> None:
    (violation, _) = three_ways(Answering, b"GET http://%b/ HTTP/1.1\r\nHost: z\r\n\r\n" % host)
    assert isinstance(violation, Violation)
    assert violation.status == 400


@pytest.mark.parametrize("case", requests.BODIES_REFUSED, ids=lambda case: case[0])
def test_chunked_bodies_that_are_refused(case: tuple[str, bytes, int, str]) -> None:
    """S13."""
    _, body, status, reason = case
    events = three_ways(Answering, CHUNKED + body)
    assert isinstance(events[0], Request)
    violation = next(event for event in events if isinstance(event, Violation))
    wanted = "invalid chunk size or extension" if reason == "size" else reason
    assert (violation.status, violation.reason) == (status, wanted)
    assert events[-1] is Signal.CLOSED


def test_bytes_are_kept() -> None:
    """S27: names, values and their whitespace, order and case."""
    lines = [
        b"hOsT:a",
        b"X-A:  1 ",
        b"x-a:\t2",
        b"COOKIE: r\xf4le=\xff",
        b"Accept:",
        b"x_forwarded_for: 1",
    ]
    data = b"GET / HTTP/1.1\r\n" + b"\r\n".join(lines) + b"\r\n\r\n"
    (request, *_) = three_ways(Answering, data)
    assert [field.line for field in request.fields] == lines
    assert pairs(request.fields) == [
        (b"hOsT", b"a"), (b"X-A", b"1"), (b"x-a", b"2"), (b"COOKIE", b"r\xf4le=\xff"), (b"Accept", b""),
        (b"x_forwarded_for", b"1"),
    ]  # fmt: skip
    assert [field.key for field in request.fields] == [
        b"host", b"x-a", b"x-a", b"cookie", b"accept", b"x_forwarded_for",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("version", "connection", "lives"),
    [
        # llhttp's and aiohttp's
        (b"1.1", b"", True),
        (b"1.1", b"close", False),
        (b"1.1", b"Close\t", False),
        (b"1.1", b"keep-alive", True),
        (b"1.1", b"close, token, upgrade, token, keep-alive", False),
        (b"1.1", b"keep-alive\r\nConnection: close", False),
        (b"1.1", b"test", True),
        (b"1.1", b"closed, x-close", True),
        (b"1.0", b"", False),
        (b"1.0", b"close", False),
        (b"1.0", b"keep-alive", True),
        (b"1.0", b"Keep-Alive, x", True),
        (b"1.0", b"keep-alive, close", False),
        (b"1.0", b"test", False),
    ],
)
def test_keep_alive(version: bytes, connection: bytes, lives: bool) -> None:
    line = b"Connection: " + connection + b"\r\n" if connection else b""
    first = b"GET / HTTP/%b\r\nHost: a\r\n%b\r\n" % (version, line)
    events = three_ways(Answering, first + b"GET /second HTTP/1.1\r\nHost: a\r\n\r\n")
    assert events[0].keep_alive is lives
    assert [event.target for event in events if isinstance(event, Request)] == (
        [b"/", b"/second"] if lives else [b"/"]
    )


def test_pipelined_requests_are_answered_in_order() -> None:
    """S13."""
    data = b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(20))
    events = three_ways(Answering, data)
    targets = [event.target for event in events if isinstance(event, Request)]
    assert targets == [b"/%d" % number for number in range(20)]


def test_trailers_are_given() -> None:
    body = b"1;a=b\r\nx\r\n0\r\nX-Sum:  1 \r\nx-sum: 2\r\n\r\n"
    events = three_ways(Answering, CHUNKED + body)
    assert trailers_of(events) == [(b"X-Sum", b"1"), (b"x-sum", b"2")]


@pytest.mark.parametrize(
    ("head", "expects"),
    [
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n", True),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nexpect: 100-Continue\r\n\r\n", True),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nExpect: 100-continue\r\n\r\n", False),
        (b"GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n", False),
        (b"POST / HTTP/1.0\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n", False),
        (b"POST / HTTP/1.0\r\nContent-Length: 1\r\nExpect: what\r\n\r\n", False),
    ],
)
def test_expectations(head: bytes, expects: bool) -> None:
    assert three_ways(Answering, head)[0].expects_continue is expects


@pytest.mark.parametrize(
    ("head", "upgrade"),
    [
        # aiohttp's
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", b"websocket"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: h2c, x\r\n\r\n",
         b"h2c, x"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: x\r\nconnection: upgrade\r\nUpgrade: a\r\n\r\n", b"a"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n", b""),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\n\r\n", b""),
        (b"GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", b""),
    ],
)  # fmt: skip
def test_upgrades(head: bytes, upgrade: bytes) -> None:
    assert three_ways(Answering, head)[0].upgrade == upgrade


def _fields(count: int) -> bytes:
    return b"".join(b"X-%d: y\r\n" % number for number in range(count))


LIMITS = Limits(
    method=8, start_line=40, field_line=30, head=200, fields=8, body=20, chunk_line=24,
    chunk_extensions=30, trailer_section=40, trailers=3,
)  # fmt: skip


@pytest.mark.parametrize(
    ("inside", "past", "status", "reason"),
    [
        (b"A" * 8 + b" / HTTP/1.1\r\nHost: a\r\n\r\n", b"A" * 9 + b" / HTTP/1.1\r\nHost: a\r\n\r\n", 501,
         "method too long"),
        (b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n" % (b"x" * 26),
         b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n" % (b"x" * 27), 414, "request line too long"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: %b\r\n\r\n" % (b"y" * 27),
         b"GET / HTTP/1.1\r\nHost: a\r\nX: %b\r\n\r\n" % (b"y" * 28), 431,
         "field line too long"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + _fields(7) + b"\r\n",
         b"GET / HTTP/1.1\r\nHost: a\r\n" + _fields(8) + b"\r\n", 431, "too many fields"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + (b"X: %b\r\n" % (b"y" * 27)) * 5 + b"X: 0123456789\r\n\r\n",
         b"GET / HTTP/1.1\r\nHost: a\r\n" + (b"X: %b\r\n" % (b"y" * 27)) * 5 + b"X: 01234567890\r\n\r\n",
         431, "header section too large"),
        (b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n\r\n" + b"b" * 20,
         b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 21\r\n\r\n", 413, "body too large"),
        (CHUNKED + b"a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n",
         CHUNKED + b"a\r\n0123456789\r\nB\r\n0123456789\r\n0\r\n\r\n", 413, "body too large"),
        (CHUNKED + b"1;%b\r\nx\r\n0\r\n\r\n" % (b"e" * 22),
         CHUNKED + b"1;%b\r\nx\r\n0\r\n\r\n" % (b"e" * 23), 400,
         "chunk-size line too long"),
        (CHUNKED + b"1;%b\r\nx\r\n" % (b"e" * 14) * 2 + b"0\r\n\r\n",
         CHUNKED + b"1;%b\r\nx\r\n" % (b"e" * 14) * 2 + b"0;e\r\n\r\n", 400,
         "chunk extensions too long"),
        (CHUNKED + b"0\r\nA: 0123456789\r\nB: 0123456789\r\nC: 12345\r\n\r\n",
         CHUNKED + b"0\r\nA: 0123456789\r\nB: 0123456789\r\nC: 123456\r\n\r\n", 431, "trailer section too large"),
        (CHUNKED + b"0\r\nA: b\r\nA: b\r\nA: b\r\n\r\n",
         CHUNKED + b"0\r\nA: b\r\nA: b\r\nA: b\r\nA: b\r\n\r\n", 431, "too many fields"),
    ],
    ids=["method", "start_line", "field_line", "fields", "head", "body", "body, chunked", "chunk_line",
         "chunk_extensions", "trailer_section", "trailers"],
)  # fmt: skip
def test_each_limit(inside: bytes, past: bytes, status: int, reason: str) -> None:
    """S8: what is just inside is taken, one byte more is not."""

    def make() -> Answering:
        return Answering(LIMITS)

    assert not [event for event in three_ways(make, inside) if isinstance(event, Violation)]
    violation = next(e for e in three_ways(make, past) if isinstance(e, Violation))
    assert (violation.status, violation.reason) == (status, reason)


@pytest.mark.parametrize(
    ("endless", "status"),
    [
        (b"GET /" + b"x" * 300, 414),
        (b"GET / HTTP/1.1\r\n" + b"x" * 300, 431),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 300, 431),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 300, 431),
        (CHUNKED + b"1;" + b"x" * 300, 400),
        (CHUNKED + b"1" * 300, 400),
        (CHUNKED + b"0\r\n" + b"A: b\r\n" * 300, 431),
        (CHUNKED + b"0\r\n" + b"x" * 300, 431),
    ],
)
def test_what_never_ends_is_refused_all_the_same(endless: bytes, status: int) -> None:
    """S8."""
    violations = [
        e for e in three_ways(lambda: Answering(LIMITS), endless) if isinstance(e, Violation)
    ]
    assert [violation.status for violation in violations] == [status]


def test_a_body_of_unknown_length_may_be_refused() -> None:
    violation, _ = three_ways(
        lambda: Answering(Limits(length_required=True)), CHUNKED + b"0\r\n\r\n"
    )
    assert violation.status == 411


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HT",
        b"GET / HTTP/1.1\r\n",
        b"PUT / HTTP/1.1\r\nContent-Leng",
        b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n",
        b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc",
        CHUNKED,
        CHUNKED + b"3\r\nab",
        CHUNKED + b"3\r\nabc\r\n0\r\n",
        CHUNKED + b"3\r\nabc\r\n0\r\nA: b\r\n",
    ],
)
def test_input_that_ends_early(data: bytes) -> None:
    """llhttp's cases of finishing, and more."""
    events = three_ways(Answering, data, eof=True)
    violation = next(event for event in events if isinstance(event, Violation))
    assert violation.kind.value == "incomplete"
    assert events[-1] is Signal.CLOSED


@pytest.mark.parametrize("data", [b"", b"\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"])
def test_input_that_ends_between_requests(data: bytes) -> None:
    events = three_ways(Answering, data, eof=True)
    assert not [event for event in events if isinstance(event, Violation)]
    assert events[-1] is Signal.CLOSED


@given(
    bodies=st.lists(st.binary(max_size=40), max_size=4),
    data=st.data(),
)
def test_bodies_come_out_as_they_went_in(bodies: list[bytes], data: st.DataObject) -> None:
    stream = b""
    for body in bodies:
        if data.draw(st.booleans()):
            stream += b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (
                len(body),
                body,
            )
        else:
            stream += CHUNKED
            for piece in filter(None, data.draw(chunkings(body))):
                stream += b"%x\r\n%b\r\n" % (len(piece), piece)
            stream += b"0\r\n\r\n"
    events = compared(feed_all(Answering(), data.draw(chunkings(stream))))
    found: list[bytes] = []
    for event in events:
        if isinstance(event, Request):
            found.append(b"")
        elif isinstance(event, bytes):
            found[-1] += event
    assert found == bodies


PARTS = st.sampled_from(
    [b"GET / HTTP/1.1\r\n", b"Host: a\r\n", b"\r\n", b"\n", b"\r", b"Content-Length: 3\r\n", b"abc",
     b"Transfer-Encoding: chunked\r\n", b"3\r\nabc\r\n", b"0\r\n\r\n", b"x: y\r\n", b" ", b"\0", b":",
     b"Connection: close\r\n", b"HTTP/1.0", b"0\r\n", b"5;a=b\r\nhello\r\n", b"\xff"]
)  # fmt: skip


@given(parts=st.lists(PARTS, max_size=14), data=st.data())
def test_how_the_input_is_cut_never_matters(parts: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(parts)
    pieces = data.draw(chunkings(stream))
    assert compared(feed_all(Answering(LIMITS), pieces)) == compared(Answering(LIMITS).feed(stream))


def test_an_empty_first_line_is_not_the_one_before() -> None:
    """Found by fuzzing, where the last head was remembered."""
    for data in (b"\r\nX: y\r\n\r\n", b"\r\n\r\nX: y\r\n\r\n"):
        assert isinstance(three_ways(Answering, data)[0], Violation)


def test_a_chunk_that_breaks_two_limits_breaks_the_first_of_them() -> None:
    """Found by fuzzing: the refused line was counted twice, after data of an earlier chunk."""
    body = b"1;%b\r\nx\r\n" % (b"e" * 14) + b"ff;%b\r\n" % (b"e" * 14)
    events = three_ways(lambda: Answering(LIMITS), CHUNKED + body)
    (violation,) = [event for event in events if isinstance(event, Violation)]
    assert violation.reason == "body too large"
