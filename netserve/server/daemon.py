"""The process: all services of a file, and what they share."""

from __future__ import annotations

import datetime
import gc
import os
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from netserve.config.load import Configuration, ServiceConfiguration
from netserve.config.secrets import holds_no_secret
from netserve.config.shapes import Shape
from netserve.crossing import ensure_deferred
from netserve.durable import make_folders
from netserve.errors import (
    ConfigError,
    InvalidValue,
    NetserveError,
    Problem,
    StartError,
    place_of,
    with_place,
)
from netserve.fairness.turns import Share, Turns
from netserve.http import HttpClients
from netserve.outbox import Outbox
from netserve.plugin import Context, Hosted, Metrics, Settings, Shared, Way
from netserve.server.logger import ServiceLogger
from netserve.server.service import HostedService
from netserve.server.tls import ServerContextFactory, TLSError, expiry_warning


@dataclass(frozen=True, slots=True)
class Component:
    """Something of the process beside the services, such as the control socket."""

    start: Callable[[], Awaitable[None] | None]
    stop: Callable[[], Awaitable[None] | None]


class Daemon(Service):
    """Builds, binds, starts and stops the services of a configuration.

    The order is: everything is built, every socket is bound, and only then something starts; a
    wrong certificate or a taken port therefore stops the start before any service has begun.

    Arguments:
        configuration: the loaded file.
        reactor: shared by all.
        failed: is called when a service could not start after the sockets were bound.
        randomness: the source of jitter.
    """

    def __init__(
        self,
        configuration: Configuration,
        *,
        reactor: Any,
        failed: Callable[[], None],
        randomness: random.Random | None = None,
    ) -> None:
        self.configuration = configuration
        self.services: dict[str, HostedService] = {}
        self.components: list[Component] = []
        self.outbox: Outbox | None = None
        """The durable queue, where a service has asked for it."""
        self._reactor = reactor
        self._failed = failed
        self._random = randomness or random.SystemRandom()
        self._log = Logger(namespace="netserve")
        self._turns = Turns.of(reactor)
        self._http = HttpClients(reactor=reactor, log=Logger(namespace="netserve.http"))
        self._shared = Shared()
        self._starting: Deferred[None] | None = None
        self._hurried = False
        self._warnings: list[tuple[Logger, str]] = []
        """Of the build, for the log, which begins with the start."""

    def build(self) -> None:
        """Build every service of the file; nothing is opened.

        Raises:
            ConfigError: all that is wrong with certificates and options.
        """
        problems: list[Problem] = []
        for service in self.configuration.services:
            try:
                self._build(service)
            except TLSError as error:
                way = ("services", service.name, "tls")
                problems.append(self.configuration.problem(way, error))
            except InvalidValue as error:
                problems.append(self.configuration.problem(("services", service.name), error))
            except NetserveError:
                raise
            except Exception as error:
                problems.append(self._problem_of_plugin(service, error))
        if problems:
            raise ConfigError(problems)

    def _problem_of_plugin(self, service: ServiceConfiguration, error: Exception) -> Problem:
        """What is said of an error that somebody's code has raised as it built a service.

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
        return self.configuration.problem(("services", service.name), what)

    def warn_at_start(self, problem: Problem) -> None:
        """Have the log say, when the services start, what is not right at a place of the file."""
        place = f"{problem.file}:{problem.line}:{problem.column}: {problem.path}"
        self._warnings.append((self._log, f"{place}: {problem.what}"))

    def _build(self, service: ServiceConfiguration) -> None:
        settings = service.settings
        tls = ServerContextFactory(settings.tls) if settings.tls is not None else None
        metrics = Metrics()
        log = ServiceLogger(namespace=f"netserve.service.{service.name}")
        if tls is not None and (
            warning := expiry_warning(tls.expires, datetime.datetime.now(datetime.UTC))
        ):
            self._warnings.append((log, warning))
        turns = self.share_of_turns(metrics, log)
        context = Context(
            service=service.name,
            reactor=self._reactor,
            log=log,
            metrics=metrics,
            folder=self.configuration.folder,
            state=self.configuration.process.state,
            datagram_ports=self._datagram_ports(),
            tls=tls,
            outbox=self._shared_outbox,
            http=self._http,
            random=self._random,
            turns=turns,
            listens=tuple(
                listen for other in self.configuration.services for listen in other.settings.listen
            ),
            shared=self._shared,
        )
        built = service.plugin.build(settings, context)
        hosted = built if isinstance(built, Hosted) else Hosted(stream=built)
        if hosted.stream is None and hosted.datagram is None and not hosted.streams:
            raise ValueError("its protocol has nothing to host: build gave no factory")
        self.host(service.name, settings, hosted, tls=tls, metrics=metrics, log=log, turns=turns)

    def host(
        self,
        name: str,
        settings: Settings,
        hosted: Hosted,
        *,
        tls: ServerContextFactory | None = None,
        metrics: Metrics | None = None,
        log: Logger | None = None,
        turns: Share | None = None,
    ) -> None:
        """Add a service; those of the file come by `build`, the status port by this alone."""
        metrics, log = metrics or Metrics(), log or Logger(namespace=f"netserve.{name}")
        self.services[name] = HostedService(
            name=name,
            settings=settings,
            hosted=hosted,
            tls=tls,
            metrics=metrics,
            log=log,
            turns=turns or self.share_of_turns(metrics, log),
            reactor=self._reactor,
            folder=self.configuration.folder,
        )

    def share_of_turns(self, metrics: Metrics, log: Logger) -> Share:
        """A share of the reactor's time, for a service or another part of the process."""
        return share_of_turns(self._turns, metrics, log)

    def _datagram_ports(self) -> frozenset[int]:
        return frozenset(
            listen.port
            for service in self.configuration.services
            for _, listen in service.settings.addresses()
            if listen.is_datagram and listen.port
        )

    def _shared_outbox(self) -> Outbox:
        if self.outbox is None:
            self.outbox = Outbox(
                self.configuration.process.state / "outbox",
                reactor=self._reactor,
                log=ServiceLogger(namespace="netserve.outbox"),
                random=self._random,
            )
        return self.outbox

    def bind(self) -> None:
        """Open every socket of every service, or none.

        Raises:
            ConfigError: all addresses that cannot be listened on.
        """
        problems: list[Problem] = []
        for name, service in self.services.items():

            def failed(way: Way, reason: str, name: str = name) -> None:
                problems.append(self._problem_of_address(name, way, reason))

            service.bind(failed)
        if problems:
            for service in self.services.values():
                ensure_deferred(service.stop_listening())
            raise ConfigError(problems)

    def _problem_of_address(self, name: str, way: Way, reason: str) -> Problem:
        if name == "status":
            return self.configuration.problem(("netserve", "status"), reason)
        return self.configuration.problem(("services", name, *way), reason)

    def startService(self) -> None:
        """Start what is bound; see IService."""
        super().startService()
        self._starting = ensure_deferred(self._start())
        self._starting.addErrback(self._start_failed)

    async def _start(self) -> None:
        for log, warning in self._warnings:
            log.warn("{warning}", warning=warning)
        make_state_folder(self.configuration.process.state)
        if self.outbox is not None:
            await self.outbox.open()
        for component in self.components:
            await ensure_deferred(component.start())
        for service in self.services.values():
            await service.start()
        # Modules and settings stay for good. Collections look past them from now on, which makes a
        # full one a matter of microseconds, where it took 40 ms.
        gc.freeze()
        count = len(self.configuration.services)
        what = "service" if count == 1 else "services"
        self._log.info("ready: {count} {what}", count=count, what=what)

    def _start_failed(self, failure: Any) -> None:
        if failure.check(StartError):
            self._log.critical("cannot start: {reason}", reason=str(failure.value))
        else:
            self._log.failure("cannot start", failure)
        self._failed()

    def stopService(self) -> Deferred[None]:
        """Stop accepting, drain, close; see IService."""
        super().stopService()
        return ensure_deferred(self._stop())

    def hurry(self) -> None:
        """Cut what `stopService` still waits for: connections, and deliveries under way."""
        if self._hurried:
            return
        self._hurried = True
        self._log.info("stopping at once: what is not finished is cut")
        for service in self.services.values():
            service.cut()
        if self.outbox is not None:
            self.outbox.cut()

    async def _stop(self) -> None:
        if self._starting is not None:
            await self._starting
        drain = self.configuration.process.drain
        self._log.info("stopping: connections have {seconds:g} s to finish", seconds=drain)
        services = self.services.items()
        await gatherResults(
            [self._ended(f"service {name}", service.drain, drain) for name, service in services]
        )
        for component in reversed(self.components):
            await self._ended("a component", component.stop)
        if self.outbox is not None:
            # Before the services: it waits for deliveries that are under way.
            await self._ended("the queue", self.outbox.close)
        for name, service in services:
            await self._ended(f"service {name}", service.stop)
        await self._ended("the HTTP client", self._http.close)
        self._log.info("stopped")

    def _ended(self, what: str, end: Callable[..., Any], *arguments: Any) -> Deferred[None]:
        """End a part of the process; a bug in it keeps none of the others from ending."""

        def failed(failure: Failure) -> None:
            self._log.failure("{what} did not end as it should", failure, what=what)

        return maybeDeferred(end, *arguments).addErrback(failed)


def share_of_turns(turns: Turns, metrics: Metrics, log: Logger) -> Share:
    """A service's share of the reactor's time; what fails in it is counted and logged."""

    def failed(error: Exception) -> None:
        metrics.errors["internal"] += 1
        log.failure("a connection failed in its turn", Failure(error))

    return turns.share(failed)


def make_state_folder(folder: Path) -> None:
    """Make the state folder, for its owner only.

    Raises:
        StartError: it cannot be made or written to.
    """
    try:
        make_folders(folder)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise StartError(f"cannot make the state folder {folder}: {reason}") from error
    if not os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
        raise StartError(f"cannot write to the state folder {folder}")
