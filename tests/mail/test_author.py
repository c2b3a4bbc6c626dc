"""Who a message says it is from."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserve.mail.author import authors


@pytest.mark.parametrize(
    ("header", "addresses"),
    [
        ("From: a@b.test\r\n\r\n", ("a@b.test",)),
        ("Subject: x\r\nFROM :<a@b.test>\r\n\r\n", ("a@b.test",)),
        ('From: "Doe, J" <a@b.test>, c@d.test\r\n\r\n', ("a@b.test", "c@d.test")),
        ("From: J. Doe\r\n <a@b.test>\r\n\r\n", ("a@b.test",)),
        ("From: =?utf-8?q?J=C3=BCrgen?= <a@b.test>\r\n\r\n", ("a@b.test",)),
        ("From: Jürgen <jürgen@bücher.test>\r\n\r\n", ("jürgen@bücher.test",)),
        ("From: Us: a@b.test, c@d.test;\r\n\r\n", ("a@b.test", "c@d.test")),
        ('From: "boss@b.test" <a@b.test>\r\n\r\n', ("a@b.test",)),
        ("From: =?utf-8?q?boss=40b.test=3E?= <a@b.test>\r\n\r\n", ("a@b.test",)),
        # The rest says nothing that two programs are sure to read alike.
        ("Subject: x\r\n\r\nFrom: a@b.test\r\n", ()),
        ("Subject: x\r\n From: a@b.test\r\n\r\n", ()),
        ("From: a@b.test\r\nFrom: c@d.test\r\n\r\n", ()),
        ("From: boss@b.test <a@b.test>\r\n\r\n", ()),
        ("From: <a@b.test\r\n\r\n", ()),
        ("From: a@b.test\0\r\n\r\n", ()),
        ("From: " + "(" * 1000 + "\r\n\r\n", ()),
        ("From: a@b.test, " + " " * 1024 + "\r\n\r\n", ()),
        ("From: =?utf-8?q?boss=40b.test?=@c.test\r\n\r\n", ()),
        ("From: <=?utf-7?q?+AA0-?=@c.test>\r\n\r\n", ()),
        ("no field\r\nFrom: a@b.test\r\n\r\n", ()),
        ("\r\nFrom: a@b.test\r\n\r\n", ()),
        ("", ()),
    ],
)
def test_addresses_of_the_header(header: str, addresses: tuple[str, ...]) -> None:
    assert authors(header.encode()) == addresses


PIECES = st.sampled_from(
    ["=?utf-7?q?+AA0-?=", "=?utf-8?q?a=40b?=", "=?utf-8?b?DQo=?=", "=?x?q?a?=", "a", "b@c.test",
     "<", ">", '"', "(", ")", "\\", ",", ";", ":", "@", ".", " ", "=?", "?=", "[", "]"]
)  # fmt: skip


@given(
    st.one_of(st.binary(max_size=200), st.lists(PIECES).map(lambda some: "".join(some).encode()))
)
def test_anything_is_read(text: bytes) -> None:
    """Whatever the library makes of it: it raises errors of many kinds."""
    assert isinstance(authors(b"From: " + text + b"\r\n\r\n"), tuple)
