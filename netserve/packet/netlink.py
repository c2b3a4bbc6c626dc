"""Interfaces, routes and neighbours from the kernel, by rtnetlink(7).

One socket, opened before a process is confined and used after it; the kernel answers at once.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_HEADER: Final = struct.Struct("=IHHII")
_ATTRIBUTE: Final = struct.Struct("=HH")
_LINK: Final = struct.Struct("=BxHiII")
_ROUTE: Final = struct.Struct("=BBBBBBBBI")
_NEIGHBOUR: Final = struct.Struct("=BxxxiHBB")

_GETLINK, _NEWLINK, _GETROUTE, _NEWROUTE, _GETNEIGH, _NEWNEIGH = 18, 16, 26, 24, 30, 28
_REQUEST, _DUMP = 0x1, 0x300
_ERROR, _DONE = 2, 3
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU = 1, 3, 4
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PREFSRC, _RTA_VIA = 1, 4, 5, 7, 18
_NDA_DST, _NDA_LLADDR = 1, 2
_LOCAL: Final = 2  # RTN_LOCAL
_VALID_NEIGHBOUR: Final = 0x02 | 0x04 | 0x08 | 0x10 | 0x80
"""REACHABLE, STALE, DELAY, PROBE, PERMANENT."""

ARPHRD_ETHER: Final = 1
ARPHRD_LOOPBACK: Final = 772
_ARPHRD_IP: Final = frozenset({512, 768, 769, 776, 778, 823, 65534})
"""Interfaces without a link header: PPP, tunnels, and TUN or WireGuard."""


class NetlinkError(OSError):
    """The kernel does not know the interface, or has no route."""


@dataclass(frozen=True, slots=True)
class Interface:
    """A network interface.

    Arguments:
        index: the kernel's number.
        name: such as ``eth0``.
        kind: its ARPHRD number.
        address: its link-layer address, packed; empty if it has none.
        mtu: bytes of the largest packet.
    """

    index: int
    name: str
    kind: int
    address: bytes
    mtu: int

    @property
    def is_ethernet(self) -> bool:
        """Whether its frames begin with a header of Ethernet."""
        return self.kind in {ARPHRD_ETHER, ARPHRD_LOOPBACK}

    @property
    def is_loopback(self) -> bool:
        """Whether every packet that leaves by it arrives there again."""
        return self.kind == ARPHRD_LOOPBACK

    @property
    def is_bare(self) -> bool:
        """Whether its frames are IP packets."""
        return self.kind in _ARPHRD_IP


@dataclass(frozen=True, slots=True)
class Route:
    """The way to an address.

    Arguments:
        interface: the index of the interface that packets leave by.
        source: the address that they come from, packed, if the kernel has one.
        gateway: the next router, packed; None where the target is on the link.
        is_local: whether the address is one of this machine.
    """

    interface: int
    source: bytes | None
    gateway: bytes | None
    is_local: bool


class Netlink:
    """The socket.

    Raises:
        OSError: there is none to be had.
    """

    def __init__(self) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
        )
        self._socket.settimeout(2)
        self._socket.bind((0, 0))
        self._number = 0

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def interfaces(self) -> list[Interface]:
        """All interfaces."""
        found = []
        body = _LINK.pack(0, 0, 0, 0, 0)
        for kind, data in self._ask(_GETLINK, _REQUEST | _DUMP, body):
            if kind == _NEWLINK:
                _, hardware, index, _, _ = _LINK.unpack_from(data)
                known = dict(_attributes(data[_LINK.size :]))
                name = known.get(_IFLA_IFNAME, b"").rstrip(b"\0").decode(errors="replace")
                mtu = int.from_bytes(known.get(_IFLA_MTU, b"")[:4], sys.byteorder)
                found.append(Interface(index, name, hardware, known.get(_IFLA_ADDRESS, b""), mtu))
        return found

    def interface(self, name: str) -> Interface:
        """One interface.

        Raises:
            NetlinkError: there is none of this name.
        """
        for interface in self.interfaces():
            if interface.name == name:
                return interface
        raise NetlinkError(f"there is no interface {name}")

    def route(self, target: bytes, interface: int = 0) -> Route:
        """The way to an address, as the kernel would go.

        Arguments:
            target: 4 or 16 bytes.
            interface: the index of the one to leave by, or 0.

        Raises:
            NetlinkError: there is none.
        """
        family = _family(target)
        body = _ROUTE.pack(family, len(target) * 8, 0, 0, 0, 0, 0, 0, 0)
        body += _attribute(_RTA_DST, target)
        if interface:
            body += _attribute(_RTA_OIF, struct.pack("=I", interface))
        for kind, data in self._ask(_GETROUTE, _REQUEST, body):
            if kind == _NEWROUTE:
                known = dict(_attributes(data[_ROUTE.size :]))
                via = known.get(_RTA_VIA)
                (index,) = struct.unpack("=I", known.get(_RTA_OIF, bytes(4)))
                return Route(
                    interface=index,
                    source=known.get(_RTA_PREFSRC),
                    gateway=known.get(_RTA_GATEWAY) or (via[2:] if via else None),
                    is_local=_ROUTE.unpack_from(data)[7] == _LOCAL,
                )
        raise NetlinkError("no route to this address")

    def is_local(self, address: bytes) -> bool:
        """Whether an address is one of this machine."""
        try:
            return self.route(address).is_local
        except OSError:
            return False

    def neighbour(self, interface: int, address: bytes) -> bytes | None:
        """The link-layer address of a neighbour, if the kernel knows it."""
        body = _NEIGHBOUR.pack(_family(address), interface, 0, 0, 0) + _attribute(_NDA_DST, address)
        try:
            for kind, data in self._ask(_GETNEIGH, _REQUEST, body):
                if kind == _NEWNEIGH and _NEIGHBOUR.unpack_from(data)[2] & _VALID_NEIGHBOUR:
                    return dict(_attributes(data[_NEIGHBOUR.size :])).get(_NDA_LLADDR)
        except OSError:
            pass
        return None

    def _ask(self, kind: int, flags: int, body: bytes) -> Iterator[tuple[int, bytes]]:
        """The messages that answer a request.

        Raises:
            NetlinkError: the kernel refuses.
        """
        self._number += 1
        number = self._number
        header = _HEADER.pack(_HEADER.size + len(body), kind, flags, number, 0)
        self._socket.send(header + body)
        while True:
            data = self._socket.recv(1 << 17)
            at = 0
            while at + _HEADER.size <= len(data):
                size, answered, _, about, _ = _HEADER.unpack_from(data, at)
                payload = data[at + _HEADER.size : at + size]
                at += max(_HEADER.size, size + 3 & ~3)
                if about != number:
                    continue  # the rest of an earlier reply that was not read to its end
                if answered == _DONE:
                    return
                if answered == _ERROR:
                    code = -int.from_bytes(payload[:4], sys.byteorder, signed=True)
                    raise NetlinkError(code, os.strerror(code))
                yield answered, payload
                if not flags & _DUMP:
                    return


def _family(address: bytes) -> int:
    return socket.AF_INET if len(address) == 4 else socket.AF_INET6


def _attribute(kind: int, value: bytes) -> bytes:
    size = _ATTRIBUTE.size + len(value)
    return _ATTRIBUTE.pack(size, kind) + value + bytes(-size % 4)


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        size, kind = _ATTRIBUTE.unpack_from(data, at)
        if size < _ATTRIBUTE.size:
            return
        yield kind & 0x3FFF, data[at + _ATTRIBUTE.size : at + size]
        at += size + 3 & ~3
