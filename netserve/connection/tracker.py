"""The taps of the process, and what makes the records of one service's connections."""

from __future__ import annotations

import time
from collections.abc import Callable
from random import Random, SystemRandom
from typing import Any

from twisted.logger import Logger
from twisted.python.failure import Failure

from netserve.connection.record import Connection, Ids, address_text, local_address, note
from netserve.connection.tap import GuardedTap, OpenTap
from netserve.connection.transport import TappedTransport, insert
from netserve.metrics import Metrics
from netserve.wire.reply_guard import LogLimit, times


class Taps:
    """Which services of the process are tapped.

    Arguments:
        random: for the ids of the process's connections.
    """

    def __init__(self, random: Random | None = None) -> None:
        self.ids = Ids(random or SystemRandom())
        self.switched_on: dict[str, OpenTap] = {}
        """By the service's name."""

    def switch_on(self, service: str, open_tap: OpenTap) -> None:
        """Ask for a tap for each connection of a service that begins from now on.

        Arguments:
            service: its name.
            open_tap: is asked for each; it takes the place of an earlier one.
        """
        self.switched_on[service] = open_tap

    def switch_off(self, service: str) -> None:
        """Ask no more; the taps of open connections stay until those end."""
        self.switched_on.pop(service, None)


class Tracker:
    """Makes the records of one service's connections, and opens their taps.

    Arguments:
        service: the service's name.
        taps: of the process.
        metrics: counts taps that were dropped, as the error `tap`.
        log: of the service.
        wall: gives unix seconds.
    """

    def __init__(
        self,
        service: str = "",
        taps: Taps | None = None,
        *,
        metrics: Metrics | None = None,
        log: Logger | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.service = service
        self.taps = taps or Taps()
        self.new_id = self.taps.ids.next
        """Gives an id that the process has not used."""
        self._metrics = metrics or Metrics()
        self._log = log or Logger()
        self._wall = wall
        self._logged = LogLimit(1.0)

    def record(
        self, local: Any, peer: Any, *, tls: bool, outgoing: bool = False, identity: str = ""
    ) -> Connection:
        """Make the record of a connection that begins.

        Arguments:
            local: our address.
            peer: the other end's address.
            tls: whether it is inside TLS from its first byte.
            outgoing: whether netserve opened it.
            identity: its id, where it has one already.
        """
        if not identity:
            identity = self.new_id()
        connection = Connection(identity, self.service, local, peer, tls, self._wall(), outgoing)
        if outgoing:
            self._log.debug("connected to {peer}", peer=address_text(peer), connection_id=identity)
        return connection

    def open_tap(self, connection: Connection) -> GuardedTap | None:
        """The tap for a connection, or None where nobody wants one.

        Arguments:
            connection: it has just begun.
        """
        ask = self.taps.switched_on.get(self.service)
        if ask is None:
            return None
        try:
            tap = ask(connection)
        except Exception:
            self.tap_failed(connection, "it cannot be opened", Failure())
            return None
        return None if tap is None else GuardedTap(tap, connection, self.tap_failed)

    def outgoing(self, protocol: Any, transport: Any, *, tls: bool) -> Any:
        """Report a connection that netserve has opened; called when it is made.

        Arguments:
            protocol: of the connection, one of Twisted's.
            transport: what it was given.
            tls: whether it is inside TLS from its first byte.

        Returns:
            The transport that the protocol is to use: the same one without a tap.
        """
        connection = self.record(
            local_address(transport), transport.getPeer(), tls=tls, outgoing=True
        )
        note(transport, connection)
        tap = self.open_tap(connection)
        return transport if tap is None else insert(protocol, TappedTransport(transport, tap))

    def tap_failed(self, connection: Connection, why: str, failure: Failure | None) -> None:
        """Count and log a tap that is dropped; not more often than is readable."""
        self._metrics.errors["tap"] += 1
        if not (count := self._logged.count(time.monotonic())):
            return
        text = "the tap of a connection was dropped: {why}{more}"
        if failure is None:
            self._log.error(text, why=why, more=times(count), connection_id=connection.id)
        else:
            self._log.failure(
                text, failure, why=why, more=times(count), connection_id=connection.id
            )
