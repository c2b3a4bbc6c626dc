"""How much has moved on a connection, without work per message.

For TCP on Linux the kernel counts: TCP_INFO (``struct tcp_info``, include/uapi/linux/tcp.h) has
the bytes of both directions. Everywhere else the transport is wrapped by one that counts.
"""

from __future__ import annotations

import socket
import struct
import sys
from typing import Any, NamedTuple

from netserve.connection.transport import TransportLayer

_OFFSET_RECEIVED = 128
_OFFSET_NOT_SENT = 144
_OFFSET_SENT = 200
_OFFSET_RETRANSMITTED = 208
_LENGTH = 216
_FIN_RECEIVED = frozenset({6, 8, 9, 11})  # TIME_WAIT, CLOSE_WAIT, LAST_ACK, CLOSING
_U32 = struct.Struct("=I")
_U64 = struct.Struct("=Q")


class Traffic(NamedTuple):
    """Bytes that a connection has carried so far."""

    received: int
    sent: int


class TCPTraffic:
    """Reads the kernel's counters of one TCP socket.

    Arguments:
        handle: the transport's socket.
    """

    __slots__ = ("_handle", "_last", "ended")

    def __init__(self, handle: Any) -> None:
        self.ended = False
        """Set when the peer has closed its side, which the kernel counts as one byte."""
        self._handle = handle
        self._last = Traffic(0, 0)

    def read(self) -> Traffic:
        """The counters now, or those read last when the socket is closed already."""
        try:
            info = self._handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LENGTH)
        except (OSError, ValueError):
            return self._last
        if len(info) == _LENGTH:
            sent = _U64.unpack_from(info, _OFFSET_SENT)[0]
            again = _U64.unpack_from(info, _OFFSET_RETRANSMITTED)[0]
            waiting = _U32.unpack_from(info, _OFFSET_NOT_SENT)[0]
            received = _U64.unpack_from(info, _OFFSET_RECEIVED)[0]
            if self.ended or info[0] in _FIN_RECEIVED:
                received -= 1
            self._last = Traffic(received, sent - again + waiting)
        return self._last


class CountingTransport(TransportLayer):
    """A transport that counts what passes."""

    def __init__(self, transport: Any) -> None:
        super().__init__(transport)
        self._received = 0
        self._sent = 0

    def write(self, data: bytes) -> None:
        """See `ITransport.write`."""
        self._sent += len(data)
        self._transport.write(data)

    def received(self, data: bytes) -> None:
        """The connection has received bytes."""
        self._received += len(data)

    def read(self) -> Traffic:
        """The counters now."""
        return Traffic(self._received, self._sent)


def kernel_traffic(transport: Any) -> TCPTraffic | None:
    """The kernel's counters for this transport, or None where it has none to give."""
    if not sys.platform.startswith("linux"):
        return None
    handle = getattr(transport, "getHandle", lambda: None)()
    family = getattr(handle, "family", None)
    if family not in {socket.AF_INET, socket.AF_INET6} or not hasattr(handle, "getsockopt"):
        return None
    return TCPTraffic(handle)
