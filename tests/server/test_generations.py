"""Generations of a service on sockets that stay open."""

from __future__ import annotations

import itertools
import socket
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
import trustme
from twisted.internet import reactor as _reactor
from twisted.internet.defer import gatherResults
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol, wrapClientTLS
from twisted.internet.protocol import DatagramProtocol, Factory, Protocol
from twisted.internet.ssl import Certificate as TwistedCertificate
from twisted.internet.ssl import optionsForClientTLS, trustRootFromCertificates
from twisted.internet.threads import deferToThread

from netserve.config.listen import Listen
from netserve.config.load import ServiceConfiguration, load
from netserve.errors import StartError
from netserve.mail.kind import MailKind
from netserve.ops.logs import Levels
from netserve.plugin import Context, Hosted, ProtocolPlugin, Settings
from netserve.registry import Registry
from netserve.server.build import Built, build_service
from netserve.server.daemon import Daemon
from netserve.server.service import Service
from netserve.server.sockets import key_of
from netserve.server.tls import TLSError
from netserve.testing.hosting import Client, RunningService, connect, exchange, serve
from netserve.testing.process import free_port
from netserve.testing.queue import until

reactor: Any = _reactor


class Saying(Protocol):
    """Says the number of its generation after each request."""

    transport: Any
    word: bytes

    def dataReceived(self, data: bytes) -> None:
        self.transport.write(self.word * len(data))


class Staying(Saying):
    """Closes when its client does, however long the drain takes."""

    def drain(self) -> None:
        """Go on."""


class SayingDatagrams(DatagramProtocol):
    def __init__(self, word: bytes) -> None:
        self.word = word

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        self.transport.write(self.word, addr)


def saying(word: bytes, kind: type[Saying] = Saying, **more: Any) -> Hosted:
    made: Any = Factory()
    made.protocol = lambda: _with(kind(), word)
    made.noisy = False
    return Hosted(stream=made, datagram=lambda: SayingDatagrams(word), **more)


def _with(protocol: Saying, word: bytes) -> Saying:
    protocol.word = word
    return protocol


def built(service: RunningService, hosted: Hosted, **options: Any) -> Built:
    """A further generation of a service, with the options of the one before unless given."""
    running = service.hosted_service
    plugin = ProtocolPlugin(name="test", settings=Settings, build=lambda *_: hosted)
    before = running.settings.model_dump(exclude_defaults=True)
    before.pop("listen")
    data = {**before, "protocol": "test", "listen": running.settings.listen, **options}  # type: ignore[attr-defined]
    context = {"folder": service.process.folder}
    settings = Settings.model_validate(data, context=context)
    return build_service("test", plugin, settings, service.process, lasting=running.lasting)


async def replace(
    service: RunningService, hosted: Hosted, *, drain: float = 5, **options: Any
) -> None:
    await service.hosted_service.replace(
        built(service, hosted, **options), attach=lambda _: None, drain=drain
    )


def sockets_in(folder: Path) -> list[str]:
    return [path.name for path in folder.glob("*.sock")]


def load_of(port: int, seen: Counter[bytes], over: list[bool]) -> int:
    """Connects, asks and closes until it is over; gives how often. Any failure is raised."""
    count = 0
    while not over:
        with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
            for _ in range(3):
                client.sendall(b"x")
                seen[client.recv(10)] += 1
            client.shutdown(socket.SHUT_WR)
            assert client.recv(10) == b""
        count += 1
    return count


@pytest_twisted.ensureDeferred
async def test_twenty_generations_on_one_socket_under_load() -> None:
    """None of the connections is refused or reset, and each has one generation throughout."""
    words = [bytes([ord("a") + number]) for number in range(20)]
    service = await serve(saying(words[0], Staying), limits={"connections_per_address": 1000})
    port = service.port
    seen: Counter[bytes] = Counter()
    over: list[bool] = []
    threads = [deferToThread(load_of, port, seen, over) for _ in range(4)]
    long = await connect(port)  # is there from the first generation to the last
    long.write(b"1")
    await long.until(b"a")
    for before, word in itertools.pairwise(words):
        await until(lambda before=before: seen[before] >= 20, reactor=reactor)  # type: ignore[misc]
        await replace(service, saying(word, Staying), drain=60)
        assert service.port == port
    await until(lambda: seen[words[-1]] >= 20, reactor=reactor)
    long.write(b"2")
    assert await long.until(b"aa") == b"aa"
    over.append(True)
    counts = await gatherResults(threads)
    assert sum(counts) * 3 == sum(seen.values())
    assert set(seen) == set(words)
    assert service.metrics.errors == {}
    assert service.metrics.connections_refused == {}
    assert service.metrics.connections_total == sum(counts) + 1
    # Those without connections have ended; the first one still has one.
    await until(lambda: len(service.hosted_service.draining) == 1, reactor=reactor)
    long.transport.loseConnection()
    await long.closed
    await until(lambda: not service.hosted_service.draining, reactor=reactor)
    await service.stop()


@pytest_twisted.ensureDeferred
async def test_limits_count_over_all_generations() -> None:
    """S8: a reload must not double them."""
    service = await serve(saying(b"a", Staying), limits={"connections": 2})
    clients = [await connect(service.port)]
    await until(lambda: service.metrics.connections_open == 1, reactor=reactor)
    await replace(service, saying(b"b"), drain=60)
    clients.append(await connect(service.port))
    await until(lambda: service.metrics.connections_open == 2, reactor=reactor)
    third = await connect(service.port)
    await third.closed
    assert service.metrics.connections_refused == {"connections": 1}
    clients[0].transport.loseConnection()  # of the generation before
    await until(lambda: service.metrics.connections_open == 1, reactor=reactor)
    fourth = await connect(service.port)
    fourth.write(b"?")
    assert await fourth.until(b"b") == b"b"
    await service.stop(drain=0.1)


@pytest_twisted.ensureDeferred
async def test_datagrams_go_to_the_new_generation() -> None:
    service = await serve(saying(b"old"), listen="udp:0:interface=127.0.0.1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(10)
        client.connect(("127.0.0.1", service.port))
        for word in (b"old", b"new"):
            if word == b"new":
                await replace(service, saying(word))
            client.send(b"?")
            assert await deferToThread(client.recv, 10) == word
    assert service.metrics.errors == {}
    await service.stop()


@pytest_twisted.ensureDeferred
async def test_addresses_come_and_go_and_those_that_stay_stay_open(tmp_path: Path) -> None:
    first = Listen("tcp:0:interface=127.0.0.1")
    service = await serve(saying(b"a"), listen=[first, "unix:a.sock"], state=tmp_path)
    port = service.port
    await replace(service, saying(b"b"), listen=[first, "unix:b.sock"])
    assert service.port == port
    assert sockets_in(tmp_path) == ["b.sock"]
    assert await exchange(port, b"?") == b"b"
    await replace(service, saying(b"c"), listen=["unix:b.sock"])
    with pytest.raises(Exception, match="refused"):
        await connect(port)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "b.sock"))
        client.sendall(b"?")
        client.settimeout(10)
        assert await deferToThread(client.recv, 10) == b"c"
    await service.stop(drain=0.1)


def _failing() -> None:
    raise RuntimeError("no database")


@pytest.mark.parametrize("kind", ["start", "address", "other way in"])
@pytest_twisted.ensureDeferred
async def test_a_generation_that_cannot_start_leaves_the_one_before(
    tmp_path: Path, kind: str
) -> None:
    first = Listen("tcp:0:interface=127.0.0.1")
    if kind == "other way in":
        first = Listen(f"tcp:{free_port()}:interface=127.0.0.1")
    service = await serve(saying(b"a"), listen=[first], state=tmp_path)
    port = service.port
    stopped: list[bool] = []
    hosted = saying(
        b"b", start=_failing if kind == "start" else None, stop=lambda: stopped.append(True)
    )
    options: dict[str, Any] = {}
    if kind == "start":
        options["listen"] = [first, "unix:new.sock"]
    if kind == "address":
        options["listen"] = [first, "unix:new.sock", "unix:missing/new.sock"]
    if kind == "other way in":
        options["listen"] = [f"haproxy:tcp:{port}:interface=127.0.0.1"]
    attached: list[Built] = []
    new = built(service, hosted, **options)
    before = service.hosted_service.current
    with pytest.raises((RuntimeError, StartError)):
        await service.hosted_service.replace(new, attach=attached.append, drain=1)
    assert attached == [new, before.built]
    assert service.hosted_service.current is before
    assert stopped == [True]
    assert not sockets_in(tmp_path)
    assert await exchange(port, b"?") == b"a"
    await service.stop()


@pytest_twisted.ensureDeferred
async def test_generations_end_on_their_own() -> None:
    """Each has its start, drain and stop; the end of the service waits for all of them."""
    told: list[str] = []

    def hosted(word: str) -> Hosted:
        return saying(
            word.encode(),
            start=lambda: told.append(f"{word} starts"),
            drain=lambda: told.append(f"{word} drains"),
            stop=lambda: told.append(f"{word} stops"),
        )

    service = await serve(hosted("a"))
    client = await connect(service.port)
    client.write(b"?")
    await client.until(b"a")
    await replace(service, hosted("b"), drain=60)
    assert told == ["a starts", "b starts", "a drains"]
    await until(lambda: told[-1] == "a stops", reactor=reactor)
    assert (await client.closed) == b"a"
    await service.stop()
    assert told[-2:] == ["b drains", "b stops"]


def certificate(folder: Path, authority: trustme.CA, name: str) -> None:
    made = authority.issue_cert("localhost", common_name=name)
    made.private_key_pem.write_to_path(folder / "key.pem")
    (folder / "cert.pem").write_bytes(b"".join(part.bytes() for part in made.cert_chain_pems))


async def common_name(port: int, authority: trustme.CA) -> str:
    trusted = TwistedCertificate.loadPEM(authority.cert_pem.bytes())
    options = optionsForClientTLS("localhost", trustRootFromCertificates([trusted]))
    endpoint = wrapClientTLS(options, HostnameEndpoint(reactor, b"127.0.0.1", port))
    client: Client = await connectProtocol(endpoint, Client())
    client.write(b"?")
    await client.until(b"a")
    name: str = client.transport.getPeerCertificate().get_subject().CN
    client.transport.loseConnection()
    return name


@pytest_twisted.ensureDeferred
async def test_certificates_are_renewed_in_a_service_that_runs(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate(tmp_path, authority, "first")
    tls = {"certificate": str(tmp_path / "cert.pem"), "key": str(tmp_path / "key.pem")}
    service = await serve(saying(b"a"), tls=tls)
    assert await common_name(service.port, authority) == "first"
    certificate(tmp_path, authority, "second")
    service.hosted_service.current.renew_certificates()
    assert await common_name(service.port, authority) == "second"
    (tmp_path / "key.pem").write_text("broken")
    with pytest.raises(TLSError, match="no private key"):
        service.hosted_service.current.renew_certificates()
    assert await common_name(service.port, authority) == "second"
    await service.stop()


@pytest_twisted.ensureDeferred
async def test_access_rules_change_in_place() -> None:
    service = await serve(saying(b"a"))
    running: Service = service.hosted_service
    before = running.current
    client = await connect(service.port)
    client.write(b"?")
    await client.until(b"a")
    assert running.update(running.settings.model_copy(update={"deny": _networks("127.0.0.0/8")}))
    refused = await connect(service.port)
    assert await refused.closed == b""
    client.write(b"?")
    assert await client.until(b"aa") == b"aa"  # open connections stay
    assert running.current is before
    limits = running.settings.limits.model_copy(update={"connections": 7})  # type: ignore[attr-defined]
    assert not running.update(running.settings.model_copy(update={"limits": limits}))
    assert running.current is before
    await service.stop(drain=0.1)


def _networks(*texts: str) -> Any:
    return Settings.model_validate({"protocol": "x", "listen": "tcp:0", "deny": texts}).deny


@pytest_twisted.ensureDeferred
async def test_a_plugin_may_take_other_options_without_a_new_generation() -> None:
    class Worded(Settings):
        word: str = "a"
        unchangeable: int = 0

    words = ["a"]

    def build(settings: Worded, context: Context) -> Hosted:
        def update(new: Worded) -> bool:
            if new.unchangeable != settings.unchangeable:
                return False
            words[0] = new.word
            return True

        made: Any = Factory()
        made.protocol = lambda: _with(Saying(), words[0].encode())
        return Hosted(stream=made, update=update)

    service = await serve(ProtocolPlugin(name="worded", settings=Worded, build=build))
    running = service.hosted_service
    assert running.update(running.settings.model_copy(update={"word": "b"}))
    assert await exchange(service.port, b"?") == b"b"
    assert not running.update(running.settings.model_copy(update={"word": "c", "unchangeable": 1}))
    assert await exchange(service.port, b"?") == b"b"
    await service.stop()


FILE = """
netserve: {{state: state}}
services:
  mail:
    protocol: smtp-relay
    hostname: {hostname}
    listen: "tcp:0:interface=127.0.0.1"
    routes: [{{deliver: {{{way}}}}}]
"""


@pytest_twisted.ensureDeferred
async def test_the_daemon_replaces_a_service_that_uses_the_queue(tmp_path: Path) -> None:
    """Routes change in place; another name of the host takes a new generation."""
    file = tmp_path / "config.yaml"

    def configured(hostname: str, way: str) -> ServiceConfiguration:
        file.write_text(FILE.format(hostname=hostname, way=way))
        return load(file, Registry()).services[0]

    configured("a.example", "discard: true")
    daemon = Daemon(load(file, Registry()), reactor=reactor, failed=lambda: None)
    daemon.build()
    daemon.bind()
    daemon.startService()
    service = daemon.services["mail"]
    await until(lambda: service.not_ready() is None, reactor=reactor)
    first, port = service.current, service.addresses()[0].port
    await daemon.replace(configured("a.example", "refuse: no more"))
    assert service.current is first
    await daemon.replace(configured("b.example", "refuse: no more"))
    assert service.current is not first
    assert daemon.outbox is not None
    (kind,) = daemon.outbox.kinds().values()
    assert isinstance(kind, MailKind)
    assert kind.hostname == "b.example"
    client = await connect(port)
    assert b"b.example" in await client.until(b"\r\n")
    client.transport.loseConnection()
    await daemon.stopService()


def test_log_levels_change() -> None:
    from twisted.logger import LogLevel

    event: Any = {"log_namespace": "netserve.service.a", "log_level": LogLevel.debug}
    levels = Levels("info", {})
    assert not levels.keeps(event)
    levels.change("info", {"a": "debug"})
    assert levels.keeps(event)


@pytest_twisted.ensureDeferred
async def test_a_socket_that_listens_already_is_adopted() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        service = await serve(saying(b"a"))
        await service.hosted_service.stop_listening()
        sockets = service.hosted_service._sockets
        listen = Listen(f"tcp:{port}:interface=127.0.0.1")
        sockets.adopt(listen, listening.fileno())
        key = key_of(listen, sockets.folder, "test", "listen.0")
        target = service.hosted_service.current.target(("listen", 0), listen)
        await sockets.open(key, listen, target, service.hosted_service.lasting.turns)
        assert await exchange(port, b"?") == b"a"
        await sockets.close([key])
        await service.stop()


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("tcp:7007", "tcp:port=7007", True),
        ("tcp:7007:backlog=5", "tcp:7007", True),
        ("tcp:7007", "tls:7007", True),
        (r"tcp6:7007:interface=\:\:1", r"tcp6:7007:interface=0\:0\:0\:0\:0\:0\:0\:1", True),
        ("unix:a.sock", "unix:./a.sock:mode=660", True),
        ("tcp:7007", "udp:7007", False),
        ("tcp:7007", "tcp:7008", False),
        ("tcp:7007", "tcp:7007:interface=127.0.0.1", False),
        ("tcp:7007", "haproxy:tcp:7007", False),
        ("unix:a.sock", "unix:b.sock", False),
    ],
)
def test_which_addresses_are_the_same_socket(one: str, other: str, same: bool) -> None:
    folder = Path("/etc/netserve")
    keys = [key_of(Listen(text), folder, "a", "listen.0") for text in (one, other)]
    assert (keys[0] == keys[1]) is same


def test_ports_that_the_system_chooses_are_not_the_same() -> None:
    keys = {key_of(Listen("tcp:0"), Path("/"), "a", f"listen.{place}") for place in range(2)}
    assert len(keys) == 2
