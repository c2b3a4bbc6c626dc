"""Where the bytes of a packet go: no tunnel, tag or option hides an address (S30)."""

from __future__ import annotations

import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserve.packet.headers import HeaderError, addresses, target_of


def ip4(target: str, data: bytes = b"", *, protocol: int = 17, options: bytes = b"") -> bytes:
    options += bytes(-len(options) % 4)
    head = struct.pack(
        "!BBHHHBBH4s4s",
        0x45 + len(options) // 4, 0, 20 + len(options) + len(data), 1, 0, 64, protocol, 0,
        ipaddress.IPv4Address("10.9.9.9").packed, ipaddress.IPv4Address(target).packed,
    )  # fmt: skip
    return head + options + data


def ip6(target: str, data: bytes = b"", *, following: int = 59) -> bytes:
    head = struct.pack("!IHBB", 6 << 28, len(data), following, 64)
    source = ipaddress.IPv6Address("fd00::9").packed
    return head + source + ipaddress.IPv6Address(target).packed + data


def ether(kind: int, data: bytes) -> bytes:
    return bytes(12) + struct.pack("!H", kind) + data


def udp(port: int, data: bytes) -> bytes:
    return struct.pack("!HHHH", 1, port, 8 + len(data), 0) + data


def targets(data: bytes, layer: int = 3) -> list[str]:
    found = addresses(data, layer=layer)
    return [str(ipaddress.ip_address(named.address)) for named in found if named.role == "target"]


def hop(*hops: str, kind: int = 131) -> bytes:
    packed = b"".join(ipaddress.IPv4Address(each).packed for each in hops)
    return bytes([kind, 3 + len(packed), 4]) + packed


def segments(*hops: str, kind: int) -> bytes:
    packed = b"".join(ipaddress.IPv6Address(each).packed for each in hops)
    return bytes([59, len(packed) // 8, kind, len(hops)]) + bytes(4) + packed


ARP = struct.pack("!HHBBH", 1, 0x800, 6, 4, 1) + bytes(6) + b"\x0a\0\0\1" + bytes(6) + b"\x0a\0\0\2"
VXLAN = bytes([8]) + bytes(7)

CASES = {
    "IPv4": (3, ip4("10.0.0.1"), ["10.0.0.1"]),
    "IPv6": (3, ip6("fd00::1"), ["fd00::1"]),
    "a loose source route": (3, ip4("10.0.0.1", options=hop("8.8.8.8")), ["10.0.0.1", "8.8.8.8"]),
    "a strict one, after others": (
        3,
        ip4("10.0.0.1", options=b"\x01\x01\x44\x04\x05\x00" + hop("8.8.8.8", "9.9.9.9", kind=137)),
        ["10.0.0.1", "8.8.8.8", "9.9.9.9"],
    ),
    "behind the end of options": (3, ip4("10.0.0.1", options=b"\0" + hop("8.8.8.8")), ["10.0.0.1"]),
    "IPv4 in IPv4": (3, ip4("10.0.0.1", ip4("8.8.8.8"), protocol=4), ["10.0.0.1", "8.8.8.8"]),
    "IPv6 in IPv4": (3, ip4("10.0.0.1", ip6("2001::1"), protocol=41), ["10.0.0.1", "2001::1"]),
    "IPv4 in IPv6": (3, ip6("fd00::1", ip4("8.8.8.8"), following=4), ["fd00::1", "8.8.8.8"]),
    "a fragment that is not the first": (
        3,
        ip4("10.0.0.1", b"\x60" * 40, protocol=41)[:6] + b"\x00\x05"
        + ip4("10.0.0.1", b"\x60" * 40, protocol=41)[8:],
        ["10.0.0.1"],
    ),
    "GRE": (
        3, ip4("10.0.0.1", b"\0\0\x08\0" + ip4("8.8.8.8"), protocol=47), ["10.0.0.1", "8.8.8.8"],
    ),
    "GRE with a key": (
        3,
        ip4("10.0.0.1", b"\x20\0\x86\xdd" + bytes(4) + ip6("2001::1"), protocol=47),
        ["10.0.0.1", "2001::1"],
    ),
    "Ethernet in GRE": (
        3,
        ip4("10.0.0.1", b"\0\0\x65\x58" + ether(0x800, ip4("8.8.8.8")), protocol=47),
        ["10.0.0.1", "8.8.8.8"],
    ),
    "VXLAN": (
        3,
        ip4("10.0.0.1", udp(4789, VXLAN + ether(0x800, ip4("8.8.8.8")))),
        ["10.0.0.1", "8.8.8.8"],
    ),
    "another port than VXLAN's": (
        3,
        ip4("10.0.0.1", udp(4790, VXLAN + ether(0x800, ip4("8.8.8.8")))),
        ["10.0.0.1"],
    ),
    "a routing header of type 0": (
        3, ip6("fd00::1", segments("2001::1", "2001::2", kind=0), following=43),
        ["fd00::1", "2001::1", "2001::2"],
    ),
    "segment routing": (
        3, ip6("fd00::1", segments("2001::1", kind=4), following=43), ["fd00::1", "2001::1"],
    ),
    "behind hop-by-hop options": (
        3,
        ip6("fd00::1", bytes([43, 0]) + bytes(6) + segments("2001::1", kind=0), following=0),
        ["fd00::1", "2001::1"],
    ),
    "behind a first fragment": (
        3,
        ip6("fd00::1", bytes([4, 0, 0, 1]) + bytes(4) + ip4("8.8.8.8"), following=44),
        ["fd00::1", "8.8.8.8"],
    ),
    "a frame": (2, ether(0x800, ip4("10.0.0.1")), ["10.0.0.1"]),
    "a frame with tags": (
        2, ether(0x88A8, struct.pack("!HHHH", 1, 0x8100, 2, 0x86DD) + ip6("fd00::1")), ["fd00::1"],
    ),
    "a frame with SNAP": (
        2, ether(60, bytes.fromhex("aaaa030000000800") + ip4("10.0.0.1")), ["10.0.0.1"],
    ),
    "ARP": (2, ether(0x806, ARP), ["10.0.0.2"]),
    "a frame without IP": (2, ether(0x88CC, b"lldp"), []),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_every_target_is_named(name: str) -> None:
    layer, data, found = CASES[name]
    assert targets(data, layer) == found


@pytest.mark.parametrize(
    ("data", "layer", "error"),
    [
        (b"", 3, "neither IPv4 nor IPv6"),
        (b"\x45" + bytes(10), 3, "header of IPv4 is incomplete"),
        (b"\x4f" + bytes(30), 3, "header of IPv4 is incomplete"),
        (b"\x41" + bytes(30), 3, "header of IPv4 is incomplete"),
        (b"\x60" + bytes(30), 3, "header of IPv6 is incomplete"),
        (b"\x50" + bytes(60), 3, "neither IPv4 nor IPv6"),
        (bytes(13), 2, "shorter than a header of Ethernet"),
        (ether(0x800, b""), 2, "neither IPv4 nor IPv6"),
        (ether(0x8100, b"\0"), 2, "ends inside of a header"),
        (ether(0x806, ARP[:20]), 2, "ends inside of a header"),
        (ip4("10.0.0.1", options=b"\x83\x28\x04\0"), 3, "option of IPv4 is incomplete"),
        (ip4("10.0.0.1", options=b"\x83\x00\x04\0"), 3, "option of IPv4 is incomplete"),
        (ip6("fd00::1", segments("::1", kind=9), following=43), 3, "of type 9 cannot be followed"),
        (ip6("fd00::1", b"\0", following=43), 3, "extension header of IPv6 is incomplete"),
        (ip4("10.0.0.1", b"\x99", protocol=4), 3, "neither IPv4 nor IPv6"),
    ],
)
def test_what_cannot_be_followed_is_an_error(data: bytes, layer: int, error: str) -> None:
    with pytest.raises(HeaderError, match=error):
        targets(data, layer)


def test_depth_is_bounded() -> None:
    data = ip4("10.0.0.1")
    for _ in range(12):
        data = ip4("10.0.0.1", data, protocol=4)
    with pytest.raises(HeaderError, match="more than 8"):
        targets(data)
    frame = ip4("10.0.0.1")
    for _ in range(12):
        frame = struct.pack("!HH", 1, 0x8100) + frame
    with pytest.raises(HeaderError, match="more than 8"):
        targets(ether(0x8100, frame), 2)


@given(st.binary(max_size=120), st.sampled_from([2, 3]))
def test_any_bytes_are_addresses_or_an_error(data: bytes, layer: int) -> None:
    try:
        for named in addresses(data, layer=layer):
            assert len(named.address) in {4, 16}
    except HeaderError:
        pass


def test_the_outermost_target() -> None:
    assert str(target_of(ip4("10.0.0.1"))) == "10.0.0.1"
    assert str(target_of(ip6("fd00::1"))) == "fd00::1"
    for data in (b"", b"\x45", b"\x60" * 39, b"\x90" * 60):
        with pytest.raises(HeaderError):
            target_of(data)
