"""Fields and text whose lines are too long to be sent on."""

from __future__ import annotations

import quopri
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserve.mail.fields import fields_of, join_fields, make_field
from netserve.mail.folding import Cutter, Kind, fold_field, fold_fields
from netserve.mail.lines import has_long_line
from netserve.testing import cut as cut_at

VALUES = st.lists(
    st.sampled_from([b" ", b"\t", b"a", b"x" * 600, b"a,", b"b;", b" " * 1200, b"\r\n y",
                     "ü".encode() * 300, "😀".encode() * 250, b"=?utf-8?q?x?="]),
    max_size=20,
).map(b"".join)  # fmt: skip


@given(VALUES)
def test_any_field_is_folded(value: bytes) -> None:
    """S28: no line over 998 octets; nothing but white space is lost, nothing becomes structure."""
    raw = b"X: b" + value + b"\r\n"
    folded = fold_field(raw)
    assert not has_long_line(folded)
    assert re.sub(rb"\s", b"", folded) == re.sub(rb"\s", b"", raw)
    (field,) = fields_of(folded)
    assert field.raw == folded
    folded.decode()
    blank = [line for line in folded.split(b"\r\n")[:-1] if not line.strip()]
    assert len(blank) <= len([line for line in raw.split(b"\r\n")[:-1] if not line.strip()])
    assert fold_field(folded) == folded


@pytest.mark.parametrize(
    ("value", "folded"),
    [
        (b"x" * 500 + b" " + b"y" * 600, b"x" * 500 + b"\r\n " + b"y" * 600),
        (b"x" * 500 + b"\t\t " + b"y" * 600, b"x" * 500 + b"\r\n " + b"y" * 600),
        (b"x" * 500 + b"," + b"y" * 600, b"x" * 500 + b",\r\n " + b"y" * 600),
        (b"x" * 2000, b"x" * 995 + b"\r\n " + b"x" * 997 + b"\r\n " + b"x" * 8),
        (b"x" * 900 + b"\r\n\t" + b"y" * 998, b"x" * 900 + b"\r\n\t" + b"y" * 997 + b"\r\n y"),
        (b"x" * 995, b"x" * 995),
    ],
)
def test_where_a_field_is_folded(value: bytes, folded: bytes) -> None:
    assert fold_field(b"A: " + value + b"\r\n") == b"A: " + folded + b"\r\n"


def test_fields_that_are_short_are_left_alone() -> None:
    fields = [make_field("A", b"x  y"), make_field("B", b"x" * 900)]
    assert fold_fields(fields) is fields
    longer = [*fields, make_field("C", b"y " * 600)]
    assert join_fields(fold_fields(longer)).startswith(join_fields(fields))
    assert not has_long_line(join_fields(fold_fields(longer)))


WORDS: dict[Kind, list[bytes]] = {
    "base64": [b"QUJD", b"x" * 400, b"-", b"--B", b"\r\n"],
    "quoted-printable": [b"=C3", b"a", b"-", b"--B", b"x" * 300, b"=", b"=\r\n", b"\r\n"],
    "text": [b"a", "ü".encode() * 200, b"-", b"--B", b"z" * 500, b"\r\n"],
}


@pytest.mark.parametrize("kind", WORDS)
@given(st.data())
def test_a_part_is_cut_however_it_comes(kind: Kind, data: st.DataObject) -> None:
    """S28: and none of its lines becomes a delimiter."""
    text = b"".join(data.draw(st.lists(st.sampled_from(WORDS[kind]), max_size=40))) + b"\r\n"
    ends = data.draw(st.lists(st.integers(0, len(text))))
    cutter = Cutter(kind)
    cut = b"".join(map(cutter.feed, cut_at(text, ends))) + cutter.finish()
    whole = Cutter(kind)
    assert cut == whole.feed(text) + whole.finish()
    assert not has_long_line(cut)
    if not has_long_line(text):
        assert cut == text
    assert delimiters(cut) <= delimiters(text)
    if kind == "base64":
        assert re.sub(rb"\s", b"", cut) == re.sub(rb"\s", b"", text)
    elif kind == "text":
        assert re.sub(rb"\s", b"", cut) == re.sub(rb"\s", b"", text)
        cut.decode()
    elif not re.search(rb"=(?![0-9A-F]{2}|\r\n)", text):
        assert quopri.decodestring(cut) == quopri.decodestring(text)


def delimiters(text: bytes) -> int:
    return sum(line.startswith(b"--B") for line in text.split(b"\r\n"))
