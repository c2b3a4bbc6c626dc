"""A service as it was built once: what its connections go by, from its start to its stop.

=========  =====================================================================
state      meaning
=========  =====================================================================
built      nothing has started; connections that are admitted wait in the gate
running    `Hosted.start` has succeeded; connections are served
draining   it takes no more connections; the last ones finish
stopped    it has no connections
=========  =====================================================================
"""

from __future__ import annotations

from typing import Any, Literal

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocolFactory

from netserve.config.listen import Listen
from netserve.crossing import ensure_deferred
from netserve.errors import StartError
from netserve.plugin import ServiceSettings, Settings, Way
from netserve.reactor.tls import TLSFactory
from netserve.server.access import AccessRules
from netserve.server.admission import Admission, Census
from netserve.server.asyncio_adapter import AsyncioFactory
from netserve.server.build import Built
from netserve.server.connections import Connections
from netserve.server.datagram import DatagramGate
from netserve.server.gate import Gates
from netserve.server.sockets import Target
from netserve.server.way_in import WayIn

State = Literal["built", "running", "draining", "stopped"]

_NOT_LISTENING = Settings.model_construct(protocol="", listen=())
_IN_PLACE = frozenset({"tls", "allow", "deny", "log"})
"""Options that change while a generation runs; a plugin may have more, by `Hosted.update`."""


class Generation:
    """What a service is until it is replaced.

    Arguments:
        built: the service.
        census: counts the connections of all generations.
        reactor: the clock.
    """

    def __init__(self, built: Built, *, census: Census, reactor: Any) -> None:
        self.built = built
        self.hosted = built.hosted
        self.settings = built.settings
        self.state: State = "built"
        lasting = built.lasting
        self._log = lasting.log
        self._metrics = lasting.metrics
        self._reactor = reactor
        self._started: Deferred[None] = Deferred()
        # A service that does not listen has no such options; nothing is asked of these then.
        settings = self.settings if isinstance(self.settings, Settings) else _NOT_LISTENING
        self._listening = settings
        limits = settings.limits
        self._access = AccessRules(allow=settings.allow, deny=settings.deny)
        self.gates = Gates(
            admission=Admission(
                access=self._access,
                connections=limits.connections,
                connections_per_address=limits.connections_per_address,
                census=census,
            ),
            metrics=lasting.metrics,
            clock=reactor,
            log=lasting.log,
            started=self._started,
            turns=lasting.turns,
            tracker=lasting.tracker,
            handshake_timeout=limits.handshake_timeout,
        )
        self.ways_in: dict[tuple[str, str, bool], WayIn] = {}
        self._datagrams: list[DatagramGate] = []
        self.connections = Connections(self.gates, idle_timeout=limits.idle_timeout, clock=reactor)

    def target(self, way: Way, listen: Listen) -> Target:
        """What the entrance at an address is to point at.

        Arguments:
            way: to the address in the settings; it begins with the section that it stands in.
            listen: the address.

        Raises:
            StartError: the protocol has no answer for what comes in there.
        """
        if listen.is_datagram:
            if self.hosted.datagram is None:
                raise StartError(f"cannot listen on {listen}: this protocol takes no datagrams")
            return self._datagram_gate(self.hosted.datagram())
        way_in = self._way_in(way, listen)
        if way_in is None:
            raise StartError(f"cannot listen on {listen}: this protocol takes datagrams only")
        return way_in

    def _datagram_gate(self, inner: Any) -> DatagramGate:
        gate = DatagramGate(
            inner,
            access=self._access,
            metrics=self._metrics,
            log=self._log,
            started=self._started,
            tracker=self.built.lasting.tracker,
            clock=self._reactor,
        )
        self._datagrams.append(gate)
        return gate

    def _way_in(self, way: Way, listen: Listen) -> WayIn | None:
        """What answers at an address; the addresses that are alike share it."""
        hosted = self.hosted
        section = str(way[0])
        stream: Any = hosted.streams.get(section, hosted.stream)
        if stream is None:
            return None
        tls = self.built.address_tls.get(way)
        own = "" if tls is None else listen.description
        if listen.begins_with_tls or not hosted.starts_tls:
            tls = tls or self.built.tls
        key = section if section in hosted.streams else "", own, tls is not None
        if key not in self.ways_in:
            inner = stream if IProtocolFactory.providedBy(stream) else AsyncioFactory(stream)
            self.ways_in[key] = WayIn(
                self.gates,
                inner,
                # Only its settings are used; the gates make what is inside.
                tls=None if tls is None else TLSFactory(tls, False, inner, self._reactor),
                refusal=b"" if section in hosted.streams else hosted.refusal,
                proxies=self._listening.proxy_protocol_from,
            )
        return self.ways_in[key]

    async def start(self) -> None:
        """Start what is hosted, then serve.

        Raises:
            Exception: whatever `Hosted.start` raised.
        """
        if self.hosted.start is not None:
            await ensure_deferred(self.hosted.start())
        if self.state != "built":
            return  # it was drained meanwhile
        self.connections.start()
        self.state = "running"
        self._started.callback(None)

    def retire(self) -> None:
        """Take no more connections: no entrance points here any more."""
        self.state = "draining"
        for way_in in self.ways_in.values():
            way_in.drain()

    async def drain(self, seconds: float) -> None:
        """Let the connections finish, and close what is left of them; after `retire`.

        Arguments:
            seconds: at most for all of it.
        """
        if self.hosted.drain is not None:
            self.hosted.drain()
        await self.connections.drain(seconds)

    def cut(self) -> None:
        """Close the connections that `drain` waits for."""
        self.connections.cut()

    async def stop(self) -> None:
        """Stop what is hosted; after `drain`."""
        for gate in self._datagrams:
            gate.doStop()
        if self.hosted.stop is not None:
            await ensure_deferred(self.hosted.stop())
        self.state = "stopped"

    def not_ready(self) -> str | None:
        """Why it cannot serve now, or None when it can."""
        if self.state != "running":
            return self.state
        return self.hosted.ready() if self.hosted.ready is not None else None

    def update(self, settings: ServiceSettings) -> bool:
        """Go by other options without a new generation, as far as that is possible.

        Certificates, access rules and the log's level can change so, and what the plugin's
        `Hosted.update` takes. Open connections stay as they are.

        Arguments:
            settings: of the same model.

        Returns:
            False where it takes a new generation; then nothing has changed.

        Raises:
            TLSError: a certificate, key or CA file cannot be used; then nothing has changed.
            ValueError: what `Hosted.update` raised; the same.
        """
        old = self.settings
        if type(settings) is not type(old):
            return False
        changed = {
            name for name in type(old).model_fields if getattr(old, name) != getattr(settings, name)
        }
        old_tls, tls = getattr(old, "tls", None), getattr(settings, "tls", None)
        if (old_tls is None) != (tls is None):
            return False
        prepared = None if self.built.tls is None else self.built.tls.prepare(tls)
        if not changed <= _IN_PLACE:
            update = self.hosted.update
            if update is None or not update(settings):
                return False
        if self.built.tls is not None and prepared is not None:
            self.built.tls.use(prepared)
        if isinstance(settings, Settings):
            self._listening = settings
            self._access = AccessRules(allow=settings.allow, deny=settings.deny)
            self.gates.admission.access = self._access
            for gate in self._datagrams:
                gate.access = self._access
        self.settings = settings
        return True

    def renew_certificates(self) -> None:
        """Read the files of the service's certificates again, for the next connections.

        Raises:
            TLSError: one cannot be used; the ones before stay in use.
        """
        factories = [*self.built.address_tls.values()]
        if self.built.tls is not None:
            factories.append(self.built.tls)
        prepared = [(factory, factory.prepare()) for factory in factories]
        for factory, certificates in prepared:
            factory.use(certificates)
