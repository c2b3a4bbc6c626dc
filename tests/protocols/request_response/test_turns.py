"""Connections in turns: the replies are the same, and nothing is read while others are served."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.protocol import connectionDone
from twisted.internet.task import Clock

from netserve.fairness.shares import Shares
from netserve.fairness.turns import Share
from netserve.plugin import Metrics
from netserve.protocols.request_response.responder import Replies, Responder
from netserve.protocols.request_response.stream import StreamAnswers
from netserve.streams.framed import FramedConnection, FramedOptions
from netserve.testing.machines import chunkings
from netserve.testing.turns import ManualTurns, endless_turn
from netserve.wire.framing import Delimiter, Framing, LengthPrefix, Line, Netstring
from netserve.wire.pattern import Exact, Pattern


class Transport:
    """What a connection does to the network."""

    def __init__(self) -> None:
        self.sent = b""
        self.reading = True
        self.closed = False

    def getPeer(self) -> Any:
        return None

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        pass

    def unregisterProducer(self) -> None:
        pass

    def write(self, data: bytes) -> None:
        self.sent += data

    def pauseProducing(self) -> None:
        self.reading = False

    def resumeProducing(self) -> None:
        self.reading = True

    def loseConnection(self) -> None:
        self.closed = True

    def loseWriteConnection(self) -> None:
        self.closed = True

    def abortConnection(self) -> None:
        self.closed = True


def connection(
    framing: Framing, turns: Share, *, memory: int = 1 << 20
) -> tuple[FramedConnection[Any, Any], Transport]:
    responder = Responder(
        Replies(
            rules=[(Exact(b"ping"), "pong"), (Pattern(r"^my name is (?P<name>\w+)$"), "{name}!")],
            default="what?",
            oversized="too long",
            error="error",
        ),
        service="hello",
        encode=framing.encode,
        report=lambda kind, peer, error: None,
    )
    clock = Clock()
    options = FramedOptions(
        answers=StreamAnswers(responder, clock=clock, timeout=1.0),
        framing=framing,
        request_size=1000,
        pipeline=10,
        metrics=Metrics(),
        clock=clock,
        turns=turns,
        memory=Shares(memory),
    )
    made, transport = FramedConnection(options), Transport()
    made.transport = transport
    made.connectionMade()
    return made, transport


@settings(deadline=None)
@pytest.mark.parametrize(
    "framing", [Line(), Delimiter(b"|"), LengthPrefix(2), Netstring()], ids=repr
)
@given(data=st.data(), chance=st.randoms(use_true_random=False))
def test_turns_do_not_matter(framing: Framing, data: st.DataObject, chance: random.Random) -> None:
    """S23: whole or in slices, however the input is cut."""
    frames = st.sampled_from([b"ping", b"my name is Bob", b"", b"x" * 40, b"x" * 1001])
    sent = b"".join(map(framing.encode, data.draw(st.lists(frames, max_size=12))))
    sent += data.draw(st.sampled_from([b"", b"pin", b"\xff"]))
    whole, wanted = connection(framing, endless_turn())
    whole.dataReceived(sent)
    whole.readConnectionLost()
    manual = ManualTurns()
    sliced, transport = connection(framing, manual.share())
    for piece in data.draw(chunkings(sent)):
        if not transport.reading:
            manual.all()
        sliced.dataReceived(piece)
        if chance.random() < 0.5:
            manual.turn()
    manual.all()
    sliced.readConnectionLost()
    manual.all()
    assert transport.sent == wanted.sent
    assert transport.closed
    assert sliced._metrics.requests == whole._metrics.requests


def test_nothing_is_read_while_requests_wait_for_their_turn() -> None:
    """S23: what was read by then is all that is held."""
    manual = ManualTurns()
    made, transport = connection(Line(), manual.share())
    made.dataReceived(b"my name is Bob\n" * 1000)
    assert not transport.reading
    assert transport.sent.count(b"\n") <= 2
    made.dataReceived(b"ping\n")
    assert manual.all() >= 1000
    assert transport.sent == b"Bob!\r\n" * 1000 + b"pong\r\n"
    assert transport.reading


def test_a_connection_that_is_gone_has_no_more_turns() -> None:
    manual = ManualTurns()
    made, transport = connection(Line(), manual.share())
    made.dataReceived(b"my name is Bob\n" * 1000)
    before = transport.sent
    made.connectionLost(connectionDone)
    manual.all()
    assert transport.sent == before


def test_a_request_that_would_take_too_much_memory_ends_the_connection() -> None:
    """S8, S24: with the reply to what is no request; and what was held is free again."""
    made, transport = connection(LengthPrefix(4), endless_turn(), memory=10)
    made._frames._decoder._limit = 1 << 20
    made.dataReceived((100_000).to_bytes(4, "big") + b"x" * 50_000)
    assert transport.sent == b"\0\0\0\5error"
    assert transport.closed
    assert made._options.memory.used == 0


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_client_that_closes_its_side_gets_all_replies(when: str) -> None:
    manual = ManualTurns()
    made, transport = connection(Line(), manual.share())
    made.dataReceived(b"my name is Bob\n" * 50 + b"pi")
    if when == "after":
        manual.all()
    made.readConnectionLost()
    assert transport.closed is (when == "after")
    manual.all()
    assert transport.sent == b"Bob!\r\n" * 50 + b"what?\r\n"
    assert transport.closed
