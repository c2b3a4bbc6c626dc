"""The addresses that a packet's bytes name, through tags and tunnels.

The helper enforces the policy on these addresses just before it sends a packet; the expression no
longer matters at that point. A header that this module cannot follow to its addresses is an error,
so no packet leaves with an unknown destination.

Sources: RFC 791, 1071 (IPv4), RFC 8200 (IPv6 and its extension headers), RFC 826 (ARP), IEEE 802.3
and 802.1Q (Ethernet), RFC 2784 (GRE), RFC 7348 (VXLAN).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Final, Literal, NamedTuple, TypeAlias

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

ETHERTYPE_IPV4: Final = 0x0800
ETHERTYPE_ARP: Final = 0x0806
ETHERTYPE_IPV6: Final = 0x86DD
_TAGS: Final = frozenset({0x8100, 0x88A8, 0x9100})
_TRANSPARENT_ETHERNET: Final = 0x6558
_LEAST_TYPE: Final = 0x600
"""Below this value the type field is a length, and LLC follows (IEEE 802.3)."""
_SNAP: Final = bytes.fromhex("aaaa03000000")
_IP_IN_IP: Final = 4
_IPV6_IN_IP: Final = 41
_ROUTING: Final = 43
_FRAGMENT: Final = 44
_GRE: Final = 47
_EXTENSIONS: Final = frozenset({0, 43, 44, 60, 135})
"""Hop-by-hop, routing, fragment, destination options, mobility."""
_UDP: Final = 17
_VXLAN_PORT: Final = 4789
_SOURCE_ROUTES: Final = frozenset({131, 137})
"""Loose and strict source route, options of IPv4 (RFC 791, 3.1)."""
_DEEPEST: Final = 8
"""The most tags, tunnels and extension headers that are followed."""


class HeaderError(ValueError):
    """The destinations of a packet cannot be determined; the text says why."""


class Named(NamedTuple):
    """An address that a packet names.

    Arguments:
        role: ``target``, or ``source``, which answers would go to.
        address: its 4 or 16 bytes.
    """

    role: Literal["target", "source"]
    address: bytes


def addresses(data: bytes, *, layer: int) -> Iterator[Named]:
    """Every address that a packet names.

    Arguments:
        data: the whole packet.
        layer: 2 for a frame of Ethernet, 3 for an IP packet.

    Raises:
        HeaderError: it ends too early, or a header is not understood.
    """
    view = memoryview(data)
    try:
        yield from _frame(view, 0) if layer == 2 else _ip(view, 0)
    except IndexError:
        raise HeaderError("the packet ends inside of a header") from None


def target_of(data: bytes) -> Address:
    """The destination in the outermost header of an IP packet; the kernel routes by it.

    Raises:
        HeaderError: it has none.
    """
    version = data[0] >> 4 if data else 0
    if version == 4 and len(data) >= 20:
        return ipaddress.IPv4Address(data[16:20])
    if version == 6 and len(data) >= 40:
        return ipaddress.IPv6Address(data[24:40])
    raise HeaderError("not an IP packet; its first layer has to be IP or IPv6")


def _frame(view: memoryview, depth: int) -> Iterator[Named]:
    if len(view) < 14:
        raise HeaderError("shorter than a header of Ethernet")
    yield from _by_type(_number(view, 12), view[14:], depth)


def _by_type(kind: int, view: memoryview, depth: int) -> Iterator[Named]:
    _check_depth(depth)
    if kind in _TAGS:
        yield from _by_type(_number(view, 2), view[4:], depth + 1)
    elif kind in {ETHERTYPE_IPV4, ETHERTYPE_IPV6}:
        yield from _ip(view, depth)
    elif kind == ETHERTYPE_ARP:
        yield from _arp(view)
    elif kind == _TRANSPARENT_ETHERNET:
        yield from _frame(view, depth + 1)
    elif kind < _LEAST_TYPE and bytes(view[:6]) == _SNAP:
        yield from _by_type(_number(view, 6), view[8:], depth + 1)


def _arp(view: memoryview) -> Iterator[Named]:
    if len(view) < 8:
        raise HeaderError("the packet ends inside of a header")
    hardware, protocol = view[4], view[5]
    if _number(view, 2) != ETHERTYPE_IPV4 or protocol != 4:
        return
    source = 8 + hardware
    target = source + protocol + hardware
    if len(view) < target + protocol:
        raise HeaderError("the packet ends inside of a header")
    yield Named("source", bytes(view[source : source + 4]))
    yield Named("target", bytes(view[target : target + 4]))


def _ip(view: memoryview, depth: int) -> Iterator[Named]:
    _check_depth(depth)
    version = view[0] >> 4 if view else 0
    if version == 4:
        yield from _ipv4(view, depth)
    elif version == 6:
        yield from _ipv6(view, depth)
    else:
        raise HeaderError("neither IPv4 nor IPv6 where an IP packet has to be")


def _ipv4(view: memoryview, depth: int) -> Iterator[Named]:
    length = (view[0] & 15) * 4
    if length < 20 or len(view) < length:
        raise HeaderError("the header of IPv4 is incomplete")
    yield Named("source", bytes(view[12:16]))
    yield Named("target", bytes(view[16:20]))
    yield from _source_routes(view[20:length])
    if not _number(view, 6) & 0x1FFF:  # only the first fragment has the payload's header
        yield from _inner(view[9], view[length:], depth)


def _source_routes(options: memoryview) -> Iterator[Named]:
    at = 0
    while at < len(options) and options[at] != 0:
        kind = options[at]
        if kind == 1:
            at += 1
            continue
        if at + 1 >= len(options) or options[at + 1] < 2 or at + options[at + 1] > len(options):
            raise HeaderError("an option of IPv4 is incomplete")
        end = at + options[at + 1]
        if kind in _SOURCE_ROUTES:
            for hop in range(at + 3, end - 3, 4):
                yield Named("target", bytes(options[hop : hop + 4]))
        at = end


def _ipv6(view: memoryview, depth: int) -> Iterator[Named]:
    if len(view) < 40:
        raise HeaderError("the header of IPv6 is incomplete")
    yield Named("source", bytes(view[8:24]))
    yield Named("target", bytes(view[24:40]))
    kind, view = view[6], view[40:]
    while kind in _EXTENSIONS:
        depth += 1
        _check_depth(depth)
        if len(view) < 8:
            raise HeaderError("an extension header of IPv6 is incomplete")
        if kind == _FRAGMENT and _number(view, 2) & 0xFFF8:
            return  # only the first fragment has the payload's header
        size = 8 if kind == _FRAGMENT else 8 + view[1] * 8
        if kind == _ROUTING:
            yield from _routing(view[:size])
        kind, view = view[0], view[size:]
    yield from _inner(kind, view, depth)


def _routing(header: memoryview) -> Iterator[Named]:
    """The segments of types 0, 2 and 4, whose lists begin at the same place (RFC 8754, 6275)."""
    if header[2] not in {0, 2, 4}:
        raise HeaderError(f"a routing header of type {header[2]} cannot be followed")
    for at in range(8, len(header) - 15, 16):
        yield Named("target", bytes(header[at : at + 16]))


def _inner(kind: int, view: memoryview, depth: int) -> Iterator[Named]:
    """The addresses in the packet that a tunnel carries."""
    _check_depth(depth)
    if kind in {_IP_IN_IP, _IPV6_IN_IP} and len(view):
        yield from _ip(view, depth + 1)
    elif kind == _GRE and len(view) >= 4:
        flags = view[0]
        start = 4 + sum(4 for bit in (0x80, 0x20, 0x10) if flags & bit)
        yield from _by_type(_number(view, 2), view[start:], depth + 1)
    elif kind == _UDP and len(view) > 16 and _number(view, 2) == _VXLAN_PORT:
        yield from _frame(view[16:], depth + 1)


def _number(view: memoryview, at: int) -> int:
    return view[at] << 8 | view[at + 1]


def _check_depth(depth: int) -> None:
    if depth > _DEEPEST:
        raise HeaderError(f"more than {_DEEPEST} tags, tunnels and extension headers")
