"""Expressions in Scapy's notation, made at random: what users write, and what they might."""

from __future__ import annotations

import random

FLAGS = ["S", "SA", "F", "PA", "R", "", "FPU"]
OPTIONS = [
    '("MSS", 1460)', '("NOP", None)', '("WScale", 7)', '("SAckOK", b"")', '("Timestamp", (1, 2))',
    '("SAck", (1, 2))', '(254, b"\\x01\\x02")', '("EOL", None)',
]  # fmt: skip
IP_OPTIONS = [
    "IPOption_RR()", "IPOption_NOP()", "IPOption_Timestamp(timestamp=5)", "IPOption_EOL()",
    'IPOption_LSRR(routers=["10.0.0.1", "10.0.0.2"])',
]  # fmt: skip
NAMES = ["example.org", "a.b.c.example", "x" * 60 + ".example"]


class Generator:
    """Makes one expression after another.

    Arguments:
        seed: the same gives the same.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def expression(self) -> str:
        """An expression of one or a few packets."""
        pick = self._random.random()
        if pick < 0.6:
            return self._ip() + self._over_ip(4)
        if pick < 0.8:
            return self._ip6() + self._over_ip(6)
        if pick < 0.9:
            return self._frame() + self._ip() + self._over_ip(4)
        return self._frame() + self._arp()

    def _one(self, *choices: str) -> str:
        return self._random.choice(choices)

    def _maybe(self, likelihood: float = 0.4) -> bool:
        return self._random.random() < likelihood

    def _number(self, most: int) -> str:
        number = self._random.randint(0, most)
        return self._one(str(number), hex(number), str(number), oct(number), bin(number))

    def _numbers(self, most: int) -> str:
        """A number, a range, or a list of them."""
        pick = self._random.random()
        if pick < 0.7:
            return self._number(most)
        first = self._random.randint(0, most - 5)
        if pick < 0.8:
            return f"({first}, {first + self._random.randint(0, 4)})"
        if pick < 0.85:
            return f"[{self._number(most)}, ({first}, {first + 1})]"
        return f"[{', '.join(self._number(most) for _ in range(self._random.randint(1, 3)))}]"

    def _layer(self, name: str, fields: list[str]) -> str:
        self._random.shuffle(fields)
        between = self._one(", ", ",", " , ")
        tail = "," if fields and self._maybe(0.1) else ""
        return f"{name}({between.join(fields)}{tail})"

    def _some(self, fields: dict[str, str], likelihood: float = 0.4) -> list[str]:
        space = self._one("=", " = ")
        return [
            f"{name}{space}{value}" for name, value in fields.items() if self._maybe(likelihood)
        ]

    def _address(self) -> str:
        numbers = ".".join(str(self._random.randint(1, 254)) for _ in range(4))
        return self._one(f'"{numbers}"', f"'{numbers}'")

    def _address6(self) -> str:
        return f'"2001:db8::{self._random.randint(1, 65535):x}"'

    def _ip(self) -> str:
        target = self._one(
            self._address(), self._address(), f"[{self._address()}, {self._address()}]",
            f'"10.{self._random.randint(0, 255)}.0.0/30"', 'Net("10.1.2.3", "10.1.2.5")',
        )  # fmt: skip
        more = self._some({
            "ttl": self._numbers(255), "tos": self._number(255), "id": self._numbers(65535),
            "flags": self._one('"DF"', '"MF"', "2", '"MF+DF"', "0"), "frag": self._number(8191),
            "proto": self._one("6", '"udp"', "254"), "chksum": self._number(65535),
            "len": self._number(65535), "ihl": "5", "version": "4",
            "options": f"[{self._one(*IP_OPTIONS)}]",
        }, 0.15)  # fmt: skip
        return self._layer("IP", [f"dst={target}", f"src={self._address()}", *more])

    def _ip6(self) -> str:
        more = self._some(
            {"hlim": self._numbers(255), "tc": self._number(255), "fl": self._number(2**20 - 1),
             "nh": "59", "plen": self._number(65535)}, 0.2
        )  # fmt: skip
        ends = [f"dst={self._address6()}", f"src={self._address6()}"]
        layers = [self._layer("IPv6", [*ends, *more])]
        if self._maybe(0.2):
            layers.append(self._one(
                "IPv6ExtHdrFragment(id=5)", "IPv6ExtHdrDestOpt()", "IPv6ExtHdrHopByHop()",
                'IPv6ExtHdrRouting(addresses=["2001:db8::9"])',
            ))  # fmt: skip
        return "/".join(layers)

    def _over_ip(self, version: int) -> str:
        pick = self._random.random()
        if pick < 0.35:
            return f"/{self._tcp()}{self._data()}"
        if pick < 0.55:
            return f"/{self._udp()}{self._data()}"
        if pick < 0.7:
            return f"/{self._icmp(version)}"
        if pick < 0.8:
            return f"/UDP(sport={self._number(65535)}, dport=53)/{self._dns()}"
        if pick < 0.9:
            return self._data() or '/"x"'
        if pick < 0.95:
            return f"/GRE()/{self._ip()}/{self._udp()}"
        return f"/({self._udp()}{self._data()})"

    def _tcp(self) -> str:
        options = ", ".join(self._random.sample(OPTIONS, self._random.randint(0, 4)))
        return self._layer("TCP", self._some({
            "sport": self._numbers(65535), "dport": self._one(self._numbers(65535), '"http"'),
            "flags": self._one(f'"{self._one(*FLAGS)}"', self._number(511)),
            "seq": self._numbers(2**32 - 1), "ack": self._number(2**32 - 1),
            "window": self._number(65535), "urgptr": self._number(65535),
            "chksum": self._number(65535), "reserved": self._number(7), "dataofs": "5",
            "options": f"[{options}]",
        }))  # fmt: skip

    def _udp(self) -> str:
        return self._layer("UDP", self._some({
            "sport": self._numbers(65535), "dport": self._numbers(65535),
            "len": self._number(65535), "chksum": self._number(65535),
        }))  # fmt: skip

    def _icmp(self, version: int) -> str:
        if version == 6:
            data = self._one('"x"', 'b"\\x00"', '""')
            echo = f"id={self._number(65535)}, seq={self._numbers(65535)}, data={data}"
            option = 'ICMPv6NDOptSrcLLAddr(lladdr="02:00:00:00:00:01")'
            return self._one(
                f"ICMPv6EchoRequest({echo})",
                f"ICMPv6ND_NS(tgt={self._address6()})/{option}",
                "ICMPv6EchoReply()",
                f"ICMPv6DestUnreach(code={self._number(4)})",
            )
        fields = self._some({
            "id": self._number(65535), "seq": self._numbers(65535), "code": self._number(15),
        })  # fmt: skip
        kind = self._one("8", "0", '"echo-request"', '"time-exceeded"', "3", "15")
        layer = self._layer("ICMP", [f"type={kind}", *fields])
        if kind in {"3", '"time-exceeded"'}:
            return f"{layer}/{self._ip()}/{self._udp()}"
        return layer + self._data()

    def _dns(self) -> str:
        name = self._one(*NAMES)
        kind = self._one('"A"', '"AAAA"', "16", '"MX"')
        question = f'DNSQR(qname="{name}", qtype={kind})'
        ttl, address = self._number(2**31), self._address()
        answer = f'DNSRR(rrname="{name}", type="A", ttl={ttl}, rdata={address})'
        return self._layer("DNS", self._some({
            "id": self._number(65535), "rd": "1", "qr": "1", "aa": "1", "rcode": self._number(15),
            "qd": self._one(question, f"[{question}]", f"[{question}, {question}]"),
            "an": self._one(answer, f"[{answer}, {answer}]"),
        }, 0.6))  # fmt: skip

    def _arp(self) -> str:
        return self._layer("ARP", [
            f"pdst={self._address()}", f"psrc={self._address()}", 'hwsrc="02:00:00:00:00:01"',
            *self._some({
                "op": self._one("1", "2", '"is-at"', '"who-has"'), "hwdst": '"02:00:00:00:00:02"',
                "ptype": "0x800", "hwtype": self._number(65535),
            }),
        ])  # fmt: skip

    def _frame(self) -> str:
        fields = ['dst="02:00:00:00:00:01"', 'src="02:00:00:00:00:02"']
        layers = [self._layer("Ether", fields)]
        if self._maybe(0.3):
            layers.append(self._layer("Dot1Q", self._some({
                "vlan": self._numbers(4095), "prio": self._number(7),
            })))  # fmt: skip
        return "/".join(layers) + "/"

    def _data(self) -> str:
        pick = self._random.random()
        if pick < 0.4:
            return ""
        return "/" + self._one(
            '"data"', "'it is \"data\"'", r'b"\x00\xff\r\n"', r'"tab\tnew\nline\\"', '"é ü 漢"',
            'Raw("raw")', 'Raw(load=b"raw")', 'Raw(load=["a", "bb"])', '("ab" * 20)', '"a"/"b"',
            r"r'\n'", 'Padding("pad")', '"x"/Padding(load="pad")', '""', 'b""',
        )  # fmt: skip
