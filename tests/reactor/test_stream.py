"""What netserve's transports promise beyond what Twisted's own tests ask of them."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
import trustme
from twisted.internet import reactor as installed
from twisted.internet import tcp, unix
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import (
    TCP4ClientEndpoint,
    UNIXClientEndpoint,
    connectProtocol,
    wrapClientTLS,
)
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol, IHandshakeListener
from twisted.internet.protocol import ClientFactory, Factory, Protocol
from twisted.internet.ssl import (
    Certificate,
    PrivateCertificate,
    optionsForClientTLS,
    trustRootFromCertificates,
)
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from zope.interface import implementer

from netserve.reactor import NetserveReactor
from netserve.reactor.stream import Stream

reactor: Any = installed


class Recorder(Protocol):
    """Keeps what comes; its Deferreds fire when it is connected, and when it is lost."""

    def __init__(self) -> None:
        self.data = b""
        self.made: Deferred[Any] = Deferred()
        self.lost: Deferred[Any] = Deferred()
        self.begin: Callable[[Recorder], object] = lambda _: None
        self.reason: Any = None
        self.end: Callable[[Recorder], object] = lambda _: None

    def connectionMade(self) -> None:
        self.begin(self)
        self.made.callback(self)

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def connectionLost(self, reason: Any) -> None:
        self.end(self)
        self.reason = reason
        self.lost.callback(self)


class One(Factory):
    """Gives out one protocol."""

    def __init__(self, protocol: Protocol) -> None:
        self._protocol = protocol

    def buildProtocol(self, addr: Any) -> Protocol:
        return self._protocol


class OneClient(One, ClientFactory):
    """The same for who connects."""


async def until(condition: Callable[[], object], seconds: float = 5) -> None:
    end = reactor.seconds() + seconds
    while not condition():
        assert reactor.seconds() < end, "it did not come to pass"
        await deferLater(reactor, 0.005, lambda: None)


async def connected(server: Recorder, client: Recorder) -> Any:
    """Connect the two over TCP; gives the port."""
    port = reactor.listenTCP(0, One(server), interface="127.0.0.1")
    await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port), client)
    await server.made
    return port


def test_the_reactor_is_ours() -> None:
    assert isinstance(reactor, NetserveReactor)


@pytest.mark.parametrize("kind", [tcp, unix], ids=["TCP", "UNIX"])
@pytest_twisted.ensureDeferred
async def test_programs_that_look_for_twisteds_classes_find_them(kind: Any, tmp_path: Path) -> None:
    """treq's tests wait until no `tcp.Client` is left among the reactor's readers."""
    server, client = Recorder(), Recorder()
    if kind is tcp:
        port = await connected(server, client)
    else:
        path = str(tmp_path / "socket")
        port = reactor.listenUNIX(path, Factory.forProtocol(lambda: server))
        await connectProtocol(UNIXClientEndpoint(reactor, path), client)
        await server.made
    assert isinstance(server.transport, kind.Server)
    assert isinstance(client.transport, kind.Client)
    assert {server.transport, client.transport} <= set(reactor.getReaders())
    client.transport.loseConnection()
    await client.lost
    await server.lost
    assert not any(isinstance(it, kind.Client) for it in reactor.getReaders())
    await port.stopListening()


@pytest_twisted.ensureDeferred
async def test_what_is_written_on_connection_comes_first() -> None:
    server, client = Recorder(), Recorder()
    server.begin = lambda it: [it.transport.write(b"220 "), it.transport.write(b"hello\r\n")]
    port = await connected(server, client)
    server.transport.write(b"later")
    await until(lambda: client.data == b"220 hello\r\nlater")
    client.transport.loseConnection()
    await server.lost
    await port.stopListening()


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("written", [b"", b"banner"])
async def test_a_protocol_that_pauses_on_connection_gets_nothing_before_it_resumes(
    written: bytes,
) -> None:
    server, client = Recorder(), Recorder()

    def begin(it: Recorder) -> None:
        it.transport.write(written)
        it.transport.pauseProducing()

    server.begin = begin
    client.begin = lambda it: it.transport.write(b"early")
    port = await connected(server, client)
    await deferLater(reactor, 0.05, lambda: None)
    assert server.data == b""
    assert client.data == written
    server.transport.resumeProducing()
    await until(lambda: server.data == b"early")
    client.transport.write(b" late")
    await until(lambda: server.data == b"early late")
    client.transport.loseConnection()
    await server.lost
    await port.stopListening()


@pytest.mark.parametrize("last", [b"data", b""], ids=["data", "only the end"])
@pytest_twisted.ensureDeferred
async def test_a_protocol_that_loses_its_connection_at_once_gets_nothing(last: bytes) -> None:
    @implementer(IHalfCloseableProtocol)
    class HalfCloseable(Recorder):
        def readConnectionLost(self) -> None:
            self.data += b"the end"

        def writeConnectionLost(self) -> None:
            pass

    def begin(protocol: Recorder) -> None:
        # Large enough not to be sent at once, so that the loop has time to read.
        protocol.transport.write(b"x" * 20_000_000)
        protocol.transport.loseConnection()

    server = HalfCloseable()
    server.begin = begin
    port = reactor.listenTCP(0, One(server), interface="127.0.0.1")

    def talk() -> int:
        with socket.create_connection(("127.0.0.1", port.getHost().port), timeout=10) as client:
            client.sendall(last)
            client.shutdown(socket.SHUT_WR)
            return sum(map(len, iter(lambda: client.recv(1_000_000), b"")))

    assert await deferToThread(talk) == 20_000_000
    await server.lost
    assert server.data == b""
    await port.stopListening()


@pytest_twisted.ensureDeferred
async def test_a_pull_producer_is_asked_once_older_data_is_sent() -> None:
    server, client = Recorder(), Recorder()
    port = await connected(server, client)
    client.transport.pauseProducing()
    size = 0
    while not server.transport.unsent():  # by little, so that the loop's buffer does not fill
        server.transport.write(bytes(10_000))
        size += 10_000
        await deferLater(reactor, 0)

    class Late:
        """It has nothing at first."""

        asked = 0

        def resumeProducing(self) -> None:
            self.asked += 1
            if self.asked == 2:
                server.transport.write(b"late")
                server.transport.unregisterProducer()

        def stopProducing(self) -> None:
            pass

    server.transport.registerProducer(Late(), False)
    client.transport.resumeProducing()
    await until(lambda: len(client.data) == size + 4)
    client.transport.loseConnection()
    await server.lost
    await port.stopListening()


@pytest_twisted.ensureDeferred
async def test_writing_after_the_end_does_nothing_even_by_a_method_kept_from_before() -> None:
    server, client = Recorder(), Recorder()
    port = await connected(server, client)
    write = client.transport.write
    client.transport.loseConnection()
    await client.lost
    write(b"too late")
    client.transport.writeSequence([b"too", b"late"])
    await server.lost
    assert server.data == b""
    await port.stopListening()


@pytest_twisted.ensureDeferred
async def test_the_socket_is_open_while_the_protocol_hears_of_its_end() -> None:
    server, client = Recorder(), Recorder()
    seen: list[bytes] = []

    def end(it: Recorder) -> None:
        handle = it.transport.getHandle()
        seen.append(handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256))

    server.end = end
    port = await connected(server, client)
    client.transport.loseConnection()
    await server.lost
    assert len(seen[0]) > 100
    await until(lambda: server.transport.fileno() == -1)
    await port.stopListening()


@pytest_twisted.ensureDeferred
async def test_the_end_of_input_loses_nothing_that_was_written() -> None:
    server, client = Recorder(), Recorder()
    port = await connected(server, client)
    client.transport.pauseProducing()
    server.transport.write(b"x" * 8_000_000)
    client.transport.getHandle().shutdown(socket.SHUT_WR)
    await deferLater(reactor, 0.05, lambda: None)
    client.transport.resumeProducing()
    await client.lost
    assert len(client.data) == 8_000_000
    assert client.reason.check(ConnectionDone)
    await server.lost
    await port.stopListening()


@pytest_twisted.ensureDeferred
async def test_nagle_stays_on_for_who_asks_on_connection() -> None:
    server, client = Recorder(), Recorder()
    server.begin = lambda it: it.transport.setTcpNoDelay(False)
    port = await connected(server, client)
    await deferLater(reactor, 0.02, lambda: None)
    assert not server.transport.getTcpNoDelay()
    assert client.transport.getTcpNoDelay()
    client.transport.loseConnection()
    await server.lost
    await port.stopListening()


@pytest_twisted.ensureDeferred
async def test_data_received_may_be_assigned_to_at_any_time() -> None:
    server, client = Recorder(), Recorder()
    port = await connected(server, client)
    other: list[bytes] = []
    server.dataReceived = other.append  # type: ignore[method-assign]  # it is what is tested
    client.transport.write(b"for the other")
    await until(lambda: other == [b"for the other"])
    client.transport.loseConnection()
    await server.lost
    await port.stopListening()


@pytest_twisted.ensureDeferred
async def test_a_descriptor_crosses_a_unix_socket(tmp_path: Path) -> None:
    server, client = Recorder(), Recorder()
    path = str(tmp_path / "s")
    port = reactor.listenUNIX(path, One(server))
    await connectProtocol(UNIXClientEndpoint(reactor, path), client)
    await server.made
    assert isinstance(server.transport, Stream)
    ours, theirs = socket.socketpair()
    server.transport.pauseProducing()  # the test reads in its place
    client.transport.sendFileDescriptor(theirs.fileno())
    client.transport.write(b"here it is")
    await deferLater(reactor, 0.05, lambda: None)
    data, (got,), *_ = socket.recv_fds(server.transport.getHandle(), 100, 1)
    with socket.socket(fileno=got) as crossed:
        crossed.sendall(b"over there")
    assert ours.recv(100) == b"over there"
    rest = server.transport.getHandle().recv(100)
    assert data + rest == b"here it is"
    ours.close()
    theirs.close()
    client.transport.loseConnection()
    server.transport.loseConnection()
    await client.lost
    await port.stopListening()


@implementer(IHandshakeListener)
class Shaken(Recorder):
    def __init__(self) -> None:
        super().__init__()
        self.shaken: Deferred[None] = Deferred()

    def handshakeCompleted(self) -> None:
        self.shaken.callback(None)


@pytest.fixture
def tls() -> tuple[Any, Any]:
    """What a server and a client need to trust each other."""
    authority = trustme.CA()
    made = authority.issue_cert("localhost")
    served = PrivateCertificate.loadPEM(made.private_key_and_cert_chain_pem.bytes())
    roots = trustRootFromCertificates([Certificate.loadPEM(authority.cert_pem.bytes())])
    return served.options(), optionsForClientTLS("localhost", roots)


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("layer", ["ours", "twisted's"])
async def test_large_messages_in_tls_do_not_wait_for_acknowledgements(
    tls: tuple[Any, Any], layer: str
) -> None:
    """By 40 ms each, as Nagle's algorithm has it, 100 of them would take 4 s."""

    class Echo(Protocol):
        def dataReceived(self, data: bytes) -> None:
            self.transport.write(data)

    client = Shaken()
    port = reactor.listenSSL(0, Factory.forProtocol(Echo), tls[0], interface="127.0.0.1")
    number = port.getHost().port
    if layer == "ours":
        reactor.connectSSL("127.0.0.1", number, OneClient(client), tls[1])
    else:
        endpoint = wrapClientTLS(tls[1], TCP4ClientEndpoint(reactor, "127.0.0.1", number))
        await connectProtocol(endpoint, client)
    await client.shaken
    begin = reactor.seconds()
    for round_ in range(1, 101):
        client.transport.write(b"y" * 65536)
        while len(client.data) < 65536 * round_:
            await deferLater(reactor, 0, lambda: None)
    assert reactor.seconds() - begin < 3
    assert client.transport.getPeerCertificate() is not None
    client.transport.loseConnection()
    await client.lost
    await port.stopListening()


@pytest_twisted.ensureDeferred
async def test_tls_started_on_both_sides_carries_both_ways(tls: tuple[Any, Any]) -> None:
    server, client = Shaken(), Shaken()
    port = await connected(server, client)
    server.transport.startTLS(tls[0])
    client.transport.startTLS(tls[1])
    client.transport.write(b"secret question")
    server.transport.write(b"secret ")
    server.transport.write(b"answer")
    await until(lambda: server.data == b"secret question")
    await until(lambda: client.data == b"secret answer")
    client.transport.loseConnection()
    await server.lost
    await client.lost
    await port.stopListening()
