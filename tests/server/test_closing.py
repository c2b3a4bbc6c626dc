"""S25: every service lets go of its connection within a second, however the client ends it."""

from __future__ import annotations

import asyncio
import socket
import ssl
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest
import pytest_twisted
import trustme
from twisted.internet import reactor as _reactor
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.logger import formatEvent, globalLogPublisher
from twisted.web.resource import Resource
from twisted.web.server import Site
from twisted.web.static import Data

from netserve.plugin import Hosted
from netserve.protocols import echo, factory, http_bridge, request_response, smtp_relay
from netserve.testing.hosting import FREE_PORT, RunningService, serve
from tests.server import closing_clients as clients

reactor: Any = _reactor
GET = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"
SECOND = 1.0
SLACK = 0.4
"""Seconds more, for a machine that is busy with other things."""


class Told(Protocol):
    """Answers, and keeps when it was told of the end."""

    ends: ClassVar[list[Any]] = []

    def dataReceived(self, data: bytes) -> None:
        self.transport.write(b"answer" * 1000)

    def connectionLost(self, reason: Any) -> None:
        Told.ends.append(reason)


class AsyncioEcho(asyncio.Protocol):
    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


def web() -> Any:
    """A site of twisted.web, with a page of 100 KB."""
    root = Resource()
    root.putChild(b"", Data(b"x" * 100_000, "text/plain"))
    return Site(root)


TESTED = ModuleType("tested_by_test_closing")
TESTED.__dict__.update(web=web, Told=Told, AsyncioEcho=AsyncioEcho)

UPSTREAM = {"request": {"url": "http://127.0.0.1:9/"}, "allow_upstreams": ("127.0.0.1",)}

SERVICES: dict[str, tuple[Any, dict[str, Any], bytes, bool]] = {
    # plugin, options, what a client says first, and whether something comes back
    "echo": (echo, {}, b"hello" * 800, True),
    "discard": (echo, {"kind": "discard"}, b"hello", False),
    "daytime": (echo, {"kind": "daytime"}, b"", True),
    "chargen": (echo, {"kind": "chargen", "limit": 1000}, b"", True),
    "request-response": (
        request_response,
        {"framing": "line", "reply": "x" * 5000},
        b"hello\r\n",
        True,
    ),
    "bridge of lines": (
        http_bridge,
        {"framing": "line", **UPSTREAM},
        b"hello",
        False,
    ),
    "bridge of HTTP": (
        http_bridge,
        {"framing": "http", **UPSTREAM},
        GET,
        True,
    ),
    "mail": (
        smtp_relay,
        {
            "hostname": "mx.test",
            "routes": ({"deliver": {"maildir": "mail"}},),
            "refuse_early_talk": False,
        },
        b"EHLO me.test\r\n",
        True,
    ),
    "mail over HTTP": (
        smtp_relay,
        {
            "hostname": "mx.test",
            "routes": ({"deliver": {"maildir": "mail"}},),
            "http": {"listen": FREE_PORT, "tokens": {"shop": "0123456789abcdef-shop"}},
        },
        GET,
        True,
    ),
    "twisted.web": (factory, {"object": f"{TESTED.__name__}:web"}, GET, True),
    "a Twisted protocol": (factory, {"object": f"{TESTED.__name__}:Told"}, b"hello", True),
    "an asyncio protocol": (
        factory,
        {"object": f"{TESTED.__name__}:AsyncioEcho"},
        b"hello" * 800,
        True,
    ),
}
FILLED = ("echo", "chargen", "request-response", "twisted.web", "a Twisted protocol",
          "an asyncio protocol")  # fmt: skip
"""Services whose clients can make them send more than they read."""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("certificate")
    made = trustme.CA().issue_cert("localhost")
    made.private_key_pem.write_to_path(folder / "key.pem")
    made.cert_chain_pems[0].write_to_path(folder / "certificate.pem")
    return {"certificate": str(folder / "certificate.pem"), "key": str(folder / "key.pem")}


@asynccontextmanager
async def running(
    name: str, folder: Path, tls: dict[str, str] | None, **more: Any
) -> AsyncIterator[tuple[RunningService, int]]:
    """A service, and the port that is tested."""
    module, options, *_ = SERVICES[name]
    options = options | more
    if tls is not None:
        options["tls"] = tls
        if module is smtp_relay:  # which has STARTTLS otherwise
            options["listen"] = in_tls = FREE_PORT.replace("tcp", "tls")
            if "http" in options:
                options["http"] = options["http"] | {"listen": in_tls}
    service = await serve(module.plugin, state=folder, **options)
    try:
        yield service, service.addresses[-1].port
    finally:
        await service.stop()


@pytest.fixture(autouse=True)
def _findable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, TESTED.__name__, TESTED)


async def seconds_until(condition: Callable[[], object], most: float = 5.0) -> float:
    """How long it takes until something holds; at most so many seconds."""
    begin = time.monotonic()
    while not condition() and time.monotonic() - begin < most:
        await deferLater(reactor, 0.01)
    return time.monotonic() - begin


async def let_go(service: RunningService, work: Callable[[], Any]) -> float:
    """How long the service has a connection after `work`, which ends it, has returned."""
    metrics = service.metrics
    before = metrics.connections_total
    client = await deferToThread(work)
    try:
        return await seconds_until(
            lambda: metrics.connections_total > before and metrics.connections_open == 0
        )
    finally:
        client.close()


@pytest.mark.parametrize("secured", [False, True], ids=["in clear", "TLS"])
@pytest.mark.parametrize("name", SERVICES)
@pytest_twisted.ensureDeferred
async def test_a_connection_is_let_go_within_a_second(
    name: str, secured: bool, certificate: dict[str, str], tmp_path: Path
) -> None:
    *_, first, answered = SERVICES[name]
    kind = clients.TLSClient if secured else clients.Client
    late = {}
    async with running(name, tmp_path, certificate if secured else None) as (service, port):
        for way in clients.IN_TLS if secured else clients.IN_CLEAR:

            def end(way: Callable[[Any], None] = way) -> clients.Client:
                client = kind(port, first, answered)
                way(client)
                return client

            took = await let_go(service, end)
            if took > SECOND + SLACK:
                late[way.__name__] = took
            await seconds_until(lambda: service.metrics.connections_open == 0)
    assert late == {}


@pytest.mark.parametrize("secured", [False, True], ids=["in clear", "TLS"])
@pytest.mark.parametrize("name", FILLED)
@pytest_twisted.ensureDeferred
async def test_a_client_that_reads_nothing_is_let_go_once_it_has_closed_its_side(
    name: str, secured: bool, certificate: dict[str, str], tmp_path: Path
) -> None:
    """Its last bytes may be unread as well: the service does not read from who does not read."""
    *_, first, _ = SERVICES[name]
    kind = clients.TLSClient if secured else clients.Client
    ways = [clients.fin, clients.reset, clients.half_close_unread]
    if secured:
        ways += [clients.close_notify_and_half_close]
    late = {}
    tls, more = certificate if secured else None, {"limit": None} if name == "chargen" else {}
    async with running(name, tmp_path, tls, **more) as (service, port):
        gates = service.hosted_service.current.gates
        for way in ways:

            def end(way: Callable[[Any], None] = way) -> clients.Client:
                client = kind(port, b"", False)
                client.fill(first, lambda: any(gate.raw.is_full() for gate in gates.open))
                way(client)
                return client

            took = await let_go(service, end)
            if took > SECOND + SLACK:
                late[way.__name__] = took
            await seconds_until(lambda: service.metrics.connections_open == 0)
    assert late == {}


@pytest.mark.parametrize("secured", [False, True], ids=["in clear", "TLS"])
@pytest.mark.parametrize("name", SERVICES)
@pytest_twisted.ensureDeferred
async def test_silence_ends_with_its_timeout(
    name: str, secured: bool, certificate: dict[str, str], tmp_path: Path
) -> None:
    """S10: of a client that says nothing, not even that it has heard the end."""
    kind = clients.TLSClient if secured else clients.Client
    tls = certificate if secured else None
    async with running(name, tmp_path, tls, limits={"idle_timeout": 0.5}) as (service, port):
        took = await let_go(service, lambda: kind(port, b"", False))
        assert took < 0.5 + 0.25 + SECOND + SLACK


@pytest.mark.parametrize("name", SERVICES)
@pytest_twisted.ensureDeferred
async def test_silence_in_place_of_a_handshake_ends_with_its_timeout(
    name: str, certificate: dict[str, str], tmp_path: Path
) -> None:
    """S10."""
    limits = {"handshake_timeout": 0.5}
    async with running(name, tmp_path, certificate, limits=limits) as (service, port):
        took = await let_go(service, lambda: clients.Client(port, b"", False))
        assert took < 0.5 + SLACK
        assert service.metrics.errors == {"handshake_timeout": 1}


@pytest_twisted.ensureDeferred
async def test_the_protocol_is_told_once_of_each_end(
    certificate: dict[str, str], tmp_path: Path
) -> None:
    name = "a Twisted protocol"
    for secured, ways in ((False, clients.IN_CLEAR), (True, clients.IN_TLS)):
        Told.ends.clear()
        kind = clients.TLSClient if secured else clients.Client
        tls = certificate if secured else None
        async with running(name, tmp_path, tls) as (service, port):
            for way in ways:

                def end(way: Callable[[Any], None] = way, kind: Any = kind) -> clients.Client:
                    client = kind(port, b"hello", True)
                    way(client)
                    return client

                await let_go(service, end)
            assert len(Told.ends) == len(ways)


def handshake_in_clear(port: int) -> clients.Client:
    return clients.Client(port, GET, False)


def smtp_in_clear(port: int) -> clients.Client:
    return clients.Client(port, b"EHLO me.test\r\n" * 3, False)


def old_version(port: int) -> clients.Client:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    return refused_handshake(port, context)


def no_common_cipher(port: int) -> clients.Client:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("AES128-SHA")
    return refused_handshake(port, context)


def unknown_authority(port: int) -> clients.Client:
    return refused_handshake(port, ssl.create_default_context(), name="localhost")


def refused_handshake(
    port: int, context: ssl.SSLContext, *, name: str | None = None
) -> clients.Client:
    client = clients.Client(port, b"", False)
    with pytest.raises(ssl.SSLError):
        client.socket = context.wrap_socket(client.socket, server_hostname=name)
    return client


def gone_in_the_handshake(port: int) -> clients.Client:
    client = clients.Client(port, b"\x16\x03\x01\x02\x00", False)
    client.close()
    return client


FAILURES = [
    (handshake_in_clear, "http request (the client does not speak TLS)"),
    (smtp_in_clear, "(the client does not speak TLS)"),
    (old_version, "unsupported protocol"),
    (no_common_cipher, "no shared cipher"),
    (unknown_authority, "unknown ca"),
    (gone_in_the_handshake, "the client has closed the connection"),
]


@pytest.mark.parametrize(("fails", "why"), FAILURES, ids=[it.__name__ for it, _ in FAILURES])
@pytest.mark.parametrize("name", ["echo", "twisted.web", "request-response"])
@pytest_twisted.ensureDeferred
async def test_a_failed_handshake_frees_its_place_at_once_and_is_told(
    name: str,
    fails: Callable[[int], clients.Client],
    why: str,
    certificate: dict[str, str],
    tmp_path: Path,
) -> None:
    lines: list[str] = []
    observer = lambda event: lines.append(formatEvent(event))  # noqa: E731
    globalLogPublisher.addObserver(observer)
    limits = {"connections": 20, "connections_per_address": 20}
    try:
        async with running(name, tmp_path, certificate, limits=limits) as (service, port):
            for _ in range(25):  # more than there are places
                assert await let_go(service, lambda: fails(port)) < SECOND + SLACK
            assert service.metrics.errors == {"handshake": 25}
            assert service.metrics.connections_refused == {}
    finally:
        globalLogPublisher.removeObserver(observer)
    told = [line for line in lines if "the TLS handshake failed: " in line]
    assert len(told) == 25
    assert all(why in line for line in told), told[0]


@pytest.mark.parametrize("way", [clients.damaged_record, clients.damaged_header])
@pytest_twisted.ensureDeferred
async def test_damage_after_the_handshake_is_told(
    way: Callable[[Any], None], certificate: dict[str, str], tmp_path: Path
) -> None:
    lines: list[str] = []
    observer = lambda event: lines.append(formatEvent(event))  # noqa: E731
    globalLogPublisher.addObserver(observer)

    def end() -> clients.Client:
        client = clients.TLSClient(port, b"hello", True)
        way(client)
        return client

    try:
        async with running("echo", tmp_path, certificate) as (service, port):
            assert await let_go(service, end) < SECOND + SLACK
            assert service.metrics.errors == {"tls": 1}
    finally:
        globalLogPublisher.removeObserver(observer)
    assert any("closed 127.0.0.1: TLS failed: " in line for line in lines)


@pytest_twisted.ensureDeferred
async def test_who_only_looks_whether_the_port_is_open_is_no_failure(
    certificate: dict[str, str], tmp_path: Path
) -> None:
    async with running("echo", tmp_path, certificate) as (service, port):
        for way in (clients.fin, clients.reset):

            def look(way: Callable[[Any], None] = way) -> clients.Client:
                client = clients.Client(port, b"", False)
                way(client)
                return client

            await let_go(service, look)
        assert service.metrics.errors == {}


@pytest_twisted.ensureDeferred
async def test_an_answer_reaches_a_client_that_says_close_notify_after_its_question(
    certificate: dict[str, str], tmp_path: Path
) -> None:
    """As ``openssl s_client < question`` does: both are in one piece."""

    def ask() -> bytes:
        client = clients.TLSClient(port, b"", False)
        question = client.records(b"question")
        client.tls.write(b"")
        with suppress(ssl.SSLError):
            client.tls.unwrap()
        client.socket.sendall(question + client.outgoing.read())
        try:
            return client.receive()
        finally:
            client.close()

    async with running("echo", tmp_path, certificate) as (_, port):
        assert await deferToThread(ask) == b"question"


@pytest_twisted.ensureDeferred
async def test_a_client_that_reads_slowly_after_it_has_closed_its_side_gets_everything() -> None:
    """It counts as a connection until then."""

    class Pour(Protocol):
        def dataReceived(self, data: bytes) -> None:
            self.transport.write(b"x" * 12_000_000)

    def read() -> int:
        client = clients.Client(service.port, b"pour", False)
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        client.socket.shutdown(socket.SHUT_WR)
        size = 0
        while piece := client.socket.recv(1_000_000):
            size += len(piece)
            open_connections.append(service.metrics.connections_open)
            time.sleep(0.02)
        client.close()
        return size

    open_connections: list[int] = []
    service = await serve(Hosted(stream=Factory.forProtocol(Pour)))
    assert await deferToThread(read) == 12_000_000
    assert open_connections[0] == 1
    assert await seconds_until(lambda: service.metrics.connections_open == 0) < SECOND
    await service.stop()


@pytest.mark.parametrize("name", ["twisted.web", "an asyncio protocol"])
@pytest_twisted.ensureDeferred
async def test_many_short_clients_do_not_use_up_a_service(name: str, tmp_path: Path) -> None:
    """A hundred of twisted.web's clients shut the service to their address for minutes."""
    *_, first, answered = SERVICES[name]

    def many() -> None:
        for _ in range(250):
            clients.fin(clients.Client(port, first, answered))

    async with running(name, tmp_path, None) as (service, port):
        await deferToThread(many)
        assert service.metrics.connections_refused == {}
        assert await seconds_until(lambda: service.metrics.connections_open == 0) < SECOND


@pytest_twisted.ensureDeferred
async def test_a_handshake_that_fails_after_starttls_is_told(
    certificate: dict[str, str], tmp_path: Path
) -> None:
    def fail() -> clients.Client:
        client = clients.Client(port, b"EHLO me.test\r\nSTARTTLS\r\n", False)
        said = b""
        while not (said.count(b"220 ") == 2 and said.endswith(b"\n")):
            more = client.receive()
            assert more
            said += more
        client.send(b"MAIL FROM:<a@b.test>\r\n")
        return client

    *_, options, _, _ = SERVICES["mail"]
    service = await serve(smtp_relay.plugin, state=tmp_path, tls=certificate, **options)
    port = service.port
    assert await let_go(service, fail) < SECOND + SLACK
    assert service.metrics.errors == {"handshake": 1}
    await service.stop()
