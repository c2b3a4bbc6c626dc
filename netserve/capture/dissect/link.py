"""The layers below IP: finds the IP header in a packet. No I/O.

Link types: https://www.tcpdump.org/linktypes.html.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

__all__ = ["ARP", "ETHERNET", "IPV4", "IPV6", "LINK_TYPES", "CutShort", "name_of_link_type"]

ETHERNET: Final = 1
"""The link type of Ethernet."""
IPV4: Final = 0x0800
IPV6: Final = 0x86DD
ARP: Final = 0x0806

Strip: TypeAlias = Callable[[bytes], tuple[int, int]]
"""A packet -> the EtherType of its content, and the offset of that content."""

_VLAN: Final = frozenset({0x8100, 0x88A8, 0x9100, 0x9200})
"""IEEE 802.1Q, 802.1ad (QinQ), and two numbers that were used before the latter."""
_MOST_TAGS: Final = 8
_FAMILIES: Final = {
    2: IPV4,
    # Each system has its own number for IPv6.
    10: IPV6, 24: IPV6, 28: IPV6, 30: IPV6,
}  # fmt: skip
_LLC: Final = 0x05DC
"""Up to here the field is a length, and no EtherType (IEEE 802.3)."""
_PPP: Final = {0x0021: IPV4, 0x0057: IPV6}


class CutShort(Exception):
    """A packet ends within a header, or has one that makes no sense."""


def _ethernet(data: bytes) -> tuple[int, int]:
    return _ether_type(data, 12)


def _ether_type(data: bytes, at: int) -> tuple[int, int]:
    """The EtherType at this offset, after VLAN tags if there are any."""
    kind = int.from_bytes(data[at : at + 2], "big")
    at += 2
    tags = 0
    while kind in _VLAN:
        tags += 1
        if tags > _MOST_TAGS:
            raise CutShort("more VLAN tags than make sense")
        kind = int.from_bytes(data[at + 2 : at + 4], "big")
        at += 4
    if len(data) < at:
        raise CutShort("ends within the link-layer header")
    if kind == 0x8864:  # PPPoE session (RFC 2516): version, code, session, length, PPP protocol
        kind = _PPP.get(int.from_bytes(data[at + 6 : at + 8], "big"), kind)
        at += 8
    return (0, at) if kind <= _LLC else (kind, at)


def _raw(data: bytes) -> tuple[int, int]:
    if not data:
        raise CutShort("empty")
    version = data[0] >> 4
    return {4: IPV4, 6: IPV6}.get(version, 0), 0


def _raw_ipv4(data: bytes) -> tuple[int, int]:
    return IPV4, 0


def _raw_ipv6(data: bytes) -> tuple[int, int]:
    return IPV6, 0


def _null(data: bytes) -> tuple[int, int]:
    """BSD loopback: the address family in the byte order of the machine that captured."""
    if len(data) < 4:
        raise CutShort("ends within the link-layer header")
    family = int.from_bytes(data[:4], "little")
    if family > 0xFFFF:
        family = int.from_bytes(data[:4], "big")
    return _FAMILIES.get(family, 0), 4


def _loop(data: bytes) -> tuple[int, int]:
    """OpenBSD loopback: the address family in network byte order."""
    if len(data) < 4:
        raise CutShort("ends within the link-layer header")
    return _FAMILIES.get(int.from_bytes(data[:4], "big"), 0), 4


def _sll(data: bytes) -> tuple[int, int]:
    """Linux "cooked" capture."""
    return _ether_type(data, 14)


def _sll2(data: bytes) -> tuple[int, int]:
    """Linux "cooked" capture, version 2: the EtherType comes first."""
    if len(data) < 20:
        raise CutShort("ends within the link-layer header")
    kind = int.from_bytes(data[:2], "big")
    if kind in _VLAN:
        return _ether_type(data, 22)
    return (0, 20) if kind <= _LLC else (kind, 20)


def _ppp(data: bytes) -> tuple[int, int]:
    start = 2 if data.startswith(b"\xff\x03") else 0
    if len(data) < start + 2:
        raise CutShort("ends within the link-layer header")
    return _PPP.get(int.from_bytes(data[start : start + 2], "big"), 0), start + 2


LINK_TYPES: Final[dict[int, Strip]] = {
    0: _null,
    ETHERNET: _ethernet,
    9: _ppp,
    12: _raw,
    14: _raw,
    101: _raw,
    108: _loop,
    113: _sll,
    228: _raw_ipv4,
    229: _raw_ipv6,
    276: _sll2,
}
"""The link types that are understood."""

_NAMES: Final = {
    6: "token ring", 105: "IEEE 802.11", 127: "IEEE 802.11 with radiotap", 147: "user 0",
    187: "Bluetooth", 189: "USB", 220: "USB", 249: "USB", 195: "IEEE 802.15.4",
    201: "Bluetooth", 231: "D-Bus", 239: "nflog", 251: "Bluetooth LE", 252: "Wireshark's export",
}  # fmt: skip


def name_of_link_type(number: int) -> str:
    """For messages: a link type that is not understood."""
    name = _NAMES.get(number)
    return f"link type {number} ({name})" if name else f"link type {number}"
