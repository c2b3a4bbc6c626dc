"""What is replied to a request, for connections and datagrams alike."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserve.protocols.request_response.responder import (
    HandlerTimeout,
    Pending,
    Replies,
    Request,
    Responder,
)
from netserve.wire.framing import FrameTooLong, FramingError, LengthPrefix, Line
from netserve.wire.pattern import Exact, Pattern, Prefix

PEER = "127.0.0.1:4711"


class Reports(list[tuple[str, str]]):
    """What was reported: the kind, and the text."""

    def __call__(self, kind: str, peer: str, error: Exception) -> None:
        assert peer == PEER
        self.append((kind, str(error)))


def make(
    *rules: Any, reports: Reports | None = None, handler: Any = None, **options: Any
) -> Responder:
    replies = Replies(
        rules=rules,
        default=options.pop("default", None),
        oversized="too long, {peer}",
        error="error in {service}",
    )
    return Responder(
        replies,
        handler=handler,
        service="hello",
        report=reports if reports is not None else Reports(),
        **options,
    )


def test_hello() -> None:
    """The service `hello` of the shipped config."""
    responder = make(
        (Pattern(r"^my name is (?P<name>\w+)$"), "Hello, {name}!"),
        default="Hello, client!",
        encode=Line().encode,
    )
    assert responder.respond(b"my name is Bob", PEER) == b"Hello, Bob!\r\n"
    assert responder.respond(b"my name is Bob Dobbs", PEER) == b"Hello, client!\r\n"
    assert responder.respond(b"", PEER) == b"Hello, client!\r\n"
    assert responder.respond(b"\xff\x00", PEER) == b"Hello, client!\r\n"


def test_placeholders() -> None:
    responder = make(
        (Prefix(b"say "), "{rest}"),
        (Exact(b"who"), "{peer} at {service}"),
        default="{{{request}}}",
    )
    assert responder.respond(b"say \xff{peer}", PEER) == b"\xff{peer}"
    assert responder.respond(b"who", PEER) == b"127.0.0.1:4711 at hello"
    assert responder.respond(b"x", PEER) == b"{x}"


def test_the_first_rule_wins() -> None:
    responder = make((Prefix(b"a"), "first"), (Exact(b"ab"), "second"), default="third")
    assert [responder.respond(data, PEER) for data in (b"ab", b"b")] == [b"first", b"third"]


def test_no_rule_and_no_reply() -> None:
    assert make((Exact(b"a"), "b")).respond(b"x", PEER) is None


def test_bytes_and_encodings() -> None:
    responder = make((Exact(b"a"), b"\x06"), default="é{request}", encoding="latin-1")
    assert responder.respond(b"a", PEER) == b"\x06"
    assert responder.respond(b"\xe8", PEER) == b"\xe9\xe8"


def test_what_cannot_work_is_known_when_it_is_built() -> None:
    with pytest.raises(ValueError, match="300 bytes are more than a prefix of 1 can tell"):
        make(default="x" * 300, encode=LengthPrefix(1).encode)
    with pytest.raises(ValueError, match="latin-1"):
        make(default="€", encoding="latin-1")
    with pytest.raises(ValueError, match="latin-1"):
        make(default="€{request}", encoding="latin-1")


def test_a_reply_that_does_not_fit_is_an_error_reply() -> None:
    reports = Reports()
    responder = make(default="{request}" * 2, encode=LengthPrefix(1).encode, reports=reports)
    assert responder.respond(b"x" * 200, PEER) == b"\x0eerror in hello"
    assert reports == [("reply", "400 bytes are more than a prefix of 1 can tell")]


def test_frames_that_are_no_requests() -> None:
    reports = Reports()
    responder = make(default="x", reports=reports)
    long, broken = FrameTooLong(10, fatal=False), FramingError("nonsense")
    assert responder.refuse(long, PEER) == b"too long, 127.0.0.1:4711"
    assert responder.refuse(broken, PEER) == b"error in hello"
    assert reports == [("oversized", "a frame of more than 10 bytes"), ("framing", "nonsense")]


@pytest.mark.parametrize(
    ("answer", "sent"),
    [
        (b"bytes", b"bytes\r\n"),
        ("té", b"t\xc3\xa9\r\n"),
        (bytearray(b"x"), b"x\r\n"),
        (memoryview(b"x"), b"x\r\n"),
        (b"", b"\r\n"),
        (None, b"default: ping\r\n"),
    ],
)
def test_what_a_handler_returns(answer: Any, sent: bytes) -> None:
    seen: list[Request] = []

    def handler(request: Request) -> Any:
        seen.append(request)
        return answer

    responder = make(
        (Exact(b"ruled"), "by rule"),
        handler=handler,
        default="default: {request}",
        encode=Line().encode,
    )
    assert responder.respond(b"ping", PEER) == sent
    assert seen == [Request(b"ping", PEER, "hello")]
    assert responder.respond(b"ruled", PEER) == b"by rule\r\n"
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (5, "it returned int, not bytes, text or None"),
        (["x"], "it returned list, not bytes, text or None"),
        ("\ud800", "surrogates not allowed"),
    ],
)
def test_what_a_handler_must_not_return(answer: Any, reason: str) -> None:
    reports = Reports()
    responder = make(handler=lambda request: answer, reports=reports)
    assert responder.respond(b"x", PEER) == b"error in hello"
    [(kind, text)] = reports
    assert kind == "handler"
    assert reason in text


def test_a_handler_that_raises() -> None:
    """The peer gets the error reply, and no detail."""
    reports = Reports()

    def handler(request: Request) -> bytes:
        raise KeyError("secret detail")

    assert make(handler=handler, reports=reports).respond(b"x", PEER) == b"error in hello"
    assert reports == [("handler", "'secret detail'")]


def test_a_handler_that_takes_its_time() -> None:
    reports = Reports()

    async def handler(request: Request) -> str:
        return request.text.upper()

    responder = make(handler=handler, reports=reports, encode=Line().encode)
    pending = responder.respond(b"x\xff", PEER)
    assert isinstance(pending, Pending)
    work: Awaitable[Any] = pending.work
    with pytest.raises(StopIteration) as stopped:
        work.__await__().send(None)
    assert (
        responder.finish(pending.request, stopped.value.value)
        == "X\N{REPLACEMENT CHARACTER}\r\n".encode()
    )
    timeout = HandlerTimeout("it took longer than 5 s")
    assert responder.fail(pending.request, timeout) == b"error in hello\r\n"
    assert reports == [("timeout", "it took longer than 5 s")]


def test_no_error_reply_where_none_is_wanted() -> None:
    responder = Responder(Replies(default="x"), service="hello", report=Reports())
    assert responder.refuse(FramingError("nonsense"), PEER) is None
    assert responder.refuse(FrameTooLong(1, fatal=True), PEER) is None


RULES: tuple[Any, ...] = (
    (Exact(b"ping"), "pong"),
    (Prefix(b"say "), "{rest}"),
    (Exact(b"say nothing"), "nothing"),
    (Exact(b"quiet"), b""),
    (Exact(b"who"), "{peer}"),
    (Pattern(r"^my name is (?P<name>\w+)$"), "Hello, {name}!"),
)
WORDS = (
    b"",
    b"ping",
    b"say x",
    b"say nothing",
    b"I say x",
    b"quiet",
    b"who",
    b"my name is Bob",
    b"my",
    b"\xff",
)


@given(
    chosen=st.permutations(RULES).flatmap(
        lambda rules: st.integers(0, len(rules)).map(lambda count: rules[:count])
    ),
    default=st.sampled_from([None, "Hello, client!", "{request}"]),
    frames=st.lists(st.sampled_from(WORDS), max_size=8),
)
def test_many_at_once_get_what_each_gets(
    chosen: list[Any], default: str | None, frames: list[bytes]
) -> None:
    responder = make(*chosen, default=default)
    replies = responder.constants(frames, 10_000)
    if replies is not None:
        assert replies == [responder.respond(frame, PEER) or b"" for frame in frames]


def test_when_many_are_answered_at_once() -> None:
    plain = make(*RULES, default="Hello, client!")
    assert plain.constants([b"ping", b"x", b"quiet"], 1000) == [b"pong", b"Hello, client!", b""]
    assert plain.constants([b"I say x"], 1000) == [b"Hello, client!"], "not at its begin"
    assert plain.constants([b"ping", b"say x"], 1000) is None
    assert plain.constants([b"ping", b"who"], 1000) is None
    assert plain.constants([b"x"] * 10, 140) == [b"Hello, client!"] * 10
    assert plain.constants([b"x"] * 10, 139) is None, "more than is wanted"
    assert make((Pattern("name"), "x"), default="y").constants([b"x"], 1000) is None
    assert make(default="x", handler=lambda request: "y").constants([b"x"], 1000) is None
