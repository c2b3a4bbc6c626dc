"""What the client machine sends, and when it may send the next request."""

from __future__ import annotations

import pytest

from netserve.http.h1 import (
    ClientMachine,
    End,
    Field,
    Response,
    Signal,
    State,
    Unsendable,
    Violation,
)
from tests.http.h1.machines import Asking, fields

HOST = fields((b"Host", b"a"))
SIZED = fields((b"Content-Length", b"2"))
CHUNKED = fields((b"Transfer-Encoding", b"chunked"))
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def test_a_request_without_a_body() -> None:
    machine = ClientMachine()
    assert (
        machine.send_request(b"GET", b"/\xff?a=%zz", HOST)
        == b"GET /\xff?a=%zz HTTP/1.1\r\nHost: a\r\n\r\n"
    )
    assert machine.send_end() == b""
    assert not machine.is_idle
    assert not machine.has_answer_begun
    machine.receive(OK)
    assert machine.has_answer_begun
    assert [type(machine.next_event()) for _ in range(3)] == [Response, bytes, End]
    assert machine.is_idle
    assert machine.next_event() is Signal.NEED_DATA


def test_nothing_is_added() -> None:
    """No User-Agent, no Accept, no Content-Type, no Content-Length of 0."""
    machine = ClientMachine()
    assert machine.send_request(b"POST", b"/", HOST) == b"POST / HTTP/1.1\r\nHost: a\r\n\r\n"


def test_a_sized_body() -> None:
    machine = ClientMachine()
    machine.send_request(b"PUT", b"/", [*HOST, *SIZED])
    assert machine.send_data(b"a") == (b"a",)
    with pytest.raises(Unsendable, match="less"):
        machine.send_end()
    with pytest.raises(Unsendable, match="more"):
        machine.send_data(b"bc")
    assert machine.send_data(b"b") == (b"b",)
    assert machine.send_end() == b""


def test_a_chunked_body_with_trailers() -> None:
    machine = ClientMachine()
    machine.send_request(b"PUT", b"/", [*HOST, *CHUNKED])
    assert machine.send_data(b"ab") == (b"2\r\nab\r\n",)
    assert machine.send_data(b"") == ()
    assert machine.send_end(fields((b"X", b"y"))) == b"0\r\nX: y\r\n\r\n"


@pytest.mark.parametrize(
    ("method", "target", "head", "text"),
    [
        (b"G T", b"/", HOST, "method"),
        (b"", b"/", HOST, "method"),
        (b"GET\r\n", b"/", HOST, "method"),
        (b"GET", b"/a b", HOST, "target"),
        (b"GET", b"", HOST, "target"),
        (b"GET", b"/\r\nX: y", HOST, "target"),
        (b"GET", b"/#x", HOST, "target"),
        (b"GET", b"/\0", HOST, "target"),
        (b"GET", b"/", [], "Host"),
        (b"GET", b"/", [*HOST, *HOST], "Host"),
        (b"GET", b"/", [*HOST, *SIZED, *CHUNKED], "both"),
        (b"GET", b"/", [*HOST, *SIZED, *SIZED], "more than one"),
        (
            b"GET",
            b"/",
            [*HOST, *fields((b"Transfer-Encoding", b"gzip, chunked"))],
            "transfer coding",
        ),
    ],
)
def test_requests_that_cannot_be_sent(
    method: bytes, target: bytes, head: list[Field], text: str
) -> None:
    machine = ClientMachine()
    with pytest.raises(Unsendable, match=text):
        machine.send_request(method, target, head)
    assert machine.is_idle


def test_one_request_at_a_time() -> None:
    asking = Asking()
    with pytest.raises(Unsendable, match="another request"):
        asking.machine.send_request(b"GET", b"/", HOST)
    asking.feed(OK)
    asking.ask()
    asking.feed(OK)
    assert asking.machine.is_idle


def test_nothing_is_sent_out_of_turn() -> None:
    machine = ClientMachine()
    with pytest.raises(Unsendable):
        machine.send_data(b"x")
    with pytest.raises(Unsendable):
        machine.send_end()


def test_our_own_close() -> None:
    asking = Asking(more=fields((b"Connection", b"close")))
    assert asking.feed(OK)[-1] is Signal.CLOSED


def test_a_response_before_the_end_of_the_request() -> None:
    machine = ClientMachine()
    machine.send_request(b"PUT", b"/", [*HOST, *SIZED])
    machine.receive(b"HTTP/1.1 413 no\r\nContent-Length: 0\r\n\r\n")
    assert isinstance(machine.next_event(), Response)
    assert isinstance(machine.next_event(), End)
    assert machine.next_event() is Signal.PAUSED
    assert not machine.is_idle
    machine.send_data(b"ab")
    machine.send_end()
    assert machine.is_idle


def test_all_of_a_request_may_be_out_before_its_end_is_said() -> None:
    machine = ClientMachine()
    assert not machine.has_sent_all
    machine.send_request(b"PUT", b"/", [*HOST, *SIZED])
    assert not machine.has_sent_all
    machine.send_data(b"ab")
    assert machine.has_sent_all
    machine.send_end()
    assert not machine.has_sent_all
    chunked = ClientMachine()
    chunked.send_request(b"PUT", b"/", [*HOST, *CHUNKED])
    assert not chunked.has_sent_all


def test_an_end_of_the_connection_behind_a_response() -> None:
    asking = Asking()
    asking.machine.receive_eof()
    events = asking.feed(OK)
    assert isinstance(events[0], Response)
    assert isinstance(events[-2], End)
    assert events[-1] is Signal.CLOSED


def test_after_a_violation_nothing_comes() -> None:
    asking = Asking()
    events = asking.feed(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n" + OK)
    assert isinstance(events[0], Violation)
    assert events[1:] == [Signal.CLOSED]
    assert asking.machine.response_state is State.BROKEN
    assert asking.feed(OK) == [Signal.CLOSED]


def test_a_violation_shows_no_value() -> None:
    """A field value may be a secret."""
    (violation, _) = Asking().feed(b"HTTP/1.1 200 OK\r\nAuthorization: sesame\x01\r\n\r\n")
    assert isinstance(violation, Violation)
    assert "sesame" not in str(violation)
    assert "Authorization" in str(violation)
