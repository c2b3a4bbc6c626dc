"""The small services over real sockets, and their datagrams against forged senders."""

from __future__ import annotations

import random
import socket
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from pydantic import ValidationError
from twisted.internet.task import Clock, deferLater
from twisted.logger import Logger

from netserve.plugin import Context, Metrics
from netserve.protocols.echo import plugin
from netserve.protocols.echo.content import CHARGEN
from netserve.protocols.echo.service import build
from netserve.protocols.echo.settings import EchoSettings
from netserve.testing.datagrams import DatagramClient
from netserve.testing.hosting import connect, exchange, serve
from netserve.testing.turns import endless_turn

UDP = "udp:0:interface=127.0.0.1"


class Sent:
    """A datagram transport that only remembers."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, Any]] = []

    def write(self, data: bytes, address: Any) -> None:
        self.sent.append((data, address))


def context(events: list[dict[str, Any]] | None = None) -> Context:
    log = Logger(namespace="test", observer=(events if events is not None else []).append)
    return Context(
        service="echo",
        reactor=Clock(),
        log=log,
        metrics=Metrics(),
        folder=Path(),
        state=Path(),
        datagram_ports=frozenset({7007, 7070}),
        tls=None,
        outbox=lambda: None,  # type: ignore[arg-type, return-value]
        http=None,  # type: ignore[arg-type]
        random=random.Random(1),
        turns=endless_turn(),
    )


def datagrams(around: Context, **options: Any) -> tuple[Any, Sent]:
    settings = EchoSettings.model_validate({"protocol": "echo", "listen": "udp:7007", **options})
    hosted = build(settings, around, now=lambda: 0.0)
    assert hosted.datagram is not None
    protocol: Any = hosted.datagram()
    protocol.transport = Sent()
    return protocol, protocol.transport


@pytest_twisted.ensureDeferred
async def test_echo() -> None:
    service = await serve(plugin)
    try:
        data = bytes(range(256)) * 4096
        assert await exchange(service.port, data) == data
        assert await exchange(service.port, b"") == b""
    finally:
        await service.stop()


@pytest_twisted.ensureDeferred
async def test_echo_stops_reading_from_a_peer_that_does_not_read() -> None:
    """S8: what a peer does not take back is not held without bound, and not lost either."""
    from twisted.internet import reactor

    service = await serve(plugin)
    try:
        client = await connect(service.port)
        client.transport.pauseProducing()
        sizes: list[int] = []
        client.dataReceived = lambda data: sizes.append(len(data))  # type: ignore[method-assign]
        total, block = 64 << 20, b"x" * (1 << 20)
        for _ in range(total // len(block)):
            client.write(block)
        await deferLater(reactor, 0.5)
        service.hosted_service.read_traffic()
        assert 0 < service.metrics.bytes_received < total // 2
        client.transport.resumeProducing()
        client.transport.loseWriteConnection()
        await client.closed.addTimeout(30, reactor)
        assert sum(sizes) == total
    finally:
        await service.stop()


@pytest_twisted.ensureDeferred
async def test_discard() -> None:
    service = await serve(plugin, kind="discard")
    try:
        assert await exchange(service.port, b"x" * 100_000) == b""
    finally:
        await service.stop()


@pytest_twisted.ensureDeferred
async def test_daytime_and_time() -> None:
    for kind, size in (("daytime", range(30, 60)), ("time", range(4, 5))):
        service = await serve(plugin, kind=kind)
        try:
            assert len(await exchange(service.port, b"")) in size
            client = await connect(service.port)
            assert len(await client.closed) in size
        finally:
            await service.stop()


@pytest.mark.parametrize("limit", [1, 100, 74, 56240, 56241, 500_000])
@pytest_twisted.ensureDeferred
async def test_chargen_ends_at_its_limit(limit: int) -> None:
    service = await serve(plugin, kind="chargen", limit=limit)
    try:
        said = await exchange(service.port, b"ignored")
        assert said == (CHARGEN * (limit // len(CHARGEN) + 1))[:limit]
    finally:
        await service.stop()


@pytest_twisted.ensureDeferred
async def test_chargen_says_no_more_than_is_read_and_drains() -> None:
    """S8: without a limit it is the peer who takes the pace; a drain ends it."""
    from twisted.internet import reactor

    service = await serve(plugin, kind="chargen")
    client = await connect(service.port)
    await client.until(CHARGEN)
    client.transport.pauseProducing()
    await deferLater(reactor, 0.3)
    service.hosted_service.read_traffic()
    before = service.metrics.bytes_sent
    await deferLater(reactor, 0.2)
    service.hosted_service.read_traffic()
    assert service.metrics.bytes_sent == before
    client.transport.resumeProducing()
    await service.stop(5.0)
    said = await client.closed
    assert said == (CHARGEN * (len(said) // len(CHARGEN) + 1))[: len(said)]


@pytest_twisted.ensureDeferred
async def test_udp_echo() -> None:
    service = await serve(plugin, listen=UDP)
    client = DatagramClient()
    client.open()
    try:
        for data in (b"one", b"", b"x" * 8000):
            client.send(data, service.port)
        assert sorted(await client.until(3)) == [b"", b"one", b"x" * 8000]
        assert service.metrics.requests == 3
    finally:
        await client.close()
        await service.stop()


@pytest.mark.parametrize("port", [7, 13, 17, 19, 7007, 7070, 0])
@pytest.mark.parametrize("kind", ["echo", "daytime", "time", "chargen"])
def test_two_services_cannot_be_set_to_loop(kind: str, port: int) -> None:
    """S14: nothing is sent to ports 7, 13, 17, 19 or its own."""
    around = context()
    protocol, sent = datagrams(around, kind=kind, amplify=True)
    protocol.datagramReceived(b"x" * 600, ("192.0.2.1", port))
    assert sent.sent == []
    assert around.metrics.errors["reply_refused"] == 1


@pytest.mark.parametrize(
    ("kind", "request_size", "sent_size"),
    [("daytime", 39, None), ("daytime", 40, 40), ("time", 3, None), ("time", 4, 4)],
)
def test_replies_are_no_larger(kind: str, request_size: int, sent_size: int | None) -> None:
    """S14: a UDP reply is no larger than its request."""
    protocol, sent = datagrams(context(), kind=kind)
    protocol.datagramReceived(b"x" * request_size, ("192.0.2.1", 4711))
    assert [len(data) for data, _ in sent.sent] == ([] if sent_size is None else [sent_size])


def test_larger_replies_where_the_file_says_so() -> None:
    """S14: … unless the file says so."""
    protocol, sent = datagrams(context(), kind="daytime", amplify=True)
    protocol.datagramReceived(b"", ("192.0.2.1", 4711))
    assert sent.sent == [(b"Thursday, January 1, 1970 00:00:00-UTC\r\n", ("192.0.2.1", 4711))]


def test_discard_never_replies() -> None:
    protocol, sent = datagrams(context(), kind="discard")
    protocol.datagramReceived(b"x", ("192.0.2.1", 4711))
    assert sent.sent == []


def test_refused_replies_are_one_line_in_a_while() -> None:
    events: list[dict[str, Any]] = []
    around = context(events)
    protocol, _ = datagrams(around)
    for _ in range(1000):
        protocol.datagramReceived(b"x", ("192.0.2.1", 7))
    around.reactor.advance(20)
    protocol.datagramReceived(b"x", ("192.0.2.1", 7))
    assert [event["count"] for event in events] == [1, 1000]
    assert around.metrics.errors["reply_refused"] == 1001


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"kind": "quote"}, "'echo', 'discard', 'daytime', 'time' or 'chargen'"),
        ({"kind": "echo", "limit": "1MiB"}, "limit is an option of chargen only"),
        ({"kind": "chargen", "limit": 0}, "greater than or equal to 1"),
        ({"amplify": "yes"}, "valid boolean"),
    ],
)
def test_wrong_options(options: dict[str, Any], error: str) -> None:
    with pytest.raises(ValidationError, match=error):
        EchoSettings.model_validate({"protocol": "echo", "listen": "tcp:0", **options})


@pytest_twisted.ensureDeferred
async def test_a_reset_is_the_end_and_no_more() -> None:
    from twisted.internet import reactor

    service = await serve(plugin)
    try:
        client = await connect(service.port)
        client.write(b"x" * 1_000_000)
        await client.until(b"x")
        client.transport.getHandle().setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0"
        )
        client.transport.abortConnection()
        for _ in range(500):
            if not service.metrics.connections_open:
                break
            await deferLater(reactor, 0.01)
        assert service.metrics.connections_open == 0
        assert await exchange(service.port, b"still here") == b"still here"
    finally:
        await service.stop()
