"""Framings: the same events however the stream is cut, and never more memory than a frame."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserve.testing import chunkings, feed_all, feed_three_ways
from netserve.wire.framing import (
    Delimiter,
    Event,
    Fixed,
    FrameTooLong,
    Framing,
    FramingError,
    LengthPrefix,
    Line,
    Netstring,
    UntilIdle,
)

LIMIT = 10
LONG = FrameTooLong(LIMIT, fatal=False)
END = FrameTooLong(LIMIT, fatal=True)


def bad(text: str) -> FramingError:
    return FramingError(text)


CASES: list[tuple[str, Framing, bytes, list[Event], bytes]] = [
    ("LF", Line(), b"one\ntwo\n", [b"one", b"two"], b"th"),
    ("CRLF", Line(), b"one\r\ntwo\r\n", [b"one", b"two"], b"th\r"),
    ("empty lines", Line(), b"\n\r\n\n", [b"", b"", b""], b""),
    ("one CR is stripped, no more", Line(), b"a\r\r\nb\rc\n", [b"a\r", b"b\rc"], b""),
    ("a line of the limit", Line(), b"0123456789\r\n", [b"0123456789"], b"0123456789\r"),
    ("a CR that counts", Line(), b"012345678\r\r\n", [b"012345678\r"], b""),
    ("one more than the limit", Line(), b"0123456789a\r\nok\n", [LONG, b"ok"], b"x"),
    ("a CR too much", Line(), b"0123456789\rx\nok\n", [LONG, b"ok"], b""),
    ("far more than the limit", Line(), b"x" * 99 + b"\r\nok\n", [LONG, b"ok"], b"x"),
    ("two too long", Line(), b"x" * 50 + b"\n" + b"y" * 50 + b"\n", [LONG, LONG], b"x"),
    ("a delimiter", Delimiter(b"--"), b"a--b-c--", [b"a", b"b-c"], b"d-"),
    ("a delimiter, empty frames", Delimiter(b"--"), b"----", [b"", b""], b"-"),
    ("three dashes", Delimiter(b"--"), b"a---b--", [b"a", b"-b"], b""),
    ("a delimiter that begins itself", Delimiter(b"aab"), b"aaabaab", [b"a", b""], b"aa"),
    ("delimited, the limit", Delimiter(b"--"), b"0123456789--", [b"0123456789"], b"0123456789-"),
    ("delimited, too long", Delimiter(b"--"), b"0123456789-x--ok--", [LONG, b"ok"], b"-"),
    ("delimited, far too long", Delimiter(b"aab"), b"a" * 99 + b"b" + b"okaab", [LONG, b"ok"], b""),
    ("CR is nothing special", Delimiter(b"\n"), b"a\r\n", [b"a\r"], b""),
    ("fixed", Fixed(4), b"abcdefgh", [b"abcd", b"efgh"], b"ijk"),
    ("fixed, beyond the limit", Fixed(12), b"abcdefghijkl", [b"abcdefghijkl"], b"m"),
    ("1 byte", LengthPrefix(1), b"\3abc\0\1x", [b"abc", b"", b"x"], b"\5abcd"),
    ("2 bytes, big", LengthPrefix(2), b"\0\3abc", [b"abc"], b"\0"),
    ("4 bytes, little", LengthPrefix(4, "little"), b"\3\0\0\0abc", [b"abc"], b"\3\0\0\0ab"),
    ("8 bytes, big", LengthPrefix(8), b"\0\0\0\0\0\0\0\3abc", [b"abc"], b"\0\0"),
    ("inclusive", LengthPrefix(2, "big", True), b"\0\5abc\0\2", [b"abc", b""], b"\0\5ab"),
    (
        "inclusive, and less than itself",
        LengthPrefix(2, "big", True),
        b"\0\3a\0\1a",
        [b"a", bad("a length of 1, which includes a prefix of 2 bytes")],
        b"",
    ),
    ("a length of the limit", LengthPrefix(1), b"\x0a0123456789", [b"0123456789"], b""),
    ("a length too large", LengthPrefix(1), b"\1a\x0bxyz", [b"a", END], b"\1b"),
    ("a huge length", LengthPrefix(8), b"\xff" * 8, [END], b"more"),
    ("netstrings", Netstring(), b"5:hello,0:,1:,,", [b"hello", b"", b","], b"5:hell"),
    ("a netstring of the limit", Netstring(), b"10:0123456789,", [b"0123456789"], b"10"),
    ("a netstring too long", Netstring(), b"1:a,11:x", [b"a", END], b"1:a,"),
    ("a length of too many digits", Netstring(), b"100", [END], b""),
    (
        "not a netstring",
        Netstring(),
        b"GET / HTTP/1.0\r\n",
        [bad("a netstring begins with its length in digits, not b'G'")],
        b"1:a,",
    ),
    (
        "a netstring without its length",
        Netstring(),
        b":a,",
        [bad("a netstring begins with its length in digits, not b':'")],
        b"",
    ),
    (
        "a netstring without its colon",
        Netstring(),
        b"1a:",
        [bad("a netstring begins with its length and a colon, not b'a'")],
        b"",
    ),
    (
        "a netstring with zeros in front",
        Netstring(),
        b"1:a,01:a,",
        [b"a", bad("the length of a netstring has no zeros in front")],
        b"",
    ),
    (
        "a netstring without its comma",
        Netstring(),
        b"1:ab",
        [bad("a netstring ends with a comma, not b'b'")],
        b"1:a,",
    ),
    ("nothing before the pause", UntilIdle(), b"0123456789", [], b""),
    ("too much before the pause", UntilIdle(), b"0123456789a", [LONG], b"more"),
]


@pytest.mark.parametrize(
    ("framing", "data", "events", "tail"), [pytest.param(*case[1:], id=case[0]) for case in CASES]
)
def test_frames(framing: Framing, data: bytes, events: list[Event], tail: bytes) -> None:
    """S8: what is longer than the limit is refused, once, and the rest is found again where the
    framing allows it.
    """
    feed_three_ways(lambda: framing.decoder(LIMIT), data, events, tail=tail)


FRAMINGS = [
    Line(),
    Line(b"\n"),
    Delimiter(b"\0"),
    Delimiter(b"aab"),
    Fixed(3),
    LengthPrefix(1),
    LengthPrefix(2, "little"),
    LengthPrefix(4, "big", True),
    LengthPrefix(8),
    Netstring(),
    UntilIdle(),
]
ALPHABET = st.sampled_from(b"a\n\r\0ab:,012\xff")
STREAMS = st.one_of(st.binary(max_size=60), st.lists(ALPHABET, max_size=60).map(bytes))


@pytest.mark.parametrize("framing", FRAMINGS, ids=repr)
@given(data=STREAMS, draw=st.data())
def test_pieces_do_not_matter(framing: Framing, data: bytes, draw: st.DataObject) -> None:
    """Any bytes, cut anyhow, give the same events, and no exception."""
    pieces = draw.draw(chunkings(data))
    whole, cut = framing.decoder(LIMIT), framing.decoder(LIMIT)
    seen = feed_all(cut, pieces)
    assert seen == feed_all(whole, [data])
    assert cut.idle() == whole.idle()
    assert cut.end() == whole.end()


@pytest.mark.parametrize("framing", FRAMINGS, ids=repr)
@given(data=STREAMS, draw=st.data())
def test_memory_is_bounded(framing: Framing, data: bytes, draw: st.DataObject) -> None:
    """S8: a decoder holds a frame and its framing, however long the stream is."""
    decoder = framing.decoder(LIMIT)
    for piece in draw.draw(chunkings(data)) * 5:
        for event in decoder.feed(piece):
            assert not isinstance(event, bytes) or len(event) <= LIMIT
        assert decoder.held <= LIMIT + 8


@pytest.mark.parametrize(
    "framing", [one for one in FRAMINGS if not isinstance(one, (UntilIdle, Fixed))], ids=repr
)
@given(frames=st.lists(st.binary(max_size=LIMIT), max_size=8), draw=st.data())
def test_what_is_encoded_is_decoded(
    framing: Framing, frames: list[bytes], draw: st.DataObject
) -> None:
    if isinstance(framing, Line):
        frames = [frame.replace(b"\n", b"").rstrip(b"\r") for frame in frames]
    if isinstance(framing, Delimiter):
        end = framing.delimiter
        frames = [frame for frame in frames if (frame + end).find(end) == len(frame)]
    stream = b"".join(map(framing.encode, frames))
    decoder = framing.decoder(LIMIT)
    assert feed_all(decoder, draw.draw(chunkings(stream))) == frames
    assert decoder.held == 0


def test_fixed_pads_and_refuses() -> None:
    assert Fixed(4, b" ").encode(b"ab") == b"ab  "
    with pytest.raises(ValueError, match="5 bytes do not fit into a frame of 4"):
        Fixed(4).encode(b"12345")


def test_a_length_that_the_prefix_cannot_tell() -> None:
    assert LengthPrefix(1, "big", True).encode(b"x" * 254)[0] == 255
    with pytest.raises(ValueError, match="255 bytes are more than a prefix of 1 can tell"):
        LengthPrefix(1, "big", True).encode(b"x" * 255)


@pytest.mark.parametrize(
    ("framing", "data", "events"),
    [
        (Line(), b"last", [b"last"]),
        (Line(), b"last\r", [b"last"]),
        (Line(), b"0123456789\r", [b"0123456789"]),
        (Line(), b"0123456789a", [LONG]),
        (Line(), b"", []),
        (Delimiter(b"--"), b"last", [b"last"]),
        (Delimiter(b"--"), b"last-", [b"last-"]),
        (UntilIdle(), b"last", [b"last"]),
        (Fixed(4), b"abc", [bad("the stream ended in the middle of a frame")]),
        (LengthPrefix(2), b"\0", [bad("the stream ended in the middle of a frame")]),
        (Netstring(), b"3:ab", [bad("the stream ended in the middle of a frame")]),
        (Netstring(), b"", []),
    ],
)
def test_the_end_of_the_stream(framing: Framing, data: bytes, events: list[Event]) -> None:
    decoder = framing.decoder(LIMIT)
    assert decoder.feed(data) == []
    assert decoder.end() == events


def test_the_end_behind_an_error_says_nothing_more() -> None:
    line, prefix = Line().decoder(LIMIT), LengthPrefix(1).decoder(LIMIT)
    assert line.feed(b"x" * 20) == [LONG]
    assert line.end() == []
    assert prefix.feed(b"\xff") == [END]
    assert prefix.end() == []


def test_until_idle() -> None:
    """A pause ends a frame, however many pieces it came in; no frame is empty."""
    decoder = UntilIdle(0.5).decoder(LIMIT)
    assert UntilIdle(0.5).idle_after == 0.5
    assert decoder.idle() == []
    assert feed_all(decoder, [b"ab", b"cd"]) == []
    assert decoder.idle() == [b"abcd"]
    assert feed_all(decoder, [b"x" * 8, b"x" * 8, b"x" * 8]) == [LONG]
    assert decoder.idle() == []
    assert decoder.feed(b"ef") == []
    assert decoder.idle() == [b"ef"]


@pytest.mark.parametrize(
    ("framing", "datagram", "frame"),
    [
        (Line(), b"x\r\n", b"x"),
        (Line(), b"x\n", b"x"),
        (Line(), b"x\r", b"x\r"),
        (Line(), b"a\nb", b"a\nb"),
        (Delimiter(b"--"), b"x--", b"x"),
        (Netstring(), b"1:x,", b"1:x,"),
        (LengthPrefix(1), b"\1x", b"\1x"),
    ],
)
def test_a_datagram_is_a_frame(framing: Framing, datagram: bytes, frame: bytes) -> None:
    assert framing.from_datagram(datagram) == frame


def test_a_slow_large_frame_costs_linear_time() -> None:
    """A megabyte in pieces of 16 bytes: copying it for each piece would take minutes."""
    size = 1 << 20
    for framing in (Line(), LengthPrefix(4), Netstring(), Fixed(size), Delimiter(b"\0\0")):
        stream = framing.encode(b"x" * size)
        decoder = framing.decoder(size)
        pieces = [stream[at : at + 16] for at in range(0, len(stream), 16)]
        frames: list[Any] = feed_all(decoder, pieces)
        assert [len(frame) for frame in frames] == [size]


def test_errors_are_compared_by_what_they_say() -> None:
    assert FrameTooLong(1, fatal=True) == FrameTooLong(1, fatal=True)
    assert FrameTooLong(1, fatal=True) != FrameTooLong(1, fatal=False)
    assert FramingError("x") != ValueError("x")
    assert len({FramingError("x"), FramingError("x"), FramingError("y")}) == 2
