"""Headers of IPv4 (RFC 791) and IPv6 (RFC 8200), and the addresses that stand for UNIX sockets."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final
from zlib import crc32

from netserve.capture.frames.checksum import checksum, word_sum
from netserve.capture.model import Endpoint, Flow

TCP: Final = 6
UDP: Final = 17

MOST_BEHIND_HEADER: Final = {4: 65_535 - 20, 6: 65_535}
"""The most bytes after the IP header, by version."""

_HOPS: Final = 64
_DO_NOT_FRAGMENT: Final = 0x4000
_V4: Final = struct.Struct("!BBHHHBBH4s4s")
_V6: Final = struct.Struct("!IHBB16s16s")

_UNIX_NETWORK: Final = bytes.fromhex("0100000000000000")
"""100::/64, in which no network delivers anything (RFC 6666)."""
_EPHEMERAL: Final = 49_152
"""The first port for the clients of UNIX sockets (RFC 6335)."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where frames come from or go to: a packed address of 4 or 16 bytes, and a port."""

    packed: bytes
    port: int

    @property
    def version(self) -> int:
        """4 or 6."""
        return 4 if len(self.packed) == 4 else 6

    def __str__(self) -> str:
        return str(ip_address(self.packed))


def addresses(flow: Flow) -> tuple[Address, Address]:
    """Our address and the peer's, as frames have them.

    A UNIX socket's path is put into 100::/64 (RFC 6666): always the same address for the same
    path, with the port of the service's protocol; its clients have one address each.
    """
    if flow.transport.is_local:
        server, client = (flow.peer, flow.local) if flow.outgoing else (flow.local, flow.peer)
        of_server = Address(_unix_address(0, server.host), flow.port_of_protocol)
        port = _EPHEMERAL + flow.number % (65_536 - _EPHEMERAL)
        of_client = Address(_unix_address(flow.number, client.host), port)
        return (of_client, of_server) if flow.outgoing else (of_server, of_client)
    local, peer = _parse(flow.local), _parse(flow.peer)
    if local.version != peer.version:
        return _as_ipv6(local), _as_ipv6(peer)
    return local, peer


def _parse(endpoint: Endpoint) -> Address:
    try:
        parsed = ip_address(endpoint.host.partition("%")[0])
    except ValueError:
        # Nothing known about this end: the unspecified address says so.
        parsed = IPv4Address(0)
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return Address(parsed.packed, endpoint.port)


def _as_ipv6(address: Address) -> Address:
    if address.version == 6:
        return address
    return Address(bytes(10) + b"\xff\xff" + address.packed, address.port)


def _unix_address(client: int, path: str) -> bytes:
    """Unique for each client by its number, and the path's own for a server."""
    name = crc32(path.encode("utf-8", "surrogateescape"))
    return _UNIX_NETWORK + struct.pack("!II", client & 0xFFFFFFFF, name)


class Header:
    """The IP header for packets of one direction.

    Arguments:
        source: where they come from.
        destination: where they go to, of the same version.
        protocol: the number of the protocol above.
    """

    __slots__ = ("_destination", "_identification", "_protocol", "_source", "_sum", "pseudo_sum")

    def __init__(self, source: Address, destination: Address, protocol: int) -> None:
        self._source = source.packed
        self._destination = destination.packed
        self._protocol = protocol
        self._identification = 0
        of_addresses = word_sum(source.packed + destination.packed)
        self.pseudo_sum = of_addresses + protocol
        "Sum of the pseudo header without the length, for the checksum above."
        self._sum = of_addresses + 0x4500 + _DO_NOT_FRAGMENT + (_HOPS << 8 | protocol)

    def make(self, size: int) -> bytes:
        """The header in front of `size` bytes."""
        if len(self._source) == 16:
            return _V6.pack(
                0x60000000, size, self._protocol, _HOPS, self._source, self._destination
            )
        total = size + 20
        self._identification = number = (self._identification + 1) & 0xFFFF
        return _V4.pack(
            0x45, 0, total, number, _DO_NOT_FRAGMENT, _HOPS, self._protocol,
            checksum(self._sum + total + number), self._source, self._destination,
        )  # fmt: skip
