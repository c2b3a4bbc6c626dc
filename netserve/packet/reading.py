"""Reads the few facts from a packet's bytes that a line of text, a scan or a trace needs. Pure.

This is no full dissector: it knows Ethernet, ARP, IPv4, IPv6, TCP, UDP and ICMP. No input makes it
raise an exception.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field, replace
from typing import Final

from netserve.packet.headers import ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6

_TAGS: Final = frozenset({0x8100, 0x88A8, 0x9100})
_EXTENSIONS: Final = frozenset({0, 43, 60, 135})
_FRAGMENT: Final = 44
_TCP, _UDP, _ICMP, _ICMPV6 = 6, 17, 1, 58
_FLAGS: Final = "FSRPAUEC"
_ICMP_ERRORS: Final = {4: frozenset({3, 4, 5, 11, 12}), 6: frozenset({1, 2, 3, 4})}
PROTOCOLS: Final = {_TCP: "TCP", _UDP: "UDP", _ICMP: "ICMP", _ICMPV6: "ICMPv6"}


@dataclass(frozen=True, slots=True)
class Facts:
    """The facts about a packet; a field that the packet lacks keeps its default.

    Arguments:
        version: 4 or 6; 0 if it is not IP.
        source: the sender's address, as text.
        target: the receiver's address.
        hops: the TTL or hop limit.
        protocol: the protocol number of the payload; -1 if it is not known.
        source_port: of TCP and UDP.
        target_port: of TCP and UDP.
        flags: of TCP, in Scapy's letters, such as ``SA``.
        kind: the type of an ICMP message.
        code: the code of an ICMP message.
        size: bytes of the payload of the last header.
        quoted: the packet that an ICMP error is about.
        other: a description, if it is not IP.
    """

    version: int = 0
    source: str = ""
    target: str = ""
    hops: int = 0
    protocol: int = -1
    source_port: int = 0
    target_port: int = 0
    flags: str = ""
    kind: int = -1
    code: int = -1
    size: int = 0
    quoted: Facts | None = field(default=None)
    other: str = ""


def read_frame(data: bytes) -> Facts:
    """A frame of Ethernet."""
    if len(data) < 14:
        return Facts(other="an incomplete frame", size=len(data))
    at, kind = 14, int.from_bytes(data[12:14], "big")
    while kind in _TAGS and len(data) >= at + 4:
        kind, at = int.from_bytes(data[at + 2 : at + 4], "big"), at + 4
    if kind in {ETHERTYPE_IPV4, ETHERTYPE_IPV6}:
        return read_packet(data[at:])
    if kind == ETHERTYPE_ARP:
        return _read_arp(data[at:])
    words = f"EtherType 0x{kind:04x}" if kind >= 0x600 else "LLC"
    return Facts(other=f"{data[6:12].hex(':')} > {data[:6].hex(':')}: {words}", size=len(data) - at)


def _read_arp(data: bytes) -> Facts:
    if len(data) < 28 or data[4] != 6 or data[5] != 4:
        return Facts(other="ARP", size=len(data))
    operation = int.from_bytes(data[6:8], "big")
    source, target = _text(data[14:18]), _text(data[24:28])
    words = f"ARP operation {operation}, {source} > {target}"
    if operation == 1:
        words = f"ARP who has {target}, tell {source}"
    elif operation == 2:
        words = f"ARP {source} is at {data[8:14].hex(':')}"
    return Facts(source=source, target=target, other=words, size=len(data))


def read_packet(data: bytes, *, is_quoted: bool = False) -> Facts:
    """An IP packet.

    Arguments:
        data: from its first byte on.
        is_quoted: whether it stands in an ICMP error, and may be cut off.
    """
    version = data[0] >> 4 if data else 0
    if version == 4 and len(data) >= 20 and (data[0] & 15) >= 5:
        start = (data[0] & 15) * 4
        end = len(data) if is_quoted else min(len(data), int.from_bytes(data[2:4], "big"))
        facts = Facts(
            version=4, source=_text(data[12:16]), target=_text(data[16:20]), hops=data[8],
            protocol=data[9],
        )  # fmt: skip
        if int.from_bytes(data[6:8], "big") & 0x1FFF:
            return replace(facts, size=max(0, end - start), other="a fragment")
        return _read_inner(facts, data[start:end], is_quoted=is_quoted)
    if version == 6 and len(data) >= 40:
        facts = Facts(version=6, source=_text(data[8:24]), target=_text(data[24:40]), hops=data[7])
        end = len(data) if is_quoted else min(len(data), 40 + int.from_bytes(data[4:6], "big"))
        return _read_ipv6(facts, data[6], data[40:end], is_quoted=is_quoted)
    return Facts(other="not an IP packet", size=len(data))


def _read_ipv6(facts: Facts, kind: int, data: bytes, *, is_quoted: bool) -> Facts:
    for _ in range(8):
        if kind == _FRAGMENT and len(data) >= 8:
            if int.from_bytes(data[2:4], "big") & 0xFFF8:
                return replace(facts, protocol=data[0], size=len(data) - 8, other="a fragment")
            kind, data = data[0], data[8:]
        elif kind in _EXTENSIONS and len(data) >= 8:
            kind, data = data[0], data[8 + data[1] * 8 :]
        else:
            break
    return _read_inner(replace(facts, protocol=kind), data, is_quoted=is_quoted)


def _read_inner(facts: Facts, data: bytes, *, is_quoted: bool) -> Facts:
    kind = facts.protocol
    if kind in {_TCP, _UDP} and len(data) >= 4:
        ports = int.from_bytes(data[:2], "big"), int.from_bytes(data[2:4], "big")
        facts = replace(facts, source_port=ports[0], target_port=ports[1])
        if kind == _UDP:
            return replace(facts, size=max(0, len(data) - 8))
        if len(data) < 14:
            return facts
        flags = "".join(letter for bit, letter in enumerate(_FLAGS) if data[13] >> bit & 1)
        return replace(facts, flags=flags, size=max(0, len(data) - (data[12] >> 4) * 4))
    if kind in {_ICMP, _ICMPV6} and len(data) >= 4:
        facts = replace(facts, kind=data[0], code=data[1], size=max(0, len(data) - 8))
        if data[0] in _ICMP_ERRORS[facts.version] and not is_quoted:
            facts = replace(facts, quoted=read_packet(data[8:], is_quoted=True))
        return facts
    return replace(facts, size=len(data))


def _text(address: bytes) -> str:
    return str(ipaddress.ip_address(address))


_ICMP_WORDS: Final = {
    (4, 0): "echo reply", (4, 3): "unreachable", (4, 5): "redirect", (4, 8): "echo request",
    (4, 11): "time exceeded", (4, 12): "parameter problem", (6, 1): "unreachable",
    (6, 2): "packet too big", (6, 3): "time exceeded", (6, 4): "parameter problem",
    (6, 128): "echo request", (6, 129): "echo reply", (6, 133): "router solicitation",
    (6, 134): "router advertisement", (6, 135): "neighbour solicitation",
    (6, 136): "neighbour advertisement",
}  # fmt: skip
_UNREACHABLE: Final = {
    (4, 0): "network", (4, 1): "host", (4, 2): "protocol", (4, 3): "port",
    (4, 4): "fragmentation needed", (4, 9): "network prohibited", (4, 10): "host prohibited",
    (4, 13): "prohibited", (6, 0): "no route", (6, 1): "prohibited", (6, 3): "address",
    (6, 4): "port",
}  # fmt: skip


def icmp_words(facts: Facts) -> str:
    """An ICMP message in words, such as ``unreachable (port)``."""
    words = _ICMP_WORDS.get((facts.version, facts.kind))
    if words is None:
        return f"type {facts.kind} code {facts.code}"
    if words == "unreachable":
        return f"{words} ({_UNREACHABLE.get((facts.version, facts.code), facts.code)})"
    return words


def line(facts: Facts) -> str:
    """A packet in one line."""
    if not facts.version:
        return f"{facts.other}, {facts.size} bytes"
    name = PROTOCOLS.get(facts.protocol, f"protocol {facts.protocol}")
    if facts.other:
        return f"{facts.source} > {facts.target}: {name}, {facts.other}, {facts.size} bytes"
    if facts.protocol in {_TCP, _UDP}:
        ends = (
            f"{_with_port(facts.source, facts.source_port)} >"
            f" {_with_port(facts.target, facts.target_port)}"
        )
        flags = f" [{facts.flags or '-'}]" if facts.protocol == _TCP else ""
        return f"{ends}: {name}{flags}, {facts.size} bytes"
    words = f" {icmp_words(facts)}" if facts.kind >= 0 else ""
    text = f"{facts.source} > {facts.target}: {name}{words}, {facts.size} bytes"
    return f"{text}, of {line(facts.quoted)}" if facts.quoted else text


def _with_port(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
