"""Bounded decompression (S12): caps before, after and by ratio; every way of being cut."""

import contextlib
import gzip
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserve.http.decompress import PIECE, DecompressError, Decompressor, ExpandsTooMuch

MIB = 1024 * 1024


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


PACKERS = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("x-gzip", gzip.compress),
    "deflate": ("deflate", zlib.compress),
    "deflate without header": ("deflate", raw_deflate),
}


def unpack(
    encoding: str, data: bytes, step: int = MIB, limit: int = MIB, ratio: int = 100
) -> bytes:
    unpacker = Decompressor(encoding, limit=limit, ratio=ratio)
    out = b""
    for at in range(0, len(data), step):
        for piece in unpacker.feed(data[at : at + step]):
            assert 0 < len(piece) <= PIECE
            out += piece
    unpacker.end()
    return out


@pytest.mark.parametrize("name", PACKERS)
@pytest.mark.parametrize("step", [1, 2, 3, 1000, MIB])
def test_what_was_packed_comes_out_however_it_is_cut(name: str, step: int) -> None:
    encoding, pack = PACKERS[name]
    text = b"".join(b"%d " % number for number in range(3000)) + bytes(300)
    assert unpack(encoding, pack(text), step) == text


@given(st.sampled_from(sorted(PACKERS)), st.binary(max_size=500), st.integers(1, 600))
def test_any_bytes_come_out_as_they_were(name: str, data: bytes, step: int) -> None:
    encoding, pack = PACKERS[name]
    assert unpack(encoding, pack(data), step) == data


@pytest.mark.parametrize("size", [PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 3 * PIECE])
def test_sizes_around_a_piece(size: int) -> None:
    assert unpack("gzip", gzip.compress(bytes(size))) == bytes(size)


def test_an_empty_body_is_empty() -> None:
    assert unpack("gzip", b"") == b""


def test_several_members_are_one_body() -> None:
    assert unpack("gzip", gzip.compress(b"one ") + gzip.compress(b"two"), 1) == b"one two"


def test_a_bomb_is_stopped_by_the_size_after_and_costs_little() -> None:
    """S12: 200 KB that unpack to 200 MB add less than 10 MB of memory."""
    bomb = gzip.compress(bytes(200 * 10**6), 9)
    assert len(bomb) < 200_000
    tracemalloc.start()
    try:
        with pytest.raises(ExpandsTooMuch, match="when unpacked"):
            unpack("gzip", bomb, limit=4 * MIB)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10 * MIB


def test_a_bomb_is_stopped_by_the_ratio() -> None:
    """S12: the cap of the ratio, where that of the size would let it pass."""
    bomb = gzip.compress(bytes(50 * MIB), 9)
    with pytest.raises(ExpandsTooMuch, match="more than 100 times"):
        unpack("gzip", bomb, step=1000, limit=100 * MIB)
    assert len(unpack("gzip", bomb, limit=100 * MIB, ratio=2000)) == 50 * MIB


def test_the_size_before_is_capped() -> None:
    """S12: packed data that does not shrink."""
    with pytest.raises(ExpandsTooMuch, match="larger than 10 bytes"):
        unpack("gzip", gzip.compress(b"0123456789"), limit=10)


def test_a_small_answer_may_be_all_blanks() -> None:
    assert len(unpack("gzip", gzip.compress(b" " * MIB), limit=2 * MIB)) == MIB


@pytest.mark.parametrize(
    ("encoding", "data", "message"),
    [
        ("br", b"", "not asked for"),
        ("gzip, gzip", b"", "not asked for"),
        ("gzip", b"plain text", "damaged"),
        ("deflate", b"\xff\xff\xff", "damaged"),
        ("gzip", gzip.compress(b"text", mtime=0)[:-9], "ends in the middle"),
        ("gzip", b"\x1f", "ends in the middle"),
        ("gzip", gzip.compress(b"text", mtime=0)[:-5] + b"xxxxx", "damaged"),
        ("gzip", gzip.compress(b"text", mtime=0) + b"tail", "damaged"),
        ("deflate", zlib.compress(b"text") + b"tail", "something behind"),
        ("gzip", gzip.compress(b"", mtime=0) * 65, "something behind"),
    ],
)
@pytest.mark.parametrize("step", [1, MIB])
def test_what_is_no_compressed_body(encoding: str, data: bytes, message: str, step: int) -> None:
    with pytest.raises(DecompressError, match=message):
        unpack(encoding, data, step)


@given(st.sampled_from(["gzip", "deflate"]), st.binary(max_size=200), st.integers(1, 50))
def test_garbage_gives_an_error_or_ends(encoding: str, data: bytes, step: int) -> None:
    with contextlib.suppress(DecompressError):
        unpack(encoding, data, step)
