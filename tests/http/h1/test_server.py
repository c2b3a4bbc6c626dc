"""What the server machine sends, and when it lets a connection live on."""

from __future__ import annotations

from typing import Any

import pytest

from netserve.http.h1 import (
    End,
    Field,
    Limits,
    Request,
    ServerMachine,
    Signal,
    State,
    Unsendable,
    Violation,
    make_field,
)
from tests.http.h1.machines import fields


def machine_for(head: bytes, *, limits: Limits | None = None) -> ServerMachine:
    """A machine that has given the request of a head, and its end if it has no body."""
    machine = ServerMachine(limits or Limits())
    machine.receive(head)
    assert isinstance(machine.next_event(), Request)
    if machine.next_event() is Signal.NEED_DATA:
        assert machine.request_state is State.BODY
    return machine


GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
HEAD = b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"
OLD = b"GET / HTTP/1.0\r\n\r\n"
OLD_KEPT = b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
CLOSE = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
UPGRADE = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"
CONNECT = b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n"


def sent(
    machine: ServerMachine, status: int, *pieces: bytes, head: list[Field], **end: Any
) -> bytes:
    """A whole response."""
    data = machine.send_response(status, b"OK", head)
    return (
        data
        + b"".join(b"".join(machine.send_data(piece)) for piece in pieces)
        + machine.send_end(**end)
    )


SIZED = fields((b"Content-Length", b"2"))
CHUNKED = fields((b"Transfer-Encoding", b"chunked"))


@pytest.mark.parametrize(
    ("request_head", "status", "head", "body", "data", "lives"),
    [
        (GET, 200, SIZED, b"ok", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", True),
        (GET, 200, [], b"ok", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
         True),
        (GET, 200, CHUNKED, b"ok",
         b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", True),
        (GET, 200, [], b"", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", True),
        (GET, 200, [*SIZED, *fields((b"Connection", b"close"))], b"ok",
         b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok", False),
        (CLOSE, 200, SIZED, b"ok",
         b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok", False),
        (OLD, 200, SIZED, b"ok", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
         False),
        (OLD_KEPT, 200, SIZED, b"ok",
         b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok", True),
        (OLD_KEPT, 200, [], b"ok", b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok", False),
        (OLD_KEPT, 200, CHUNKED, b"ok", b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok", False),
        (HEAD, 200, SIZED, None, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", True),
        (HEAD, 200, CHUNKED, None, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", True),
        (HEAD, 200, [], None, b"HTTP/1.1 200 OK\r\n\r\n", True),
        (GET, 204, [], None, b"HTTP/1.1 204 OK\r\n\r\n", True),
        (GET, 204, SIZED, None, b"HTTP/1.1 204 OK\r\n\r\n", True),
        (GET, 304, SIZED, None, b"HTTP/1.1 304 OK\r\nContent-Length: 2\r\n\r\n", True),
        (OLD_KEPT, 304, CHUNKED, None, b"HTTP/1.1 304 OK\r\nConnection: keep-alive\r\n\r\n", True),
        (CONNECT, 407, SIZED, b"no", b"HTTP/1.1 407 OK\r\nContent-Length: 2\r\n\r\nno", True),
        (UPGRADE, 200, SIZED, b"ok", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", True),
    ],
)  # fmt: skip
def test_responses(
    request_head: bytes,
    status: int,
    head: list[Field],
    body: bytes | None,
    data: bytes,
    lives: bool,
) -> None:
    machine = machine_for(request_head)
    assert machine.next_event() is Signal.PAUSED
    assert sent(machine, status, *([] if body is None else [body]), head=head) == data
    assert machine.next_event() is (Signal.NEED_DATA if lives else Signal.CLOSED)


def test_fields_are_sent_as_they_came() -> None:
    """S27: whitespace, case and order too."""
    machine = ServerMachine()
    machine.receive(b"GET / HTTP/1.1\r\nhOST:a\r\nX:\xff \t\r\nx: 2\r\n\r\n")
    request = machine.next_event()
    assert isinstance(request, Request)
    machine.next_event()
    data = machine.send_response(200, b"Gr\xfc\xdf", [*request.fields, *SIZED])
    assert (
        data
        == b"HTTP/1.1 200 Gr\xfc\xdf\r\nhOST:a\r\nX:\xff \t\r\nx: 2\r\nContent-Length: 2\r\n\r\n"
    )


def test_large_pieces_are_not_copied() -> None:
    machine = machine_for(GET)
    machine.send_response(200, b"OK", CHUNKED)
    piece = b"x" * 5000
    before, same, after = machine.send_data(piece)
    assert same is piece
    assert (before, after) == (b"1388\r\n", b"\r\n")
    machine = ServerMachine()
    machine.receive(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n")
    machine.next_event()
    machine.receive(piece)
    assert machine.next_event() is piece


def test_trailers() -> None:
    machine = machine_for(GET)
    data = sent(machine, 200, b"x", head=CHUNKED, trailers=fields((b"X-Sum", b"1"), (b"Y", b"")))
    assert data.endswith(b"1\r\nx\r\n0\r\nX-Sum: 1\r\nY: \r\n\r\n")


def test_trailers_that_cannot_be_sent_are_left_out() -> None:
    machine = machine_for(OLD)
    assert sent(machine, 200, b"x", head=[], trailers=fields((b"X-Sum", b"1"))).endswith(
        b"\r\n\r\nx"
    )


@pytest.mark.parametrize("name", [b"Content-Length", b"transfer-encoding", b"Host", b"Connection"])
def test_trailers_that_must_not_be_sent(name: bytes) -> None:
    machine = machine_for(GET)
    machine.send_response(200, b"OK", CHUNKED)
    with pytest.raises(Unsendable, match="must not be a trailer"):
        machine.send_end(fields((name, b"1")))


def test_informational_responses() -> None:
    machine = machine_for(GET)
    hints = machine.send_informational(103, b"Early Hints", [*fields((b"Link", b"</a>")), *SIZED])
    assert hints == b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    assert machine.send_response(200, b"OK", SIZED)


def test_http_1_0_gets_no_informational_response() -> None:
    assert machine_for(OLD).send_informational(103, b"Early Hints") == b""


EXPECTS = b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"


def test_continue() -> None:
    machine = machine_for(EXPECTS)
    assert machine.send_informational(100, b"Continue") == b"HTTP/1.1 100 Continue\r\n\r\n"
    machine.receive(b"ab")
    assert machine.next_event() == b"ab"
    assert isinstance(machine.next_event(), End)
    sent(machine, 200, b"ok", head=SIZED)
    assert machine.next_event() is Signal.NEED_DATA


def test_a_refusal_in_place_of_continue_ends_the_connection() -> None:
    """RFC 9110, 10.1.1: nobody can say whether the body will come."""
    machine = machine_for(EXPECTS)
    assert b"\r\nConnection: close\r\n" in sent(machine, 413, b"ok", head=SIZED)
    assert machine.next_event() is Signal.CLOSED


def test_a_body_that_came_unasked_keeps_the_connection() -> None:
    machine = ServerMachine()
    machine.receive(EXPECTS + b"ab")
    assert isinstance(machine.next_event(), Request)
    assert b"close" not in sent(machine, 413, b"ok", head=SIZED)
    assert machine.next_event() == b"ab"


def test_a_response_before_the_end_of_its_request() -> None:
    machine = machine_for(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n")
    sent(machine, 403, b"no", head=SIZED)
    assert machine.next_event() is Signal.NEED_DATA
    machine.receive(b"abcdGET / HTTP/1.1\r\nHost: b\r\n\r\n")
    assert machine.next_event() == b"abcd"
    assert isinstance(machine.next_event(), End)
    following = machine.next_event()
    assert isinstance(following, Request)
    assert following.authority == b"b"


def test_an_early_response_that_closes_reads_no_more() -> None:
    machine = machine_for(
        b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nConnection: close\r\n\r\n"
    )
    sent(machine, 403, b"no", head=SIZED)
    assert machine.next_event() is Signal.CLOSED


def test_a_violation_is_answered_and_closes() -> None:
    machine = ServerMachine()
    machine.receive(b"GET / HTTP/3.0\r\n\r\n" + GET)
    violation = machine.next_event()
    assert isinstance(violation, Violation)
    assert violation.status == 505
    data = sent(machine, violation.status, b"no", head=SIZED)
    assert data == b"HTTP/1.1 505 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno"
    assert machine.next_event() is Signal.CLOSED
    assert machine.request_state is machine.response_state is State.CLOSED


def test_a_violation_in_a_body_is_answered_where_no_response_has_begun() -> None:
    machine = machine_for(b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    machine.receive(b"x\r\n")
    assert isinstance(machine.next_event(), Violation)
    assert b"Connection: close" in sent(machine, 400, b"no", head=SIZED)


def test_a_violation_behind_a_response_ends_it_all() -> None:
    machine = machine_for(b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    sent(machine, 200, b"ok", head=SIZED)
    machine.receive(b"x\r\n")
    assert isinstance(machine.next_event(), Violation)
    assert machine.next_event() is Signal.CLOSED
    assert machine.response_state is State.CLOSED


@pytest.mark.parametrize(("head", "status"), [(UPGRADE, 101), (CONNECT, 200), (CONNECT, 204)])
def test_a_switch_of_protocols(head: bytes, status: int) -> None:
    machine = machine_for(head)
    machine.receive(b"raw")
    assert machine.next_event() is Signal.PAUSED
    line = b"HTTP/1.1 %d OK\r\n" % status
    assert machine.send_response(status, b"OK", fields((b"X", b"y"))) == line + b"X: y\r\n\r\n"
    assert machine.next_event() == b"raw"
    assert machine.send_data(b"back") == (b"back",)
    machine.receive(b"\r\n\r\n")
    assert machine.next_event() == b"\r\n\r\n"
    machine.receive_eof()
    assert isinstance(machine.next_event(), End)
    assert machine.next_event() is Signal.CLOSED
    assert machine.send_data(b"rest") == (b"rest",)
    assert machine.send_end() == b""
    assert machine.response_state is State.CLOSED


def test_a_switch_waits_for_the_end_of_the_request() -> None:
    """RFC 9110, 7.8: what follows the request is the new protocol's."""
    machine = machine_for(
        b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"
    )
    machine.send_response(101, b"", [])
    machine.receive(b"abraw")
    assert machine.next_event() == b"ab"
    assert isinstance(machine.next_event(), End)
    assert machine.next_event() == b"raw"


def test_no_request_is_read_once_it_shall_end() -> None:
    machine = machine_for(GET)
    machine.receive(GET)
    machine.end_after_response()
    assert b"Connection: close" in sent(machine, 200, b"ok", head=SIZED)
    assert machine.next_event() is Signal.CLOSED
    idle = ServerMachine()
    idle.end_after_response()
    assert idle.next_event() is Signal.CLOSED


@pytest.mark.parametrize(
    ("status", "head", "text"),
    [
        (200, fields((b"Content-Length", b"2"), (b"Content-Length", b"2")), "more than one"),
        (200, fields((b"Content-Length", b"x")), "invalid Content-Length"),
        (200, [*SIZED, *CHUNKED], "both"),
        (200, fields((b"Transfer-Encoding", b"gzip")), "Transfer-Encoding"),
        (101, [], "without an Upgrade"),
        (199, [], "not a status"),
        (1000, [], "not a status"),
        (0, [], "not a status"),
    ],
)
def test_heads_that_cannot_be_sent(status: int, head: list[Field], text: str) -> None:
    machine = machine_for(GET)
    with pytest.raises(Unsendable, match=text):
        machine.send_response(status, b"OK", head)
    assert sent(machine, 502, b"no", head=SIZED).endswith(b"no"), "the machine is as it was"


@pytest.mark.parametrize("reason", [b"a\r\nX: y", b"a\0", b"\n"])
def test_reasons_that_cannot_be_sent(reason: bytes) -> None:
    machine = machine_for(GET)
    with pytest.raises(Unsendable, match="reason"):
        machine.send_response(200, reason, [])
    with pytest.raises(Unsendable, match="reason"):
        machine.send_informational(103, reason)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"", b"x"), (b"a b", b"x"), (b"a:", b"x"), (b"a\n", b"x"), (b"X", b"a\r\nY: z"), (b"X", b"\n"),
        (b"X", b"\0"), (b"X", b" a"), (b"X", b"a\t"), (b"X", b"\x7f"), (b"\xff", b""),
    ],
)  # fmt: skip
def test_fields_that_cannot_be_made(name: bytes, value: bytes) -> None:
    with pytest.raises(ValueError, match="field"):
        make_field(name, value)


def test_bodies_that_do_not_fit() -> None:
    machine = machine_for(GET)
    machine.send_response(200, b"OK", SIZED)
    with pytest.raises(Unsendable, match="more than"):
        machine.send_data(b"abc")
    machine.send_data(b"a")
    with pytest.raises(Unsendable, match="less than"):
        machine.send_end()
    without = machine_for(HEAD)
    without.send_response(200, b"OK", SIZED)
    with pytest.raises(Unsendable, match="more than"):
        without.send_data(b"x")


def test_nothing_is_sent_out_of_turn() -> None:
    idle = ServerMachine()
    for call in (
        lambda: idle.send_response(200, b"OK"),
        lambda: idle.send_informational(103, b""),
        lambda: idle.send_data(b"x"),
        idle.send_end,
    ):
        with pytest.raises(Unsendable):
            call()
    machine = machine_for(GET)
    with pytest.raises(Unsendable):
        machine.send_informational(200, b"OK")
    with pytest.raises(Unsendable):
        machine.send_informational(101, b"OK")
    machine.send_response(200, b"OK", SIZED)
    with pytest.raises(Unsendable):
        machine.send_response(200, b"OK", SIZED)
    with pytest.raises(Unsendable):
        machine.send_informational(103, b"")


def test_what_is_idle() -> None:
    machine = ServerMachine()
    assert machine.is_idle
    machine.receive(b"G")
    machine.next_event()
    assert not machine.is_idle
    machine.receive(b"ET / HTTP/1.1\r\n")
    machine.next_event()
    assert machine.buffered == 0
    assert not machine.is_idle
    machine.receive(b"Host: a\r\n\r\n")
    machine.next_event()
    machine.next_event()
    assert not machine.is_idle
    sent(machine, 200, b"ok", head=SIZED)
    assert machine.is_idle
