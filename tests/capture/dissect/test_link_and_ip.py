"""Link layers, IP with options and extension headers, and fragments."""

from __future__ import annotations

import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserve.capture.dissect import fragments
from netserve.capture.dissect.fragments import Fragments
from netserve.capture.dissect.ip import Network
from netserve.capture.dissect.link import IPV4, IPV6, LINK_TYPES, CutShort
from tests.capture.packets import decoded, ethernet, ipv4, ipv6, pcap, talk, tcp, udp

V4 = ipv4(tcp(b"x"))
V6 = ipv6(tcp(b"x"))
SLL = bytes(14)


@pytest.mark.parametrize(
    ("link_type", "packet", "kind", "content"),
    [
        (1, ethernet(V4), IPV4, V4),
        (1, ethernet(V6), IPV6, V6),
        (1, ethernet(V4, tags=[(0x8100, 5)]), IPV4, V4),
        (1, ethernet(V6, tags=[(0x88A8, 5), (0x8100, 6)]), IPV6, V6),
        (1, ethernet(V4, tags=[(0x9100, 5), (0x8100, 6), (0x8100, 7)]), IPV4, V4),
        (1, ethernet(b"\x11\0\0\1\0\x40\0\x21"[:6] + b"\0\x21" + V4, 0x8864), IPV4, V4),
        (1, ethernet(bytes(28), 0x0806), 0x0806, bytes(28)),
        (1, ethernet(bytes(40), 100), 0, bytes(40)),
        (101, V4, IPV4, V4),
        (12, V6, IPV6, V6),
        (14, V4, IPV4, V4),
        (228, V4, IPV4, V4),
        (229, V6, IPV6, V6),
        (101, b"\x77", 0, b"\x77"),
        (0, struct.pack("<I", 2) + V4, IPV4, V4),
        (0, struct.pack(">I", 2) + V4, IPV4, V4),
        (0, struct.pack("<I", 30) + V6, IPV6, V6),
        (0, struct.pack(">I", 10) + V6, IPV6, V6),
        (0, struct.pack("<I", 99) + V6, 0, V6),
        (108, struct.pack(">I", 24) + V6, IPV6, V6),
        (113, SLL + b"\x08\0" + V4, IPV4, V4),
        (113, SLL + b"\x81\0\0\7\x86\xdd" + V6, IPV6, V6),
        (276, b"\x08\0" + bytes(18) + V4, IPV4, V4),
        (276, b"\x81\0" + bytes(18) + b"\0\7\x86\xdd" + V6, IPV6, V6),
        (9, b"\xff\x03\0\x21" + V4, IPV4, V4),
        (9, b"\0\x57" + V6, IPV6, V6),
    ],
)
def test_link_types(link_type: int, packet: bytes, kind: int, content: bytes) -> None:
    found, start = LINK_TYPES[link_type](packet)
    assert found == kind
    assert packet[start : start + len(content)] == content


@pytest.mark.parametrize("link_type", sorted(LINK_TYPES))
def test_link_layers_that_are_cut_short(link_type: int) -> None:
    """S8: each prefix is refused, or has an IP packet that ends too early."""
    for packet in (ethernet(V4, tags=[(0x8100, 1)] * 20), bytes(50), b"\xff" * 50, V4, V6):
        for end in range(len(packet)):
            try:
                kind, start = LINK_TYPES[link_type](packet[:end])
            except CutShort:
                continue
            assert 0 <= kind <= 0xFFFF
            assert start >= 0


def test_a_conversation_in_every_link_layer() -> None:
    """The same conversation whatever carries it, and whatever options IP has."""
    plain = talk((">", b"hello\n"), ("<", b"hello\n"))
    wrappers = [
        (1, ethernet),
        (1, lambda ip: ethernet(ip, tags=[(0x88A8, 1), (0x8100, 2)])),
        (101, bytes),
        (0, lambda ip: struct.pack("<I", 2) + ip),
        (113, lambda ip: SLL + b"\x08\0" + ip),
        (276, lambda ip: b"\x08\0" + bytes(18) + ip),
        (
            101,
            lambda ip: (
                b"\x46" + ip[1:2] + struct.pack("!H", len(ip) + 4) + ip[4:20] + b"\1" * 4 + ip[20:]
            ),
        ),
        # Offloading leaves the total length at zero.
        (101, lambda ip: ip[:2] + b"\0\0" + ip[4:]),
    ]
    for order in "<>":
        for link_type, wrap in wrappers:
            seen, engine = decoded(pcap(map(wrap, plain), link_type=link_type, order=order))
            assert seen.items[1] == [("client", "line", "hello"), ("server", "line", "hello")]
            assert seen.problems[1] == []
            assert engine.totals.malformed == 0


@pytest.mark.parametrize(
    "extensions",
    [
        [],
        [(0, bytes([0]) + bytes(6))],
        [(0, bytes([1]) + bytes(14)), (60, bytes([0]) + bytes(6)), (43, bytes([0]) + bytes(6))],
        [(51, bytes([4]) + bytes(22))],
        [(44, bytes(7))],  # an atomic fragment (RFC 6946)
        [(60, bytes([0]) + bytes(6)), (44, bytes(7)), (60, bytes([0]) + bytes(6))],
    ],
)
def test_extension_headers(extensions: list[tuple[int, bytes]]) -> None:
    packet = ipv6(tcp(b"data"), extensions=extensions)
    found = Network().datagram(IPV6, packet, 0, 0)
    assert found is not None
    assert (found.protocol, found.data, found.missing) == (6, tcp(b"data"), 0)


@pytest.mark.parametrize("kind", [IPV4, IPV6])
@given(data=st.binary(max_size=120), start=st.sampled_from([b"", V4, V6, V4[:20], V6[:40]]))
def test_any_ip_is_read_or_refused(kind: int, data: bytes, start: bytes) -> None:
    network = Network()
    packet = start + data
    if start:
        packet = bytes([start[0]]) + packet[1:]
    try:
        found = network.datagram(kind, packet, 0, 0)
    except CutShort:
        return
    assert found is None or len(found.data) <= len(packet)


def test_too_many_extension_headers() -> None:
    with pytest.raises(CutShort, match="more IPv6 extension headers"):
        Network().datagram(IPV6, ipv6(b"", extensions=[(60, bytes(7))] * 30), 0, 0)


def fragmented(data: bytes, size: int, number: int = 1) -> list[bytes]:
    """IPv4 fragments of a datagram."""
    starts = range(0, len(data), size)
    return [
        ipv4(
            data[at : at + size], protocol=17, number=number, offset=at, more=at + size < len(data)
        )
        for at in starts
    ]


def fragmented6(data: bytes, size: int, number: int = 1) -> list[bytes]:
    """IPv6 fragments of a datagram."""
    found = []
    for at in range(0, len(data), size):
        field = at | (at + size < len(data))
        header = b"\0" + struct.pack("!HI", field, number)
        found.append(ipv6(data[at : at + size], protocol=17, extensions=[(44, header)]))
    return found


@pytest.mark.parametrize("make", [fragmented, fragmented6])
def test_fragments_in_any_order(make) -> None:  # type: ignore[no-untyped-def]
    payload = b"".join(b"line %d\n" % number for number in range(400))
    chosen = random.Random(1)
    for size in (8, 256, 1400):
        pieces = make(udp(payload), size)
        chosen.shuffle(pieces)
        pieces.insert(1, pieces[0])
        seen, engine = decoded(pcap(map(ethernet, pieces)))
        assert seen.details == [{"text": seen.details[0]["text"], "size": len(payload)}]
        assert engine.fragments == (len(pieces), 0)


def test_fragments_that_never_become_a_datagram() -> None:
    pieces = fragmented(udp(bytes(4000)), 800)
    _, engine = decoded(pcap(map(ethernet, pieces[:2] + pieces[3:])))
    assert engine.fragments == (5, 1)
    assert engine.totals.other == {"fragments": 5}


def test_overlapping_fragments() -> None:
    """Where they overlap the first one counts."""
    found = Fragments()
    key = (b"a", b"b", 17, 1)
    assert found.add(key, 0, b"aaaaaaaaAAAAAAAA", 0, True, 0) is None
    assert found.add(key, 8, b"bbbbbbbbBBBBBBBB", 0, True, 0) is None
    assert found.add(key, 16, b"cccccccc", 0, False, 0) == b"aaaaaaaaAAAAAAAABBBBBBBB"
    assert found.waiting == 0


def test_fragments_are_bounded() -> None:
    """S8: by number, by bytes and by time; what is given up is counted."""
    found = Fragments()
    for number in range(5000):
        found.add((b"a", b"b", 17, number), 8, bytes(1000), 0, True, 0)
    assert found.waiting <= fragments.MOST_DATAGRAMS
    assert found.lost == 5000 - found.waiting
    found = Fragments()
    for number in range(200):
        for offset in range(0, 60_000, 8):
            found.add((b"a", b"b", 17, number), offset + 8, bytes(8), 0, True, 0)
    assert found._held <= fragments.MOST_BYTES + 70_000
    found = Fragments()
    key = (b"a", b"b", 17, 1)
    found.add(key, 0, bytes(8), 0, True, 0)
    found.add(key, 8, bytes(8), 0, False, fragments.TIMEOUT + 1)
    assert (found.lost, found.waiting) == (1, 1)
    assert found.add(key, 65_528, bytes(100), 0, True, 0) is None


def test_other_packets_are_counted_by_what_they_are() -> None:
    frames = [
        ethernet(bytes(28), 0x0806),
        ethernet(ipv4(bytes(8), protocol=1)),
        ethernet(ipv6(bytes(8), protocol=58)),
        ethernet(ipv4(bytes(8), protocol=47)),
        ethernet(bytes(50), 0x88CC),
        ethernet(bytes(50), 0x1234),
        ethernet(ipv4(bytes(8), protocol=200)),
        ethernet(ipv4(tcp())),
    ]
    _, engine = decoded(pcap(frames))
    assert engine.totals.other == {
        "ARP": 1,
        "ICMP": 1,
        "ICMPv6": 1,
        "GRE": 1,
        "LLDP": 1,
        "EtherType 0x1234": 1,
        "IP protocol 200": 1,
    }
    assert engine.totals.strays == 1
    _, engine = decoded(pcap([b"x"] * 3, link_type=105))
    assert engine.totals.other == {"link type 105 (IEEE 802.11)": 3}
