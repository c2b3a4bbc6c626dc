"""TCP streams put together from segments in any order, twice, and with gaps."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from netserve.capture.dissect import tcp
from netserve.capture.dissect.tcp import ACK, FIN, RST, SYN, TCPConnection


class Streams:
    """What is delivered; gaps as None with their size."""

    def __init__(self) -> None:
        self.got: tuple[list[object], list[object]] = ([], [])

    def data(self, side: int, time: int, data: bytes) -> None:
        assert data
        self.got[side].append(data)

    def gap(self, side: int, time: int, size: int) -> None:
        assert size > 0
        self.got[side].append(size)

    def closed(self, side: int, time: int) -> None:
        self.got[side].append("closed")

    def bytes_of(self, side: int) -> bytes:
        """All data, with a dot for each byte that is missing."""
        return b"".join(
            each if isinstance(each, bytes) else b"." * each  # type: ignore[operator]
            for each in self.got[side]
            if each != "closed"
        )


def connection(first: int = 100) -> tuple[TCPConnection, Streams]:
    streams = Streams()
    made = TCPConnection(streams)
    made.segment(0, 0, first, 0, SYN, b"")
    made.segment(1, 0, 900, first + 1, SYN | ACK, b"")
    made.segment(0, 0, first + 1, 901, ACK, b"")
    return made, streams


def test_in_order() -> None:
    made, streams = connection()
    made.segment(0, 0, 101, 901, ACK, b"abc")
    made.segment(1, 0, 901, 104, ACK, b"xyz")
    made.segment(0, 0, 104, 904, FIN | ACK, b"d")
    made.segment(1, 0, 904, 106, FIN | ACK, b"")
    assert streams.got == ([b"abc", b"d", "closed"], [b"xyz", "closed"])
    assert made.is_over
    assert made.began_with == 100


def test_out_of_order_and_retransmitted() -> None:
    made, streams = connection()
    made.segment(0, 0, 104, 901, ACK, b"def")
    made.segment(0, 0, 107, 901, ACK, b"ghi")
    made.segment(0, 0, 104, 901, ACK, b"def")
    made.segment(0, 0, 101, 901, ACK, b"abc")
    made.segment(0, 0, 101, 901, ACK, b"abcdef")
    made.segment(0, 0, 108, 901, ACK, b"hij")
    assert streams.bytes_of(0) == b"abcdefghij"
    half = made.halves[0]
    assert (half.retransmitted, half.out_of_order, half.lost) == (3, 1, 0)


def test_what_the_peer_acknowledged_and_was_not_captured_is_a_gap() -> None:
    made, streams = connection()
    made.segment(0, 0, 101, 901, ACK, b"abc")
    made.segment(0, 0, 109, 901, ACK, b"xyz")
    assert streams.bytes_of(0) == b"abc"
    made.segment(1, 0, 901, 104, ACK, b"")  # the peer lacks it, too
    assert streams.bytes_of(0) == b"abc"
    made.segment(1, 0, 901, 112, ACK, b"")
    assert streams.got[0] == [b"abc", 5, b"xyz"]
    assert made.halves[0].lost == 5


def test_packets_captured_in_part() -> None:
    made, streams = connection()
    made.segment(0, 0, 101, 901, ACK, b"ab", missing=8)
    made.segment(0, 0, 111, 901, ACK, b"k")
    made.segment(0, 0, 112, 901, ACK, b"", missing=5)
    made.segment(0, 0, 117, 901, FIN | ACK, b"")
    assert streams.got[0] == [b"ab", 8, b"k", 5, "closed"]


def test_a_close_waits_for_what_comes_before_it() -> None:
    made, streams = connection()
    made.segment(0, 0, 104, 901, FIN | ACK, b"")
    assert streams.got[0] == []
    made.segment(0, 0, 101, 901, ACK, b"abc")
    assert streams.got[0] == [b"abc", "closed"]


def test_a_close_behind_something_that_never_comes() -> None:
    made, streams = connection()
    made.segment(0, 0, 104, 901, FIN | ACK, b"")
    made.segment(1, 0, 901, 105, ACK, b"")
    assert streams.got[0] == [3, "closed"]
    made, streams = connection()
    made.segment(0, 0, 104, 901, FIN | ACK, b"")
    made.finish(0)
    assert streams.got[0] == [3, "closed"]


def test_a_reset_delivers_what_waits() -> None:
    made, streams = connection()
    made.segment(0, 0, 105, 901, ACK, b"xyz")
    made.segment(1, 0, 901, 101, RST | ACK, b"")
    assert streams.got[0] == [4, b"xyz"]
    assert made.reset_by == 1
    assert made.is_over


def test_keep_alives_are_no_retransmissions() -> None:
    made, streams = connection()
    made.segment(0, 0, 101, 901, ACK, b"abc")
    for data in (b"", b"\0"):
        made.segment(0, 0, 103, 901, ACK, data)
    assert made.halves[0].retransmitted == 0
    assert streams.bytes_of(0) == b"abc"


def test_a_capture_that_begins_midway() -> None:
    streams = Streams()
    made = TCPConnection(streams)
    made.segment(1, 0, 5000, 70, ACK, b"server")
    made.segment(0, 0, 70, 5006, ACK, b"client")
    assert streams.got == ([b"client"], [b"server"])
    assert made.began_with is None


def test_numbers_that_belong_to_nothing_are_ignored() -> None:
    made, streams = connection()
    made.segment(0, 0, 101 + 2**30 + 1, 901, ACK, b"far ahead")
    made.segment(0, 0, 101, 901, ACK, b"abc")
    assert streams.got[0] == [b"abc"]


def test_what_waits_is_bounded() -> None:
    made, _ = connection()
    for number in range(3000):
        made.segment(0, 0, 200 + number * 2000, 901, ACK, bytes(1000))
    half = made.halves[0]
    assert half.held <= tcp.MOST_AHEAD
    assert len(half.ahead) <= tcp.MOST_SEGMENTS_AHEAD
    assert half.lost > 1_000_000


@st.composite
def deliveries(draw: st.DrawFn) -> tuple[bytes, int, list[tuple[int, int]]]:
    """A stream, its first number, and its pieces (with repetitions) as they were captured."""
    data = draw(st.binary(min_size=1, max_size=60))
    first = draw(st.sampled_from([0, 100, 2**32 - 20, 2**32 - 1, 2**31 - 10]))
    cuts = sorted(draw(st.sets(st.integers(1, len(data)), max_size=8)) | {0, len(data)})
    pieces = list(pairwise(cuts))
    more = st.tuples(st.integers(0, len(data)), st.integers(0, len(data)))
    pieces += [(a, b) for a, b in draw(st.lists(more, max_size=5)) if a < b]
    return data, first, draw(st.permutations(pieces))


@given(deliveries())
def test_any_order_with_repetitions_gives_the_stream(
    case: tuple[bytes, int, list[tuple[int, int]]],
) -> None:
    data, first, pieces = case
    made, streams = connection(first)
    for start, end in pieces:
        made.segment(0, 0, (first + 1 + start) % 2**32, 901, ACK, data[start:end])
    made.segment(0, 0, (first + 1 + len(data)) % 2**32, 901, FIN | ACK, b"")
    assert streams.bytes_of(0) == data
    assert streams.got[0][-1] == "closed"
    assert made.halves[0].lost == 0
    assert made.halves[0].held == 0


@given(deliveries(), st.data())
def test_what_is_missing_is_a_gap_of_the_right_size(
    case: tuple[bytes, int, list[tuple[int, int]]], choice: st.DataObject
) -> None:
    data, first, pieces = case
    kept = choice.draw(st.lists(st.sampled_from(pieces), max_size=len(pieces)))
    made, streams = connection(first)
    for start, end in kept:
        made.segment(0, 0, (first + 1 + start) % 2**32, 901, ACK, data[start:end])
    made.segment(0, 0, (first + 1 + len(data)) % 2**32, 901, FIN | ACK, b"")
    made.segment(1, 0, 901, (first + 2 + len(data)) % 2**32, ACK, b"")
    there = {index for start, end in kept for index in range(start, end)}
    wanted = bytes(byte if at in there else 0x2E for at, byte in enumerate(data))
    assert streams.bytes_of(0) == wanted
    assert made.halves[0].lost == len(data) - len(there)


segments = st.tuples(
    st.integers(0, 1), st.integers(0, 2**32 - 1) | st.integers(95, 130),
    st.integers(0, 2**32 - 1) | st.integers(895, 930), st.integers(0, 63),
    st.binary(max_size=20), st.integers(0, 3),
)  # fmt: skip


@given(st.lists(segments, max_size=30))
def test_anything_is_survived(many: list[tuple[int, int, int, int, bytes, int]]) -> None:
    made, streams = connection()
    for side, number, acknowledgement, flags, data, missing in many:
        made.segment(side, 0, number, acknowledgement, flags, data, missing)
    made.finish(0)
    for half in made.halves:
        assert half.held == sum(map(len, half.ahead.values())) == 0
    for got in streams.got:
        assert got.count("closed") <= 1
