"""The socket of a connection, and what may be set on it."""

from __future__ import annotations

import socket
from typing import Any

from netserve.reactor.pending import Pending


class SocketOptions:
    """The part of a transport that speaks of its `socket`."""

    __slots__ = ()

    socket: socket.socket
    _native: Any

    def getHandle(self) -> Any:
        """The socket; it is open until after the protocol's `connectionLost`."""
        return self.socket

    def fileno(self) -> int:
        """The socket's descriptor, or -1 when it is closed."""
        return self.socket.fileno()

    def getTcpNoDelay(self) -> bool:
        """Whether small writes are sent at once; true from the start, as asyncio has it."""
        return bool(self.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    def setTcpNoDelay(self, enabled: bool) -> None:
        """See `ITCPTransport.setTcpNoDelay`."""
        if isinstance(self._native, Pending):
            self._native.no_delay = enabled  # the loop is yet to set its own
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, bool(enabled))

    def getTcpKeepAlive(self) -> bool:
        """See `ITCPTransport.getTcpKeepAlive`."""
        return bool(self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """See `ITCPTransport.setTcpKeepAlive`."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, bool(enabled))
