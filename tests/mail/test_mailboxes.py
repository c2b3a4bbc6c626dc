"""Mailboxes as devices and people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserve.mail.mailboxes import mailboxes_of

NEW = b"new@x"


@pytest.mark.parametrize(
    ("body", "addresses", "replaced"),
    [
        (b"a@b", [b"a@b"], b"new@x"),
        (b"<a@b>", [b"a@b"], b"<new@x>"),
        (b"Ada <a@b>", [b"a@b"], b"Ada <new@x>"),
        (b'"Ada, L. <x@y>" <a@b>', [b"a@b"], b'"Ada, L. <x@y>" <new@x>'),
        (b'"a \\" , b" < a@b > ', [b"a@b"], b'"a \\" , b" < new@x >'),
        (b"a@b (Ada, (the) \\) first)", [b"a@b"], b"new@x (Ada, (the) \\) first)"),
        (b"(x@y) Ada (z@y)\r\n\t<a@b> (me)", [b"a@b"], b"(x@y) Ada (z@y)\r\n\t<new@x> (me)"),
        (b"=?utf-8?q?=C3=84?= <a@b>", [b"a@b"], b"=?utf-8?q?=C3=84?= <new@x>"),
        (b"\xc4da <a@b>", [b"a@b"], b"\xc4da <new@x>"),
        (b'"a b"@c', [b'"a b"@c'], b"new@x"),
        (b'"a@b"', [b""], b'"a@b" <new@x>'),
        (b"a@[IPv6:::1]", [b"a@[IPv6:::1]"], b"new@x"),
        (b"a@b, Bob <c@d>,, <e@f>", [b"a@b", b"c@d", b"e@f"], b"new@x"),
        (b"Us: a@b, c@d;", [b"a@b", b"c@d"], b"new@x"),
        (b"Nobody:;", [], None),
        (b"Us: Ada <a@b>;, c@d", [b"a@b", b"c@d"], b"Ada <new@x>"),
        (b"Scanner", [b""], b"Scanner <new@x>"),
        (b"Scanner 3 (2nd floor)", [b""], b'"Scanner 3 (2nd floor)" <new@x>'),
        (b'HP. "Scan" \\', [b""], b'"HP. \\"Scan\\" \\\\" <new@x>'),
        (b"Scanner a@b", [b"a@b"], b"new@x"),
        (b"a (x) @b", [b"@b"], b"new@x"),
        (b"Ada <a@b", [b"a@b"], b"Ada <new@x>"),
        (b"Ada <>", [b""], b"Ada <new@x>"),
        (b"<>", [], None),
        (b"<@relay:a@b>", [b"@relay:a@b"], b"<new@x>"),
        (b"", [], None),
        (b" \t", [], None),
        (b"()", [], None),
        (b"(unclosed", [], None),
        (b'"""', [b""], b'"\\"\\"\\"" <new@x>'),
        (b'"unclosed', [b""], b'"\\"unclosed" <new@x>'),
    ],
)
def test_mailboxes(body: bytes, addresses: list[bytes], replaced: bytes | None) -> None:
    found = mailboxes_of(body)
    assert [mailbox.address for mailbox in found] == addresses
    if replaced is not None:
        assert found[0].with_address(NEW) == replaced


SPECIAL = st.sampled_from([b'"', b"(", b")", b"<", b">", b",", b";", b":", b"\\", b"@", b" ", b"["])
TEXTS = st.lists(st.one_of(SPECIAL, st.binary(max_size=3)), max_size=20).map(b"".join)


@given(TEXTS)
def test_anything_is_read_and_the_new_address_is_found_again(text: bytes) -> None:
    text = text.replace(b"\r", b"").replace(b"\n", b"")
    for mailbox in mailboxes_of(text):
        again = mailboxes_of(mailbox.with_address(NEW))
        assert again[0].address == NEW


def test_many_brackets_take_linear_time() -> None:
    """S8: a header of nothing but brackets, quotes and commas."""
    for piece in (b"(", b"<", b'"', b"<,", b"[", b"\\", b"(()", b'"\\'):
        assert len(mailboxes_of(piece * 200_000)) <= 200_000
