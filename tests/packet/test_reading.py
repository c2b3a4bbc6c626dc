"""A packet in one line, and the facts that tools need; nothing makes it raise."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserve.packet.reading import Facts, line, read_frame, read_packet
from tests.packet.test_headers import ARP, ether, ip4, ip6

TCP = struct.pack("!HHIIBBHHH", 4000, 80, 1, 2, 0x50, 0x12, 0, 0, 0)
QUOTED = "10.9.9.9:5 > 10.0.0.1:53: UDP, 0 bytes"
ERROR = b"\x03\x03" + bytes(6) + ip4("10.0.0.1", struct.pack("!HHHH", 5, 53, 8, 0))


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (ip4("10.0.0.1", TCP + b"abc", protocol=6),
         "10.9.9.9:4000 > 10.0.0.1:80: TCP [SA], 3 bytes"),
        (ip6("fd00::1", TCP, following=6), "[fd00::9]:4000 > [fd00::1]:80: TCP [SA], 0 bytes"),
        (ip4("10.0.0.1", struct.pack("!HHHH", 5, 53, 10, 0) + b"ab"),
         "10.9.9.9:5 > 10.0.0.1:53: UDP, 2 bytes"),
        (ip4("10.0.0.1", b"\x08\0" + bytes(10), protocol=1),
         "10.9.9.9 > 10.0.0.1: ICMP echo request, 4 bytes"),
        (ip6("fd00::1", b"\x81\0" + bytes(6), following=58),
         "fd00::9 > fd00::1: ICMPv6 echo reply, 0 bytes"),
        (ip4("10.0.0.1", ERROR, protocol=1),
         f"10.9.9.9 > 10.0.0.1: ICMP unreachable (port), 28 bytes, of {QUOTED}"),
        (ip4("10.0.0.1", b"\x63\x07", protocol=1), "10.9.9.9 > 10.0.0.1: ICMP, 2 bytes"),
        (ip4("10.0.0.1", b"\x63\x07\0\0", protocol=1),
         "10.9.9.9 > 10.0.0.1: ICMP type 99 code 7, 0 bytes"),
        (ip4("10.0.0.1", b"xyz", protocol=132), "10.9.9.9 > 10.0.0.1: protocol 132, 3 bytes"),
        (ip6("fd00::1", bytes([6, 0]) + bytes(6) + TCP, following=0),
         "[fd00::9]:4000 > [fd00::1]:80: TCP [SA], 0 bytes"),
        (b"\x30abc", "not an IP packet, 4 bytes"),
        (b"", "not an IP packet, 0 bytes"),
    ],
)  # fmt: skip
def test_a_packet_in_a_line(data: bytes, text: str) -> None:
    assert line(read_packet(data)) == text


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (ether(0x800, ip4("10.0.0.1", b"x", protocol=99)),
         "10.9.9.9 > 10.0.0.1: protocol 99, 1 bytes"),
        (ether(0x8100, b"\0\5\x08\0" + ip4("10.0.0.1", b"", protocol=99)),
         "10.9.9.9 > 10.0.0.1: protocol 99, 0 bytes"),
        (ether(0x806, ARP), "ARP who has 10.0.0.2, tell 10.0.0.1, 28 bytes"),
        (ether(0x806, ARP[:7] + b"\2" + ARP[8:]), "ARP 10.0.0.1 is at 00:00:00:00:00:00, 28 bytes"),
        (ether(0x88CC, b"abc"), "00:00:00:00:00:00 > 00:00:00:00:00:00: EtherType 0x88cc, 3 bytes"),
        (ether(3, b"abc"), "00:00:00:00:00:00 > 00:00:00:00:00:00: LLC, 3 bytes"),
        (b"abc", "an incomplete frame, 3 bytes"),
    ],
)  # fmt: skip
def test_a_frame_in_a_line(data: bytes, text: str) -> None:
    assert line(read_frame(data)) == text


def test_padding_of_a_short_frame_is_no_data() -> None:
    assert read_frame(ether(0x800, ip4("10.0.0.1", b"x", protocol=99)) + bytes(30)).size == 1


def test_an_error_about_an_error_is_not_followed() -> None:
    data = ip4("10.0.0.1", ERROR, protocol=1)
    for _ in range(20):
        data = ip4("10.0.0.1", b"\x03\x01" + bytes(6) + data, protocol=1)
    facts = read_packet(data)
    assert isinstance(facts.quoted, Facts)
    assert facts.quoted.quoted is None


@given(st.binary(max_size=120))
def test_any_bytes_are_a_line(data: bytes) -> None:
    for facts in (read_packet(data), read_frame(data), read_packet(b"\x45" + data)):
        text = line(facts)
        assert text.isprintable()


@given(st.binary(max_size=80), st.sampled_from([1, 6, 17, 58]), st.booleans())
def test_any_bytes_behind_a_header_are_a_line(data: bytes, protocol: int, is_ipv6: bool) -> None:
    packet = (
        ip6("fd00::1", data, following=protocol)
        if is_ipv6
        else ip4("10.0.0.1", data, protocol=protocol)
    )
    assert line(read_packet(packet)).isprintable()
