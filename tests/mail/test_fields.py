"""Header sections as fields."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserve.mail.fields import fields_of, head_size, join_fields, make_field


@pytest.mark.parametrize(
    ("message", "size"),
    [
        (b"A: b\r\n\r\nbody", 8),
        (b"A: b\r\n", 6),
        (b"\r\nA: b\r\n\r\n", 2),
        (b"", 0),
        (b"A: b\r\n \r\n\r\nbody", 11),
    ],
)
def test_where_the_header_ends(message: bytes, size: int) -> None:
    assert head_size(message) == size


def test_fields() -> None:
    head = b"From a@b Mon\r\nSubject :  a\r\n\tb \r\n \r\nX-Y:\r\nno field\r\nTo: x: y\r\n\r\n"
    fields = fields_of(head)
    assert [(field.name, field.value) for field in fields] == [
        ("", b""),
        ("subject", b"a\tb"),
        ("x-y", b""),
        ("", b""),
        ("to", b"x: y"),
    ]
    assert fields[1].raw == b"Subject :  a\r\n\tb \r\n \r\n"
    assert fields[1].body == b"a\r\n\tb"
    assert join_fields(fields) + b"\r\n" == head


def test_a_line_without_an_end_gets_one() -> None:
    assert fields_of(b"A: b\r\nC: d")[1].raw == b"C: d\r\n"
    assert fields_of(b" folded from nothing\r\n")[0].name == ""
    assert fields_of(b"\r\n") == []


def test_a_field_of_ours() -> None:
    field = make_field("Reply-To", b"a@b")
    assert (field.name, field.raw) == ("reply-to", b"Reply-To: a@b\r\n")


LINES = st.lists(st.sampled_from([b"A: b", b" c", b"\t", b"d", b"E:", b"\xff: x"]), max_size=8)


@given(LINES)
def test_nothing_is_lost(lines: list[bytes]) -> None:
    head = b"".join(line + b"\r\n" for line in lines)
    assert join_fields(fields_of(head)) == head
