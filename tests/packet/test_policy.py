"""What the policy allows, of an expression and of bytes (S30)."""

from __future__ import annotations

import ipaddress
import json

import pytest

from netserve.packet.notation import parse
from netserve.packet.policy import Policy, Refused
from tests.packet.test_headers import ARP, ether, hop, ip4, ip6

LAB = Policy(
    targets=(ipaddress.ip_network("10.0.0.0/24"), ipaddress.ip_network("fd00::/64")),
    layers=("IP", "IPv6", "ICMP*", "TCP", "UDP", "Ether", "ARP", "Raw", "IPOption_*"),
    interfaces=("eth0", "lo"),
    payload=100,
    size=200,
    packets=50,
    interval=0.01,
    timeout=5.0,
)


@pytest.mark.parametrize(
    "text",
    [
        'IP(dst="10.0.0.1")/TCP()', 'IP(dst="10.0.0.0/24")', 'IP(dst="10.0.0.7/30")',
        'IP(dst=["10.0.0.1", "10.0.0.2"])', 'IP(dst=("10.0.0.1", "10.0.0.9"))',
        'IP(dst=Net("10.0.0.1", "10.0.0.200"))', 'IP(dst=b"10.0.0.1")', 'IPv6(dst="fd00::1%eth0")',
        'IPv6(dst="::ffff:10.0.0.1")', 'Ether()/ARP(pdst="10.0.0.1")', "IP()/ICMP()",
        'IPv6(dst="fd00::1")/ICMPv6EchoRequest()', 'IP(dst="10.0.0.1")/("x" * 100)',
        'IP(dst="10.0.0.1")/Raw(load=["x" * 100, "y"])', 'IP(dst="10.0.0.1")/Raw(a=RandString(9))',
        'IP(src="8.8.8.8", dst="10.0.0.1")', "IP(options=[IPOption_RR()])",
    ],
)  # fmt: skip
def test_an_expression_that_is_allowed(text: str) -> None:
    LAB.check_packet(parse(text))


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ('IP(dst="10.0.1.1")', "the target 10.0.1.1 is not in packet.targets"),
        ('IP(dst="10.0.0.0/23")', "the target 10.0.0.0/23 is not in packet.targets"),
        ('IP(dst="0.0.0.0/0")', "the target 0.0.0.0/0 is not in packet.targets"),
        ('IP(dst=["10.0.0.1", "8.8.8.8"])', "the target 8.8.8.8 is not"),
        ('IP(dst=Net("10.0.0.250", "10.0.1.5"))', "is not in packet.targets"),
        ('IP(dst=Net("10.0.0.5", "10.0.0.1"))', "10.0.0.5 to 10.0.0.1 is not a range of addresses"),
        ('IP(dst=Net("10.0.0.5", "fd00::1"))', "is not a range of addresses"),
        ("IP(dst=RandIP())", "IP.dst: the target has to be an address or a network, written out"),
        ('IP(dst=RandIP("10.0.0.0/24"))', "has to be an address or a network, written out"),
        ("IP(dst=167772161)", "has to be an address or a network, written out"),
        ('IP(dst="0x0a000001")', "'0x0a000001' is not an address or a network"),
        ('IP(dst="010.0.0.1")', "is not an address or a network"),
        ('IP(dst="10.1")', "'10.1' is not an address or a network"),
        ('IP(dst="example.org")', "'example.org' is not an address or a network"),
        ('IPv6(dst="::ffff:8.8.8.8")', "is not in packet.targets"),
        ('IPv6(dst="fd00:0:0:1::1")', "the target fd00:0:0:1::1 is not"),
        ('Ether()/ARP(pdst="10.0.1.0/24")', "the target 10.0.1.0/24 is not"),
        ("IP()/UDP()/DNS()", "the layer DNS is not in packet.layers"),
        ('IP()/ICMP()/IP(dst="8.8.8.8")', "the target 8.8.8.8 is not"),
        ("IP(options=[Foo()])", "the layer Foo is not in packet.layers"),
        ("IP(a=[(1, [Ether()/STP()])])", "the layer STP is not in packet.layers"),
        ('IP()/("x" * 101)', "101 bytes of data; packet.payload allows 100"),
        ('IP()/"é"/("x" * 99)', "101 bytes of data"),
        ('IP()/Raw("x" * 101)', "101 bytes of data"),
        ("IP()/Raw(load=RandBin(101))", "101 bytes of data"),
        ('IP()/Raw(load=["x", "y" * 101])', "101 bytes of data"),
    ],
)  # fmt: skip
def test_an_expression_that_is_refused(text: str, error: str) -> None:
    with pytest.raises(Refused) as caught:
        LAB.check_packet(parse(text))
    assert error in str(caught.value)


def test_by_default_loopback_alone() -> None:
    policy = Policy()
    policy.check_packet(parse('IP(dst="127.0.0.1")/TCP()/"x"'))
    policy.check_packet(parse('IPv6(dst="::1")/UDP()'))
    policy.check_interface("lo")
    for target in ("10.0.0.1", "8.8.8.8", "0.0.0.0", "255.255.255.255", "224.0.0.1"):
        with pytest.raises(Refused):
            policy.check_packet(parse(f'IP(dst="{target}")'))
        with pytest.raises(Refused):
            policy.check_bytes(ip4(target), layer=3)
    with pytest.raises(Refused):
        policy.check_interface("eth0")


def test_bytes_that_are_allowed() -> None:
    own = ipaddress.ip_address("10.9.9.9").packed
    assert LAB.check_bytes(ip4("10.0.0.1"), layer=3) == (own,)
    assert LAB.check_bytes(ether(0x800, ip4("10.0.0.1")), layer=2) == (own,)
    assert LAB.check_bytes(ether(0x806, ARP), layer=2) == ()


@pytest.mark.parametrize(
    ("data", "layer", "error"),
    [
        (ip4("8.8.8.8"), 3, "the target 8.8.8.8 is not"),
        (ip4("10.0.0.1", options=hop("8.8.8.8")), 3, "the target 8.8.8.8 is not"),
        (ip4("10.0.0.1", ip4("8.8.8.8"), protocol=4), 3, "the target 8.8.8.8 is not"),
        (ip6("2001::1"), 3, "the target 2001::1 is not"),
        (ether(0x800, ip4("8.8.8.8")), 2, "the target 8.8.8.8 is not"),
        (
            ether(0x88CC, b"lldp"),
            2,
            "a frame without an IP address; packet.other_frames would allow",
        ),
        (ip4("10.0.0.1", bytes(300)), 3, "a packet of 320 bytes; packet.size allows 200"),
        (b"GET / HTTP/1.1", 3, "header of IPv4 is incomplete"),
    ],
)
def test_bytes_that_are_refused(data: bytes, layer: int, error: str) -> None:
    with pytest.raises(Refused) as caught:
        LAB.check_bytes(data, layer=layer)
    assert error in str(caught.value)


def test_what_more_can_be_allowed() -> None:
    free = Policy(other_frames=True, forge=True)
    assert free.check_bytes(ether(0x88CC, b"lldp"), layer=2) == ()
    assert free.check_bytes(ip4("127.0.0.1"), layer=3) == ()


@pytest.mark.parametrize(
    ("work", "error"),
    [
        ({"count": 51, "inter": None, "timeout": 1.0}, "51 packets; packet.packets allows 50"),
        ({"count": 1, "inter": 0.009, "timeout": 1.0}, "packet.rate allows one every 0.01 s"),
        ({"count": 1, "inter": 0.0, "timeout": 1.0}, "packet.rate allows one every 0.01 s"),
        ({"count": 1, "inter": None, "timeout": 6.0}, "6 s; packet.timeout allows 5 s"),
    ],
)
def test_work_that_is_refused(work: dict[str, float], error: str) -> None:
    with pytest.raises(Refused) as caught:
        LAB.check_work(**work)  # type: ignore[arg-type]
    assert error in str(caught.value)


def test_work_that_is_allowed() -> None:
    LAB.check_work(count=50, inter=0.01, timeout=5.0)
    LAB.check_work(count=1, inter=None, timeout=0.0)


def test_the_policy_is_the_same_on_the_other_side() -> None:
    for policy in (Policy(), LAB):
        assert Policy.from_json(json.loads(json.dumps(policy.to_json()))) == policy


@pytest.mark.parametrize(
    "change", [{}, {"targets": 5}, {"targets": ["x"]}, {"size": "a"}, {"x": 1}]
)
def test_what_is_no_policy(change: dict[str, object]) -> None:
    value = {**Policy().to_json(), **change} if change else "policy"
    with pytest.raises(ValueError, match=r"policy|x|literal"):
        Policy.from_json(value)
