"""Starts a sniffer, and receives its messages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger

from netserve.packet.client.launching import Launcher, Running
from netserve.packet.client.link import Link
from netserve.packet.errors import PacketError
from netserve.packet.policy import Policy, Refused

Packets = Callable[[list[tuple[int, int, str]]], None]
"""Called with packets: nanoseconds since 1970, the size, the first bytes in hex digits."""


class Sniffing:
    """One sniffer, from its start to its end.

    Arguments:
        reactor: the reactor.
        policy: the limits.
        launcher: the way to a process with the capability.
        log: gets a record for each use.
        user: the name of the user for the log.
        wanted: see `netserve.packet.sniffer.run.Wanted`, as JSON values.
        file: the descriptor for the packets, or None; the caller closes it.
        packets: called with packets to show.
    """

    def __init__(
        self,
        *,
        reactor: Any,
        policy: Policy,
        launcher: Launcher,
        log: Logger,
        user: str,
        wanted: dict[str, Any],
        file: int | None,
        packets: Packets,
    ) -> None:
        self._reactor = reactor
        self._policy = policy
        self._launcher = launcher
        self._log = log
        self._user = user
        self._wanted = wanted
        self._file = file
        self._packets = packets
        self._link = Link(self._opened, self._received, self._closed)
        self._running: Running | None = None
        self._end: dict[str, Any] | PacketError | None = None
        self._waiting: list[Deferred[dict[str, Any]]] = []
        self.link_type: int | None = None
        """The type of the link layer, once it is ready."""
        self.counts: dict[str, int] = {}
        """The counts so far, updated each second."""

    def start(self) -> Deferred[dict[str, Any]]:
        """Start it; see `ended`."""
        try:
            self._policy.check_interface(str(self._wanted["interface"]))
            self._running = self._launcher.launch(self._reactor, self._link, self._log)
        except Refused as error:
            self._fail(PacketError("refused", str(error)))
        except PacketError as error:
            self._fail(error)
        return self.ended()

    def ended(self) -> Deferred[dict[str, Any]]:
        """Fires with the totals at the end; cancelling it does not end the sniffer.

        Errors:
            PacketError: it could not be started, or died.
        """
        if isinstance(self._end, PacketError):
            return fail(self._end)
        if self._end is not None:
            return succeed(self._end)
        waiting: Deferred[dict[str, Any]] = Deferred(self._waiting.remove)
        self._waiting.append(waiting)
        return waiting

    def stop(self) -> None:
        """Make it write its last packets, and end."""
        self._link.send({"stop": True})

    def kill(self) -> None:
        """End it at once."""
        if self._running is not None:
            self._running.kill()

    def _opened(self) -> None:
        if self._file is not None:
            self._link.transport.sendFileDescriptor(self._file)
        self._link.send({"policy": self._policy.to_json(), "sniff": self._wanted})

    def _received(self, message: Any) -> None:
        match message:
            case {"packets": list(packets)}:
                self._packets([tuple(packet) for packet in packets])
            case {"counts": dict(counts)}:
                self.counts = counts
            case {"ready": {"link": int(link)}}:
                self.link_type = link
                self._tell("begins")
            case {"done": dict(done)}:
                self._tell(f"captured {done.get('captured')}, dropped {done.get('dropped')}")
                self._finish(done)
            case {"failed": {"kind": str(kind), "what": str(what)}}:
                self._fail(PacketError(kind, what))

    def _closed(self) -> None:
        self._fail(PacketError("died", "the sniffer ended before its time"))

    def _fail(self, error: PacketError) -> None:
        if self._end is None:
            self._tell(f"{error.kind}: {error.what}", is_error=True)
            self._finish(error)

    def _finish(self, end: dict[str, Any] | PacketError) -> None:
        if self._end is None:
            self._end = end
            waiting, self._waiting = self._waiting, []
            for one in waiting:
                if isinstance(end, PacketError):
                    one.errback(end)
                else:
                    one.callback(end)
            self._link.close()

    def _tell(self, text: str, *, is_error: bool = False) -> None:
        log = self._log.warn if is_error else self._log.info
        log(
            "packet: user {user}, sniff on interface {where}, filter {filter!r}: {text}",
            user=self._user,
            where=self._wanted["interface"],
            filter=self._wanted["filter"][:300],
            text=text,
        )
