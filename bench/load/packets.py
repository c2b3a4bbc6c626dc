"""A capture file as tcpdump writes it: many conversations at the same time, on Ethernet."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

from netserve.capture.frames.ip import Address
from netserve.capture.frames.tcp import Frame, Stream
from netserve.capture.frames.udp import Datagrams

SEGMENT = 1460
AT_ONCE = 200
"""Conversations that go on at the same time."""
SIZES = (400, 300_000)
"""Bytes of a response: at least about, and at most."""
BEGAN = 1_700_000_000 * 10**9

_RECORD = struct.Struct("<IIII")
_TO_SERVER = b"\2\0\0\0\0\1\2\0\0\0\0\2\x08\0"
_TO_CLIENT = b"\2\0\0\0\0\2\2\0\0\0\0\1\x08\0"
_LINE = b"x" * 76 + b"\r\n"


def write(path: Path, size: int) -> int:
    """Write a file of about `size` bytes; returns the number of its packets."""
    chosen = random.Random(1)
    blob = chosen.randbytes(SIZES[1])
    kinds = (http, http, http, http, http, http, smtp, smtp, dns, dns, dns, lines)
    live: list[Iterator[list[Frame]]] = []
    number = count = 0
    time = BEGAN
    with path.open("wb") as file:
        total = file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262_144, 1))
        while total < size:
            while len(live) < AT_ONCE:
                number += 1
                live.append(chosen.choice(kinds)(number, chosen, blob))
            parts: list[bytes] = []
            for each in list(live):
                time += chosen.randrange(1000, 200_000)
                frames = next(each, None)
                if frames is None:
                    live.remove(each)
                    continue
                parts += [record(time, inbound, frame) for inbound, frame in frames]
            count += len(parts)
            total += file.write(b"".join(parts))
    return count


def record(time: int, inbound: bool, packet: bytes) -> bytes:
    """A packet on Ethernet, as a record of a pcap file."""
    size = 14 + len(packet)
    head = _RECORD.pack(time // 10**9, time % 10**9 // 1000, size, size)
    return b"".join((head, _TO_SERVER if inbound else _TO_CLIENT, packet))


def stream(number: int, server: str, port: int) -> Stream:
    """A connection of one of many clients."""
    client = f"10.{100 + port % 100}.{number // 60_000 % 250}.{number % 250 + 1}"
    return Stream(
        address(server, port), address(client, 1024 + number % 60_000), outgoing=False,
        first=(number * 7919, number * 104_729), largest=SEGMENT,
    )  # fmt: skip


def address(host: str, port: int) -> Address:
    return Address(ip_address(host).packed, port)


def http(number: int, chosen: random.Random, blob: bytes) -> Iterator[list[Frame]]:
    made = stream(number, "10.0.0.1", 80)
    yield made.opened()
    for item in range(chosen.randrange(1, 6)):
        yield made.data(
            True,
            b"GET /item/%d?k=%d HTTP/1.1\r\nHost: www.example.org\r\nUser-Agent: test/1.0\r\n"
            b"Accept: */*\r\n\r\n" % (number, item),
        )
        size = min(int(chosen.paretovariate(1.1) * 1500), SIZES[1])
        head = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: %d\r\n\r\n" % size
        yield made.data(False, head + blob[:size])
    yield made.closed(True) + made.closed(False)


def smtp(number: int, chosen: random.Random, blob: bytes) -> Iterator[list[Frame]]:
    made = stream(number, "10.0.0.2", 25)
    yield made.opened()
    yield made.data(False, b"220 mx.example.org ESMTP\r\n")
    yield made.data(True, b"EHLO client.example.org\r\n")
    yield made.data(False, b"250-mx.example.org\r\n250-SIZE 10240000\r\n250 8BITMIME\r\n")
    for _ in range(chosen.randrange(1, 4)):
        yield made.data(True, b"MAIL FROM:<a%d@example.org>\r\n" % number)
        yield made.data(False, b"250 2.1.0 ok\r\n")
        yield made.data(True, b"RCPT TO:<b%d@example.org>\r\n" % number)
        yield made.data(False, b"250 2.1.5 ok\r\n")
        yield made.data(True, b"DATA\r\n")
        yield made.data(False, b"354 go ahead\r\n")
        header = b"From: a@example.org\r\nTo: b@example.org\r\nSubject: mail %d\r\n\r\n" % number
        yield made.data(True, header + _LINE * chosen.randrange(20, 300) + b".\r\n")
        yield made.data(False, b"250 2.0.0 queued as %x\r\n" % number)
    yield made.data(True, b"QUIT\r\n")
    yield made.data(False, b"221 2.0.0 bye\r\n")
    yield made.closed(True) + made.closed(False)


def dns(number: int, chosen: random.Random, blob: bytes) -> Iterator[list[Frame]]:
    made = Datagrams(
        address("10.0.0.3", 53), address(f"10.3.0.{number % 250 + 1}", 1024 + number % 60_000)
    )
    question = b"\x03www\x07example\x03org\0\0\1\0\1"
    head = struct.Struct("!HHHHHH")
    yield made.data(True, head.pack(number & 0xFFFF, 0x0100, 1, 0, 0, 0) + question)
    answer = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\x0a\0\0\1"
    yield made.data(False, head.pack(number & 0xFFFF, 0x8180, 1, 1, 0, 0) + question + answer)


def lines(number: int, chosen: random.Random, blob: bytes) -> Iterator[list[Frame]]:
    made = stream(number, "10.0.0.4", 7007)
    yield made.opened()
    for item in range(chosen.randrange(5, 60)):
        line = b"line %d of something to be echoed\r\n" % item
        yield made.data(True, line)
        yield made.data(False, line)
    yield made.closed(True) + made.closed(False)
