"""Datagrams are read in turns, however many come (S23)."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor as _reactor
from twisted.internet.defer import maybeDeferred
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import deferLater

from netserve.config.listen import Listen
from netserve.fairness.turns import SLICE
from netserve.server.listeners import listen_datagram
from netserve.testing.queue import until
from netserve.testing.turns import share_of_turns

reactor: Any = _reactor


class Slow(DatagramProtocol):
    """Takes its time for each datagram, and notes the turns of the reactor between them."""

    noisy = False

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.received = 0
        self.longest = 0
        self._in_this_turn = 0

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        if not self._in_this_turn:
            reactor.callLater(0, self._next_turn)
        self._in_this_turn += 1
        self.received += 1
        end = time.monotonic() + self.seconds
        while time.monotonic() < end:
            pass

    def _next_turn(self) -> None:
        self.longest = max(self.longest, self._in_this_turn)
        self._in_this_turn = 0


@pytest.mark.parametrize("kind", ["udp", "unixgram"])
@pytest.mark.parametrize("size", [0, 1, 1000])
@ensureDeferred
async def test_a_flood_is_read_a_slice_at_a_time(kind: str, size: int, tmp_path: Path) -> None:
    """S23: also datagrams without a byte, of which Twisted would read without end."""
    turns = share_of_turns()
    protocol = Slow(SLICE)
    text = "udp:0:interface=127.0.0.1" if kind == "udp" else "unixgram:flood.sock"
    listen = Listen(text)
    port = listen_datagram(listen, protocol, reactor=reactor, folder=tmp_path, turns=turns)
    family = socket.AF_INET if kind == "udp" else socket.AF_UNIX
    with socket.socket(family, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        if kind == "udp":
            sender.connect(("127.0.0.1", port.getHost().port))
        else:
            sender.connect(str(tmp_path / "flood.sock"))
        sent = 0
        for _ in range(20):  # fewer than a socket's buffer takes
            for _ in range(4):
                try:
                    sender.send(b"x" * size)
                    sent += 1
                except BlockingIOError:
                    break
            await deferLater(reactor, 0)
        await until(lambda: protocol.received == sent, reactor=reactor)
    assert sent > 20
    assert protocol.longest <= 12, "a slice, and once more what waited for its turn"
    await maybeDeferred(port.stopListening)
