"""One service of the file while it runs: its sockets, its connections, its life.

=========  =====================================================================
state      meaning
=========  =====================================================================
built      nothing is open
bound      the sockets are open; connections wait in the gate
running    `Hosted.start` has succeeded; connections are served
draining   no socket is open; the last connections finish
stopped    nothing is open
=========  =====================================================================
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IProtocolFactory
from twisted.python.failure import Failure

from netserve.config.listen import Listen
from netserve.crossing import ensure_deferred
from netserve.errors import StartError
from netserve.plugin import Settings, Way
from netserve.reactor.tls import TLSFactory
from netserve.server.access import AccessRules
from netserve.server.admission import Admission
from netserve.server.asyncio_adapter import AsyncioFactory
from netserve.server.build import Built
from netserve.server.connections import Connections
from netserve.server.datagram import DatagramGate
from netserve.server.entrance import Entrance
from netserve.server.gate import Gates
from netserve.server.listeners import listen_datagram, listen_stream

State = Literal["built", "bound", "running", "draining", "stopped"]


_NOT_LISTENING = Settings.model_construct(protocol="", listen=())


class HostedService:
    """Hosts what a plugin has built on the addresses of its service.

    Arguments:
        built: the service.
        reactor: opens the sockets, and is the clock.
        folder: where relative paths of UNIX sockets start.
    """

    def __init__(self, built: Built, *, reactor: Any, folder: Path) -> None:
        settings = built.settings
        self.name = built.name
        self.settings = settings
        self.hosted = built.hosted
        self.metrics = built.lasting.metrics
        self.state: State = "built"
        self._log = built.lasting.log
        self._turns = built.lasting.turns
        self._reactor = reactor
        self._folder = folder
        # A service that does not listen has no such options; nothing is asked of these then.
        self._listening = settings if isinstance(settings, Settings) else _NOT_LISTENING
        self._access = AccessRules(allow=self._listening.allow, deny=self._listening.deny)
        self._ports: list[Any] = []
        self._pending: list[Deferred[Any]] = []
        self._started: Deferred[None] = Deferred()
        self._tls = built.tls
        self._address_tls = built.address_tls
        self._gates = self._make_gates()
        self._entrances: dict[tuple[str, str, bool], Entrance] = {}
        self._connections = Connections(
            self._gates, idle_timeout=self._listening.limits.idle_timeout, clock=reactor
        )

    def _make_gates(self) -> Gates:
        limits = self._listening.limits
        return Gates(
            admission=Admission(
                access=self._access,
                connections=limits.connections,
                connections_per_address=limits.connections_per_address,
            ),
            metrics=self.metrics,
            clock=self._reactor,
            log=self._log,
            started=self._started,
            turns=self._turns,
            handshake_timeout=limits.handshake_timeout,
        )

    def _entrance(self, way: Way, listen: Listen) -> Entrance | None:
        """What answers at an address; the addresses that are alike share it.

        Arguments:
            way: to the address in the settings; it begins with the section that it stands in.
            listen: the address.
        """
        hosted = self.hosted
        section = str(way[0])
        stream: Any = hosted.streams.get(section, hosted.stream)
        if stream is None:
            return None
        tls = self._address_tls.get(way)
        own = "" if tls is None else listen.description
        if listen.begins_with_tls or not hosted.starts_tls:
            tls = tls or self._tls
        key = section if section in hosted.streams else "", own, tls is not None
        if key not in self._entrances:
            inner = stream if IProtocolFactory.providedBy(stream) else AsyncioFactory(stream)
            self._entrances[key] = Entrance(
                self._gates,
                inner,
                # Only its settings are used; the gates make what is inside.
                tls=None if tls is None else TLSFactory(tls, False, inner, self._reactor),
                refusal=b"" if section in hosted.streams else hosted.refusal,
                proxies=self._listening.proxy_protocol_from,
            )
        return self._entrances[key]

    def bind(self, failed: Callable[[Way, str], None]) -> None:
        """Open every address.

        Arguments:
            failed: is called with the way to an address and why it cannot be listened on.
        """
        self.state = "bound"
        for way, listen in self.settings.addresses():
            try:
                if listen.is_datagram:
                    self._bind_datagram(listen)
                else:
                    self._bind_stream(way, listen)
            except StartError as error:
                failed(way, str(error))

    def _bind_datagram(self, listen: Listen) -> None:
        if self.hosted.datagram is None:
            raise StartError(f"cannot listen on {listen}: this protocol takes no datagrams")
        gate = DatagramGate(
            self.hosted.datagram(),
            access=self._access,
            metrics=self.metrics,
            log=self._log,
            started=self._started,
        )
        self._ports.append(
            listen_datagram(
                listen, gate, reactor=self._reactor, folder=self._folder, turns=self._turns
            )
        )

    def _bind_stream(self, way: Way, listen: Listen) -> None:
        entrance = self._entrance(way, listen)
        if entrance is None:
            raise StartError(f"cannot listen on {listen}: this protocol takes datagrams only")
        opening = listen_stream(listen, entrance, reactor=self._reactor, folder=self._folder)
        failures: list[Failure] = []
        opening.addCallbacks(self._ports.append, failures.append)
        if failures:
            failures[0].raiseException()
        if not opening.called:
            # An endpoint of somebody's plugin that takes its time; `start` waits for it.
            opening.addCallback(lambda _: failures[0].raiseException() if failures else None)
            self._pending.append(opening)

    async def start(self) -> None:
        """Start what is hosted, then serve.

        Raises:
            StartError: an address that took its time to open could not be listened on.
            Exception: whatever `Hosted.start` raised.
        """
        for opening in self._pending:
            await opening
        if self.hosted.start is not None:
            await ensure_deferred(self.hosted.start())
        self._connections.start()
        self.state = "running"
        self._started.callback(None)
        addresses = ", ".join(str(listen) for _, listen in self.settings.addresses())
        if addresses:
            self._log.info("listening on {addresses}", addresses=addresses)
        else:
            self._log.info("started")

    async def stop_listening(self) -> None:
        """Close the sockets; open connections stay."""
        self.state = "draining"
        ports, self._ports = self._ports, []
        for port in ports:
            await maybeDeferred(port.stopListening).addErrback(self._not_closed)
        for entrance in self._entrances.values():
            entrance.drain()

    def _not_closed(self, failure: Failure) -> None:
        """A port of somebody's plugin that fails keeps nothing else from ending."""
        self._log.failure("an address was not closed as it should", failure)

    async def drain(self, seconds: float) -> None:
        """Let the connections finish, and close what is left of them.

        Arguments:
            seconds: at most for all of it.
        """
        await self.stop_listening()
        if self.hosted.drain is not None:
            self.hosted.drain()
        await self._connections.drain(seconds)

    def cut(self) -> None:
        """Close the connections that `drain` waits for."""
        self._connections.cut()

    async def stop(self) -> None:
        """Stop what is hosted; after `drain`."""
        if self.hosted.stop is not None:
            await ensure_deferred(self.hosted.stop())
        self.state = "stopped"

    def read_traffic(self) -> None:
        """Bring the byte counters up to date."""
        self._connections.read_traffic()

    def not_ready(self) -> str | None:
        """Why it cannot serve now, or None when it can."""
        if self.state != "running":
            return self.state
        return self.hosted.ready() if self.hosted.ready is not None else None

    def addresses(self) -> list[Any]:
        """Twisted's addresses of the open sockets, for ports that the system chose."""
        return [port.getHost() for port in self._ports]
