"""Dot-stuffing: one message goes out, whatever the chunks are."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserve.mail.client.stuffing import Stuffer, stuffed
from netserve.testing.machines import chunkings


def in_pieces(pieces: list[bytes]) -> bytes:
    stuffer = Stuffer()
    return b"".join(stuffer.encode(piece) for piece in pieces) + stuffer.finish()


def received(wire: bytes) -> tuple[bytes, bytes]:
    """What a server by the standard takes as the message, and what it would take for commands."""
    if wire.startswith(b".\r\n"):
        return b"", wire[3:]
    end = wire.index(b"\r\n.\r\n")
    return re.sub(rb"(^|\r\n)\.", rb"\1", wire[: end + 2]), wire[end + 5 :]


@pytest.mark.parametrize(
    ("body", "wire"),
    [
        (b"", b".\r\n"),
        (b"a\r\n", b"a\r\n.\r\n"),
        (b"a", b"a\r\n.\r\n"),
        (b".", b"..\r\n.\r\n"),
        (b".\r\n", b"..\r\n.\r\n"),
        (b"..\r\n", b"...\r\n.\r\n"),
        (b"a\r\n.\r\nb\r\n", b"a\r\n..\r\nb\r\n.\r\n"),
        (b"a.b\r\n.c\r\n", b"a.b\r\n..c\r\n.\r\n"),
        (b"\r\n.\r\n", b"\r\n..\r\n.\r\n"),
        (b"a\n.\nRCPT\r\n", b"a\n..\nRCPT\r\n.\r\n"),  # never from the queue, harmless all the same
    ],
)
def test_known_bodies(body: bytes, wire: bytes) -> None:
    assert stuffed(body) == wire
    for cut in range(len(body) + 1):
        assert in_pieces([body[:cut], body[cut:]]) == wire
    assert in_pieces([body[at : at + 1] for at in range(len(body))]) == wire


def test_every_offset_around_a_chunk_boundary() -> None:
    """S5: each place of CR, LF and dots around a boundary gives one message, the same bytes."""
    for filling in range(6):
        for ending in (b"\r\n.\r\n", b"\r\n..\r\n", b"\r\n.x\r\n", b".\r\n.\r\n", b"\r\n\r\n.\r\n"):
            body = b"x" * filling + ending + b"rest\r\n"
            for first in range(len(body) + 1):
                for second in range(first, len(body) + 1):
                    wire = in_pieces([body[:first], body[first:second], body[second:]])
                    assert received(wire) == (body, b"")


canonical = st.lists(st.sampled_from([b".", b"\r\n", b"x", b"..", b"\r\n.", b"\r\n.\r\n"])).map(
    lambda parts: b"".join(parts) + b"\r\n"
)


@given(body=canonical, cuts=st.data())
def test_the_next_hop_sees_the_same_bytes(body: bytes, cuts: st.DataObject) -> None:
    """S5: for any cuts."""
    wire = in_pieces(cuts.draw(chunkings(body)))
    assert wire == stuffed(body)
    assert received(wire) == (body, b"")


@given(body=st.binary(), cuts=st.data())
def test_whatever_the_body_is_there_is_one_end(body: bytes, cuts: st.DataObject) -> None:
    wire = in_pieces(cuts.draw(chunkings(body)))
    assert received(wire)[1] == b""
    assert re.search(rb"\n\.\r?\n", wire[:-3]) is None
