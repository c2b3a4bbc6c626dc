r"""What the author of a protocol imports.

A protocol is one object, a `ProtocolPlugin`: a name, a settings model, and a function that
builds what is hosted from the settings and a `Context`::

    from twisted.internet.protocol import Factory, Protocol
    from netserve.plugin import Context, ProtocolPlugin, Settings

    class ShoutSettings(Settings):
        suffix: str = "!"
        "What is put behind each answer."

    class Shout(Protocol):
        def dataReceived(self, data):
            self.transport.write(data.upper().rstrip() + self.factory.suffix + b"\r\n")

    def build(settings: ShoutSettings, context: Context):
        factory = Factory.forProtocol(Shout)
        factory.suffix = settings.suffix.encode()
        return factory

    shout = ProtocolPlugin(name="shout", settings=ShoutSettings, build=build)

It is found by the entry-point group ``netserve.protocols`` or named in the file as
``protocol: module:object``. Listeners, TLS, limits, access rules, logs and metrics are there
without a line of its own.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar
from weakref import WeakSet

from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import AbstractDatagramProtocol
from twisted.logger import Logger

from netserve.config.import_path import import_object
from netserve.config.listen import Listen, ListenAddresses
from netserve.config.service import (
    TLS,
    Certificate,
    Limits,
    ServiceSettings,
    Settings,
    Way,
)
from netserve.config.types import (
    Duration,
    FilePath,
    ImportPath,
    Network,
    Networks,
    PositiveInt,
    Rate,
    ReadPath,
    Secret,
    Section,
    Shown,
    Size,
    WrittenPath,
)
from netserve.connection import Connection, OpenTap, Tap, Tracker, connection_id
from netserve.errors import InvalidValue, OptionError, PeerError, PluginError
from netserve.fairness.shares import Shares
from netserve.fairness.turns import Share, Turn
from netserve.metrics import Metrics, ProcessMetrics
from netserve.wire.peer import counting_key, peer_name

if TYPE_CHECKING:
    from netserve.http import HttpClients
    from netserve.outbox import Courier, Outbox, Schedule

__all__ = [
    "TLS",
    "Attachment",
    "Certificate",
    "Connection",
    "Context",
    "Duration",
    "FilePath",
    "Hosted",
    "ImportPath",
    "InvalidValue",
    "Limits",
    "Listen",
    "ListenAddresses",
    "Metrics",
    "Network",
    "Networks",
    "OpenTap",
    "OptionError",
    "PeerError",
    "PluginError",
    "PositiveInt",
    "ProcessMetrics",
    "ProtocolPlugin",
    "Rate",
    "ReadPath",
    "Secret",
    "Section",
    "ServiceSettings",
    "Settings",
    "Share",
    "Shared",
    "Shares",
    "Shown",
    "Size",
    "StreamFactory",
    "Tap",
    "Tracker",
    "Turn",
    "Way",
    "WrittenPath",
    "connection_id",
    "counting_key",
    "import_object",
    "peer_name",
]


StreamFactory: TypeAlias = IProtocolFactory | Callable[[], asyncio.BaseProtocol]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """How the durable queue delivers the messages of a service.

    Arguments:
        courier: delivers them.
        schedule: when they are tried.
    """

    courier: Courier
    schedule: Schedule


@dataclass(frozen=True, slots=True, kw_only=True)
class Hosted:
    """What a plugin builds: what answers connections, what answers datagrams, and its life.

    A service that does not listen has a `start`, a `stop`, or both, and nothing that answers.

    Arguments:
        stream: answers connections: a Twisted factory, or an asyncio protocol factory.
        datagram: makes what answers the datagrams of one `udp:` address.
        streams: by the name of a section that has addresses of its own (`Settings.addresses`),
            what answers connections there, in place of `stream`.
        start: called once the sockets are bound and privileges are dropped, before the first
            connection is taken; may return a Deferred or a coroutine.
        stop: called after the last connection is gone and the outbox is closed; may return a
            Deferred or a coroutine.
        drain: called when no more connections are taken, while the last ones finish.
        refusal: sent to a connection of `stream` that is refused for a limit, before it is closed.
        starts_tls: the protocol calls `startTLS` itself (with `Context.tls`), so connections
            begin in clear though the service has `tls`.
        state: a few words of its state for the status page, read when that is asked for.
        ready: whether it can serve, for `/readyz`; an error text is the reason why not.
        preload: imports the modules that are otherwise imported late. It is called where the
            process is about to become another user, or to enter a chroot, and could not read them
            later.
        outbox: how the queue delivers the service's messages; the process attaches it once all
            services are built.
        attach: called once all services are built, before the queue and the sockets are opened:
            for what changes an object of `Context.shared`. A build changes nothing.
        update: called with other options while the service runs; returns whether it goes by them
            from now on. Where it returns False, has changed nothing, or is missing, the service
            is built again instead.
    """

    stream: StreamFactory | None = None
    datagram: Callable[[], AbstractDatagramProtocol] | None = None
    streams: Mapping[str, StreamFactory] = field(default_factory=dict)
    start: Callable[[], Awaitable[None] | None] | None = None
    stop: Callable[[], Awaitable[None] | None] | None = None
    drain: Callable[[], None] | None = None
    refusal: bytes = b""
    starts_tls: bool = False
    state: Callable[[], str] | None = None
    ready: Callable[[], str | None] | None = None
    preload: Callable[[], object] | None = None
    outbox: Attachment | None = None
    attach: Callable[[], None] | None = None
    update: Callable[[Any], bool] | None = None


T = TypeVar("T")


class Shared:
    """The objects that the services of a process have in common, one of each class."""

    def __init__(self, parent: Shared | None = None) -> None:
        self._parent = parent
        self._objects: dict[type, Any] = {}
        self._branches: WeakSet[Shared] = WeakSet()
        if parent is not None:
            parent._branches.add(self)  # noqa: SLF001 - its own kind

    def branch(self) -> Shared:
        """The same objects, for one build.

        What is made through a branch is shared with the other builds that are not attached yet,
        and with the process by `commit`. It goes with the last branch that has it.
        """
        return Shared(self)

    def commit(self) -> None:
        """Share the objects of a branch with the process."""
        if self._parent is not None:
            self._parent._objects = self._objects | self._parent._objects  # noqa: SLF001 - its own kind

    def get(self, kind: type[T], make: Callable[[], T]) -> T:
        """The object of a class.

        Arguments:
            kind: its class.
            make: makes it for the first service that asks.
        """
        found: T
        if kind not in self._objects:
            common = self._find(kind)
            self._objects[kind] = make() if common is None else common
        found = self._objects[kind]
        return found

    def _find(self, kind: type[T]) -> T | None:
        if self._parent is None:
            return None
        for shared in (self._parent, *self._parent._branches):  # noqa: SLF001 - its own kind
            found: T | None = shared._objects.get(kind)  # noqa: SLF001 - its own kind
            if found is not None:
                return found
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What the process gives to a service.

    Arguments:
        service: the service's name in the file.
        reactor: the reactor, which is also the clock.
        log: the service's logger.
        metrics: the service's counters.
        folder: the folder of the config file.
        state: the folder that the process keeps its state in.
        datagram_ports: every UDP port that this process listens on.
        tls: the service's OpenSSL context factory for `startTLS`, or None without `tls`.
        outbox: gives the process's durable queue, which is opened before `Hosted.start`; only a
            process in which somebody asks for it has one.
        http: gives HTTP clients.
        random: the source of randomness (backoff, jitter); tests give a seeded one.
        turns: the service's share of the reactor's time (`netserve.fairness.turns`).
        tracker: makes the records of connections; for those that the protocol opens itself
            (`netserve.connection.Tracker.outgoing`).
        listens: every address that this process listens on, as the file has them.
        shared: what services of one protocol have in common, such as accounts at other servers.
    """

    service: str
    reactor: Any
    log: Logger
    metrics: Metrics
    folder: Path
    state: Path
    datagram_ports: frozenset[int]
    tls: Any
    outbox: Callable[[], Outbox]
    http: HttpClients
    random: random.Random
    turns: Share
    tracker: Tracker = field(default_factory=Tracker)
    listens: tuple[Listen, ...] = ()
    shared: Shared = field(default_factory=Shared)


S = TypeVar("S", bound=ServiceSettings)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtocolPlugin(Generic[S]):
    """A protocol that netserve can host.

    Arguments:
        name: what stands behind ``protocol:`` in the file.
        settings: the model of a service's options, a subclass of `Settings`; of `ServiceSettings`
            where it does not listen.
        build: makes what is hosted; it opens nothing and raises ValueError for settings that
            cannot work, `netserve.errors.OptionError` where one option is to blame.
        summary: one line for ``netserve list``; without it the first line of the model's
            docstring.
    """

    name: str
    settings: type[S]
    build: Callable[[S, Context], Hosted | StreamFactory]
    summary: str = ""
