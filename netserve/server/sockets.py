"""The listening sockets of the process, by address.

A socket is opened once and stays open for as long as a service wants its address, whichever
generation of whichever service that is; only where its entrance points changes.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from netserve.config.listen import Listen
from netserve.crossing import ensure_deferred
from netserve.errors import StartError
from netserve.fairness.turns import Share
from netserve.server.datagram import DatagramGate
from netserve.server.entrance import DatagramEntrance, Entrance
from netserve.server.listeners import listen_datagram, listen_stream
from netserve.server.way_in import WayIn

Key: TypeAlias = tuple[str, ...]
"""What makes two addresses the same socket."""
Target: TypeAlias = WayIn | DatagramGate
"""What an entrance points at."""

T = TypeVar("T")

_TCP: Final = {"tcp": "tcp", "tls": "tcp", "ssl": "tcp", "tcp6": "tcp6", "tls6": "tcp6"}
_OPTIONS: Final = ("backlog", "mode")


def key_of(listen: Listen, folder: Path, owner: str, place: str) -> Key:
    """The socket of an address.

    Arguments:
        listen: the address.
        folder: where relative paths start.
        owner: the service's name.
        place: of the address in the service; for ports that the system chooses, which are not the
            same though they are written alike.
    """
    values = listen.inside.values
    kind = listen.inside.kind
    outer = "haproxy" if listen.kind == "haproxy" else ""
    if listen.inside.port is not None:
        chosen = (owner, place) if listen.inside.port == 0 else ()
        kind = _TCP.get(kind, kind)
        return (outer, kind, _host(values.get("interface", "")), values["port"], *chosen)
    if kind in {"unix", "unixgram"}:
        return (outer, kind, os.path.normpath(folder / values["address"]))
    return (outer, listen.inside.description)


def _host(interface: str) -> str:
    try:
        return ip_address(interface).compressed if interface else ""
    except ValueError:
        return interface.lower()


@dataclass(slots=True)
class _Open:
    """A socket that is open, or about to be."""

    listen: Listen
    entrance: Entrance | DatagramEntrance
    port: Any = None


class Sockets:
    """Opens, keeps and closes the listening sockets of a process.

    Arguments:
        reactor: opens them.
        folder: where relative paths start.
        log: of the process.
    """

    def __init__(self, *, reactor: Any, folder: Path, log: Logger) -> None:
        self.folder = folder
        self._reactor = reactor
        self._log = log
        self._sockets: dict[Key, _Open] = {}
        self._adopted: dict[Key, int] = {}

    def __contains__(self, key: Key) -> bool:
        return key in self._sockets

    def adopt(self, listen: Listen, descriptor: int) -> None:
        """Use a socket that listens already, when this address is opened.

        Arguments:
            listen: an address that takes connections, with a port or a path of its own.
            descriptor: of the socket; it is duplicated, and stays the caller's.
        """
        self._adopted[key_of(listen, self.folder, "", "")] = descriptor

    def open(self, key: Key, listen: Listen, target: Target, turns: Share) -> Deferred[None]:
        """Listen on an address; Twisted's own endpoints have their result at once.

        Arguments:
            key: of the address, which is not open.
            listen: the address.
            target: what its entrance points at.
            turns: of the service; for datagrams.

        Errors:
            StartError: it cannot be listened on, with the reason, from the Deferred.
        """
        entrance = Entrance(target) if isinstance(target, WayIn) else DatagramEntrance(target)
        opened = self._sockets[key] = _Open(listen, entrance)

        def done(port: Any) -> Deferred[None] | None:
            opened.port = port
            if self._sockets.get(key) is not opened:  # closed while it was being opened
                return ensure_deferred(self._close(opened))
            return None

        def failed(failure: Failure) -> Failure:
            if self._sockets.get(key) is opened:
                del self._sockets[key]
            return failure

        opening = maybeDeferred(self._listen, key, opened, turns)
        return opening.addCallbacks(done, failed)

    def _listen(self, key: Key, opened: _Open, turns: Share) -> Any:
        listen, entrance = opened.listen, opened.entrance
        if isinstance(entrance, DatagramEntrance):
            return listen_datagram(
                listen, entrance, reactor=self._reactor, folder=self.folder, turns=turns
            )
        if key in self._adopted:
            return self._adopt(self._adopted.pop(key), entrance)
        return listen_stream(listen, entrance, reactor=self._reactor, folder=self.folder)

    def _adopt(self, descriptor: int, entrance: Entrance) -> Any:
        with socket.socket(fileno=os.dup(descriptor)) as same:
            family = same.family
        return self._reactor.adoptStreamPort(descriptor, family, entrance)

    def point(self, key: Key, listen: Listen, target: Target) -> None:
        """Give what comes in at an open socket to another target from now on.

        Arguments:
            key: of the socket.
            listen: its address, as it is written now.
            target: of the same kind as the one before.

        Raises:
            TypeError: it takes connections where the socket has datagrams, or the reverse.
        """
        opened = self._sockets[key]
        entrance = opened.entrance
        if isinstance(entrance, Entrance):
            entrance.point_at(_of_kind(WayIn, target))
        else:
            entrance.point_at(_of_kind(DatagramGate, target))
        if _options(listen) != _options(opened.listen):
            self._log.warn(
                "{listen}: the socket stays open as {before}; a change of {options} takes effect"
                " at the next start",
                listen=str(listen),
                before=str(opened.listen),
                options=" and ".join(_OPTIONS),
            )

    def clash(self, key: Key) -> Listen | None:
        """The open address that is in the way of one that is not open, or None.

        It is the same one with or without HAProxy's header: its socket cannot be given over, as
        what it has accepted already begins in the other way.
        """
        for other, opened in self._sockets.items():
            if other[1:] == key[1:] and other != key:
                return opened.listen
        return None

    async def close(self, keys: Collection[Key]) -> None:
        """Close sockets; connections stay.

        Arguments:
            keys: of the sockets; those that are not open are passed over.
        """
        closing = [self._sockets.pop(key) for key in keys if key in self._sockets]
        for opened in closing:
            await self._close(opened)

    async def close_others(self, wanted: Collection[Key]) -> None:
        """Close every socket that is not wanted any more.

        Arguments:
            wanted: the sockets that stay open.
        """
        await self.close([key for key in self._sockets if key not in wanted])

    async def _close(self, opened: _Open) -> None:
        if opened.port is None:
            return  # it is still being opened, and closed then
        try:
            await maybeDeferred(opened.port.stopListening)
        except Exception:
            # A port of somebody's plugin that fails keeps nothing else from ending.
            self._log.failure("{listen} was not closed as it should", listen=str(opened.listen))

    def address(self, key: Key) -> Any:
        """Twisted's address of an open socket."""
        port = self._sockets[key].port
        if port is None:
            raise StartError(f"{self._sockets[key].listen} is not open yet")
        return port.getHost()


def _of_kind(kind: type[T], target: Target) -> T:
    if not isinstance(target, kind):
        raise TypeError(f"{target} cannot take what comes in at this socket")
    return target


def _options(listen: Listen) -> tuple[str | None, ...]:
    return tuple(listen.inside.values.get(name) for name in _OPTIONS)
