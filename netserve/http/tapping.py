"""Taps on the connections of the HTTP client, which are aiohttp's."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.python.failure import Failure

from netserve.connection import Tracker
from netserve.connection.tap import GuardedTap
from netserve.reactor.server import internet_address


def report(protocol: Any, tracker: Tracker, *, tls: bool) -> None:
    """Report a connection that aiohttp has opened, and on which nothing was sent yet.

    Arguments:
        protocol: aiohttp's, of the connection.
        tracker: of the service.
        tls: whether it is inside TLS; its handshake is over.
    """
    transport = protocol.transport
    if transport is None:
        return  # it has gone already
    local, peer = (transport.get_extra_info(name) for name in ("sockname", "peername"))
    if not (local and peer):
        return
    connection = tracker.record(
        internet_address(local), internet_address(peer), tls=tls, outgoing=True
    )
    tap = tracker.open_tap(connection)
    if tap is not None:
        protocol.transport = TappedTransport(transport, tap)
        transport.set_protocol(TappedProtocol(protocol, tap))


class TappedTransport:
    """An asyncio transport that shows a tap what is written.

    Arguments:
        transport: all methods and attributes that are not in this class are its own.
        tap: of the connection.
    """

    def __init__(self, transport: asyncio.Transport, tap: GuardedTap) -> None:
        self._transport = transport
        self._tap = tap

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """See `asyncio.WriteTransport.write`."""
        if data:
            self._tap.sent(bytes(data))
        self._transport.write(data)

    def writelines(self, pieces: Iterable[bytes | bytearray | memoryview]) -> None:
        """See `asyncio.WriteTransport.writelines`."""
        self.write(b"".join(pieces))

    def write_eof(self) -> None:
        """See `asyncio.WriteTransport.write_eof`."""
        self._tap.half_closed(by_peer=False)
        self._transport.write_eof()


class TappedProtocol(asyncio.Protocol):
    """An asyncio protocol that shows a tap what is received.

    Arguments:
        protocol: gets everything as before.
        tap: of the connection.
    """

    def __init__(self, protocol: Any, tap: GuardedTap) -> None:
        self._protocol = protocol
        self._tap = tap

    def pause_writing(self) -> None:
        """See `asyncio.BaseProtocol.pause_writing`."""
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """See `asyncio.BaseProtocol.resume_writing`."""
        self._protocol.resume_writing()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol.data_received`."""
        self._tap.received(bytes(data))
        self._protocol.data_received(data)

    def eof_received(self) -> bool | None:
        """See `asyncio.Protocol.eof_received`."""
        stays_open: bool | None = self._protocol.eof_received()
        if stays_open:
            self._tap.half_closed(by_peer=True)
        return stays_open

    def connection_lost(self, error: Exception | None) -> None:
        """See `asyncio.BaseProtocol.connection_lost`."""
        self._tap.ended(Failure(ConnectionDone() if error is None else ConnectionLost(str(error))))
        self._protocol.connection_lost(error)
