"""Taps on the connections that clients open: every kind of listener, with a tap and without."""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
import trustme
from twisted.internet import reactor as _reactor
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.haproxy._wrapper import HAProxyProtocolWrapper
from zope.interface import implementer

from netserve.capture.model import Endpoint, Flow, Kind, Transport
from netserve.capture.recording.tap import CaptureTap, Recorder
from netserve.connection import Connection, Tap, TapDropped
from netserve.plugin import Hosted, connection_id
from netserve.protocols.echo import plugin as echo
from netserve.reactor.stream import Stream
from netserve.reactor.tls import TLSProtocol
from netserve.server.layers import BEFORE_GATE, BEHIND_GATE
from netserve.server.traffic import CountingTransport
from netserve.testing.hosting import RunningService, connect, exchange, serve
from netserve.testing.mail import in_thread
from netserve.testing.queue import until
from tests.connection.taps import Blocking, Failing, Taps

reactor: Any = _reactor
V1 = b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 25\r\n"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls(authority: trustme.CA, tmp_path: Path) -> dict[str, str]:
    issued = authority.issue_cert("127.0.0.1", key_type=trustme.KeyType.RSA)
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    chain.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())
    return {"certificate": str(chain), "key": str(key)}


class Shout(Protocol):
    """Gives everything back in capitals; says bye at the word quit."""

    made: list[Shout]

    def connectionMade(self) -> None:
        type(self).made.append(self)
        self.transport.write(b"hello\n")

    def dataReceived(self, data: bytes) -> None:
        self.transport.writeSequence([data.upper(), b"."])
        if data.endswith(b"quit"):
            self.transport.write(b"bye")
            self.transport.loseConnection()


@implementer(IHalfCloseableProtocol)
class PatientShout(Shout):
    """The same, and it knows half-closed connections."""

    def readConnectionLost(self) -> None:
        self.transport.write(b"bye")
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """It was us."""


class AsyncioShout(asyncio.Protocol):
    """The same for asyncio."""

    made: list[AsyncioShout]

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        type(self).made.append(self)
        transport.write(b"hello\n")

    def data_received(self, data: bytes) -> None:
        self.transport.writelines([data.upper(), b"."])
        if data.endswith(b"quit"):
            self.transport.write(b"bye")
            self.transport.close()


@pytest.fixture(autouse=True)
def forget() -> None:
    for kind in (Shout, PatientShout, AsyncioShout):
        kind.made = []  # type: ignore[attr-defined]


KINDS = ("tcp", "tcp6", "tls", "ssl", "unix", "haproxy", "balancer", "tls-balancer")


def options_of(kind: str, folder: Path, tls: dict[str, str]) -> dict[str, Any]:
    """The options of a service with a listener of a kind."""
    tcp = "tcp:0:interface=127.0.0.1"
    files = f"privateKey={tls['key']}:certKey={tls['certificate']}"
    balancer = {"proxy_protocol_from": ("127.0.0.0/8",)}
    return {
        "tcp": {"listen": tcp},
        "tcp6": {"listen": "tcp6:0:interface=\\:\\:1"},
        "tls": {"listen": tcp.replace("tcp", "tls"), "tls": tls},
        "ssl": {"listen": f"ssl:0:interface=127.0.0.1:{files}"},
        "unix": {"listen": f"unix:{folder / 'socket'}"},
        "haproxy": {"listen": f"haproxy:{tcp}"},
        "balancer": {"listen": tcp, **balancer},
        "tls-balancer": {"listen": tcp.replace("tcp", "tls"), "tls": tls, **balancer},
    }[kind]


def conversation(
    service: RunningService, kind: str, folder: Path, trust: trustme.CA
) -> Callable[[], bytes]:
    """What talks to the service as a client, and gives all that it got; for a thread."""
    address = service.addresses[0]

    def talk() -> bytes:
        if kind == "unix":
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(str(folder / "socket"))
        else:
            sock = socket.create_connection((address.host, address.port), timeout=10)
        sock.settimeout(10)
        if kind in {"haproxy", "balancer", "tls-balancer"}:
            sock.sendall(V1)
        if kind in {"tls", "ssl", "tls-balancer"}:
            context = ssl.create_default_context()
            trust.configure_trust(context)
            sock = context.wrap_socket(sock, server_hostname="127.0.0.1")
        got = b""
        with sock:
            for word in (b"first ", b"second" * 5000, b" third", b"quit"):
                sock.sendall(word)
            while piece := sock.recv(65536):
                got += piece
        return got

    return talk


TOLD = b"first " + b"second" * 5000 + b" third" + b"quit"


@pytest.mark.parametrize("tapped", [True, False], ids=["tap", "no tap"])
@pytest.mark.parametrize("protocol", [Shout, PatientShout, AsyncioShout])
@pytest.mark.parametrize("kind", KINDS)
@pytest_twisted.ensureDeferred
async def test_every_listener(
    kind: str, protocol: Any, tapped: bool, tmp_path: Path, tls: dict[str, str],
    authority: trustme.CA,
) -> None:  # fmt: skip
    """With a tap, it sees the exact bytes of both directions; without one, nothing changes."""
    stream = protocol if protocol is AsyncioShout else Factory.forProtocol(protocol)
    service = await serve(Hosted(stream=stream), **options_of(kind, tmp_path, tls))
    taps = Taps()
    if tapped:
        service.process.taps.switch_on("test", taps)
    got = await in_thread(conversation(service, kind, tmp_path, authority))
    await until(lambda: not service.metrics.connections_open, reactor=reactor)
    assert got.replace(b".", b"") == b"hello\n" + TOLD.upper() + b"bye"
    (one,) = protocol.made
    transport = one.transport if protocol is not AsyncioShout else one.transport._transport
    assert connection_id(one.transport)
    if tapped:
        (tap,) = taps.opened
        assert connection_id(one.transport) == tap.connection.id
        assert tap.all("received") == TOLD
        assert tap.all("sent") == got
        assert len(tap.reasons) == 1
        # A client of the standard library closes without TLS's goodbye.
        assert tap.connection.tls or tap.reasons[0].check(ConnectionDone)
        check_record(tap.connection, kind, service)
    else:
        assert not taps.opened
        is_tls = kind in {"tls", "ssl", "tls-balancer"}
        counted = kind == "unix"
        assert isinstance(transport, CountingTransport) == counted
        beneath = transport._transport if counted else transport
        expected = (
            TLSProtocol if is_tls else HAProxyProtocolWrapper if kind == "haproxy" else Stream
        )
        assert isinstance(beneath, expected)
    assert not service.metrics.errors
    await service.stop()


def check_record(connection: Connection, kind: str, service: RunningService) -> None:
    assert (connection.service, connection.outgoing) == ("test", False)
    assert connection.tls == (kind in {"tls", "ssl", "tls-balancer"})
    if kind == "unix":
        assert connection.local.name == service.addresses[0].name
    else:
        assert connection.local.port == service.addresses[0].port
        claimed = kind in {"balancer", "tls-balancer"}
        here = "::1" if kind == "tcp6" else "127.0.0.1"
        assert connection.peer.host == ("192.0.2.7" if claimed else here)


@pytest_twisted.ensureDeferred
async def test_after_starttls_a_tap_sees_what_is_inside(
    tmp_path: Path, tls: dict[str, str], authority: trustme.CA
) -> None:
    from netserve.protocols.smtp_relay import plugin as smtp

    service = await serve(
        smtp, state=tmp_path, tls=tls, hostname="mx.test",
        routes=({"deliver": {"discard": True}},),
    )  # fmt: skip
    taps = Taps()
    service.process.taps.switch_on("test", taps)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)

    def work() -> tuple[bytes, bytes]:
        said, heard = [], []
        with socket.create_connection(("127.0.0.1", service.port), timeout=10) as plain:
            sock: Any = plain

            def ask(line: bytes) -> None:
                sock.sendall(line)
                said.append(line)
                listen()

            def listen() -> None:
                answer = b""
                while not (answer.endswith(b"\n") and answer.splitlines()[-1][3:4] == b" "):
                    answer += sock.recv(65536)
                heard.append(answer)

            listen()
            ask(b"EHLO client.test\r\n")
            ask(b"STARTTLS\r\n")
            sock = trusting.wrap_socket(plain, server_hostname="127.0.0.1")
            ask(b"EHLO client.test\r\n")
            ask(b"MAIL FROM:<secret@sender.test>\r\n")
            ask(b"QUIT\r\n")
        return b"".join(said), b"".join(heard)

    said, heard = await in_thread(work)
    await until(lambda: not service.metrics.connections_open, reactor=reactor)
    (tap,) = taps.opened
    assert tap.all("received") == said
    assert tap.all("sent") == heard
    assert b"STARTTLS" in said
    assert b"secret@sender.test" in said
    assert not tap.connection.tls
    await service.stop()


# ---- When it ends.


@pytest_twisted.ensureDeferred
async def test_half_closed_sides_are_told() -> None:
    service = await serve(Hosted(stream=Factory.forProtocol(PatientShout)))
    taps = Taps()
    service.process.taps.switch_on("test", taps)
    assert (await exchange(service.port, b"some")).startswith(b"hello\n")
    await until(lambda: not service.metrics.connections_open, reactor=reactor)
    assert taps.opened[0].halves == [True]
    assert len(taps.opened[0].reasons) == 1
    await service.stop()


@pytest_twisted.ensureDeferred
async def test_a_service_that_stops_ends_its_taps() -> None:
    service = await serve(Hosted(stream=Factory.forProtocol(Shout)))
    taps = Taps()
    service.process.taps.switch_on("test", taps)
    client = await connect(service.port)
    await client.until(b"hello")
    await service.stop(drain=0.2)
    assert len(taps.opened[0].reasons) == 1
    await client.closed


@pytest_twisted.ensureDeferred
async def test_only_connections_that_begin_while_it_is_on_are_tapped() -> None:
    service = await serve(Hosted(stream=Factory.forProtocol(Shout)))
    taps = Taps()
    before = await connect(service.port)
    await before.until(b"hello")
    service.process.taps.switch_on("test", taps)
    service.process.taps.switch_on("another service", Taps())
    during = await connect(service.port)
    await during.until(b"hello")
    service.process.taps.switch_off("test")
    after = await connect(service.port)
    await after.until(b"hello")
    for client in (before, during, after):
        client.write(b"quit")
        await client.closed
    (tap,) = taps.opened
    assert tap.all("received") == b"quit"
    assert [type(one.transport).__name__ for one in Shout.made] == [
        "TCPServerStream", "TappedTransport", "TCPServerStream"
    ]  # fmt: skip
    await service.stop()


@pytest.mark.parametrize("leaves_alone", [False, True])
@pytest_twisted.ensureDeferred
async def test_without_a_tap_nothing_is_in_the_path(leaves_alone: bool) -> None:
    """What the transport calls for data is the protocol's own method: for echo, its `write`."""
    service = await serve(echo)
    if leaves_alone:
        service.process.taps.switch_on("test", lambda _: None)
    client = await connect(service.port)
    client.write(b"hello")
    await client.until(b"hello")
    (gate,) = service.hosted_service.current.gates.open
    transport: Any = gate.raw
    assert type(transport).write == transport.write.__func__
    assert gate.transport is gate.inner.transport is transport
    assert transport.protocol is gate
    assert transport.protocol.dataReceived == gate.inner.dataReceived == transport.write
    client.transport.loseConnection()
    await client.closed
    await service.stop()


@pytest_twisted.ensureDeferred
async def test_it_may_leave_a_connection_alone() -> None:
    service = await serve(Hosted(stream=Factory.forProtocol(Shout)))
    asked: list[Connection] = []

    def nothing(connection: Connection) -> Tap | None:
        asked.append(connection)
        return None

    service.process.taps.switch_on("test", nothing)
    assert await exchange(service.port, b"quit") == b"hello\nQUIT.bye"
    assert len(asked) == 1
    assert isinstance(Shout.made[0].transport, Stream)
    await service.stop()


# ---- Taps that misbehave.


@pytest.mark.parametrize("at", ["received", "sent", "half_closed", "ended"])
@pytest.mark.parametrize("after", [0, 1])
@pytest_twisted.ensureDeferred
async def test_a_tap_that_fails_is_dropped_and_nobody_notices(
    at: str, after: int, log_errors: list[Any]
) -> None:
    service = await serve(Hosted(stream=Factory.forProtocol(PatientShout)))
    opened: list[Failing] = []

    def failing(connection: Connection) -> Tap:
        opened.append(Failing(connection, at, after))
        return opened[-1]

    service.process.taps.switch_on("test", failing)
    client = await connect(service.port)
    await client.until(b"hello\n")
    for word in (b"one", b"two", b"three"):
        client.write(word)
        await client.until(word.upper())
    client.transport.loseWriteConnection()
    assert await client.closed == b"hello\nONE.TWO.THREE.bye"
    await until(lambda: not service.metrics.connections_open, reactor=reactor)
    (tap,) = opened
    fails = after == 0 or at in {"received", "sent"}
    assert tap.has_failed == fails
    assert tap.calls_after == 0
    assert service.metrics.errors["tap"] == fails
    assert len(log_errors) == fails
    if fails:
        assert log_errors[0]["connection_id"] == tap.connection.id
    await service.stop()


@pytest.fixture
def log_errors() -> Any:
    from twisted.logger import LogLevel, globalLogPublisher

    found: list[Any] = []

    def observe(event: Any) -> None:
        if event.get("log_level") in {LogLevel.error, LogLevel.critical}:
            found.append(event)

    globalLogPublisher.addObserver(observe)
    yield found
    globalLogPublisher.removeObserver(observe)


@pytest_twisted.ensureDeferred
async def test_a_tap_that_cannot_be_opened(log_errors: list[Any]) -> None:
    service = await serve(Hosted(stream=Factory.forProtocol(Shout)))

    def cannot(connection: Connection) -> Tap:
        raise OSError("no room")

    service.process.taps.switch_on("test", cannot)
    for _ in range(5):
        assert await exchange(service.port, b"quit") == b"hello\nQUIT.bye"
    assert service.metrics.errors["tap"] == 5
    assert len(log_errors) == 1, "a line a second at most"
    assert isinstance(Shout.made[0].transport, Stream)
    await service.stop()


@pytest_twisted.ensureDeferred
async def test_a_tap_that_blocks_is_dropped(log_errors: list[Any]) -> None:
    service = await serve(Hosted(stream=Factory.forProtocol(Shout)))
    opened: list[Blocking] = []

    def blocking(connection: Connection) -> Tap:
        opened.append(Blocking(connection))
        return opened[-1]

    service.process.taps.switch_on("test", blocking)
    client = await connect(service.port)
    for count in range(10):
        client.write(b"%d" % count)
        await client.until(b"%d." % count)
    client.write(b"quit")
    assert (await client.closed).endswith(b"9.QUIT.bye")
    (tap,) = opened
    assert len([what for what, _ in tap.pieces if what == "received"]) == 3
    assert tap.reasons[0].check(TapDropped)
    assert len(tap.reasons) == 1
    assert service.metrics.errors["tap"] == 1
    assert len(log_errors) == 1
    await service.stop()


@pytest_twisted.ensureDeferred
async def test_a_capture_that_nobody_empties_is_bounded_and_counts() -> None:
    """The tap of captures: what does not fit is counted, and the peer gets everything."""
    service = await serve(echo)
    recorder = Recorder(most_bytes=100_000)

    def capture(connection: Connection) -> Tap:
        flow = Flow(
            1, connection.service, Transport.TCP,
            Endpoint(connection.local.host, connection.local.port),
            Endpoint(connection.peer.host, connection.peer.port),
            identity=connection.id, tls=connection.tls,
        )  # fmt: skip
        return CaptureTap(flow, recorder, lambda: 0)

    service.process.taps.switch_on("test", capture)
    data = random.Random(1).randbytes(2_000_000)
    assert await exchange(service.port, data, seconds=30) == data
    await until(lambda: not service.metrics.connections_open, reactor=reactor)
    assert recorder.waiting <= recorder.most
    assert recorder.dropped_bytes > 3_000_000
    records = recorder.take(10_000)
    kept = sum(len(value) for _, _, _, value in records if isinstance(value, bytes))
    lost = sum(
        value[1] for _, _, kind, value in records
        if kind in {Kind.LOST_RECEIVED, Kind.LOST_SENT} and isinstance(value, tuple)
    )  # fmt: skip
    assert kept + lost == 2 * len(data)
    assert not service.metrics.errors
    await service.stop()


def test_the_list_of_layers() -> None:
    assert [layer.__name__ for layer in BEFORE_GATE] == ["proxy_header", "admission", "tls"]
    assert [layer.__name__ for layer in BEHIND_GATE] == ["counting", "tap"]
