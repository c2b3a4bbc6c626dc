r"""The content of a message as it comes in: ends, dots, line ends, limits."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserve.mail.client.stuffing import Stuffer
from netserve.mail.envelope import Reply
from netserve.mail.server.data import (
    BARE_NEWLINE,
    LONG_LINE,
    NUL,
    TOO_LARGE,
    ChunkDecoder,
    DataDecoder,
)
from netserve.testing import chunkings, cut

FALSE_ENDS = [
    b"\n.\n",
    b"\n.\r\n",
    b"\r.\r",
    b"\r.\r\n",
    b"\r\n.\n",
    b"\r\n.\r",
    b"\r.\n",
    b"\n.\r",
    b"\r\n\0.\r\n",
    b"\r\r\n.\n",
    b"\r\n.\0\r\n",
]
"""What some server somewhere took for the end of data: the nine known variants, and two more."""


def decode(
    pieces: list[bytes], *, line: int = 100, size: int = 10_000, normalise: bool = False
) -> tuple[bytes, Reply | None, bytes | None]:
    """Content, refusal, and what came behind the end."""
    decoder = DataDecoder(line_limit=line, size_limit=size, normalise=normalise)
    content, rest = b"", b""
    for piece in pieces:
        if decoder.rest is None:
            content += decoder.feed(piece)
        else:
            rest += piece
    return content, decoder.refused, None if decoder.rest is None else decoder.rest + rest


def every_way(data: bytes) -> list[list[bytes]]:
    """Whole, byte by byte, and cut in two and in three at each offset."""
    twice = [cut(data, [at, at + 1]) for at in range(len(data))]
    return [
        [data],
        cut(data, range(len(data))),
        *(cut(data, [at]) for at in range(len(data))),
        *twice,
    ]


@pytest.mark.parametrize(
    ("sent", "content"),
    [
        (b".\r\n", b""),
        (b"\r\n.\r\n", b"\r\n"),
        (b"a\r\n.\r\n", b"a\r\n"),
        (b"..\r\n.\r\n", b".\r\n"),
        (b"a\r\n..b\r\n.\r\n", b"a\r\n.b\r\n"),
        (b"a\r\n...\r\n..\r\n.\r\n", b"a\r\n..\r\n.\r\n"),
        (b".a\r\n.\r\n", b"a\r\n"),
        (b"a.\r\n.b.\r\n.\r\n", b"a.\r\nb.\r\n"),
        (b"\r\n\r\n..\r\n\r\n.\r\n", b"\r\n\r\n.\r\n\r\n"),
        (b"8 bit: \xc3\xbc\r\n.\r\n", b"8 bit: \xc3\xbc\r\n"),
    ],
)
def test_the_end_and_the_dots_at_every_cut(sent: bytes, content: bytes) -> None:
    """S5: for every offset of LF and '.' around every chunk boundary."""
    for pieces in every_way(sent + b"QUIT\r\n.\r\n"):
        assert decode(pieces) == (content, None, b"QUIT\r\n.\r\n"), pieces


@pytest.mark.parametrize("false_end", FALSE_ENDS)
@pytest.mark.parametrize("before", [b"", b"a", b"a\r\n", b"a\n", b"a\r\n\r\n"])
def test_a_false_end_of_data_ends_nothing(false_end: bytes, before: bytes) -> None:
    """S4: the known variants of a false end of data do not end it, and the message is refused."""
    smuggled = b"MAIL FROM:<x@y.test>\r\nRCPT TO:<z@y.test>\r\nDATA\r\nsecond\r\n"
    sent = before + false_end + smuggled
    for pieces in every_way(sent + b".\r\nQUIT\r\n"):
        content, refused, rest = decode(pieces)
        assert rest == b"QUIT\r\n"
        assert refused in {BARE_NEWLINE, NUL}
        assert smuggled not in content


@pytest.mark.parametrize("false_end", [end for end in FALSE_ENDS if b"\0" not in end])
def test_a_false_end_of_data_that_is_normalised_is_one_message(false_end: bytes) -> None:
    """S4: normalised, the variants give one message, and what goes on has CRLF only."""
    smuggled = b"MAIL FROM:<x@y.test>\r\nDATA\r\nsecond\r\n"
    sent = b"a" + false_end + smuggled + b".\r\nQUIT\r\n"
    contents = set()
    for pieces in every_way(sent):
        content, refused, rest = decode(pieces, normalise=True)
        assert (refused, rest) == (None, b"QUIT\r\n")
        assert content.endswith(smuggled)
        assert content.replace(b"\r\n", b"").translate(None, b"\r\n") == content.replace(
            b"\r\n", b""
        )
        contents.add(content)
    assert len(contents) == 1


@pytest.mark.parametrize(
    ("sent", "content"),
    [
        (b"a\nb\r\n.\r\n", b"a\r\nb\r\n"),
        (b"a\rb\r\n.\r\n", b"a b\r\n"),
        (b"a\n\rb\r\n.\r\n", b"a\r\n b\r\n"),
        (b"a\r\r\nb\r\r\r\n.\r\n", b"a\r\nb\r\n"),
        (b"a\r\r\n\r\r\n..\r\n.\r\n", b"a\r\n\r\n.\r\n"),
        (b"\r\r\r\n.\r\n", b"\r\n"),
        (b"a\r.\rb\r\n.\r\n", b"a . b\r\n"),
        (b"a\r\r\r\n.\r\n", b"a\r\n"),
        (b"a\n..b\r\n.\r\n", b"a\r\n.b\r\n"),
        (b"a\n.b\n\r\n.\r\n", b"a\r\nb\r\n\r\n"),
        (b"\na\r\n.\r\n", b"\r\na\r\n"),
    ],
)
def test_normalised_line_ends(sent: bytes, content: bytes) -> None:
    """S4: LF and CR LF end a line, with any CRs before; any other CR becomes a space."""
    for pieces in every_way(sent):
        assert decode(pieces, normalise=True) == (content, None, b"")


@given(
    st.lists(st.sampled_from([b"\r", b"\r\r", b"\n", b"\r\n", b".", b"a", b"Bcc: x"])).map(
        b"".join
    ),
    st.data(),
)
def test_a_cr_never_makes_a_line_when_normalised(text: bytes, data: st.DataObject) -> None:
    """S4: the content has as many lines as the client sent LFs."""
    pieces = data.draw(chunkings(text + b"\r\n.\r\n"))
    content, refused, rest = decode(pieces, normalise=True)
    end = (b"\r\n" + text + b"\r\n.\r\n").find(b"\r\n.\r\n")
    assert refused is None
    assert rest is not None
    assert content.count(b"\r\n") == (b"\r\n" + text + b"\r\n")[: end + 2].count(b"\n") - 1


@pytest.mark.parametrize(("count", "refused"), [(256, None), (257, BARE_NEWLINE)])
def test_how_many_crs_are_repaired_does_not_depend_on_the_cut(
    count: int, refused: Reply | None
) -> None:
    sent = b"a\n." + b"\r" * count + b"\nb\r\n.\r\n"
    for pieces in [[sent], cut(sent, range(len(sent))), cut(sent, [100]), cut(sent, [count + 3])]:
        assert decode(pieces, line=1000, normalise=True)[1:] == (refused, b"")
    for pieces in [[sent], cut(sent, range(len(sent)))]:
        decoder = ChunkDecoder(line_limit=1000, size_limit=10_000, normalise=True)
        for piece in pieces:
            decoder.feed(piece)
        assert decoder.refused == refused


def test_crs_that_wait_for_an_lf_are_bounded() -> None:
    """S8: they are held, so there is a limit to a run of them."""
    decoder = DataDecoder(line_limit=100, size_limit=10_000, normalise=True)
    for _ in range(50):
        assert decoder.feed(b"\r" * 10) == b""
    assert decoder.refused == BARE_NEWLINE
    assert len(decoder._held) < 300
    chunks = ChunkDecoder(line_limit=100, size_limit=10_000, normalise=True)
    assert b"".join(chunks.feed(b"\r" * 10) for _ in range(50)) == b""
    assert chunks.refused == BARE_NEWLINE


@pytest.mark.parametrize("end", [b"\n.\n", b"\r\n.\n", b"\n.\r\n", b"\r\r\n.\r\r\n", b"\n.\r\r\n"])
@pytest.mark.parametrize("text", [b"\n", b"a: b", b"a: b\n\nc\n..d"])
def test_a_line_with_only_a_dot_may_end_the_message(text: bytes, end: bytes) -> None:
    """It ends nothing by itself (S4); without it the content is the same as with the usual end."""
    usual = decode([text + b"\r\n.\r\n"], normalise=True)[0]
    for pieces in every_way(text + end):
        decoder = DataDecoder(line_limit=100, size_limit=10_000, normalise=True)
        content = b""
        for piece in pieces:
            content += decoder.feed(piece)
        assert decoder.rest is None
        assert decoder.lone_dot
        decoder.end_at_lone_dot()
        assert (content, decoder.rest) == (usual, b"")


def test_an_empty_message_may_end_with_a_lone_dot() -> None:
    for pieces in every_way(b".\n"):
        decoder = DataDecoder(line_limit=100, size_limit=10_000, normalise=True)
        assert b"".join(map(decoder.feed, pieces)) == b""
        assert decoder.lone_dot


@pytest.mark.parametrize(
    "text", [b"a\n.\nb", b"a\n.", b"a\n..\n", b"a.\n", b"\r.\r", b"\n.\r", b""]
)
def test_a_dot_in_another_place_does_not(text: bytes) -> None:
    for pieces in every_way(text):
        decoder = DataDecoder(line_limit=100, size_limit=10_000, normalise=True)
        for piece in pieces:
            decoder.feed(piece)
        assert not decoder.lone_dot


def test_nul_is_refused_at_the_end() -> None:
    for pieces in every_way(b"a\0b\r\nc\r\n.\r\nX"):
        content, refused, rest = decode(pieces)
        assert (refused, rest) == (NUL, b"X")
        assert b"c" not in content


@pytest.mark.parametrize("length", [98, 99, 100, 101, 102, 199, 200, 201, 500])
@pytest.mark.parametrize("before", [b"", b"x\r\n", b"x" * 98 + b"\r\n", b"x\r\n" * 40])
def test_a_line_may_have_its_limit_and_no_byte_more(length: int, before: bytes) -> None:
    """S8: an over-long line is read to the end of data, then refused."""
    line = b"y" * (length - 2) + b"\r\n"
    wanted = LONG_LINE if length > 100 else None
    for pieces in every_way(before + line + b"z\r\n.\r\nQUIT\r\n"):
        content, refused, rest = decode(pieces)
        assert (refused, rest) == (wanted, b"QUIT\r\n")
        if wanted is None:
            assert content == before + line + b"z\r\n"


def test_a_message_may_have_its_limit_and_no_byte_more() -> None:
    """S8: messages are limited; the rest is read over."""
    assert decode([b"x" * 48 + b"\r\n", b".\r\n"], size=50)[1:] == (None, b"")
    assert decode([b"x" * 49 + b"\r\n", b"more\r\n" * 50, b".\r\nZ"], size=50)[1:] == (
        TOO_LARGE,
        b"Z",
    )


@pytest.mark.parametrize(
    ("length", "long"), [(998, False), (999, False), (1000, False), (1001, True), (2999, True)]
)
def test_lines_that_must_not_be_sent_on_are_noticed(length: int, long: bool) -> None:
    """S28: a line has at most 998 octets and its CRLF."""
    line = b"y" * (length - 2) + b"\r\n"
    for before in (b"", b"x\r\n", b"x" * 998 + b"\r\n", b"x\r\n" * 500):
        sent = before + line + b"z\r\n.\r\n"
        for pieces in [[sent], *(cut(sent, [at]) for at in range(0, len(sent), 97))]:
            for kind in (DataDecoder, ChunkDecoder):
                decoder = kind(line_limit=3000, size_limit=10_000)
                for piece in pieces:
                    decoder.feed(piece)
                assert decoder.long_lines is long
                assert decoder.refused is None


def test_eight_bit_is_noticed() -> None:
    for text, eight_bit in ((b"plain\r\n", False), ("ü\r\n".encode(), True)):
        decoder = DataDecoder(line_limit=100, size_limit=100)
        decoder.feed(text + b".\r\n")
        assert decoder.eight_bit is eight_bit


messages = st.lists(
    st.sampled_from([b"\r\n", b".", b"..", b"a", b"\r\n.", b"\r\n..", b".\r\n", b"text"]),
    max_size=30,
).map(b"".join)


@given(messages, st.data())
def test_stuffed_and_decoded_again_it_is_the_same(message: bytes, data: st.DataObject) -> None:
    """S5: the next hop sees one message, byte for byte the same, however it is cut."""
    message += b"" if message.endswith(b"\r\n") else b"\r\n"
    stuffer = Stuffer()
    sent = b"".join(stuffer.encode(piece) for piece in data.draw(chunkings(message)))
    sent += stuffer.finish() + b"RSET\r\n"
    assert decode(data.draw(chunkings(sent))) == (message, None, b"RSET\r\n")


@given(
    st.lists(st.sampled_from([b"\r", b"\n", b".", b"a", b"\r\n", b"\r\n.\r\n", b"\0"])).map(
        b"".join
    ),
    st.booleans(),
    st.data(),
)
def test_how_it_is_cut_does_not_matter(sent: bytes, normalise: bool, data: st.DataObject) -> None:
    """S5, and never left early: what is the end does not depend on the chunks."""
    whole = decode([sent], normalise=normalise)
    pieces = decode(data.draw(chunkings(sent)), normalise=normalise)
    assert pieces[2] == whole[2]
    end = (b"\r\n" + sent).find(b"\r\n.\r\n")
    assert whole[2] == (None if end < 0 else (b"\r\n" + sent)[end + 5 :])
    if end >= 0:
        assert (pieces[1] is None) is (whole[1] is None)
        if whole[1] is None:
            assert pieces[0] == whole[0]
            assert whole[0].count(b"\r") == whole[0].count(b"\n") == whole[0].count(b"\r\n")


def chunked(pieces: list[bytes], *, normalise: bool = False) -> tuple[bytes, Reply | None]:
    decoder = ChunkDecoder(line_limit=100, size_limit=1000, normalise=normalise)
    content = b"".join(map(decoder.feed, pieces)) + decoder.finish()
    assert decoder.finish() == b""
    return content, decoder.refused


@pytest.mark.parametrize(
    ("sent", "content"),
    [
        (b"", b""),
        (b"a\r\n.\r\n.b\r\n", b"a\r\n.\r\n.b\r\n"),
        (b"no end", b"no end\r\n"),
        (b"\r\n", b"\r\n"),
    ],
)
def test_chunks_have_no_dots_and_get_a_last_line_end(sent: bytes, content: bytes) -> None:
    """RFC 3030: no transparency; a message ends with CRLF all the same."""
    for pieces in every_way(sent):
        assert chunked(pieces) == (content, None)


@pytest.mark.parametrize("sent", [b"a\nb\r\n", b"a\rb\r\n", b"a\r\nb\r", b"\n.\n", b"\r"])
def test_chunks_are_held_to_the_same_line_ends(sent: bytes) -> None:
    """S4: a bare CR or LF in BDAT is refused too, as the next hop may be given it by DATA."""
    for pieces in every_way(sent):
        assert chunked(pieces)[1] == BARE_NEWLINE
        content, refused = chunked(pieces, normalise=True)
        assert refused is None
        assert content.count(b"\r\n") == content.count(b"\r") == content.count(b"\n") > 0


def test_a_large_message_costs_little() -> None:
    """No loop over lines: a chunk is a handful of calls of bytes' own methods."""
    import cProfile
    import pstats

    seed = random.Random(1)
    lines = b"".join(bytes(seed.choices(b"abc .", k=70)) + b"\r\n" for _ in range(3641))
    decoder = DataDecoder(line_limit=2048, size_limit=10**7)
    profile = cProfile.Profile()
    profile.enable()
    decoder.feed(lines[: 256 * 1024])
    profile.disable()
    stats = pstats.Stats(profile)
    assert stats.total_calls < 400  # type: ignore[attr-defined]
    assert decoder.refused is None
