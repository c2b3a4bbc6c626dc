"""Frames of JSON: whole, in pieces, with a tail; what is none ends the stream."""

from __future__ import annotations

from typing import Any

import pytest

from netserve.packet.frames import MAX_FRAME, FrameError, FrameReader, frame

MESSAGES: list[Any] = [{"id": 1, "ask": {"op": "craft"}}, [], "é", 5, None, {"a": [1, {"b": "c"}]}]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_messages_come_whatever_the_pieces_are(size: int) -> None:
    data = b"".join(map(frame, MESSAGES)) + b"\0\0\0"
    reader, found = FrameReader(), []
    for at in range(0, len(data), size):
        found += reader.feed(data[at : at + size])
    assert found == MESSAGES


@pytest.mark.parametrize(
    "data",
    [
        (MAX_FRAME + 1).to_bytes(4, "big"), b"\xff\xff\xff\xff", b"GET / HTTP/1.1\r\n",
        b"\0\0\0\1{", b"\0\0\0\0", b"\0\0\0\2\xff\xff", b"\0\1\x86\xa0" + b"[" * 100_000,
    ],
)  # fmt: skip
def test_what_is_no_frame(data: bytes) -> None:
    with pytest.raises(FrameError):
        FrameReader().feed(data)


def test_what_is_too_long_is_not_sent() -> None:
    with pytest.raises(FrameError):
        frame("x" * MAX_FRAME)
