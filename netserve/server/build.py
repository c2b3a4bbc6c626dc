"""Builds services, and changes nothing: the daemon, `check`, a reload and tests all build here.

`build_service` opens, attaches and registers nothing. What a plugin asks of the process during its
build is noted in the `Built` that it returns, and takes effect when the process calls
`Built.attach`. A build that fails is dropped with everything that it has asked for.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, cast

from twisted.logger import Logger
from twisted.python.failure import Failure

from netserve.config.listen import Listen
from netserve.config.load import Configuration, ServiceConfiguration
from netserve.config.secrets import holds_no_secret
from netserve.config.shapes import Shape
from netserve.connection import Taps, Tracker
from netserve.errors import (
    ConfigError,
    InvalidValue,
    NetserveError,
    OptionError,
    Problem,
    StartError,
    place_of,
    with_place,
)
from netserve.fairness.turns import Share, Turns
from netserve.http import HttpClients
from netserve.plugin import (
    Attachment,
    Context,
    Hosted,
    Metrics,
    ServiceSettings,
    Settings,
    Shared,
    Way,
)
from netserve.server.listeners import tls_of
from netserve.server.logger import ServiceLogger
from netserve.server.tls import ServerContextFactory, TLSError, expiry_warning

if TYPE_CHECKING:
    from netserve.config.service import Plugin
    from netserve.outbox import Outbox


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """What a process gives to the builds of its services.

    Arguments:
        reactor: the reactor, which is also the clock.
        folder: the folder of the config file.
        state: the state folder.
        random: the source of randomness.
        turns: the turns of the reactor.
        http: closes the HTTP clients of all services.
        shared: what the services have in common.
        taps: which services are tapped, and the ids of connections.
        listens: every address of the services.
        datagram_ports: every UDP port of the services.
    """

    reactor: Any
    folder: Path
    state: Path
    random: Random
    turns: Turns
    http: HttpClients
    shared: Shared = field(default_factory=Shared)
    taps: Taps = field(default_factory=Taps)
    listens: tuple[Listen, ...] = ()
    datagram_ports: frozenset[int] = frozenset()

    @classmethod
    def of(cls, configuration: Configuration, *, reactor: Any, random: Random) -> Process:
        """What a process with this configuration gives.

        Arguments:
            configuration: the loaded file.
            reactor: the reactor.
            random: the source of randomness.
        """
        process = cls(
            reactor=reactor,
            folder=configuration.folder,
            state=configuration.process.state,
            random=random,
            turns=Turns.of(reactor),
            http=HttpClients(reactor=reactor, log=Logger(namespace="netserve.http")),
            taps=Taps(random),
        )
        return process.serving([service.settings for service in configuration.services])

    def serving(self, services: Sequence[ServiceSettings]) -> Process:
        """The same process with other services.

        Arguments:
            services: the options of all of them.
        """
        listens = (one.listen for one in services if isinstance(one, Settings))
        return replace(
            self, listens=tuple(chain(*listens)), datagram_ports=datagram_ports(services)
        )


@dataclass(frozen=True, slots=True)
class Lasting:
    """What a service keeps when it is built again.

    Arguments:
        metrics: its counters.
        log: its logger.
        turns: its share of the reactor's time.
        tracker: makes the records of its connections.
    """

    metrics: Metrics
    log: Logger
    turns: Share
    tracker: Tracker

    @classmethod
    def of(cls, process: Process, service: str, log: Logger) -> Lasting:
        """For a service that is new.

        Arguments:
            process: what it may use.
            service: its name.
            log: its logger.
        """
        metrics = Metrics()
        turns = share_of_turns(process.turns, metrics, log)
        return cls(metrics, log, turns, Tracker(service, process.taps, metrics=metrics, log=log))


class QueueHandle:
    """Stands for the process's queue in a build; once it is bound, it is as good as the queue.

    Arguments:
        service: the service's name.
    """

    def __init__(self, service: str) -> None:
        self._service = service
        self._outbox: Outbox | None = None
        self.attachment: Attachment | None = None

    def attach(self, service: str, courier: Any, schedule: Any) -> None:
        """Note how messages of the service are delivered; `Hosted.outbox` does the same."""
        if service != self._service:
            raise ValueError(f"the service {self._service} cannot attach {service} to the queue")
        self.attachment = Attachment(courier=courier, schedule=schedule)

    def bind(self, outbox: Outbox) -> None:
        """Let it stand for this queue from now on."""
        self._outbox = outbox

    def __getattr__(self, name: str) -> Any:
        if self._outbox is None:
            raise RuntimeError(f"outbox.{name}: a service has no queue while it is being built")
        return getattr(self._outbox, name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A service that was built; nothing knows of it before `attach`.

    Arguments:
        name: the service's name.
        settings: its options.
        hosted: what its plugin has built.
        tls: the context factory of its ``tls`` section, or None.
        address_tls: those of addresses that bring a certificate of their own, by the way to each.
        lasting: what it keeps when it is built again.
        families: the gauges, counters and histograms that its build has asked for.
        queue: its handle of the queue, or None where it has not asked for one.
        http: its HTTP clients.
        shared: what it shares with others, including what it was the first to ask for.
        warnings: for the log.
    """

    name: str
    settings: ServiceSettings
    hosted: Hosted
    tls: ServerContextFactory | None
    address_tls: Mapping[Way, ServerContextFactory]
    lasting: Lasting
    families: Mapping[str, Any]
    queue: QueueHandle | None
    http: HttpClients
    shared: Shared
    warnings: tuple[str, ...] = ()

    @property
    def attachment(self) -> Attachment | None:
        """How its messages in the queue are delivered, or None."""
        if self.hosted.outbox is not None:
            return self.hosted.outbox
        return None if self.queue is None else self.queue.attachment

    @property
    def wants_queue(self) -> bool:
        """Whether the process has to have a queue for it."""
        return self.queue is not None or self.hosted.outbox is not None

    def attach(self, process: Process, outbox: Callable[[], Outbox]) -> None:
        """Put into effect what the build has asked of the process.

        Arguments:
            process: the one that it was built for.
            outbox: gives the process's queue; it is called only where the service wants it.
        """
        self.shared.commit()
        process.http.adopt(self.http)
        self.lasting.metrics.show(self.families)
        if self.hosted.attach is not None:
            self.hosted.attach()
        if not self.wants_queue:
            return
        queue = outbox()
        if self.queue is not None:
            self.queue.bind(queue)
        if (attachment := self.attachment) is not None:
            queue.attach(self.name, attachment.courier, attachment.schedule)


def build_service(
    name: str,
    plugin: Plugin,
    settings: ServiceSettings,
    process: Process,
    *,
    lasting: Lasting | None = None,
) -> Built:
    """Build a service; nothing is opened, attached or registered, whether it succeeds or not.

    Arguments:
        name: the service's name.
        plugin: its protocol.
        settings: its options.
        process: what it may use.
        lasting: what it keeps of the time before, where it is built again.

    Raises:
        InvalidValue: an option cannot be put to use; its `at` is the way to it in the service.
        Exception: whatever the plugin raised.
    """
    tls = _tls(settings)
    address_tls = _address_tls(settings, process.folder)
    if lasting is None:
        log = ServiceLogger(namespace=f"netserve.service.{name}")
        lasting = Lasting.of(process, name, log)
    shared = process.shared.branch()
    http = process.http.branch(lasting.tracker)
    handles: list[QueueHandle] = []

    def outbox() -> Outbox:
        if not handles:
            handles.append(QueueHandle(name))
        return cast("Outbox", handles[0])

    context = Context(
        service=name,
        reactor=process.reactor,
        log=lasting.log,
        metrics=lasting.metrics,
        folder=process.folder,
        state=process.state,
        datagram_ports=process.datagram_ports,
        tls=tls,
        outbox=outbox,
        http=http,
        random=process.random,
        turns=lasting.turns,
        tracker=lasting.tracker,
        listens=process.listens,
        shared=shared,
    )
    with lasting.metrics.registering() as families:
        built = plugin.build(settings, context)
    hosted = built if isinstance(built, Hosted) else Hosted(stream=built)
    _refuse_nothing(hosted, settings)
    return Built(
        name=name,
        settings=settings,
        hosted=hosted,
        tls=tls,
        address_tls=address_tls,
        lasting=lasting,
        families=families,
        queue=handles[0] if handles else None,
        http=http,
        shared=shared,
        warnings=_warnings(tls),
    )


def build_services(configuration: Configuration, process: Process) -> list[Built]:
    """Build every service of a file, or none.

    Arguments:
        configuration: the loaded file.
        process: what the services may use.

    Raises:
        ConfigError: everything that is wrong with certificates, options and plugins.
    """
    problems: list[Problem] = []
    services: list[Built] = []
    for service in configuration.services:
        try:
            services.append(build_service(service.name, service.plugin, service.settings, process))
        except InvalidValue as error:
            problems.append(configuration.problem(("services", service.name), error))
        except NetserveError as error:
            problems.append(configuration.problem(("services", service.name), str(error)))
        except (Exception, SystemExit) as error:
            problems.append(_problem_of_plugin(configuration, service, error))
    if problems:
        raise ConfigError(problems)
    return services


def datagram_ports(services: Sequence[ServiceSettings]) -> frozenset[int]:
    """Every UDP port that services listen on.

    Arguments:
        services: their options.
    """
    return frozenset(
        listen.port
        for settings in services
        for _, listen in settings.addresses()
        if listen.is_datagram and listen.port
    )


def share_of_turns(turns: Turns, metrics: Metrics, log: Logger) -> Share:
    """A service's share of the reactor's time; what fails in it is counted and logged."""

    def failed(error: Exception) -> None:
        metrics.errors["internal"] += 1
        log.failure("a connection failed in its turn", Failure(error))

    return turns.share(failed)


def _tls(settings: ServiceSettings) -> ServerContextFactory | None:
    if not isinstance(settings, Settings) or settings.tls is None:
        return None
    try:
        return ServerContextFactory(settings.tls)
    except TLSError as error:
        raise error.inside(("tls",)) from None


def _address_tls(settings: ServiceSettings, folder: Path) -> dict[Way, ServerContextFactory]:
    found: dict[Way, ServerContextFactory] = {}
    for way, listen in settings.addresses():
        try:
            tls = tls_of(listen, folder)
        except StartError as error:
            raise OptionError(way, "{error}", error=error) from None
        if tls is not None:
            found[way] = tls
    return found


def _refuse_nothing(hosted: Hosted, settings: ServiceSettings) -> None:
    if hosted.stream is not None or hosted.datagram is not None or hosted.streams:
        return
    if any(settings.addresses()):
        raise ValueError("its protocol has nothing to host: build gave no factory")
    if hosted.start is None and hosted.stop is None:
        raise ValueError("its protocol has nothing to host: build gave neither start nor stop")


def _warnings(tls: ServerContextFactory | None) -> tuple[str, ...]:
    if tls is None:
        return ()
    warning = expiry_warning(tls.expires, datetime.datetime.now(datetime.UTC))
    return () if warning is None else (warning,)


def _problem_of_plugin(
    configuration: Configuration, service: ServiceConfiguration, error: BaseException
) -> Problem:
    """The problem of an error that a plugin's code raised while it built a service.

    Its text may have anything in it that the code was given. It is shown where the options of
    the service hold no secret.
    """
    if isinstance(error, ValueError):
        what = str(error)
    else:
        what = f"its protocol cannot be built: {with_place(error)}"
    if not holds_no_secret(Shape(type(service.settings))):
        what = f"its protocol cannot be built: {place_of(error)}; its text is not shown, as a"
        what += " secret of the service may be in it"
    return configuration.problem(("services", service.name), what)
