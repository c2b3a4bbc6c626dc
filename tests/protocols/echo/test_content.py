"""What the small services say, to the letter of their RFCs."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserve.protocols.echo.content import (
    CHARGEN,
    chargen_datagram,
    daytime,
    time_1900,
)
from netserve.wire.reply_guard import ReplyGuard


@pytest.mark.parametrize(
    ("now", "text"),
    [
        (0, b"Thursday, January 1, 1970 00:00:00-UTC\r\n"),
        (1709210096.9, b"Thursday, February 29, 2024 12:34:56-UTC\r\n"),
    ],
)
def test_daytime(now: float, text: bytes) -> None:
    """RFC 867: one line of printable ASCII."""
    assert daytime(now) == text


@pytest.mark.parametrize(
    ("unix", "told"),
    [(0, 2_208_988_800), (-1_297_728_000, 911_260_800), (2_085_978_496, 0), (2_085_978_497.9, 1)],
)
def test_time(unix: float, told: int) -> None:
    """RFC 868's own examples, and the wrap in 2036."""
    assert time_1900(unix) == told.to_bytes(4, "big")


def test_chargen() -> None:
    """RFC 864: 95 lines of 72 characters, each shifted by one."""
    lines = CHARGEN.split(b"\r\n")
    assert lines.pop() == b""
    assert len(lines) == 95
    assert {len(line) for line in lines} == {72}
    assert lines[0].startswith(b" !\"#$%&'()*+,-./0123456789")
    for line, following in zip(lines, lines[1:] + lines[:1], strict=True):
        assert line[1:] == following[:-1]


@given(request=st.integers(0, 2000), seed=st.integers())
def test_a_datagram_of_chargen(request: int, seed: int) -> None:
    """S14: RFC 864's 0 to 512 characters, but no more than were sent."""
    quiet, loud = ReplyGuard(()), ReplyGuard((), amplify=True)
    reply = chargen_datagram(request, quiet, random.Random(seed))
    assert CHARGEN.startswith(reply)
    assert len(reply) <= min(request, 512)
    assert len(chargen_datagram(request, loud, random.Random(seed))) <= 512
