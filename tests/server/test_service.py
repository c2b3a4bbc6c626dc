"""Hosting over real sockets: admission, timeouts, TLS, drain, asyncio protocols."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
import trustme
from twisted.internet import reactor, ssl
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol, wrapClientTLS
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IPullProducer
from twisted.internet.protocol import DatagramProtocol, Factory, Protocol
from twisted.internet.task import deferLater
from zope.interface import implementer

from netserve.plugin import Hosted
from netserve.server.service import Service
from netserve.testing import hosting
from netserve.testing.hosting import Client, RunningService, connect, exchange, serve


class Echo(Protocol):
    def dataReceived(self, data: bytes) -> None:
        self.transport.write(data)


class EchoDatagrams(DatagramProtocol):
    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        self.transport.write(datagram, addr)


def echo(**more: Any) -> Hosted:
    return Hosted(stream=Factory.forProtocol(Echo), **more)


async def until(condition: Any, seconds: float = 5.0) -> None:
    deadline = reactor.seconds() + seconds
    while not condition():
        assert reactor.seconds() < deadline, "the condition did not come true in time"
        await deferLater(reactor, 0.01)


@pytest_twisted.ensureDeferred
async def test_connections_and_bytes_are_counted() -> None:
    service = await serve(echo())
    assert await exchange(service.port, b"hello") == b"hello"
    await until(lambda: service.metrics.connections_open == 0)
    assert service.metrics.connections_total == 1
    assert (service.metrics.bytes_received, service.metrics.bytes_sent) == (5, 5)
    await service.stop()


@pytest_twisted.ensureDeferred
async def test_unix_sockets_are_served_and_counted(tmp_path: Path) -> None:
    service = await serve(echo(), listen="unix:echo.sock", state=tmp_path)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "echo.sock"))
        client.sendall(b"over a path")
        await until(lambda: service.metrics.connections_open == 1)
        service.hosted_service.read_traffic()
        await until(lambda: _counted(service) == (11, 11))
        assert client.recv(100) == b"over a path"
    await service.stop()


def _counted(service: RunningService) -> tuple[int, int]:
    service.hosted_service.read_traffic()
    return service.metrics.bytes_received, service.metrics.bytes_sent


@pytest_twisted.ensureDeferred
async def test_a_connection_past_the_limit_is_told_so() -> None:
    """S8: connections are limited in all."""
    service = await serve(echo(refusal=b"421 too many\r\n"), limits={"connections": 1})
    first = await connect(service.port)
    first.write(b"x")
    await first.until(b"x")
    second = await connect(service.port)
    assert await second.closed == b"421 too many\r\n"
    assert service.metrics.connections_refused == {"connections": 1}
    first.transport.loseConnection()
    await first.closed
    await until(lambda: service.metrics.connections_open == 0)
    assert await exchange(service.port, b"again") == b"again"
    await service.stop()


@pytest_twisted.ensureDeferred
async def test_connections_of_one_address_are_limited() -> None:
    """S8: connections are limited per address."""
    service = await serve(echo(), limits={"connections_per_address": 2})
    clients = [await connect(service.port) for _ in range(3)]
    await clients[2].closed
    assert service.metrics.connections_refused == {"connections_per_address": 1}
    await service.stop(drain=0.1)


@pytest_twisted.ensureDeferred
async def test_a_denied_address_hears_nothing() -> None:
    service = await serve(echo(refusal=b"not for you"), deny=("127.0.0.0/8",))
    client = await connect(service.port)
    assert await client.closed == b""
    await service.stop()


@pytest_twisted.ensureDeferred
async def test_an_idle_connection_is_closed_and_a_busy_one_is_not() -> None:
    """S10: every listener has an idle timeout."""
    service = await serve(echo(), limits={"idle_timeout": 1.0})
    idle, busy = await connect(service.port), await connect(service.port)
    turns = 0
    while not idle.closed.called:
        busy.write(b"x")
        await deferLater(reactor, 0.1)
        turns += 1
        assert turns < 60
    assert not busy.closed.called
    assert service.metrics.errors == {"idle_timeout": 1}
    await service.stop(drain=0.1)


class OwnProducer(Echo):
    """As echo is: its transport is its own producer, which never ends by itself."""

    def connectionMade(self) -> None:
        self.transport.registerProducer(self.transport, True)


@pytest_twisted.ensureDeferred
async def test_an_idle_connection_with_a_producer_is_closed_in_order_and_counted_once() -> None:
    hosted = Hosted(stream=Factory.forProtocol(OwnProducer))
    service = await serve(hosted, limits={"idle_timeout": 0.5})
    client = await connect(service.port)
    await client.closed
    assert client.reason.check(ConnectionDone)
    assert service.metrics.errors == {"idle_timeout": 1}
    await service.stop()


@pytest.mark.parametrize("bug", [False, True])
@pytest_twisted.ensureDeferred
async def test_an_idle_connection_ends_in_the_words_of_its_protocol(bug: bool) -> None:
    class Polite(Echo):
        def timed_out(self) -> None:
            self.transport.write(b"bye")
            if bug:
                raise RuntimeError("a bug")
            self.transport.loseConnection()

    hosted = Hosted(stream=Factory.forProtocol(Polite))
    service = await serve(hosted, limits={"idle_timeout": 0.5})
    client = await connect(service.port)
    assert await client.closed == b"bye"
    assert service.metrics.errors == {"idle_timeout": 1} | ({"internal": 1} if bug else {})
    await service.stop()


@pytest_twisted.ensureDeferred
async def test_a_connection_that_does_not_end_when_told_is_cut() -> None:
    class Stubborn(Echo):
        def timed_out(self) -> None:
            pass

    hosted = Hosted(stream=Factory.forProtocol(Stubborn))
    service = await serve(hosted, limits={"idle_timeout": 0.5})
    client = await connect(service.port)
    await client.closed
    assert service.metrics.errors == {"idle_timeout": 1}
    await service.stop()


@pytest_twisted.ensureDeferred
async def test_a_peer_that_does_not_read_is_closed_too() -> None:
    """S10: what was written but not taken does not keep a connection for ever."""

    class Pour(Protocol):
        def connectionMade(self) -> None:
            self.transport.write(b"x" * 50_000_000)

    service = await serve(Hosted(stream=Factory.forProtocol(Pour)), limits={"idle_timeout": 0.5})
    with socket.create_connection(("127.0.0.1", service.port)):
        await until(lambda: service.metrics.connections_open == 1)
        await until(lambda: service.metrics.connections_open == 0, seconds=10)
    assert service.metrics.errors == {"idle_timeout": 1}
    await service.stop()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    for name in ("localhost", "other.example"):
        issued = authority.issue_cert(name)
        issued.private_key_pem.write_to_path(folder / f"{name}.key")
        for pem in issued.cert_chain_pems:
            pem.write_to_path(folder / f"{name}.pem", append=True)
    return {"folder": folder, "authority": authority}


def tls_options(certificate: dict[str, Any], **more: Any) -> dict[str, Any]:
    folder = certificate["folder"]
    return {
        "certificate": str(folder / "localhost.pem"),
        "key": str(folder / "localhost.key"),
        **more,
    }


async def connect_tls(
    service: RunningService, certificate: dict[str, Any], name: str = "localhost"
) -> Client:
    root = ssl.Certificate.loadPEM(certificate["authority"].cert_pem.bytes())
    options = ssl.optionsForClientTLS(name, trustRoot=root)
    endpoint = wrapClientTLS(options, HostnameEndpoint(reactor, "127.0.0.1", service.port))
    return await connectProtocol(endpoint, Client())


@pytest_twisted.ensureDeferred
async def test_tls_and_names_by_sni(certificate: dict[str, Any]) -> None:
    """S19: TLS 1.2 or newer with the right certificate for each name."""
    folder = certificate["folder"]
    more = {
        "certificate": str(folder / "other.example.pem"),
        "key": str(folder / "other.example.key"),
    }
    service = await serve(echo(), tls=tls_options(certificate, more=(more,)))
    for name in ("localhost", "other.example"):
        client = await connect_tls(service, certificate, name)
        client.write(b"secret")
        assert await client.until(b"secret") == b"secret"
        assert client.transport.getPeerCertificate() is not None
        client.transport.loseConnection()
        await client.closed
        assert client.reason.check(ConnectionDone)
    await until(lambda: service.metrics.connections_open == 0)
    assert service.metrics.errors == {}
    await service.stop()


@pytest_twisted.ensureDeferred
async def test_a_handshake_that_does_not_come(certificate: dict[str, Any]) -> None:
    """S10: every listener has a handshake timeout."""
    service = await serve(echo(), tls=tls_options(certificate), limits={"handshake_timeout": 0.2})
    client = await connect(service.port)
    await client.closed
    assert service.metrics.errors == {"handshake_timeout": 1}
    good = await connect_tls(service, certificate)
    await deferLater(reactor, 0.4)
    good.write(b"still here")
    await good.until(b"still here")
    await service.stop(drain=0.1)


@pytest_twisted.ensureDeferred
async def test_garbage_instead_of_a_handshake(certificate: dict[str, Any]) -> None:
    service = await serve(echo(), tls=tls_options(certificate))
    client = await connect(service.port)
    client.write(b"GET / HTTP/1.1\r\n\r\n")
    await client.closed
    await until(lambda: service.metrics.connections_open == 0)
    await service.stop()


@pytest_twisted.ensureDeferred
async def test_drain_lets_work_finish_and_closes_what_is_quiet() -> None:
    class Working(Echo):
        def drain(self) -> None:
            reactor.callLater(0.3, self.finish)

        def finish(self) -> None:
            self.transport.write(b"done")
            self.transport.loseConnection()

    service = await serve(Hosted(stream=Factory.forProtocol(Working)))
    working = await connect(service.port)
    working.write(b"x")
    await working.until(b"x")
    await service.stop(drain=5.0)
    assert await working.closed == b"xdone"

    service = await serve(echo())
    quiet = await connect(service.port)
    started = reactor.seconds()
    await service.stop(drain=30.0)
    assert reactor.seconds() - started < 5
    await quiet.closed


@pytest_twisted.ensureDeferred
async def test_drain_closes_a_quiet_connection_whose_producer_never_ends() -> None:
    service = await serve(Hosted(stream=Factory.forProtocol(OwnProducer)))
    quiet = await connect(service.port)
    quiet.write(b"x")
    await quiet.until(b"x")
    await service.stop(drain=10.0)
    await quiet.closed
    assert quiet.reason.check(ConnectionDone)  # at the end of the time it would be cut


@pytest_twisted.ensureDeferred
async def test_drain_lets_a_producer_go_on_that_waits_for_its_peer() -> None:
    """A peer that is slow to read gets all of a file, though nothing moved for a while."""
    size = 20_000_000

    @implementer(IPullProducer)
    class Sending(Protocol):
        left = size

        def connectionMade(self) -> None:
            self.transport.registerProducer(self, False)

        def resumeProducing(self) -> None:
            piece = min(self.left, 100_000)
            self.left -= piece
            self.transport.write(b"x" * piece)
            if not self.left:
                self.transport.unregisterProducer()

        def stopProducing(self) -> None:
            pass

    service = await serve(Hosted(stream=Factory.forProtocol(Sending)))
    client = await connect(service.port)
    client.transport.pauseProducing()
    await until(lambda: service.metrics.connections_open == 1)
    stopping = Deferred.fromCoroutine(service.stop(drain=60.0))
    await deferLater(reactor, 1.2)  # longer than a connection has to be quiet
    client.transport.resumeProducing()
    assert len(await client.closed) == size
    await stopping


@pytest_twisted.ensureDeferred
async def test_drain_has_an_end() -> None:
    class Stubborn(Echo):
        def drain(self) -> None:
            pass

    service = await serve(Hosted(stream=Factory.forProtocol(Stubborn)))
    client = await connect(service.port)
    await service.stop(drain=0.3)
    await client.closed
    assert service.metrics.connections_open == 0


@pytest_twisted.ensureDeferred
async def test_connections_wait_for_the_start() -> None:
    ready: Deferred[None] = Deferred()
    hosted = echo(start=lambda: ready)
    service: list[RunningService] = []
    Deferred.fromCoroutine(serve(hosted, listen="tcp:17619:interface=127.0.0.1")).addCallback(
        service.append
    )
    client = await connect(17619)
    client.write(b"early")
    await deferLater(reactor, 0.1)
    assert client.received == b""
    assert not service
    ready.callback(None)
    assert await client.until(b"early") == b"early"
    await service[0].stop(drain=0.1)


@pytest_twisted.ensureDeferred
async def test_a_stop_before_the_start_closes_what_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A protocol that was never told of its connection is not told to finish it either."""

    class Unready(Echo):
        def drain(self) -> None:
            raise AssertionError("there is no connection yet")

    made: list[Service] = []

    def noted(*built: Any, **options: Any) -> Service:
        made.append(Service(*built, **options))
        return made[-1]

    never: Deferred[None] = Deferred()
    hosted = Hosted(stream=Factory.forProtocol(Unready), start=lambda: never)
    monkeypatch.setattr(hosting, "Service", noted)
    starting = Deferred.fromCoroutine(serve(hosted))
    (address,) = made[0].addresses()
    client = await connect(address.port)
    await until(lambda: made[0].metrics.connections_open == 1)
    await made[0].drain(5.0)
    await client.closed
    assert made[0].metrics.errors == {}
    never.errback(ConnectionError("given up"))
    with pytest.raises(ConnectionError):
        await starting


@pytest_twisted.ensureDeferred
async def test_a_bug_in_a_drain_holds_nobody_up() -> None:
    class Broken(Echo):
        def drain(self) -> None:
            raise RuntimeError("a bug")

    service = await serve(Hosted(stream=Factory.forProtocol(Broken)))
    clients = [await connect(service.port) for _ in range(2)]
    for client in clients:
        client.write(b"x")
        await client.until(b"x")
    await service.stop(drain=5.0)
    for client in clients:
        await client.closed
    assert service.metrics.errors == {"internal": 2}


@pytest_twisted.ensureDeferred
async def test_a_bug_in_a_factory_refuses_one_connection_only() -> None:
    class Fragile(Factory):
        built = 0

        def buildProtocol(self, addr: Any) -> Protocol:
            self.built += 1
            if self.built == 1:
                raise RuntimeError("a bug")
            return Echo()

    service = await serve(Hosted(stream=Fragile()))
    first = await connect(service.port)
    await first.closed
    assert await exchange(service.port, b"x") == b"x"
    assert service.metrics.errors == {"internal": 1}
    await service.stop()


@pytest_twisted.ensureDeferred
async def test_datagrams_are_gated_and_counted() -> None:
    service = await serve(Hosted(datagram=EchoDatagrams), listen="udp:0:interface=127.0.0.1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setblocking(False)
        client.sendto(b"ping", ("127.0.0.1", service.port))
        await until(lambda: service.metrics.bytes_sent == 4)
        assert client.recv(100) == b"ping"
    assert service.metrics.bytes_received == 4
    await service.stop()


class AsyncioEcho(asyncio.Protocol):
    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.peer = transport.get_extra_info("peername")

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)

    def eof_received(self) -> bool:
        self.transport.write(b"|eof from %s" % self.peer[0].encode())
        return False


@pytest_twisted.ensureDeferred
async def test_asyncio_protocols_are_hosted() -> None:
    service = await serve(Hosted(stream=AsyncioEcho))
    assert await exchange(service.port, b"hi") == b"hi|eof from 127.0.0.1"
    await service.stop()


@pytest_twisted.ensureDeferred
async def test_asyncio_protocols_feel_backpressure() -> None:
    class Flow(AsyncioEcho):
        paused = 0

        def pause_writing(self) -> None:
            Flow.paused += 1

        def resume_writing(self) -> None:
            self.transport.write(b"drained")
            self.transport.close()

        def data_received(self, data: bytes) -> None:
            self.transport.write(b"x" * 20_000_000)

        def eof_received(self) -> bool:
            return True  # the sending side stays open

    service = await serve(Hosted(stream=Flow))
    assert (await exchange(service.port, b"go", seconds=30)).endswith(b"xdrained")
    assert Flow.paused == 1
    await service.stop()


@pytest_twisted.ensureDeferred
async def test_a_taken_port_says_so() -> None:
    service = await serve(echo())
    with pytest.raises(RuntimeError, match=r"cannot listen on tcp:\d+:.*: address in use"):
        await serve(echo(), listen=f"tcp:{service.port}:interface=127.0.0.1")
    await service.stop()
