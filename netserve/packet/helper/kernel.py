"""Answers Scapy's questions about routes and neighbours from the kernel's current tables.

Scapy keeps copies of the routing tables and resolves link-layer addresses through its own sockets.
The objects here replace them: they query the kernel through one netlink socket, and never wait.
"""

from __future__ import annotations

import ipaddress
import socket
import time
from dataclasses import dataclass
from typing import Any, Final

import scapy.layers.l2
from scapy.base_classes import Net
from scapy.config import conf
from scapy.utils6 import Net6

from netserve.packet.netlink import Interface, Netlink, NetlinkError

_BROADCAST: Final = "ff:ff:ff:ff:ff:ff"
_NULL: Final = "00:00:00:00:00:00"
_REMEMBERED: Final = 1024
_REMEMBERED_FOR: Final = 1.0
"""Seconds."""


class NoNeighbour(Exception):
    """The link-layer address of a target is not known.

    Arguments:
        what: what is wrong, and what would be right; Scapy adds to the exception's own text.
    """

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


@dataclass(slots=True)
class _Named:
    """The attribute that Scapy's field of a source address reads from an interface."""

    mac: str


class Kernel:
    """Answers Scapy, and remembers the answers for a moment.

    Arguments:
        netlink: the socket.
    """

    def __init__(self, netlink: Netlink) -> None:
        self.netlink = netlink
        self.interface: Interface | None = None
        self._asked = 0.0
        self._routes: dict[bytes, tuple[str, str, str]] = {}
        self._interfaces: dict[str, Interface] = {}

    def install(self) -> None:
        """Take the place of Scapy's own tables."""
        conf.route = _Routes(self)
        conf.route6 = _Routes6(self)
        conf.neighbor = self
        conf.verb = 0
        conf.checkIPsrc = True
        scapy.layers.l2.resolve_iface = self._resolve_iface
        Net.name2addr = classmethod(_numeric)
        Net6.name2addr = classmethod(_numeric)

    def use(self, interface: Interface | None) -> None:
        """Packets are built for an interface, or None for the one that the kernel chooses."""
        now = time.monotonic()
        if interface != self.interface or now - self._asked > _REMEMBERED_FOR:
            self.interface = interface
            self._asked = now
            self._routes.clear()
            self._interfaces.clear()

    def route(self, target: str, family: int) -> tuple[str, str, str]:
        """Scapy's triple: the name of the interface, the source, the gateway."""
        packed = socket.inet_pton(family, target)
        known = self._routes.get(packed)
        if known is None:
            if len(self._routes) > _REMEMBERED:
                self._routes.clear()
            known = self._routes[packed] = self._ask(packed, family)
        return known

    def _ask(self, target: bytes, family: int) -> tuple[str, str, str]:
        none = "0.0.0.0" if family == socket.AF_INET else "::"
        try:
            route = self.netlink.route(target, self.interface.index if self.interface else 0)
        except NetlinkError:
            return (self.interface.name if self.interface else "lo"), none, none
        name = next((n for n, each in self._all().items() if each.index == route.interface), "lo")
        source, gateway = (
            socket.inet_ntop(family, packed) if packed and len(packed) == len(target) else none
            for packed in (route.source, route.gateway)
        )
        return name, source, gateway

    def _all(self) -> dict[str, Interface]:
        if not self._interfaces:
            self._interfaces = {each.name: each for each in self.netlink.interfaces()}
        return self._interfaces

    def _resolve_iface(self, name: Any) -> _Named:
        interface = self.interface or self._all().get(str(name))
        return _Named(_text(interface.address) if interface else _NULL)

    def resolve(self, frame: Any, packet: Any) -> str | None:
        """Scapy's question for the destination of a frame that does not say it.

        Raises:
            NoNeighbour: it is not known.
        """
        target = getattr(packet, "dst", None) or getattr(packet, "pdst", None)
        if not isinstance(target, str):
            return _BROADCAST
        address = ipaddress.ip_address(target)
        if address.is_multicast:
            return _multicast(address)
        if type(packet).__name__ == "ARP" or target == "255.255.255.255":
            return _BROADCAST
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        name, _, gateway = self.route(target, family)
        interface = self.interface or self._all().get(name)
        if interface is None or name == "lo":
            return _NULL
        hop = gateway if gateway not in {"0.0.0.0", "::"} else target
        found = self.netlink.neighbour(interface.index, socket.inet_pton(family, hop))
        if found is None:
            raise NoNeighbour(
                f"the link-layer address of {hop} is not known; name it by Ether(dst=...),"
                " or send something to it first"
            )
        return _text(found)


class _Routes:
    """Stands in for `conf.route`."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def route(self, dst: Any = None, *_: object, **__: object) -> tuple[str, str, str]:
        """The interface, the source and the gateway for an address."""
        text = dst.decode() if isinstance(dst, bytes) else str(dst or "0.0.0.0")
        try:
            packed = socket.inet_aton(text.partition("/")[0])
        except OSError:
            return "lo", "0.0.0.0", "0.0.0.0"
        return self._kernel.route(socket.inet_ntoa(packed), socket.AF_INET)


class _Routes6(_Routes):
    """Stands in for `conf.route6`."""

    def route(self, dst: Any = None, *_: object, **__: object) -> tuple[str, str, str]:
        text = str(dst or "::").partition("/")[0].partition("%")[0]
        try:
            socket.inet_pton(socket.AF_INET6, text)
        except OSError:
            return "lo", "::", "::"
        return self._kernel.route(text, socket.AF_INET6)


def _numeric(network: type[Net], name: str) -> str:
    """In place of a look-up: names are resolved before they come here."""
    try:
        socket.inet_pton(network.family, name)
    except OSError:
        raise ValueError(f"{name!r} is not an address") from None
    return name


def _text(address: bytes) -> str:
    return address.hex(":") if len(address) == 6 else _NULL


def _multicast(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """RFC 1112, 6.4 and RFC 2464, 7."""
    if address.version == 4:
        return _text(b"\x01\x00\x5e" + (int(address) & 0x7FFFFF).to_bytes(3, "big"))
    return _text(b"\x33\x33" + address.packed[-4:])
