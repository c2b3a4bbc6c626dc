"""A bridge that runs on a free port of loopback."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from aiohttp.abc import AbstractResolver
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import Factory
from twisted.logger import Logger, formatEvent
from zope.interface import implementer

from netserve.fairness.turns import Turns
from netserve.http import HttpClients
from netserve.plugin import Context, Hosted, Metrics
from netserve.protocols.http_bridge import plugin, service
from netserve.protocols.http_bridge.upstream import Upstream


@dataclass
class Bridged:
    """A running bridge: where it listens, and what it said."""

    port: int
    hosted: Hosted
    metrics: Metrics
    events: list[dict[str, Any]] = field(default_factory=list)
    protocols: list[Any] = field(default_factory=list)
    memory: Any = None
    """What is held (`netserve.fairness.shares.Shares`)."""

    @property
    def lines(self) -> list[str]:
        """The log."""
        return [formatEvent(event) for event in self.events]

    async def connect(
        self, source: str = "127.0.0.1"
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port, local_addr=(source, 0))

    async def exchange(self, *pieces: bytes, end: bool = True, source: str = "127.0.0.1") -> bytes:
        """Send all, close the sending side unless told otherwise, give all that comes."""
        reader, writer = await self.connect(source)
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        if end:
            writer.write_eof()
        received = await reader.read()
        writer.close()
        return received


def bridge_settings(**options: Any) -> Any:
    """Settings of a bridge, as they stand in the file."""
    return plugin.settings.model_validate(
        {"protocol": "http-bridge", "listen": "tcp:0", **options}, context={"folder": Path()}
    )


@asynccontextmanager
async def running(
    resolver: AbstractResolver | None = None, *, in_slices: bool = False, **options: Any
) -> AsyncIterator[Bridged]:
    from twisted.internet import reactor

    loop = asyncio.get_running_loop()
    events: list[dict[str, Any]] = []
    log = Logger(namespace="test", observer=events.append)
    metrics = Metrics()
    context = Context(
        service="web",
        reactor=reactor,
        log=log,
        metrics=metrics,
        folder=Path(),
        state=Path(),
        datagram_ports=frozenset(),
        tls=None,
        outbox=lambda: pytest.fail("a bridge has no outbox"),
        http=HttpClients(reactor=reactor, log=log, resolver=resolver),
        random=random.Random(0),
        turns=(Turns(reactor.loop.call_soon, turn=0.0) if in_slices else Turns.of(reactor)).share(
            lambda error: pytest.fail(repr(error))
        ),
    )
    options.setdefault("allow_upstreams", "127.0.0.1")
    upstreams: list[Upstream] = []

    def noted(*arguments: Any) -> Upstream:
        upstreams.append(Upstream(*arguments))
        return upstreams[-1]

    with patch.object(service, "Upstream", noted):
        hosted = plugin.build(bridge_settings(**options), context)
    protocols: list[Any] = []
    if IProtocolFactory.providedBy(hosted.stream):
        listening = reactor.listenTCP(0, Remembering(hosted.stream, protocols), 50, "127.0.0.1")
        port = listening.getHost().port
    else:
        listening = await loop.create_server(hosted.stream, "127.0.0.1", 0)
        port = listening.sockets[0].getsockname()[1]
    try:
        yield Bridged(port, hosted, metrics, events, protocols, upstreams[0].memory)
    finally:
        if IProtocolFactory.providedBy(hosted.stream):
            await listening.stopListening().asFuture(loop)
        else:
            listening.close()
        await hosted.stop().asFuture(loop)


@implementer(IProtocolFactory)
class Remembering(Factory):
    """Keeps the protocols that a factory made, for tests that talk to one of them."""

    def __init__(self, factory: Any, protocols: list[Any]) -> None:
        self._factory = factory
        self._protocols = protocols

    def buildProtocol(self, addr: Any) -> Any:
        protocol = self._factory.buildProtocol(addr)
        self._protocols.append(protocol)
        return protocol


@pytest.fixture
def bridge() -> Callable[..., Any]:
    """What starts a bridge, as a context manager; its options are those of the file."""
    return running


@pytest.fixture
def settings_of() -> Callable[..., Any]:
    """Makes a bridge's settings from options of the file."""
    return bridge_settings
