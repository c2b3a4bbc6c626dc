"""The outermost layers that the tools share."""

from __future__ import annotations

import ipaddress
from typing import TypeAlias

from netserve.packet.notation import Layer, Packet, Value

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


def to(target: Address, *layers: Layer | bytes, hops: int = 64) -> Packet:
    """A packet to an address.

    Arguments:
        target: the address.
        layers: the payload of IP.
        hops: its TTL or hop limit.
    """
    name, limit = ("IP", "ttl") if target.version == 4 else ("IPv6", "hlim")
    return Packet((Layer(name, (("dst", str(target)), (limit, hops))), *layers))


def layer(name: str, **fields: Value) -> Layer:
    """A layer by its fields."""
    return Layer(name, tuple(fields.items()))


def echo_request(target: Address, *, identifier: int, sequence: int) -> Layer:
    """An echo request of ICMP (RFC 792) or ICMPv6 (RFC 4443)."""
    if target.version == 4:
        return layer("ICMP", id=identifier, seq=sequence)
    return layer("ICMPv6EchoRequest", id=identifier, seq=sequence)
