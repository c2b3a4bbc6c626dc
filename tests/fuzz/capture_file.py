"""Reading and decoding a capture file, whatever is in it.

An input is a file, as `coding` writes it: words are headers, blocks and packets. What must hold:

- nothing but `CaptureFileError`, whatever comes;
- the same packets, notes and error whether the file is read whole or byte by byte;
- all packets are counted; when the file is at its end no conversation is left, and what waited
  in fragments and streams is bounded by what came;
- each line of the report is printable and of bounded length, and JSON is JSON (S16).
"""

from __future__ import annotations

import json
from typing import Any, Final

from netserve.capture.decode.engine import Engine
from netserve.capture.decode.report import Options, Report
from netserve.capture.dissect.tcp import MOST_AHEAD
from netserve.capture.reading.errors import CaptureFileError
from netserve.capture.reading.model import FileInfo, Packet
from netserve.capture.reading.opening import capture_of
from tests.capture.packets import ethernet, ipv4, ipv6, pcap, reader, talk, tcp, udp
from tests.capture.reading.test_files import Ng
from tests.capture.traffic import DNS
from tests.fuzz.coding import decode, encode

NAME: Final = "capture_file"

_LE, _BE = Ng("<"), Ng(">")
_TALK = talk(
    (">", b"EHLO x\r\nMAIL FROM:<>\r\nDATA\r\n"),
    ("<", b"220 mx ESMTP\r\n250 x\r\n250 x\r\n354 go\r\n"),
    (">", b"x\r\n.\r\n"),
    port=25,
)
_HTTP = talk(
    (">", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("<", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
    port=80,
)
_PIECES = [
    ipv4(udp(bytes(20))[at : at + 16], protocol=17, offset=at, more=at < 16) for at in (0, 16)
]
_FRAMES: list[bytes] = [
    *_TALK,
    *_HTTP,
    *_PIECES,
    ipv4(udp(DNS[1][1]), protocol=17),
    ipv6(tcp(b"\x0bMSH|^~\\&\x1c\r", flags="A")),
    ipv6(tcp(b"x"), extensions=[(0, bytes(7)), (44, b"\0\0\1\0\0\0\1")]),
]

WORDS: Final = [
    pcap([]),
    pcap([], order=">", nano=True, link_type=101),
    pcap([], link_type=113),
    _LE.section(),
    _BE.section(),
    _LE.interface(),
    _LE.interface(101),
    _BE.interface(276, 64),
    _LE.interface(options=_LE.option(9, b"\x83") + _LE.option(14, bytes(8))),
    *[_LE.packet(ethernet(frame)) for frame in _FRAMES],
    *[_LE.packet(frame, number=1) for frame in _FRAMES[:8]],
    _BE.packet(b"\x08\0" + bytes(18) + _TALK[3]),
    *[pcap([ethernet(frame)])[24:] for frame in _FRAMES],
    _LE.packet(b"x", options=_LE.option(1, b"a\x1bb") + _LE.option(4, bytes(8))),
    _LE.block(4, _LE.option(1, bytes(4) + b"unix:/x\0")),
    _LE.block(5, bytes(12) + _LE.option(5, bytes(8))),
    _LE.block(3, b"\x05\0\0\0hello"),
    _LE.block(2, bytes(20)),
    _LE.block(10, bytes(8)),
    b"\x06\0\0\0",
    b"\0\0\0\x06",
    b"\xff\xff\xff\xff",
    bytes(4),
    bytes(16),
]
assert len(WORDS) <= 128

BOUND: Final = 3 * MOST_AHEAD


def seeds() -> list[bytes]:
    """Files to begin with."""
    count = len(_FRAMES)
    ng, raw, old = 9, 9 + count, 9 + count + 9
    return [
        encode([WORDS[3], WORDS[5], *WORDS[ng : ng + count]], WORDS),
        encode([WORDS[3], WORDS[5], WORDS[6], *WORDS[raw : raw + 8]], WORDS),
        encode([WORDS[0], *WORDS[old : old + count]], WORDS),
        encode([WORDS[4], WORDS[7], WORDS[old - 1], *WORDS[-11:-5]], WORDS),
        *(encode([WORDS[3], WORDS[5], word, word], WORDS) for word in WORDS[9:]),
        *(encode([WORDS[0], word, word], WORDS) for word in WORDS[old:]),
        *(encode([word], WORDS) for word in WORDS),
    ]


def run_one(data: bytes) -> None:
    """Read one file, and tell what is in it."""
    file = decode(data, WORDS)
    packets, info, error = read(file, None)
    again, other, other_error = read(file, 1)
    assert (packets, error) == (again, other_error)
    assert info == other
    for as_json in (False, True):
        report(packets, info, as_json=as_json)


def read(file: bytes, most: int | None) -> tuple[list[Packet], FileInfo | None, str]:
    """The packets of a file, what is known about it, and what is wrong with it."""
    found: list[Packet] = []
    try:
        capture = capture_of(reader(file, most))
    except CaptureFileError as error:
        return [], None, str(error)
    try:
        found.extend(capture.packets())
    except CaptureFileError as error:
        # What was read before it is lost by `extend`; that is the same for both ways.
        return found, capture.info, str(error)
    return found, capture.info, ""


def report(packets: list[Packet], info: FileInfo | None, *, as_json: bool) -> None:
    """Decode the packets, and look at what is told."""
    lines: list[str] = []
    names: dict[str, str] = {} if info is None else info.names
    engine = Engine(Report(Options(items=20, as_json=as_json), lines.append, names))
    engine.take(packets)
    for conversation in engine._keys:
        if conversation.tcp is not None:
            for half in conversation.tcp.halves:
                assert half.held == sum(map(len, half.ahead.values())) <= BOUND
    engine.finish()
    assert engine.totals.packets == len(packets)
    assert engine.live == 0
    assert not engine._live
    for text in lines:
        check(text, as_json=as_json)


def check(text: str, *, as_json: bool) -> Any:
    """One piece of the report."""
    for line in text.split("\n"):
        assert line.isprintable(), line
        assert len(line) < 100_000
    return json.loads(text) if as_json else None
