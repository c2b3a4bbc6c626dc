"""Reading the replies of a server."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserve.mail.client.replies import MAX_LINE, MAX_LINES, BadReply, ReplyReader
from netserve.mail.envelope import Reply
from netserve.testing.machines import feed_three_ways


class Reader:
    """Gives replies as events, and `bad` for the end."""

    def __init__(self) -> None:
        self.reader = ReplyReader()
        self.bad = False

    def feed(self, data: bytes) -> list[object]:
        if self.bad:
            return []
        self.reader.feed(data)
        events: list[object] = []
        try:
            while (raw := self.reader.next()) is not None:
                events.append(raw.reply())
        except BadReply:
            self.bad = True
            events.append("bad")
        return events


@pytest.mark.parametrize(
    ("data", "events"),
    [
        (b"250 ok\r\n", [Reply(250, "", "ok")]),
        (b"250\r\n", [Reply(250, "", "")]),
        (b"250 ok\n", [Reply(250, "", "ok")]),
        (b"250 2.1.0 fine\r\n", [Reply(250, "2.1.0", "fine")]),
        (b"550-5.1.1 no\r\n550 5.1.1 such user\r\n", [Reply(550, "5.1.1", "no\nsuch user")]),
        (b"550 2.1.0 mixed up\r\n", [Reply(550, "", "2.1.0 mixed up")]),
        (b"250 a\r\n354 b\r\n", [Reply(250, "", "a"), Reply(354, "", "b")]),
        (b"250 \x1b[2J\0\xff\r\n", [Reply(250, "", "?[2J?\ufffd")]),
        (b"250-a\r\n251 b\r\n", ["bad"]),
        (b"hello\r\n", ["bad"]),
        (b"\r\n", ["bad"]),
        (b"25 ok\r\n", ["bad"]),
        (b"250x\r\n", ["bad"]),
        (b"150 early\r\n", ["bad"]),
        (b"999 late\r\n", ["bad"]),
        (b"2\xb250 \r\n", ["bad"]),
    ],
)
def test_replies(data: bytes, events: list[object]) -> None:
    feed_three_ways(Reader, data, events, tail=b"25")


@pytest.mark.parametrize(
    "flood", [b"250-" + b"x" * MAX_LINE, b"250-x\r\n" * (MAX_LINES + 1), b"x" * MAX_LINE]
)
def test_a_reply_is_bounded(flood: bytes) -> None:
    """S8: a line that is too long, and a reply of too many lines."""
    assert feed_three_ways(Reader, flood, ["bad"]).bad


@given(st.binary())
def test_any_bytes_are_replies_or_bad(data: bytes) -> None:
    Reader().feed(data)
