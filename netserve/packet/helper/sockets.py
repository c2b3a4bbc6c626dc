"""Raw sockets that packets go out by, and packet sockets that answers come in by (packet(7))."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from dataclasses import dataclass
from typing import Final

from netserve.packet.confinement.system import attach_filter, bind_packet
from netserve.packet.headers import ETHERTYPE_IPV4, ETHERTYPE_IPV6
from netserve.packet.netlink import Interface

_IPV6_RAW: Final = 255  # IPPROTO_RAW: the data includes the header
_SO_TIMESTAMPNS: Final = 35
_SOL_PACKET: Final = 263
_PACKET_STATISTICS: Final = 6
_PACKET_IGNORE_OUTGOING: Final = 23
_ETH_P_ALL: Final = 3
_OUTGOING: Final = 4
_BUFFER: Final = 4 << 20
_LONGEST: Final = 65_535 + 14
_CONTROL: Final = socket.CMSG_SPACE(16)


class Senders:
    """The raw sockets, each opened when it is first used."""

    def __init__(self) -> None:
        self._open: dict[tuple[int, str], socket.socket] = {}

    def packet(self, data: bytes, target: bytes, interface: Interface | None) -> int:
        """Send an IP packet the way the kernel routes it.

        Arguments:
            data: with its header.
            target: the packed destination of the header.
            interface: the one to leave by; None for the one that the kernel chooses.

        Returns:
            the time, in nanoseconds since 1970.

        Raises:
            OSError: it could not be sent.
        """
        family = socket.AF_INET if len(target) == 4 else socket.AF_INET6
        sender = self._open.get((family, interface.name if interface else ""))
        if sender is None:
            sender = self._raw(family, interface)
        host = socket.inet_ntop(family, target)
        if family == socket.AF_INET:
            address: tuple[object, ...] = (host, 0)
        else:
            scope = interface.index if interface and target[:2] == b"\xfe\x80" else 0
            address = (host, 0, 0, scope)
        now = time.time_ns()
        sender.sendto(data, address)
        return now

    def _raw(self, family: int, interface: Interface | None) -> socket.socket:
        sender = socket.socket(family, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _IPV6_RAW)
        sender.setblocking(False)
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        if family == socket.AF_INET:
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        if interface:
            name = interface.name.encode() + b"\0"
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, name)
        # It is for sending only: nothing is to pile up in it.
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        self._open[(family, interface.name if interface else "")] = sender
        return sender

    def close(self) -> None:
        """Close them all."""
        for sender in self._open.values():
            sender.close()
        self._open.clear()


@dataclass(frozen=True, slots=True)
class Received:
    """A packet that came in.

    Arguments:
        data: all of it.
        time: nanoseconds since 1970, from the kernel.
        ethertype: its protocol, on layer 3.
    """

    data: bytes
    time: int
    ethertype: int


class PacketSocket:
    """A packet socket for one request; it receives, and on layer 2 it sends as well.

    Arguments:
        layer: 2 for frames of `interface`, 3 for IP packets of all interfaces or this one.
        interface: see above.
        version: 4 or 6, on layer 3.

    Raises:
        OSError: there is none to be had; EPERM without CAP_NET_RAW.
    """

    def __init__(self, layer: int, interface: Interface | None, version: int = 4) -> None:
        kind = socket.SOCK_RAW if layer == 2 else socket.SOCK_DGRAM
        self._protocol = (
            _ETH_P_ALL if layer == 2 else ETHERTYPE_IPV4 if version == 4 else ETHERTYPE_IPV6
        )
        # Without a protocol it gets nothing until it is bound, after its filter is in place.
        self.socket = socket.socket(socket.AF_PACKET, kind | socket.SOCK_CLOEXEC, 0)
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        self.socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        with contextlib.suppress(OSError):  # before Linux 4.20
            self.socket.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
        self._index = interface.index if interface else 0
        self.dropped = 0

    def filter(self, program: list[tuple[int, int, int, int]]) -> None:
        """Attach a program of classic BPF; the kernel drops the packets that it rejects."""
        attach_filter(self.socket, program)

    def begin(self) -> None:
        """Receive from now on."""
        bind_packet(self.socket.fileno(), self._protocol, self._index)

    def receive(self) -> Received | None:
        """The next packet, or None if there is none now."""
        try:
            data, control, _, address = self.socket.recvmsg(_LONGEST, _CONTROL)
        except BlockingIOError:
            return None
        except OSError as error:  # the interface went down; it may come back
            if error.errno is None:
                raise
            return None
        if address[2] == _OUTGOING:
            return Received(b"", 0, 0)
        at = time.time_ns()
        for level, kind, value in control:
            if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS and len(value) >= 16:
                seconds, nanoseconds = struct.unpack_from("qq", value)
                at = seconds * 1_000_000_000 + nanoseconds
        return Received(data, at, address[1])

    def send(self, data: bytes) -> int:
        """Send a frame; see `Senders.packet`."""
        now = time.time_ns()
        self.socket.send(data)
        return now

    def count_dropped(self) -> int:
        """Packets that the kernel dropped because they were not read in time."""
        try:
            statistics = self.socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
            self.dropped += struct.unpack("II", statistics)[1]
        except OSError:
            pass
        return self.dropped

    def close(self) -> None:
        """Close it."""
        self.socket.close()
