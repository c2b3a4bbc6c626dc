"""One service of the file while the process runs: its name, its numbers, its generations.

Its counters, its logger and the count of its connections outlive its generations. One generation
is current: the entrances of the service's sockets point at it. Those before it drain.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.python.failure import Failure

from netserve.config.listen import Listen
from netserve.crossing import ensure_deferred
from netserve.errors import StartError
from netserve.plugin import Hosted, ServiceSettings, Way
from netserve.server.admission import Census
from netserve.server.build import Built
from netserve.server.generation import Generation
from netserve.server.sockets import Key, Sockets, Target, key_of


class Service:
    """Hosts what a plugin has built on the addresses of its service.

    Arguments:
        built: the first generation.
        sockets: of the process.
        reactor: the clock.
    """

    def __init__(self, built: Built, *, sockets: Sockets, reactor: Any) -> None:
        self.name = built.name
        self.lasting = built.lasting
        self.metrics = built.lasting.metrics
        self.census = Census()
        self.current = Generation(built, census=self.census, reactor=reactor)
        self.draining: list[Generation] = []
        self._log = built.lasting.log
        self._sockets = sockets
        self._reactor = reactor
        self._keys: list[Key] = []
        self._pending: list[Deferred[None]] = []
        self._retiring: list[Deferred[None]] = []
        self._is_stopping = False

    @property
    def settings(self) -> ServiceSettings:
        """The options that it goes by now."""
        return self.current.settings

    @property
    def hosted(self) -> Hosted:
        """What its plugin has built for the current generation."""
        return self.current.hosted

    def _addresses_of(self, generation: Generation) -> list[tuple[Way, Listen, Key]]:
        folder = self._sockets.folder
        return [
            (way, listen, key_of(listen, folder, self.name, ".".join(map(str, way))))
            for way, listen in generation.settings.addresses()
        ]

    def bind(self, failed: Callable[[Way, str], None]) -> None:
        """Open every address.

        Arguments:
            failed: is called with the way to an address and why it cannot be listened on.
        """
        for way, listen, key in self._addresses_of(self.current):
            try:
                target = self.current.target(way, listen)
                self._pending += self._open(key, listen, target)
            except StartError as error:
                failed(way, str(error))

    def _open(self, key: Key, listen: Listen, target: Target) -> list[Deferred[None]]:
        """Open a socket; what is returned are those that take their time, of somebody's plugin."""
        opening = self._sockets.open(key, listen, target, self.lasting.turns)
        self._keys.append(key)
        failures: list[Failure] = []
        opening.addErrback(failures.append)
        if failures:
            self._keys.remove(key)
            failures[0].raiseException()
        if opening.called:
            return []
        opening.addCallback(lambda _: failures[0].raiseException() if failures else None)
        return [opening]

    async def start(self) -> None:
        """Start what is hosted, then serve.

        Raises:
            StartError: an address that took its time to open could not be listened on.
            Exception: whatever `Hosted.start` raised.
        """
        pending, self._pending = self._pending, []
        for opening in pending:
            await opening
        await self.current.start()
        self._log_start("started")

    def _log_start(self, otherwise: str) -> None:
        addresses = ", ".join(str(listen) for _, listen in self.settings.addresses())
        if addresses:
            self._log.info("listening on {addresses}", addresses=addresses)
        else:
            self._log.info("{state}", state=otherwise)

    async def replace(self, built: Built, *, attach: Callable[[Built], None], drain: float) -> None:
        """Serve by another generation from now on, and let the one before finish.

        The new generation is started before any entrance points at it, so that no connection
        waits, and none is refused. Where it cannot be started, the one before goes on.

        Arguments:
            built: the new generation, with the `lasting` of this service.
            attach: attaches a build to the process.
            drain: seconds for the connections of the generation before.

        Raises:
            StartError: an address cannot be listened on, or the service is being stopped.
            Exception: whatever `Hosted.start` raised.
        """
        before = self.current
        new = Generation(built, census=self.census, reactor=self._reactor)
        addresses = self._addresses_of(new)
        targets = [(new.target(way, listen), listen, key) for way, listen, key in addresses]
        kept = set(self._keys)
        opened = [(target, listen, key) for target, listen, key in targets if key not in kept]
        attach(built)
        try:
            await self._start_beside(new, opened)
        except BaseException:
            await self._give_up(new, [key for _, _, key in opened])
            attach(before.built)
            raise
        for target, listen, key in targets:
            if key in kept:
                self._sockets.point(key, listen, target)
        self.current = new
        wanted = [key for _, _, key in addresses]
        unwanted = [key for key in self._keys if key not in wanted]
        self._keys = wanted
        before.retire()
        self.draining.append(before)
        self._retiring = [one for one in self._retiring if not one.called]
        self._retiring.append(ensure_deferred(self._retire(before, drain)))
        await self._sockets.close(unwanted)
        self._log_start("replaced")

    async def _start_beside(
        self, new: Generation, opened: list[tuple[Target, Listen, Key]]
    ) -> None:
        """Open the addresses that only a new generation has, and start it."""
        for target, listen, key in opened:
            if (other := self._sockets.clash(key)) is not None:
                raise StartError(f"cannot change {other} to {listen} while netserve runs")
            for opening in self._open(key, listen, target):
                await opening
        await new.start()
        if self._is_stopping:
            raise StartError(f"the service {self.name} is being stopped")

    async def _give_up(self, new: Generation, opened: list[Key]) -> None:
        """End a generation that could not be started."""
        await self._sockets.close(opened)
        self._keys = [key for key in self._keys if key not in opened]
        new.retire()
        new.cut()
        try:
            await new.stop()
        except Exception:
            self._log.failure("a generation that was not started did not end as it should")

    async def _retire(self, generation: Generation, seconds: float) -> None:
        """Drain and stop a generation that was replaced; a bug in it is only logged."""
        try:
            await generation.drain(seconds)
            generation.connections.read_traffic()
            await generation.stop()
        except Exception:
            self.metrics.errors["internal"] += 1
            self._log.failure("a generation that was replaced did not end as it should")
        self.draining.remove(generation)

    def update(self, settings: ServiceSettings) -> bool:
        """See `Generation.update`."""
        return self.current.update(settings)

    async def stop_listening(self) -> None:
        """Close the sockets; open connections stay."""
        self._is_stopping = True
        keys, self._keys = self._keys, []
        await self._sockets.close(keys)
        self.current.retire()

    async def drain(self, seconds: float) -> None:
        """Let the connections finish, and close what is left of them.

        Arguments:
            seconds: at most for all of it.
        """
        await self.stop_listening()
        patience = self._reactor.callLater(seconds, self._cut_draining)
        try:
            await self.current.drain(seconds)
            retiring, self._retiring = self._retiring, []
            await gatherResults(retiring)
        finally:
            if patience.active():
                patience.cancel()

    def _cut_draining(self) -> None:
        for generation in self.draining:
            generation.cut()

    def cut(self) -> None:
        """Close the connections that `drain` waits for."""
        self.current.cut()
        self._cut_draining()

    async def stop(self) -> None:
        """Stop what is hosted; after `drain`."""
        await self.current.stop()

    def read_traffic(self) -> None:
        """Bring the byte counters up to date."""
        for generation in (self.current, *self.draining):
            generation.connections.read_traffic()

    def not_ready(self) -> str | None:
        """Why it cannot serve now, or None when it can."""
        return self.current.not_ready()

    def addresses(self) -> list[Any]:
        """Twisted's addresses of the open sockets, for ports that the system chose."""
        return [self._sockets.address(key) for key in self._keys]
