"""Runs a plugin as netserve would, on a free port of loopback, for the tests of its author.

::

    @pytest_twisted.ensureDeferred
    async def test_shout():
        service = await serve(shout, suffix="!")
        try:
            assert await exchange(service.port, b"hi") == b"HI!"
        finally:
            await service.stop()
"""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from netserve.fairness.turns import Turns
from netserve.http import HttpClients
from netserve.outbox import Outbox
from netserve.plugin import Hosted, ProtocolPlugin, Settings
from netserve.server.build import Lasting, Process, build_service, datagram_ports
from netserve.server.logger import ServiceLogger
from netserve.server.service import Service
from netserve.server.sockets import Sockets

FREE_PORT = "tcp:0:interface=127.0.0.1"


class RunningService:
    """A service that runs.

    Arguments:
        hosted_service: it is listening.
        process: what it was built with; its HTTP clients are closed with the service.
        outbox: opened if the plugin asked for it, and closed with the service.
    """

    def __init__(self, hosted_service: Service, process: Process, outbox: Outbox | None) -> None:
        self.hosted_service = hosted_service
        self.metrics = hosted_service.metrics
        self.outbox = outbox
        self.process = process

    @property
    def addresses(self) -> list[Any]:
        """Twisted's addresses of the open sockets, in the order of `listen`."""
        return self.hosted_service.addresses()

    @property
    def port(self) -> int:
        """The port of the first address."""
        port: int = self.addresses[0].port
        return port

    async def stop(self, drain: float = 1.0) -> None:
        """Stop as the daemon does.

        Arguments:
            drain: seconds for open connections to finish.
        """
        await self.hosted_service.drain(drain)
        if self.outbox is not None:
            await self.outbox.close()
        await self.hosted_service.stop()
        await self.process.http.close()


async def serve(
    what: ProtocolPlugin[Any] | Hosted,
    *,
    reactor: Any = None,
    state: Path | None = None,
    **options: Any,
) -> RunningService:
    """Host a plugin, or what one has built, until `RunningService.stop`.

    Arguments:
        what: a plugin, or a `Hosted`.
        reactor: Twisted's global one unless given.
        state: the state folder; a new temporary one unless given.
        options: the service's options as in the file; `listen` is a free TCP port unless given.
    """
    if reactor is None:
        from twisted.internet import reactor as global_reactor

        reactor = global_reactor
    if isinstance(what, Hosted):
        hosted = what
        what = ProtocolPlugin(name="test", settings=Settings, build=lambda *_: hosted)
    options = {"protocol": what.name, **options}
    if issubclass(what.settings, Settings):
        options.setdefault("listen", FREE_PORT)
    folder = state or Path(tempfile.mkdtemp(prefix="netserve-test-"))
    settings = what.settings.model_validate(options, context={"folder": folder})
    log = ServiceLogger(namespace="netserve.service.test")
    process = Process(
        reactor=reactor,
        folder=folder,
        state=folder,
        random=random.Random(0),  # noqa: S311 - tests want the same numbers each time
        turns=Turns.of(reactor),
        http=HttpClients(reactor=reactor, log=log),
        listens=tuple(listen for _, listen in settings.addresses()),
        datagram_ports=datagram_ports([settings]),
    )
    outboxes: list[Outbox] = []

    def outbox() -> Outbox:
        outboxes.append(Outbox(folder / "outbox", reactor=reactor, log=log, random=process.random))
        return outboxes[0]

    built = build_service("test", what, settings, process, lasting=Lasting.of(process, "test", log))
    built.attach(process, outbox)
    sockets = Sockets(reactor=reactor, folder=folder, log=log)
    service = Service(built, sockets=sockets, reactor=reactor)
    problems: list[str] = []
    service.bind(lambda _, reason: problems.append(reason))
    if problems:
        await service.stop_listening()
        raise RuntimeError("; ".join(problems))
    if outboxes:
        await outboxes[0].open()
    await service.start()
    return RunningService(service, process, outboxes[0] if outboxes else None)


@implementer(IHalfCloseableProtocol)
class Client(Protocol):
    """A client that remembers what it got.

    ``received`` grows; `until` waits for something in it, `closed` for the end.
    """

    transport: Any

    def __init__(self) -> None:
        self.received = b""
        self.closed: Deferred[bytes] = Deferred()
        self.reason: Failure | None = None
        self._waiting: list[tuple[bytes, Deferred[bytes]]] = []

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        for wanted, found in [one for one in self._waiting if one[0] in self.received]:
            self._waiting.remove((wanted, found))
            found.callback(self.received)

    def readConnectionLost(self) -> None:
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """We closed it ourselves."""

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        self.reason = reason
        waiting, self._waiting = self._waiting, []
        for _, found in waiting:
            found.errback(reason)
        self.closed.callback(self.received)

    def write(self, data: bytes) -> None:
        """Send."""
        self.transport.write(data)

    def until(self, wanted: bytes) -> Deferred[bytes]:
        """Everything received, once `wanted` is in it; fails when the connection ends before."""
        found: Deferred[bytes] = Deferred()
        if wanted in self.received:
            found.callback(self.received)
        elif self.reason is not None:
            found.errback(self.reason)
        else:
            self._waiting.append((wanted, found))
        return found


async def connect(port: int, *, reactor: Any = None) -> Client:
    """A client that is connected to a port of 127.0.0.1."""
    if reactor is None:
        from twisted.internet import reactor as global_reactor

        reactor = global_reactor
    endpoint = HostnameEndpoint(reactor, b"127.0.0.1", port, timeout=10)
    client: Client = await connectProtocol(endpoint, Client())
    return client


async def exchange(port: int, data: bytes, *, seconds: float = 10.0, reactor: Any = None) -> bytes:
    """Send everything, close the sending side, and give all that came back until the end.

    Arguments:
        port: of 127.0.0.1.
        data: what is sent.
        seconds: how long the answer may take in all.
        reactor: Twisted's global one unless given.
    """
    client = await connect(port, reactor=reactor)
    client.write(data)
    client.transport.loseWriteConnection()
    closed = client.closed
    if reactor is None:
        from twisted.internet import reactor as global_reactor

        reactor = global_reactor
    closed.addTimeout(seconds, reactor)
    received = await closed
    if client.reason is not None:
        client.reason.trap(ConnectionDone, ConnectionLost)
    return received
