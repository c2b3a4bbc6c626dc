"""Fields: what is remembered of them, and how they are looked up."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from netserve.http.h1 import fields as module
from netserve.http.h1.fields import (
    Field,
    find,
    find_all,
    known,
    make_field,
    members,
    read_field,
    without,
)


def test_a_line_is_remembered() -> None:
    field = read_field(b"X-Remembered:  yes ")
    assert field == Field(b"X-Remembered", b"yes", b"x-remembered", b"X-Remembered:  yes ")
    assert known(b"X-Remembered:  yes ") is field


def test_secrets_and_long_lines_are_not_remembered() -> None:
    for line in (
        b"Authorization: Bearer x",
        b"cookie: a=b",
        b"Set-Cookie: a=b",
        b"X-A: " + b"x" * 200,
    ):
        read_field(line)
        assert known(line) is None


def test_what_is_remembered_is_bounded() -> None:
    """S8."""
    for number in range(3000):
        read_field(b"X-Number: %d" % number)
        assert len(module._known) <= 1024


@given(name=st.from_regex(rb"\A[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z"), value=st.binary(max_size=20))
def test_what_can_be_made_can_be_read(name: bytes, value: bytes) -> None:
    try:
        field = make_field(name, value)
    except ValueError:
        return
    assert read_field(field.line) == field


def test_looking_up() -> None:
    found = [make_field(b"A", b"1"), make_field(b"b", b"2"), make_field(b"a", b"3")]
    assert find(found, b"a") == b"1"
    assert find(found, b"c") is None
    assert find_all(found, b"a") == [b"1", b"3"]
    assert without(found, {b"a"}) == [found[1]]
    assert members([b"A, ,b ", b"", b"c"]) == [b"a", b"b", b"c"]
