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
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, TypeAlias, TypeVar

from pydantic import AfterValidator, model_validator
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import AbstractDatagramProtocol
from twisted.logger import Logger

from netserve.config.listen import Listen, ListenAddresses
from netserve.config.types import (
    Duration,
    FilePath,
    Network,
    Networks,
    PositiveInt,
    Section,
    Shown,
)
from netserve.connection import Connection, OpenTap, Tap, Tracker, connection_id
from netserve.errors import InvalidValue
from netserve.fairness.turns import Share
from netserve.metrics import Metrics, ProcessMetrics
from netserve.wire.peer import has_strangers, names_addresses

if TYPE_CHECKING:
    from netserve.http import HttpClients
    from netserve.outbox import Courier, Outbox, Schedule

__all__ = [
    "TLS",
    "Attachment",
    "Connection",
    "Context",
    "Hosted",
    "Limits",
    "Metrics",
    "OpenTap",
    "ProcessMetrics",
    "ProtocolPlugin",
    "Section",
    "ServiceSettings",
    "Settings",
    "Tap",
    "Tracker",
    "connection_id",
]


class Limits(Section):
    """What one service may use. A protocol adds its own by a subclass."""

    connections: PositiveInt = 1000
    """Connections at one time, in all."""
    connections_per_address: PositiveInt = 100
    """Connections at one time from one address."""
    handshake_timeout: Duration = 10.0
    """Time for the TLS handshake, and for the header of `proxy_protocol_from`."""
    idle_timeout: Duration = 300.0
    """A connection on which nothing has moved for so long is closed."""


class Certificate(Section):
    """A certificate and its key."""

    certificate: FilePath
    """The certificate, PEM; the chain may stand behind it in the same file."""
    key: FilePath
    """Its private key, PEM."""
    chain: FilePath | None = None
    """The certificates between it and the root, PEM, where they are in a file of their own."""


class TLS(Certificate):
    """TLS from the first byte of a connection (or from STARTTLS, where a protocol has it)."""

    more: tuple[Certificate, ...] = ()
    """Further certificates; the client's server name (SNI) chooses by the names in them."""
    minimum_version: Literal["1.0", "1.1", "1.2", "1.3"] = "1.2"
    """The lowest version of TLS that is spoken. Those before 1.2 are for old devices, whose
    addresses `allow` has to name."""
    ciphers: Annotated[str, Shown()] | None = None
    """OpenSSL's cipher list up to TLS 1.2; the default is that of Mozilla's intermediate profile,
    with a `minimum_version` before 1.2 that of its old profile."""
    client_ca: FilePath | None = None
    """Certificates of those that may sign client certificates, PEM."""
    client_certificate: Literal["none", "optional", "required"] = "none"
    """Whether clients are asked for a certificate, and whether they must have one."""

    @model_validator(mode="after")
    def _client_certificates_need_a_ca(self) -> TLS:
        if (self.client_certificate == "none") != (self.client_ca is None):
            raise InvalidValue("client_certificate and client_ca go together")
        return self

    @property
    def is_old(self) -> bool:
        """Whether versions are spoken that RFC 8996 has retired."""
        return self.minimum_version in {"1.0", "1.1"}


def _check_proxies(networks: tuple[Network, ...]) -> tuple[Network, ...]:
    for network in networks:
        if has_strangers(network):
            raise InvalidValue(
                "{network} has addresses of strangers, who could claim to be any client; list your"
                " load balancers",
                network=network,
            )
    return networks


Way: TypeAlias = tuple[str | int, ...]
"""The keys and indexes that lead to a value of the file."""


class ServiceSettings(Section):
    """The options of a service that need not listen, such as a probe or a scheduler.

    Its protocol adds its own by a subclass. One that listens has `Settings` as its base.
    """

    protocol: Annotated[str, Shown()]
    """The protocol: a name from `netserve list`, or `module:object`."""
    log: Literal["debug", "info", "warn", "error"] | None = None
    """The lowest level that this service logs; without it the level of `netserve.log`."""

    def addresses(self) -> Iterator[tuple[Way, Listen]]:
        """Every address of the service, with the way to it; a protocol may have further ones."""
        yield from ()


class Settings(ServiceSettings):
    """The options that every service with addresses has; a protocol adds its own by a subclass."""

    listen: ListenAddresses
    """Where: one of Twisted's endpoint descriptions or `udp:` in the same form, or a list."""
    tls: TLS | None = None
    """Certificate and key; without it connections are in clear."""
    limits: Limits = Limits()
    """What the service may use."""
    allow: Networks = ()
    """Networks that may connect; empty: all."""
    deny: Networks = ()
    """Networks that may not connect; decided before `allow`."""
    proxy_protocol_from: Annotated[Networks, AfterValidator(_check_proxies)] = ()
    """Load balancers whose connections begin with HAProxy's PROXY header (version 1 or 2); the
    address in it counts as the client's. From others it is not taken."""

    def addresses(self) -> Iterator[tuple[Way, Listen]]:
        """Every address of the service, with the way to it; a protocol may have further ones."""
        for index, listen in enumerate(self.listen):
            yield ("listen", index), listen

    @model_validator(mode="after")
    def _tls_fits(self) -> Settings:
        for _, listen in self.addresses():
            if listen.begins_with_tls and self.tls is None:
                raise InvalidValue(
                    "{listen} begins with TLS, which needs a certificate: give tls", listen=listen
                )
        tied = self.allow and all(map(names_addresses, self.allow))
        if self.tls is not None and self.tls.is_old and not tied:
            raise InvalidValue(
                "tls.minimum_version {version} is for old devices only: allow has to name their"
                " addresses, or networks of at most 256 of them (/24; /64 of IPv6)",
                version=self.tls.minimum_version,
            )
        return self


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

    def branch(self) -> Shared:
        """The same objects; those that are made through it are its own until `commit`."""
        return Shared(self)

    def commit(self) -> None:
        """Share the objects of a branch; where there is one of a class by now, that one stays."""
        if self._parent is not None:
            self._parent._objects = self._objects | self._parent._objects  # noqa: SLF001 - its own kind

    def get(self, kind: type[T], make: Callable[[], T]) -> T:
        """The object of a class.

        Arguments:
            kind: its class.
            make: makes it for the first service that asks.
        """
        found: T
        if self._parent is not None and kind in self._parent._objects:  # noqa: SLF001 - see above
            found = self._parent._objects[kind]  # noqa: SLF001 - see above
            return found
        if kind not in self._objects:
            self._objects[kind] = make()
        found = self._objects[kind]
        return found


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
