"""Names in address fields become addresses; nothing else is looked up."""

from __future__ import annotations

import ipaddress

import pytest
import pytest_twisted

from netserve.packet.client.names import look_up, with_addresses
from netserve.packet.errors import PacketError
from netserve.packet.notation import parse, render
from netserve.packet.tools.headers import Address

asked: list[tuple[str, int]] = []


async def lookup(name: str, version: int) -> Address:
    asked.append((name, version))
    return ipaddress.ip_address("fd00::5" if version == 6 else "10.0.0.5")


@pytest.mark.parametrize(
    ("text", "found", "names"),
    [
        ('IP(dst="a.example")/TCP()', "IP(dst='10.0.0.5')/TCP()", [("a.example", 4)]),
        ('IP(src="b", dst=["a", "10.0.0.1"])', "IP(src='10.0.0.5', dst=['10.0.0.5', '10.0.0.1'])",
         [("b", 4), ("a", 4)]),
        ('IPv6(dst="a")', "IPv6(dst='fd00::5')", [("a", 6)]),
        ('Ether()/ARP(pdst="a", hwdst="b")', "Ether()/ARP(pdst='10.0.0.5', hwdst='b')", [("a", 4)]),
        ('IP(dst="10.0.0.0/30")', "IP(dst='10.0.0.0/30')", []),
        ('IP(dst="a.example/24")', "IP(dst='a.example/24')", []),
        ('IPv6(dst="fe80::1%eth0")', "IPv6(dst='fe80::1%eth0')", []),
        ('IP(dst=RandIP())/"a.example"', "IP(dst=RandIP())/'a.example'", []),
        ('IP(dst="10.0.0.1")/DNS(qd=DNSQR(qname="a"))',
         "IP(dst='10.0.0.1')/DNS(qd=DNSQR(qname='a'))", []),
    ],
)  # fmt: skip
@pytest_twisted.ensureDeferred
async def test_names(text: str, found: str, names: list[tuple[str, int]]) -> None:
    asked.clear()
    assert render(await with_addresses(parse(text), lookup)) == found
    assert asked == names


@pytest_twisted.ensureDeferred
async def test_the_system_s_resolver() -> None:
    assert str(await look_up("127.0.0.1")) == "127.0.0.1"
    assert str(await look_up("::1", 6)) == "::1"
    for name in ("no.such.name.invalid", "x" * 300, "a..b", "a\0b", ""):
        with pytest.raises(PacketError):
            await look_up(name, 4)
