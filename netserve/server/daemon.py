"""The process: all services of a file, and what they share."""

from __future__ import annotations

import gc
import os
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twisted.application import service as twisted_service
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from netserve.config.load import Configuration, ServiceConfiguration
from netserve.crossing import ensure_deferred
from netserve.durable import make_folders
from netserve.errors import ConfigError, Problem, StartError
from netserve.metrics import ProcessMetrics
from netserve.outbox import Outbox
from netserve.plugin import Hosted, ProtocolPlugin, ServiceSettings, Way
from netserve.server.build import Built, Lasting, Process, build_service, build_services
from netserve.server.logger import ServiceLogger
from netserve.server.queue_metrics import show_queue
from netserve.server.service import Service
from netserve.server.sockets import Sockets


@dataclass(frozen=True, slots=True)
class Component:
    """Something of the process beside the services, such as the control socket."""

    start: Callable[[], Awaitable[None] | None]
    stop: Callable[[], Awaitable[None] | None]


class Daemon(twisted_service.Service):
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
        self.services: dict[str, Service] = {}
        self.components: list[Component] = []
        self._log = Logger(namespace="netserve")
        self.process = Process.of(
            configuration, reactor=reactor, random=randomness or random.SystemRandom()
        )
        self.metrics = ProcessMetrics()
        self.sockets = Sockets(reactor=reactor, folder=configuration.folder, log=self._log)
        self.outbox: Outbox | None = None
        """The durable queue, where a service has asked for it."""
        self._reactor = reactor
        self._failed = failed
        self._starting: Deferred[None] | None = None
        self._hurried = False
        self._warnings: list[tuple[Logger, str]] = []
        """Of the build, for the log, which begins with the start."""

    def build(self) -> None:
        """Build every service of the file, and attach them all; nothing is opened.

        Raises:
            ConfigError: everything that is wrong with certificates, options and plugins; then
                none is attached.
        """
        for built in build_services(self.configuration, self.process):
            built.attach(self.process, self._shared_outbox)
            log = built.lasting.log
            self._warnings += [(log, warning) for warning in built.warnings]
            self.services[built.name] = Service(built, sockets=self.sockets, reactor=self._reactor)

    def warn_at_start(self, problem: Problem) -> None:
        """Have the log say, when the services start, what is not right at a place of the file."""
        place = f"{problem.file}:{problem.line}:{problem.column}: {problem.path}"
        self._warnings.append((self._log, f"{place}: {problem.what}"))

    async def replace(self, service: ServiceConfiguration) -> None:
        """Have a service that runs go by other options; its sockets stay open.

        Where the options can change in place, its connections stay too; otherwise it is built
        again, and the connections of the generation before have the time of `netserve.drain`.

        Arguments:
            service: one of this process, with its new options.

        Raises:
            InvalidValue: an option cannot be put to use; the service goes on as before.
            StartError: an address cannot be listened on; the same.
            Exception: whatever the plugin raised; the same.
        """
        running = self.services[service.name]
        if running.update(service.settings):
            return
        others = [one.settings for name, one in self.services.items() if name != service.name]
        process = self.process.serving([*others, service.settings])
        built = build_service(
            service.name, service.plugin, service.settings, process, lasting=running.lasting
        )
        self.process = process
        await running.replace(built, attach=self._attach, drain=self.configuration.process.drain)

    def _attach(self, built: Built) -> None:
        built.attach(self.process, self._shared_outbox)
        if built.attachment is not None and self.outbox is not None:
            self.outbox.reroute(built.name)

    def host(self, name: str, settings: ServiceSettings, hosted: Hosted, lasting: Lasting) -> None:
        """Add a service that is not of the file, such as the status port.

        Arguments:
            name: its name.
            settings: its options.
            hosted: what answers.
            lasting: its counters, its logger and its share of time.
        """
        plugin = ProtocolPlugin(name=name, settings=ServiceSettings, build=lambda *_: hosted)
        built = build_service(name, plugin, settings, self.process, lasting=lasting)
        self.services[name] = Service(built, sockets=self.sockets, reactor=self._reactor)

    def lasting(self, namespace: str) -> Lasting:
        """Counters, a logger and a share of the reactor's time, for a part of the process.

        Arguments:
            namespace: of the logger.
        """
        name = namespace.removeprefix("netserve.")
        return Lasting.of(self.process, name, Logger(namespace=namespace))

    def _shared_outbox(self) -> Outbox:
        if self.outbox is None:
            self.outbox = Outbox(
                self.configuration.process.state / "outbox",
                reactor=self._reactor,
                log=ServiceLogger(namespace="netserve.outbox"),
                random=self.process.random,
            )
            show_queue(self.metrics, self.outbox)
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
        await self._ended("the HTTP client", self.process.http.close)
        self._log.info("stopped")

    def _ended(self, what: str, end: Callable[..., Any], *arguments: Any) -> Deferred[None]:
        """End a part of the process; a bug in it keeps none of the others from ending."""

        def failed(failure: Failure) -> None:
            self._log.failure("{what} did not end as it should", failure, what=what)

        return maybeDeferred(end, *arguments).addErrback(failed)


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
