"""What ping, traceroute and scan make of answers."""

from __future__ import annotations

import ipaddress
import struct
from typing import Any

import pytest

from netserve.packet.notation import render
from netserve.packet.tools import ping, scan, traceroute
from tests.packet.test_headers import ip4

TARGET = ipaddress.ip_address("10.0.0.1")
TARGET6 = ipaddress.ip_address("fd00::1")
SECOND = 1_000_000_000


def answer(index: int, data: bytes, milliseconds: float = 2.0) -> dict[str, Any]:
    received = 5 * SECOND + int(milliseconds * 1_000_000)
    return {"index": index, "sent": 5 * SECOND, "received": received, "data": data.hex()}


def from_(source: str, data: bytes, protocol: int) -> bytes:
    packet = bytearray(ip4("10.9.9.9", data, protocol=protocol))
    packet[12:16] = ipaddress.IPv4Address(source).packed
    return bytes(packet)


def tcp(source: int, target: int, flags: int) -> bytes:
    return struct.pack("!HHIIBBHHH", source, target, 1, 2, 0x50, flags, 0, 0, 0)


def error(kind: int, code: int, quoted: bytes) -> bytes:
    return bytes([kind, code]) + bytes(6) + quoted


UDP_PROBE = ip4("10.0.0.1", struct.pack("!HHHH", 33000, 80, 8, 0))


# ping


def test_what_ping_sends() -> None:
    ask = ping.request(TARGET, identifier=7, sequence=3, size=2, hops=9, timeout=1.5)
    assert render(ask.packets[0]) == "IP(dst='10.0.0.1', ttl=9)/ICMP(id=7, seq=3)/b'\\x00\\x01'"
    assert (ask.timeout, ask.first) == (1.5, True)
    ask = ping.request(TARGET6, identifier=7, sequence=3, size=0, hops=9, timeout=1.5)
    assert render(ask.packets[0]) == "IPv6(dst='fd00::1', hlim=9)/ICMPv6EchoRequest(id=7, seq=3)"


def test_what_ping_makes_of_answers() -> None:
    reply = ping.Reply.read(3, answer(0, from_("10.0.0.1", b"\0\0" + bytes(62), 1)))
    assert reply == ping.Reply(3, "10.0.0.1", 64, 0.002, True, "echo reply", 56)
    reply = ping.Reply.read(3, answer(0, from_("10.0.9.9", error(11, 0, UDP_PROBE), 1)))
    assert (reply.is_reply, reply.words) == (False, "time exceeded")


def test_the_sums_of_ping() -> None:
    sums = ping.Statistics(sent=4, times=[0.001, 0.002, 0.003], errors=1)
    assert sums.lost == 0.25
    assert str(sums) == (
        "4 sent, 3 received, 1 errors, 25% lost\nmin/avg/max/mdev 1.000/2.000/3.000/0.816 ms"
    )
    assert ping.Statistics().to_json() == {"sent": 0, "received": 0, "errors": 0, "loss": 0.0}


# traceroute


def test_every_probe_of_a_trace_is_known_by_a_number_of_its_own() -> None:
    plan = traceroute.Plan(TARGET, "udp", first=2, last=4, tries=2, base=40000)
    packets = plan.request(1.0).packets
    assert len(packets) == 6
    assert render(packets[0]) == "IP(dst='10.0.0.1', ttl=2)/UDP(sport=40000, dport=33434)"
    assert render(packets[5]) == "IP(dst='10.0.0.1', ttl=4)/UDP(sport=40005, dport=33434)"
    plan = traceroute.Plan(TARGET, "tcp", port=443, last=1, tries=1, base=40000)
    assert render(plan.request(1.0).packets[0]) == (
        "IP(dst='10.0.0.1', ttl=1)/TCP(sport=40000, dport=443, flags='S', seq=0)"
    )
    plan = traceroute.Plan(TARGET6, "icmp", last=1, tries=2, base=40000)
    assert render(plan.request(1.0).packets[1]) == (
        "IPv6(dst='fd00::1', hlim=1)/ICMPv6EchoRequest(id=40000, seq=1)"
    )


def test_a_trace_ends_at_the_target() -> None:
    trace = traceroute.Trace(traceroute.Plan(TARGET, tries=2, last=9))
    trace.add(answer(0, from_("10.0.5.1", error(11, 0, UDP_PROBE), 1)))
    trace.add(answer(1, from_("10.0.6.1", error(11, 0, UDP_PROBE), 1), 3.0))
    for number in (4, 5, 6, 7):
        trace.add(answer(number, from_("10.0.0.1", error(3, 3, UDP_PROBE), 1)))
    assert list(trace.lines()) == [
        "  1  10.0.5.1  2.000 ms  10.0.6.1  3.000 ms",
        "  2  *  *",
        "  3  10.0.0.1 unreachable (port)  2.000 ms  2.000 ms",
    ]
    assert trace.reached
    assert [hop["hop"] for hop in trace.to_json()["hops"]] == [1, 2, 3]


def test_a_trace_ends_where_a_router_goes_no_further() -> None:
    trace = traceroute.Trace(traceroute.Plan(TARGET, tries=1, last=9))
    trace.add(answer(0, from_("10.0.5.1", error(3, 1, UDP_PROBE), 1)))
    trace.add(answer(1, from_("10.0.5.1", error(3, 1, UDP_PROBE), 1)))
    assert list(trace.lines()) == ["  1  10.0.5.1 unreachable (host)  2.000 ms"]
    assert not trace.reached


def test_a_trace_without_an_end() -> None:
    trace = traceroute.Trace(traceroute.Plan(TARGET, tries=1, last=9))
    assert list(trace.lines()) == ["  1  *", "  2  *"]
    trace.add(answer(2, from_("10.0.5.1", error(11, 0, UDP_PROBE), 1)))
    assert list(trace.lines()) == ["  1  *", "  2  *", "  3  10.0.5.1  2.000 ms", "  4  *"]


def test_a_trace_by_tcp() -> None:
    trace = traceroute.Trace(traceroute.Plan(TARGET, "tcp", port=80, tries=1, last=3))
    trace.add(answer(0, from_("10.0.0.1", tcp(80, 33000, 0x12), 6)))
    assert list(trace.lines()) == ["  1  10.0.0.1 [SA]  2.000 ms"]


# scan


@pytest.mark.parametrize(
    ("text", "ports"),
    [("80", (80,)), ("22,80", (22, 80)), ("8-10", (8, 9, 10)), (" 5 , 1-3,2", (1, 2, 3, 5)),
     ("65535", (65535,))],
)  # fmt: skip
def test_ports(text: str, ports: tuple[int, ...]) -> None:
    assert scan.parse_ports(text) == ports


@pytest.mark.parametrize("text", ["", "0", "65536", "9-8", "a", "1-", "-5", "1,,2", "1-2-3", "²"])
def test_what_are_no_ports(text: str) -> None:
    with pytest.raises(ValueError, match="port"):
        scan.parse_ports(text)


def test_a_scan_goes_in_pieces() -> None:
    asks = list(
        scan.requests(TARGET, "tcp", range(1, 6), source=4000, most=2, timeout=1.0, retry=1)
    )
    assert render(asks[0].packets[0]) == (
        "IP(dst='10.0.0.1', ttl=64)/TCP(sport=4000, dport=[1, 2], flags='S', seq=4000)"
    )
    assert len(asks) == 3


def test_states_of_tcp_ports() -> None:
    found = scan.Scan("tcp", (21, 22, 23, 24))
    found.add(answer(0, from_("10.0.0.1", tcp(21, 4000, 0x14), 6)))
    found.add(answer(1, from_("10.0.0.1", tcp(22, 4000, 0x12), 6)))
    probe = ip4("10.0.0.1", tcp(4000, 23, 2), protocol=6)
    found.add(answer(2, from_("10.0.5.1", error(3, 13, probe), 1)))
    assert [(port, state, why) for port, state, why, _ in found.states()] == [
        (21, "closed", "RA"),
        (22, "open", "SA"),
        (23, "filtered", "unreachable (prohibited) from 10.0.5.1"),
        (24, "filtered", "no answer"),
    ]
    assert found.counts() == {"closed": 1, "open": 1, "filtered": 2}


def test_states_of_udp_ports() -> None:
    found = scan.Scan("udp", (80, 53, 54))
    found.add(answer(0, from_("10.0.0.1", error(3, 3, UDP_PROBE), 1)))
    found.add(answer(1, from_("10.0.0.1", struct.pack("!HHHH", 53, 33000, 8, 0), 17)))
    assert [(port, state) for port, state, _, _ in found.states()] == [
        (80, "closed"), (53, "open"), (54, "open|filtered"),
    ]  # fmt: skip
