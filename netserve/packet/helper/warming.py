"""Makes Scapy load its lazy parts before the confinement takes the files away."""

from __future__ import annotations

from typing import Final

from netserve.packet.helper.building import Builder
from netserve.packet.helper.matching import Matcher, Waiting
from netserve.packet.notation import parse

_EXPRESSIONS: Final = (
    'Ether(dst="00:00:00:00:00:00")/IP(dst="127.0.0.1", options=[IPOption_RR()])/ICMP()',
    'Ether(dst="00:00:00:00:00:00")/ARP(pdst="127.0.0.1")',
    'IP(dst="127.0.0.1")/TCP(options=[("MSS", 1460)])/"data"',
    'IP(dst="127.0.0.1")/UDP()/DNS(rd=1, qd=DNSQR(qname="example.org"))',
    'IPv6(dst="::1")/ICMPv6EchoRequest()',
    'IPv6(dst="::1")/TCP()',
)


def warm_up(builder: Builder) -> None:
    """Build, show and match one packet of each common kind."""
    for expression in _EXPRESSIONS:
        for built in builder.all(parse(expression)):
            packet = built.packet
            Matcher().add(Waiting(0, built.data, packet))
            again = type(packet)(built.data)
            again.answers(packet)
            again.summary()
            again.show(dump=True)
            packet.show2(dump=True)
