"""The ways into a service: TLS by address, and PROXY headers from load balancers."""

from __future__ import annotations

import asyncio
import socket
import struct
from ipaddress import ip_network
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import pytest_twisted
import trustme
from twisted.internet import reactor, ssl
from twisted.internet.address import IPv4Address
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol, wrapClientTLS
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from netserve.connection import Tracker
from netserve.plugin import Hosted
from netserve.server.proxy_header import HeaderReader
from netserve.server.service import Service
from netserve.server.way_in import WayIn
from netserve.testing import hosting
from netserve.testing.hosting import FREE_PORT, Client, connect, exchange, serve
from netserve.testing.queue import until
from netserve.wire.proxy_header import read_proxy_header

V1 = b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 25\r\n"
V2 = (
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11"
    + struct.pack("!H", 12)
    + bytes([192, 0, 2, 7, 10, 0, 0, 1])
    + struct.pack("!HH", 4711, 25)
)
LOCAL = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\0\0"
BALANCER = ("127.0.0.0/8",)


class Who(Protocol):
    """Says whom it speaks with, then gives back what it gets."""

    def connectionMade(self) -> None:
        peer = self.transport.getPeer()
        self.transport.write(f"{peer.host}\n".encode())

    def dataReceived(self, data: bytes) -> None:
        self.transport.write(data)


def who(**more: Any) -> Hosted:
    return Hosted(stream=Factory.forProtocol(Who), **more)


# ---- HAProxy's PROXY protocol.


@pytest.mark.parametrize("header", [V1, V2])
@pytest_twisted.ensureDeferred
async def test_the_client_is_who_the_header_names(header: bytes) -> None:
    """And what stands behind it in the same piece is the client's."""
    service = await serve(who(), proxy_protocol_from=BALANCER)
    assert await exchange(service.port, header + b"hello") == b"192.0.2.7\nhello"
    assert service.metrics.connections_total == 1
    await service.stop()


@pytest.mark.parametrize("header", [V1, V2])
@pytest_twisted.ensureDeferred
async def test_a_header_that_comes_in_pieces(header: bytes) -> None:
    service = await serve(who(), proxy_protocol_from=BALANCER)
    client = await connect(service.port)
    client.transport.setTcpNoDelay(True)
    for at in range(len(header)):
        client.write(header[at : at + 1])
        await deferLater(reactor, 0)
    assert await client.until(b"\n") == b"192.0.2.7\n"
    client.transport.loseConnection()
    await client.closed
    await service.stop()


@pytest_twisted.ensureDeferred
async def test_a_balancer_s_own_check_counts_as_itself() -> None:
    service = await serve(who(), proxy_protocol_from=BALANCER)
    assert await exchange(service.port, LOCAL) == b"127.0.0.1\n"
    assert await exchange(service.port, b"PROXY UNKNOWN\r\n") == b"127.0.0.1\n"
    await service.stop()


@pytest_twisted.ensureDeferred
async def test_from_others_it_is_the_plain_protocol() -> None:
    """Nobody else can claim to be somebody."""
    service = await serve(who(), proxy_protocol_from=("192.0.2.0/24",))
    assert await exchange(service.port, V1) == b"127.0.0.1\n" + V1
    await service.stop()


@pytest.mark.parametrize("data", [b"hello\r\n", b"PROXY TCP4 1 2 3 4\r\n", b"\x16\x03\x01\x02"])
@pytest_twisted.ensureDeferred
async def test_a_balancer_has_to_send_it(data: bytes) -> None:
    service = await serve(who(), proxy_protocol_from=BALANCER)
    client = await connect(service.port)
    client.write(data)
    assert await client.closed == b""
    assert service.metrics.errors == {"proxy_header": 1}
    await service.stop()


@pytest_twisted.ensureDeferred
async def test_and_in_time() -> None:
    """S10: its time is that of a handshake."""
    service = await serve(who(), proxy_protocol_from=BALANCER, limits={"handshake_timeout": 0.1})
    client = await connect(service.port)
    client.write(V1[:10])
    assert await client.closed == b""
    assert service.metrics.errors == {"proxy_header": 1}
    await service.stop()


@pytest_twisted.ensureDeferred
async def test_access_and_limits_are_the_client_s() -> None:
    """S8: the limits hold for who the header names, not for the balancer."""
    service = await serve(
        who(refusal=b"too many\r\n"),
        proxy_protocol_from=BALANCER,
        allow=("192.0.2.0/24",),
        limits={"connections_per_address": 1},
    )
    other = V1.replace(b"192.0.2.7", b"198.51.100.7")
    assert await exchange(service.port, other) == b""
    assert service.metrics.connections_refused == {"denied": 1}
    first = await connect(service.port)
    first.write(V1)
    await first.until(b"192.0.2.7\n")
    assert await exchange(service.port, V1) == b"too many\r\n"
    neighbour = V1.replace(b"192.0.2.7", b"192.0.2.8")
    assert await exchange(service.port, neighbour) == b"192.0.2.8\n"
    await service.stop(drain=0.1)


@pytest_twisted.ensureDeferred
async def test_connections_without_their_header_are_limited_too() -> None:
    """S8: what is not admitted yet has no more places than there are."""
    service = await serve(who(), proxy_protocol_from=BALANCER, limits={"connections": 2})
    waiting = [await connect(service.port) for _ in range(2)]
    await until(lambda: len(_entrance(service).behind_header) == 2, reactor=reactor)
    late = await connect(service.port)
    assert await late.closed == b""
    assert service.metrics.connections_refused == {"connections": 1}
    waiting[0].write(V1)
    await waiting[0].until(b"192.0.2.7\n")
    await service.stop(drain=0.1)
    await waiting[1].closed


def _entrance(service: Any) -> WayIn:
    (entrance,) = service.hosted_service.current.ways_in.values()
    return entrance


@pytest_twisted.ensureDeferred
async def test_a_stop_does_not_wait_for_headers() -> None:
    service = await serve(who(), proxy_protocol_from=BALANCER)
    client = await connect(service.port)
    await until(lambda: _entrance(service).behind_header, reactor=reactor)
    await service.stop()
    assert await client.closed == b""


@pytest_twisted.ensureDeferred
async def test_an_asyncio_protocol_sees_the_client_too() -> None:
    class Peername(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            transport.write(repr(transport.get_extra_info("peername")).encode())

    service = await serve(Hosted(stream=Peername), proxy_protocol_from=BALANCER)
    assert await exchange(service.port, V1) == b"('192.0.2.7', 4711)"
    await service.stop()


def _named_by(header: bytes, balancer: str) -> str:
    gates: Any = SimpleNamespace(tracker=Tracker())
    way_in = WayIn(gates, None, proxies=[ip_network(balancer)])
    reader = HeaderReader(way_in, balancer, lambda *_: None)
    reader.transport = SimpleNamespace(getPeer=lambda: IPv4Address("TCP", balancer, 1))
    read = read_proxy_header(header)
    assert read is not None
    host: str = reader._client(read).host
    return host


@pytest.mark.parametrize("claimed", [b"TCP4 127.0.0.1", b"TCP6 ::1", b"TCP6 ::ffff:127.0.0.1"])
def test_loopback_of_another_machine_is_not_ours(claimed: bytes) -> None:
    """What trusts this machine does not trust a client on the balancer's."""
    other = b"::2" if b"6" in claimed[:4] else b"10.0.0.1"
    header = b"PROXY %s %s 4711 25\r\n" % (claimed, other)
    assert _named_by(header, "192.0.2.1") == "192.0.2.1"
    assert _named_by(header, "127.0.0.2") != "127.0.0.2"


# ---- TLS by address.


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    issued = authority.issue_cert("mx.test", key_type=trustme.KeyType.RSA)
    (folder / "chain.pem").write_bytes(b"".join(b.bytes() for b in issued.cert_chain_pems))
    (folder / "key.pem").write_bytes(issued.private_key_pem.bytes())
    return {
        "tls": {"certificate": str(folder / "chain.pem"), "key": str(folder / "key.pem")},
        "authority": ssl.trustRootFromCertificates(
            [ssl.Certificate.loadPEM(authority.cert_pem.bytes())]
        ),
    }


async def connect_tls(port: int, certificate: dict[str, Any], *, before: bytes = b"") -> Client:
    options = ssl.optionsForClientTLS("mx.test", trustRoot=certificate["authority"])
    endpoint: Any = HostnameEndpoint(reactor, b"127.0.0.1", port)
    if not before:
        return await connectProtocol(wrapClientTLS(options, endpoint), Client())
    client: Client = await connectProtocol(endpoint, Client())
    client.write(before)
    client.transport.startTLS(options)
    return client


@pytest_twisted.ensureDeferred
async def test_an_address_in_clear_and_one_with_tls(certificate: dict[str, Any]) -> None:
    """As ports 587 and 465 of one service are."""
    service = await serve(
        who(starts_tls=True),
        listen=(FREE_PORT, FREE_PORT.replace("tcp", "tls")),
        tls=certificate["tls"],
    )
    in_clear, with_tls = (address.port for address in service.addresses)
    assert await exchange(in_clear, b"x") == b"127.0.0.1\nx"
    client = await connect_tls(with_tls, certificate)
    assert await client.until(b"\n") == b"127.0.0.1\n"
    client.transport.loseConnection()
    await client.closed
    await service.stop()


@pytest_twisted.ensureDeferred
async def test_tls_comes_behind_the_header(certificate: dict[str, Any]) -> None:
    service = await serve(who(), tls=certificate["tls"], proxy_protocol_from=BALANCER)
    client = await connect_tls(service.port, certificate, before=V2)
    assert await client.until(b"\n") == b"192.0.2.7\n"
    client.transport.loseConnection()
    await client.closed
    await service.stop()


@pytest_twisted.ensureDeferred
async def test_the_handshake_behind_a_header_has_its_time(certificate: dict[str, Any]) -> None:
    """S10."""
    service = await serve(
        who(),
        tls=certificate["tls"],
        proxy_protocol_from=BALANCER,
        limits={"handshake_timeout": 0.2},
    )
    client = await connect(service.port)
    client.write(V1)
    await client.closed
    assert service.metrics.errors == {"handshake_timeout": 1}
    await service.stop()


class Noting(Service):
    """Is known before it has started."""

    made: ClassVar[list[Service]] = []

    def __init__(self, *built: Any, **options: Any) -> None:
        super().__init__(*built, **options)
        self.made.append(self)


@pytest_twisted.ensureDeferred
async def test_clients_from_before_the_start_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """A header that came while the service was starting is read when it has."""
    clients: list[socket.socket] = []

    def start() -> Any:
        (address,) = Noting.made[-1].addresses()
        clients.append(socket.create_connection(("127.0.0.1", address.port), timeout=10))
        clients[0].sendall(V1 + b"early")
        return deferLater(reactor, 0.05)

    monkeypatch.setattr(hosting, "Service", Noting)
    service = await serve(who(start=start), proxy_protocol_from=BALANCER)
    (client,) = clients
    client.shutdown(socket.SHUT_WR)
    with client, client.makefile("rb") as file:
        assert await deferToThread(file.read) == b"192.0.2.7\nearly"
    await service.stop()
