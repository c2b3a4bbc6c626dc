"""pcap and pcapng files of every form, whole, in pieces, cut short and damaged."""

from __future__ import annotations

import bz2
import gzip
import struct
import tracemalloc
import zlib
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from netserve.capture.pcapng import writer
from netserve.capture.reading import source as sources
from netserve.capture.reading.errors import CaptureFileError
from netserve.capture.reading.opening import capture_of
from netserve.capture.reading.source import Source
from netserve.testing.programs import missing
from tests.capture.packets import SECOND, ethernet, ipv4, packets, pcap, reader, talk, tcp, udp
from tests.capture.traffic import BEGAN

FRAMES = [ethernet(each) for each in talk((">", b"hello\n"), ("<", b"world\n" * 500))]


class Ng:
    """Builds pcapng files in either byte order."""

    def __init__(self, order: str = "<") -> None:
        self.order = order

    def block(self, kind: int, body: bytes) -> bytes:
        total = len(body) + 12
        return self.pack("II", kind, total) + body + self.pack("I", total)

    def pack(self, layout: str, *values: int) -> bytes:
        return struct.pack(self.order + layout, *values)

    def option(self, code: int, value: bytes) -> bytes:
        return self.pack("HH", code, len(value)) + value + b"\0" * (-len(value) % 4)

    def section(self, options: bytes = b"", size: int = -1) -> bytes:
        return self.block(0x0A0D0D0A, self.pack("IHHq", 0x1A2B3C4D, 1, 0, size) + options)

    def interface(self, link_type: int = 1, snap: int = 0, options: bytes = b"") -> bytes:
        return self.block(1, self.pack("HHI", link_type, 0, snap) + options)

    def packet(self, data: bytes, time: int = 0, number: int = 0, options: bytes = b"") -> bytes:
        head = self.pack("IIIII", number, time >> 32, time & 0xFFFFFFFF, len(data), len(data))
        return self.block(6, head + data + b"\0" * (-len(data) % 4) + options)


@pytest.mark.parametrize("most", [None, 1, 7], ids=["whole", "by-byte", "by-7"])
@pytest.mark.parametrize("nano", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_pcap(order: str, nano: bool, most: int | None) -> None:
    found = packets(pcap(FRAMES, order=order, nano=nano), most)
    assert [packet.data for packet in found] == FRAMES
    assert [packet.number for packet in found] == list(range(1, len(FRAMES) + 1))
    start = SECOND * 1_000_000_000
    assert [packet.time - start for packet in found] == [n * 1_000_000 for n in range(len(FRAMES))]
    assert {packet.link_type for packet in found} == {1}


@pytest.mark.parametrize("most", [None, 1, 7], ids=["whole", "by-byte", "by-7"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_pcapng_with_all_kinds_of_blocks(order: str, most: int | None) -> None:
    ng = Ng(order)
    drops = ng.option(5, ng.pack("Q", 4)) + ng.option(7, ng.pack("Q", 1))
    earlier = ng.option(5, ng.pack("Q", 2))
    data = b"".join(
        [
            ng.section(ng.option(1, b"about this") + ng.option(4, b"a tool 1.2")),
            ng.interface(101, options=ng.option(9, b"\x09") + ng.option(0, b"")),
            ng.interface(113, snap=4),
            ng.block(0xBAD, ng.pack("I", 7) + b"custom"[:4]),
            ng.block(10, ng.pack("II", 0x544C534B, 4) + b"abcd"),
            ng.block(
                4,
                ng.option(1, bytes([192, 0, 2, 9]) + b"mx.example.org\0other\0")
                + ng.option(2, bytes(15) + b"\1" + b"localhost\0")
                + ng.option(0, b""),
            ),
            ng.packet(
                b"first", 1_000_000_007, 0, ng.option(1, b"look") + ng.option(2, ng.pack("I", 1))
            ),
            ng.packet(b"second", 2_000_001, 1),
            ng.block(2, ng.pack("HHIIII", 1, 0, 0, 5, 3, 9) + b"old\0"),
            ng.block(5, ng.pack("III", 0, 0, 0) + earlier),
            ng.block(5, ng.pack("III", 0, 0, 0) + drops),
            ng.section(),
            ng.interface(1, snap=4),
            ng.block(3, ng.pack("I", 9) + b"simp"),
        ]
    )
    capture = capture_of(reader(data, most))
    found = [(each.time, each.link_type, each.data, each.size) for each in capture.packets()]
    assert found == [
        (1_000_000_007, 101, b"first", 5),
        (2_000_001_000, 113, b"second", 6),
        (5_000, 113, b"old", 9),
        (0, 1, b"simp", 9),
    ]
    info = capture.info
    assert (info.comments, info.application, info.secrets) == (["about this"], "a tool 1.2", 1)
    assert info.names == {"192.0.2.9": "mx.example.org", "::1": "localhost"}
    assert info.dropped == 5
    assert info.notes == []


def test_sections_of_both_byte_orders_in_one_file() -> None:
    data = b"".join(
        Ng(order).section() + Ng(order).interface() + Ng(order).packet(b"x", 7) for order in "<><"
    )
    assert [(each.time, each.data) for each in packets(data)] == [(7000, b"x")] * 3


def test_comments_of_packets() -> None:
    for order in "<>":
        ng = Ng(order)
        flags = ng.option(2, ng.pack("I", 1))
        ways = [
            (b"", ()),
            (flags + ng.option(0, b""), ()),
            (ng.option(1, b"a") + ng.option(0, b""), ("a",)),
            (flags + ng.option(1, b"hi"), ("hi",)),
            (ng.option(1, b"one") + ng.option(1, "zw\u00f6lf".encode()), ("one", "zw\u00f6lf")),
        ]
        data = ng.section() + ng.interface() + b"".join(ng.packet(b"x", options=o) for o, _ in ways)
        assert [packet.comments for packet in packets(data)] == [wanted for _, wanted in ways]


@pytest.mark.parametrize(
    ("resolution", "count", "nanoseconds"),
    [
        (b"\x00", 3, 3_000_000_000),
        (b"\x03", 1500, 1_500_000_000),
        (b"\x06", 7, 7000),
        (b"\x09", 7, 7),
        (b"\x0c", 7999, 7),
        (b"\x80", 2, 2_000_000_000),
        (b"\x8a", 512, 500_000_000),
        (b"\xff", 1 << 62, 0),
        (b"\x7f", 1 << 62, 0),
    ],
)
@pytest.mark.parametrize("offset", [0, 1000, -5])
def test_units_of_time(resolution: bytes, count: int, nanoseconds: int, offset: int) -> None:
    ng = Ng()
    options = ng.option(9, resolution) + ng.option(14, ng.pack("q", offset))
    data = ng.section() + ng.interface(options=options) + ng.packet(b"x", count)
    assert packets(data)[0].time == nanoseconds + offset * 1_000_000_000


@pytest.mark.parametrize("pack", [gzip.compress, lambda data: gzip.compress(data) * 1])
def test_gzip(pack: Callable[[bytes], bytes]) -> None:
    capture = capture_of(reader(pack(pcap(FRAMES)), 5))
    assert [packet.data for packet in capture.packets()] == FRAMES
    assert capture.info.format == "pcap, microseconds, gzip"


def test_gzip_of_several_members_and_padding() -> None:
    data = pcap(FRAMES)
    packed = gzip.compress(data[:100]) + gzip.compress(data[100:]) + bytes(512)
    assert [packet.data for packet in packets(packed)] == FRAMES


def zstd():  # type: ignore[no-untyped-def]
    try:
        return sources._zstd()
    except CaptureFileError:
        missing("no zstd: it is in the extra `zstd`, and in Python 3.14")


def test_zstd() -> None:
    module = zstd()
    data = pcap(FRAMES)
    capture = capture_of(reader(module.compress(data[:99]) + module.compress(data[99:]), 11))
    assert [packet.data for packet in capture.packets()] == FRAMES
    assert capture.info.format == "pcap, microseconds, zstd"


def test_zstd_that_needs_much_memory_is_refused() -> None:
    module = zstd()
    options = {
        module.CompressionParameter.window_log: 27,
        module.CompressionParameter.enable_long_distance_matching: 1,
    }
    packer = module.ZstdCompressor(options=options)
    packed = packer.compress(pcap(FRAMES)) + packer.flush()
    with pytest.raises(CaptureFileError, match="zstd data cannot be decompressed"):
        packets(packed)


def test_without_zstd_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(name: str) -> object:
        raise ImportError(name)

    monkeypatch.setattr(sources, "import_module", none)
    with pytest.raises(CaptureFileError, match=r"pip install 'netserve\[zstd\]'"):
        packets(b"\x28\xb5\x2f\xfd" + bytes(20))


@pytest.mark.parametrize("pack", [gzip.compress, lambda data: zstd().compress(data)])
def test_compressed_files_that_are_cut_short_or_damaged(pack: Callable[[bytes], bytes]) -> None:
    whole = pack(pcap(FRAMES * 20))
    with pytest.raises(CaptureFileError, match="end in the middle"):
        packets(whole[:-9])
    damaged = bytearray(whole)
    for at in range(60, len(damaged), 10):
        damaged[at] ^= 0x55
    with pytest.raises(CaptureFileError):
        packets(bytes(damaged))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"\n", "not a capture: it begins with 0a"),
        (b"hello, world, this is text", "not a capture"),
        (bz2.compress(b"x"), "compressed by bzip2"),
        (b"\x04\x22\x4d\x18" + bytes(30), "compressed by lz4"),
        (b"\xfd7zXZ\0" + bytes(30), "compressed by xz"),
        (b"PK\3\4" + bytes(30), "compressed by zip"),
        (b"snoop\0\0\0" + bytes(30), "Solaris"),
        (b"\xa1\xb2\xcd\x34" + bytes(30), "old Linux patches"),
        (gzip.compress(b"text", mtime=0), "inside of gzip not a capture"),
        (gzip.compress(b"", mtime=0), "inside of gzip empty"),
        (b"\x1f\x8b\x08", "end in the middle"),
        (pcap([])[:20], "ends within the header"),
        (struct.pack("<IHHiIII", 0xA1B2C3D4, 3, 0, 0, 0, 1, 1), "version 3.0"),
        (
            pcap([]) + struct.pack("<IIII", 0, 0, 2**31, 5) + bytes(99),
            "packet 1, at byte 24, claims",
        ),
    ],
)
def test_what_is_no_capture(data: bytes, words: str) -> None:
    with pytest.raises(CaptureFileError, match=words):
        packets(data)


NG = Ng()
HEAD = NG.section() + NG.interface()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (NG.pack("II", 0x0A0D0D0A, 28) + b"nope" + bytes(20), "without a byte order"),
        (NG.pack("III", 0x0A0D0D0A, 12, 0x1A2B3C4D) + bytes(20), "claims 12 bytes"),
        (NG.block(0x0A0D0D0A, NG.pack("IHHq", 0x1A2B3C4D, 2, 0, -1)), "version 2"),
        (NG.section() + NG.packet(b"x"), "interface 0, which is not described"),
        (HEAD + NG.packet(b"x", number=9), "interface 9"),
        (HEAD + NG.pack("II", 6, 8) + bytes(20), "a block claims 8 bytes"),
        (HEAD + NG.pack("II", 6, 2**31) + bytes(40), "a block claims"),
        (HEAD + NG.packet(b"abcd")[:-4] + NG.pack("I", 99), "two different lengths"),
        (HEAD + NG.block(6, NG.pack("IIIII", 0, 0, 0, 99, 99)), "a packet of 99 bytes in a block"),
        (HEAD + NG.block(6, b"abcd"), "without room"),
        (HEAD + NG.block(3, b""), "without room"),
        (HEAD + NG.block(2, NG.pack("HHIIII", 0, 0, 0, 5, 30, 9)), "a packet of 30 bytes"),
        (NG.section() + NG.block(1, b"abcd"), "too short"),
        (HEAD + NG.block(5, b"abcd"), "too short"),
        (NG.section() + NG.interface(options=NG.pack("HH", 2, 5000)), "larger than its block"),
    ],
)
def test_damaged_pcapng(data: bytes, words: str) -> None:
    with pytest.raises(CaptureFileError, match=words):
        packets(data)


@pytest.mark.parametrize("compress", [lambda data: data, gzip.compress], ids=["plain", "gzip"])
def test_what_comes_before_the_damage_is_read(compress: Callable[[bytes], bytes]) -> None:
    data = HEAD + NG.packet(b"good") * 3 + NG.pack("II", 6, 5)
    found = []
    with pytest.raises(CaptureFileError, match="after packet 3"):
        found.extend(capture_of(reader(compress(data + bytes(20)))).packets())
    iterator = capture_of(reader(compress(data + bytes(20)))).packets()
    assert [next(iterator).data for _ in range(3)] == [b"good"] * 3


@pytest.mark.parametrize(
    "make",
    [
        lambda: pcap(FRAMES),
        lambda: HEAD + b"".join(NG.packet(frame) for frame in FRAMES),
    ],
)
def test_a_file_that_ends_anywhere(make: Callable[[], bytes]) -> None:
    """Whatever is whole is read, and a cut within a packet is noted."""
    whole = make()
    full = [packet.data for packet in packets(whole)]
    for end in range(60, len(whole), 7):
        capture = capture_of(reader(whole[:end]))
        found = [packet.data for packet in capture.packets()]
        assert found == full[: len(found)]
        assert len(found) < len(full)
        assert len(capture.info.notes) <= 1
    for note in capture.info.notes:
        assert "ends in the middle of" in note


def test_memory_is_bounded_whatever_a_file_claims() -> None:
    """S8, S12: blocks of gigabytes, and compressed zeros, take no more than the bounds."""
    zeros = zlib.compressobj(9, wbits=31)
    bomb = b"".join(zeros.compress(bytes(1 << 20)) for _ in range(200)) + zeros.flush()
    # One unknown block that claims to be as long as all of what is unpacked.
    head = gzip.compress(NG.section() + NG.pack("II", 0xBAD, 200 << 20))
    tracemalloc.start()
    capture = capture_of(reader(head + bomb))
    assert list(capture.packets()) == []
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 6 << 20, peak


def test_interfaces_are_limited() -> None:
    data = NG.section() + NG.interface() * 66_000
    with pytest.raises(CaptureFileError, match="more than 65536 interfaces"):
        packets(data)


@given(
    data=st.binary(max_size=200),
    start=st.sampled_from(
        [
            b"",
            pcap([]),
            pcap([], order=">", nano=True),
            HEAD,
            Ng(">").section() + Ng(">").interface(),
            HEAD + NG.packet(ethernet(ipv4(tcp(b"x")))),
            NG.section() + NG.pack("I", 6),
        ]
    ),
)
@example(data=struct.pack("<II", 6, 12), start=HEAD)
def test_anything_is_read_or_refused(data: bytes, start: bytes) -> None:
    """Whole, and byte by byte: the same packets and the same end."""
    results = []
    for most in (None, 1):
        found: list[object] = []
        try:
            capture = capture_of(reader(start + data, most))
            found.extend(capture.packets())
            found.append(tuple(capture.info.notes))
        except CaptureFileError as error:
            found.append(str(error))
        results.append(found)
    assert results[0] == results[1]


def test_source_skips_without_holding() -> None:
    source = Source(reader(bytes(range(256)) * 5000, 1000))
    assert source.need(4) == 4
    source.at += 4
    assert source.skip(1_000_000) == 1_000_000
    assert source.offset == 1_000_004
    assert source.need(1) == 1
    assert source.data[source.at] == 1_000_004 % 256
    assert source.skip(10**9) == 1_280_000 - 1_000_004
    assert source.need(1) == 0


def test_packets_written_are_packets_read() -> None:
    block = writer.packet(0, BEGAN + 5, b"abc", inbound=True, size=9, comments=["x"], dropped=3)
    data = writer.section_header(application="a") + writer.interface_description(name="i") + block
    (found,) = packets(data)
    assert (found.time, found.data, found.size, found.comments) == (BEGAN + 5, b"abc", 9, ("x",))
    assert udp(b"") != b""
