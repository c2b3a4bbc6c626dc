"""Taps on datagrams, over sockets of every kind; and how long an exchange with a peer lasts."""

from __future__ import annotations

import socket
from pathlib import Path
from random import Random
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor as _reactor
from twisted.internet.address import IPv4Address
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher

from netserve.connection import Connection, Tap, Tracker
from netserve.connection import Taps as ProcessTaps
from netserve.plugin import Hosted
from netserve.protocols.request_response import plugin as request_response
from netserve.server.datagram import CountingDatagramTransport
from netserve.server.datagram_taps import MOST, SILENCE, DatagramTaps
from netserve.testing.hosting import RunningService, serve
from netserve.testing.queue import until
from tests.connection.taps import Failing, Taps

reactor: Any = _reactor
HERE = IPv4Address("UDP", "127.0.0.1", 53)
KINDS = ("udp", "udp6", "unixgram")


class Shout(DatagramProtocol):
    """Gives each datagram back in capitals, and an empty one after it."""

    transport: Any

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        if datagram == b"bug":
            raise RuntimeError("a bug")
        self.transport.write(datagram.upper(), addr)
        self.transport.write(b"", addr)


def options_of(kind: str, folder: Path) -> dict[str, Any]:
    return {
        "udp": {"listen": "udp:0:interface=127.0.0.1"},
        "udp6": {"listen": "udp:0:interface=\\:\\:1"},
        "unixgram": {"listen": f"unixgram:{folder / 'service'}"},
    }[kind]


def client_of(kind: str, folder: Path, service: RunningService, number: int) -> socket.socket:
    if kind == "unixgram":
        client = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        client.bind(str(folder / f"client{number}"))
        client.connect(str(folder / "service"))
    else:
        host = "::1" if kind == "udp6" else "127.0.0.1"
        family = socket.AF_INET6 if kind == "udp6" else socket.AF_INET
        client = socket.socket(family, socket.SOCK_DGRAM)
        client.connect((host, service.port))
    client.setblocking(False)
    return client


async def answer_of(client: socket.socket) -> bytes:
    found: list[bytes] = []

    def is_there() -> bool:
        try:
            found.append(client.recv(65536))
        except BlockingIOError:
            return False
        return True

    await until(is_there, reactor=reactor)
    return found[0]


@pytest.mark.parametrize("tapped", [True, False], ids=["tap", "no tap"])
@pytest.mark.parametrize("kind", KINDS)
@pytest_twisted.ensureDeferred
async def test_every_kind_of_socket(kind: str, tapped: bool, tmp_path: Path) -> None:
    """One tap for each peer, with the datagrams of both directions, empty ones as well."""
    service = await serve(Hosted(datagram=Shout), **options_of(kind, tmp_path))
    taps = Taps()
    if tapped:
        service.process.taps.switch_on("test", taps)
    clients = [client_of(kind, tmp_path, service, number) for number in range(2)]
    for word in (b"one", b"", b"x" * 5000):
        for client in clients:
            client.send(word)
            assert await answer_of(client) == word.upper()
            assert await answer_of(client) == b""
    peers = [client.getsockname() for client in clients]
    for client in clients:
        client.close()
    (gate,) = service.hosted_service.current._datagrams
    assert isinstance(gate._inner.transport, CountingDatagramTransport)
    assert bool(gate._flows) == tapped
    await service.stop()
    assert len(taps.opened) == 2 * tapped
    expected = [
        ("received", b"one"), ("sent", b"ONE"), ("sent", b""),
        ("received", b""), ("sent", b""), ("sent", b""),
        ("received", b"x" * 5000), ("sent", b"X" * 5000), ("sent", b""),
    ]  # fmt: skip
    for tap, peer in zip(taps.opened, peers, strict=False):
        assert tap.pieces == expected
        assert len(tap.reasons) == 1
        record = tap.connection
        assert (record.service, record.tls, record.outgoing) == ("test", False, False)
        if kind == "unixgram":
            assert record.peer.name == peer.encode()
        else:
            assert (record.peer.type, record.peer.host) == ("UDP", peer[0])
            assert record.peer.port == peer[1]
    assert not service.metrics.errors


@pytest.mark.parametrize("at", ["received", "sent", "ended"])
@pytest_twisted.ensureDeferred
async def test_a_tap_that_fails_is_dropped(at: str, tmp_path: Path) -> None:
    service = await serve(Hosted(datagram=Shout), **options_of("udp", tmp_path))
    opened: list[Failing] = []

    def failing(connection: Connection) -> Tap:
        opened.append(Failing(connection, at))
        return opened[-1]

    service.process.taps.switch_on("test", failing)
    with client_of("udp", tmp_path, service, 0) as client:
        for _ in range(3):
            client.send(b"word")
            assert await answer_of(client) == b"WORD"
            assert await answer_of(client) == b""
    await service.stop()
    assert len(opened) == 1
    assert opened[0].has_failed
    assert opened[0].calls_after == 0
    assert service.metrics.errors == {"tap": 1}


@pytest_twisted.ensureDeferred
async def test_switched_on_and_off_while_it_runs(tmp_path: Path) -> None:
    service = await serve(Hosted(datagram=Shout), **options_of("udp", tmp_path))
    taps = Taps()
    first, second = (client_of("udp", tmp_path, service, number) for number in range(2))

    async def ask(client: socket.socket, word: bytes) -> None:
        client.send(word)
        assert await answer_of(client) == word.upper()
        assert await answer_of(client) == b""

    await ask(first, b"before")
    service.process.taps.switch_on("test", taps)
    await ask(first, b"during")
    service.process.taps.switch_off("test")
    await ask(first, b"known already")
    await ask(second, b"after")
    await service.stop()
    (tap,) = taps.opened
    assert tap.all("received") == b"duringknown already"
    for client in (first, second):
        client.close()


@pytest_twisted.ensureDeferred
async def test_lines_of_the_log_have_an_id(tmp_path: Path) -> None:
    """That of the socket; with a tap, that of the peer. In the gate's lines and the protocol's."""
    events: list[Any] = []
    globalLogPublisher.addObserver(events.append)
    taps = Taps()
    try:
        (tmp_path / "raising_handlers.py").write_text("def fail(request):\n    return 1 / 0\n")
        answering = await serve(
            request_response, state=tmp_path, handler="raising_handlers:fail",
            listen="udp:0:interface=127.0.0.1",
        )  # fmt: skip
        bare = await serve(Hosted(datagram=Shout), **options_of("udp", tmp_path))
        (gate,) = bare.hosted_service.current._datagrams
        with (
            client_of("udp", tmp_path, answering, 0) as one,
            client_of("udp", tmp_path, bare, 0) as other,
        ):
            one.send(b"ask\n")
            await until(lambda: answering.metrics.errors["handler"] == 1, reactor=reactor)
            other.send(b"bug")
            await until(lambda: bare.metrics.errors["internal"] == 1, reactor=reactor)
            bare.process.taps.switch_on("test", taps)
            other.send(b"bug")
            await until(lambda: bare.metrics.errors["internal"] == 2, reactor=reactor)
        socket_id = gate.connection.id
        await answering.stop()
        await bare.stop()
    finally:
        globalLogPublisher.removeObserver(events.append)
    told = [one for one in events if "{peer}" in str(one.get("log_format"))]
    assert len(told) >= 3
    assert all(one["connection_id"] for one in told)
    assert told[-2]["connection_id"] == socket_id
    assert told[-1]["connection_id"] == taps.opened[0].connection.id


# ---- How long an exchange lasts.


@pytest.fixture
def clock() -> Clock:
    return Clock()


def tapped_socket(clock: Clock) -> tuple[DatagramTaps, Taps]:
    opened, process_taps = Taps(), ProcessTaps(Random(0))
    process_taps.switch_on("test", opened)
    return DatagramTaps(Tracker("test", process_taps), HERE, clock), opened


def test_a_silent_peer_is_forgotten(clock: Clock) -> None:
    taps, opened = tapped_socket(clock)
    taps.of(("192.0.2.1", 1))
    clock.advance(SILENCE / 2)
    taps.of(("192.0.2.2", 2))
    clock.advance(SILENCE / 2)
    first, second = opened.opened
    assert (len(first.reasons), len(second.reasons)) == (1, 0)
    clock.advance(SILENCE / 2 + 1)
    assert len(second.reasons) == 1
    assert not taps.flows
    assert not clock.getDelayedCalls()


def test_a_peer_that_goes_on_is_kept(clock: Clock) -> None:
    taps, opened = tapped_socket(clock)
    for _ in range(10):
        taps.of(("192.0.2.1", 1))
        clock.advance(SILENCE - 1)
    assert len(opened.opened) == 1
    assert not opened.opened[0].reasons


def test_peers_are_bounded_and_the_most_silent_goes_first(clock: Clock) -> None:
    taps, opened = tapped_socket(clock)
    for port in range(MOST):
        taps.of(("192.0.2.1", port))
    taps.of(("192.0.2.1", 0))
    for port in range(5):
        taps.of(("192.0.2.2", port))
    assert len(taps.flows) == MOST
    ended = [tap.connection.peer.port for tap in opened.opened if tap.reasons]
    assert ended == [1, 2, 3, 4, 5]
    taps.close()
    assert all(len(tap.reasons) == 1 for tap in opened.opened)
    assert not clock.getDelayedCalls()
