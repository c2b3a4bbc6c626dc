"""Packets and files built by hand, as other tools may write them."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterable
from ipaddress import ip_address

from netserve.capture.decode.engine import Engine
from netserve.capture.decode.report import Options, Report
from netserve.capture.reading.model import Packet
from netserve.capture.reading.opening import capture_of

SECOND = 1_700_000_000


def reader(data: bytes, most: int | None = None) -> Callable[[int], bytes]:
    """Gives the bytes in pieces, of at most so many bytes."""
    stream = io.BytesIO(data)
    return (lambda count: stream.read(min(count, most))) if most else stream.read


def pcap(
    packets: Iterable[bytes], *, order: str = "<", nano: bool = False, link_type: int = 1,
    cut: int = 0,
) -> bytes:  # fmt: skip
    """A pcap file with a packet every millisecond; `cut` bytes of each are not captured."""
    magic = 0xA1B23C4D if nano else 0xA1B2C3D4
    unit = 1 if nano else 1000
    parts = [struct.pack(f"{order}IHHiIII", magic, 2, 4, 0, 0, 262_144, link_type)]
    for number, packet in enumerate(packets):
        kept = packet[: len(packet) - cut]
        fraction = number * 1_000_000 // unit
        parts.append(struct.pack(f"{order}IIII", SECOND, fraction, len(kept), len(packet)) + kept)
    return b"".join(parts)


def ethernet(
    content: bytes, kind: int | None = None, *, tags: Iterable[tuple[int, int]] = ()
) -> bytes:
    """An Ethernet frame around an IP packet; tags are pairs of EtherType and VLAN."""
    if kind is None:
        kind = 0x0800 if content[0] >> 4 == 4 else 0x86DD
    middle = b"".join(struct.pack("!HH", each, vlan) for each, vlan in tags)
    frame = bytes(6) + bytes([2, 0, 0, 0, 0, 1]) + middle + struct.pack("!H", kind) + content
    return frame.ljust(60, b"\0")


def ipv4(
    content: bytes, *, source: str = "192.0.2.1", to: str = "192.0.2.2", protocol: int = 6,
    number: int = 1, offset: int = 0, more: bool = False, options: bytes = b"",
) -> bytes:  # fmt: skip
    """An IPv4 packet or a fragment of one, `offset` bytes into it."""
    first = 0x45 + len(options) // 4
    field = offset // 8 | (0x2000 if more else 0)
    total = 20 + len(options) + len(content)
    head = struct.pack("!BBHHHBBH", first, 0, total, number, field, 64, protocol, 0)
    return head + ip_address(source).packed + ip_address(to).packed + options + content


def ipv6(
    content: bytes, *, source: str = "2001:db8::1", to: str = "2001:db8::2", protocol: int = 6,
    extensions: Iterable[tuple[int, bytes]] = (),
) -> bytes:  # fmt: skip
    """An IPv6 packet; extensions are pairs of their number and what follows their first byte."""
    numbers = [number for number, _ in extensions]
    following = [*numbers, protocol][1:]
    chain = b"".join(
        bytes([after]) + rest for (_, rest), after in zip(extensions, following, strict=True)
    )
    first = numbers[0] if numbers else protocol
    head = struct.pack("!IHBB", 6 << 28, len(chain) + len(content), first, 64)
    return head + ip_address(source).packed + ip_address(to).packed + chain + content


def tcp(
    data: bytes = b"", *, port: int = 4000, to: int = 7, number: int = 0, acknowledges: int = 0,
    flags: str = "A", options: bytes = b"",
) -> bytes:  # fmt: skip
    """A TCP segment; flags are of S, A, F, R, P."""
    bits = sum({"F": 1, "S": 2, "R": 4, "P": 8, "A": 16}[flag] for flag in flags)
    offset = (20 + len(options)) // 4 << 4
    head = struct.pack("!HHIIBBHHH", port, to, number % 2**32, acknowledges % 2**32, offset, bits,
                       65535, 0, 0)  # fmt: skip
    return head + options + data


def udp(data: bytes, *, port: int = 4000, to: int = 53) -> bytes:
    """A UDP packet."""
    return struct.pack("!HHHH", port, to, 8 + len(data), 0) + data


def packets(data: bytes, most: int | None = None) -> list[Packet]:
    """All packets of a file."""
    return list(capture_of(reader(data, most)).packets())


class Seen:
    """Notes what an engine reports."""

    def __init__(self) -> None:
        self.items: dict[int, list[tuple[str, str, str]]] = {}
        self.protocols: dict[int, str] = {}
        self.conversations: list[object] = []
        self.streams: dict[int, tuple[int, int, int, int]] = {}
        self.problems: dict[int, list[str]] = {}
        self.details: list[dict[str, object]] = []

    def heard(self, conversation, item) -> None:  # type: ignore[no-untyped-def]
        side = ("client", "server", "decoder")[item.side]
        self.items.setdefault(conversation.number, []).append((side, item.kind, item.text))
        self.details.append(dict(item.details))

    def over(self, conversation) -> None:  # type: ignore[no-untyped-def]
        from netserve.capture.decode.text import problems

        self.protocols[conversation.number] = conversation.protocol
        self.problems[conversation.number] = problems(conversation)


def decoded(data: bytes, ports: dict[int, str] | None = None) -> tuple[Seen, Engine]:
    """What the engine reports about a file."""
    seen = Seen()
    engine = Engine(seen, ports)
    engine.take(capture_of(reader(data)).packets())
    engine.finish()
    return seen, engine


def told(data: bytes, **options: object) -> list[str]:
    """The report about a file, in pieces as it is written."""
    lines: list[str] = []
    capture = capture_of(reader(data))
    report = Report(Options(**options), lines.append, capture.info.names)  # type: ignore[arg-type]
    engine = Engine(report)
    engine.take(capture.packets())
    engine.finish()
    report.summary(engine.totals, engine.fragments, {"notes": capture.info.notes})
    return lines


def talk(*pieces: tuple[str, bytes], port: int = 7, close: bool = True) -> list[bytes]:
    """A connection as IPv4 packets: pairs of `>` or `<`, and what that side says."""
    sent = {">": 1000, "<": 5000}
    found = []

    def say(side: str, data: bytes, flags: str) -> None:
        other = "<" if side == ">" else ">"
        ends = (4000, port) if side == ">" else (port, 4000)
        hosts = ("192.0.2.1", "192.0.2.2") if side == ">" else ("192.0.2.2", "192.0.2.1")
        segment = tcp(data, port=ends[0], to=ends[1], number=sent[side],
                      acknowledges=sent[other] if "A" in flags else 0, flags=flags)  # fmt: skip
        sent[side] += len(data) + ("S" in flags) + ("F" in flags)
        found.append(ipv4(segment, source=hosts[0], to=hosts[1]))

    say(">", b"", "S")
    say("<", b"", "SA")
    say(">", b"", "A")
    for side, data in pieces:
        for at in range(0, len(data), 1400):
            say(side, data[at : at + 1400], "PA")
    if close:
        say(">", b"", "FA")
        say("<", b"", "FA")
        say(">", b"", "A")
    return found
