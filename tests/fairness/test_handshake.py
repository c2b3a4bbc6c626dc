"""Handshakes in turns (S23)."""

from __future__ import annotations

from netserve.fairness.handshake import PacedHandshake
from netserve.testing.turns import ManualTurns


class Transport:
    """Reads, or does not."""

    reading = True

    def pauseProducing(self) -> None:
        self.reading = False

    def resumeProducing(self) -> None:
        self.reading = True


class TLS:
    """A TLS protocol whose handshake takes so many pieces."""

    def __init__(self, pieces: int) -> None:
        self.transport = Transport()
        self.connected = True
        self.received: list[bytes] = []
        self._left = pieces
        self.handshake_done = False
        self.aborted = False

    def dataReceived(self, data: bytes) -> None:
        self.received.append(data)
        self._left -= 1
        self.handshake_done = self._left <= 0

    def abortConnection(self) -> None:
        self.aborted = True


def test_handshakes_wait_for_their_turn() -> None:
    """S23: of a hundred that begin at once, each turn has one; the others are not read."""
    manual = ManualTurns()
    share = manual.share()
    connections = [TLS(pieces=2) for _ in range(100)]
    for tls in connections:
        PacedHandshake(tls, share, "192.0.2.1")
        tls.dataReceived(b"hello")
    assert sum(bool(tls.received) for tls in connections) == 1
    assert sum(tls.transport.reading for tls in connections) == 1
    manual.turn()
    assert sum(bool(tls.received) for tls in connections) == 2
    manual.all()
    assert all(tls.received == [b"hello"] and tls.transport.reading for tls in connections)


def test_after_the_handshake_nothing_stands_between() -> None:
    manual = ManualTurns()
    tls = TLS(pieces=2)
    PacedHandshake(tls, manual.share(), "192.0.2.1")
    plain = TLS.dataReceived
    tls.dataReceived(b"hello")
    assert tls.dataReceived.__func__ is not plain  # type: ignore[attr-defined]  # a method
    manual.all()
    tls.dataReceived(b"finished")
    manual.all()
    assert tls.dataReceived.__func__ is plain  # type: ignore[attr-defined]  # a method
    tls.dataReceived(b"data")
    assert tls.received == [b"hello", b"finished", b"data"]


def test_what_came_while_it_waited_is_handed_over_in_order() -> None:
    manual = ManualTurns()
    share = manual.share()
    first, second = TLS(pieces=1), TLS(pieces=1)
    for tls in (first, second):
        PacedHandshake(tls, share, "192.0.2.1")
    first.dataReceived(b"x")
    for piece in (b"he", b"ll", b"o"):
        second.dataReceived(piece)
    assert second.received == []
    manual.all()
    assert b"".join(second.received) == b"hello"


def test_a_connection_that_is_gone_has_no_handshake() -> None:
    manual = ManualTurns()
    share = manual.share()
    TLS(pieces=1)
    first, second = TLS(pieces=1), TLS(pieces=1)
    for tls in (first, second):
        PacedHandshake(tls, share, "192.0.2.1")
        tls.dataReceived(b"hello")
    second.connected = False
    manual.all()
    assert second.received == []
