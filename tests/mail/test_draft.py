"""Messages as JSON describes them."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserve.mail.draft import SLICE, DraftError, Mailbox, decode_slice, read_draft

LEAST = {"from": "a@b.test", "to": "c@d.test"}


def wrong(field: str, value: Any) -> DraftError:
    with pytest.raises(DraftError) as caught:
        read_draft(LEAST | {field: value})
    return caught.value


@pytest.mark.parametrize(
    ("given", "mailbox"),
    [
        ("a@b.test", Mailbox("", "a@b.test")),
        ("<a@b.test>", Mailbox("", "a@b.test")),
        (" Ada Lovelace  <a@b.test>", Mailbox("Ada Lovelace", "a@b.test")),
        ('"Lovelace, \\"Ada\\"" <a@b.test>', Mailbox('Lovelace, "Ada"', "a@b.test")),
        ("Jürgen <j@bücher.test>", Mailbox("Jürgen", "j@xn--bcher-kva.test")),
        ("jürgen@bücher.test", Mailbox("", "jürgen@bücher.test")),
        ({"name": "A <b>", "address": "a@b.test"}, Mailbox("A <b>", "a@b.test")),
        ({"address": "a@[192.0.2.1]"}, Mailbox("", "a@[192.0.2.1]")),
        ({"address": "a@b.test", "name": None}, Mailbox("", "a@b.test")),
        ('"a b"@b.test', Mailbox("", '"a b"@b.test')),
    ],
)
def test_somebody(given: Any, mailbox: Mailbox) -> None:
    draft = read_draft(LEAST | {"from": given})
    assert draft.author == mailbox
    assert draft.sender == mailbox.address


def test_a_name_with_many_spaces_costs_no_more_than_another() -> None:
    """S8, S18: these would take minutes if each space were looked at from each of the others."""
    spaces = f"a{' ' * 7900}b"
    draft = read_draft(LEAST | {"to": [f"{spaces} <c@d.test>"] * 1000})
    assert draft.to[-1] == Mailbox(spaces, "c@d.test")
    assert "too long" in wrong("to", f"{spaces}@d.test").what


def test_recipients_are_each_there_once_and_bcc_among_them() -> None:
    draft = read_draft(
        {
            "from": "a@b.test",
            "sender": "",
            "to": ["1@d.test", "2@d.test"],
            "cc": ["1@d.test", "3@d.test"],
            "bcc": {"address": "4@d.test"},
        }
    )
    assert list(draft.recipients()) == [
        ("to[0]", "1@d.test"),
        ("to[1]", "2@d.test"),
        ("cc[1]", "3@d.test"),
        ("bcc[0]", "4@d.test"),
    ]
    assert draft.sender == ""
    assert not draft.is_internationalised


@pytest.mark.parametrize("field", ["from", "to", "cc", "bcc", "reply_to", "sender"])
def test_internationalised_addresses_are_told(field: str) -> None:
    assert read_draft(LEAST | {field: "δοκιμή@d.test"}).is_internationalised
    if field != "sender":
        assert not read_draft(LEAST | {field: "Δοκιμή <x@παράδειγμα.test>"}).is_internationalised


@pytest.mark.parametrize(
    ("field", "value", "where", "what"),
    [
        ("from", None, "from", "is missing"),
        ("to", [], "to", "is missing"),
        ("to", "", "to", "malformed"),
        ("to", ["c@d.test", 7], "to[1]", "is not a text"),
        ("to", "postmaster", "to", "no domain"),
        ("to", "c@d.test\r\nBcc: x@y.test", "to", "a line end"),
        ("to", 'A " <c@d.test>', "to", "quotes"),
        ("to", "A <c@d.test> B", "to", "malformed"),
        ("cc", {"address": "c@d.test", "mail": 1}, "cc.mail", "not known; there are name, address"),
        ("cc", {"name": "x"}, "cc.address", "is missing"),
        ("sender", "a@b@c", "sender", "malformed"),
        ("subject", "a\nX-Evil: 1", "subject", "a line end"),
        ("subject", "a\u2028b", "subject", "a line end"),
        ("subject", "a\ud800b", "subject", "a line end"),
        ("subject", "x" * 901, "subject", "a word"),
        ("subject", "x " * 4001, "subject", "longer"),
        ("text", "a\0", "text", "NUL"),
        ("text", "a\udc00", "text", "not Unicode"),
        ("html", ["<p>"], "html", "is not a text"),
        ("headers", {"X: Y": "z"}, "headers", "no header field"),
        ("headers", {"X-Ümlaut": "z"}, "headers", "no header field"),
        ("headers", {"X-A": "b\r\nBcc: c"}, "headers.X-A", "a line end"),
        ("headers", {"x-a": ["b", 3]}, "headers.x-a", "is not a text"),
        ("headers", {"CONTENT-type": "b"}, "headers.CONTENT-type", "cannot be given here"),
        ("headers", {"Received": "b"}, "headers.Received", "cannot be given here"),
        ("headers", {"X": ["b"] * 101}, "headers", "more than 100"),
        ("attachments", {}, "attachments", "is not a list"),
        ("attachments", [{}] * 1001, "attachments", "more than 1000"),
        ("attachments", [{}], "attachments[0].content", "is missing"),
        ("attachments", [{"content": "a"}], "attachments[0].content", "is not base64"),
        ("attachments", [{"content": "YQ==YQ=="}], "attachments[0].content", "is not base64"),
        ("attachments", [{"content": "YQ-_"}], "attachments[0].content", "is not base64"),
        ("attachments", [{"content": "YüQ="}], "attachments[0].content", "is not base64"),
        ("attachments", [{"content": "", "content_type": "pdf"}], "attachments[0].content_type",
         "not a media type"),
        ("attachments", [{"content": "", "content_type": "a/b; c"}], "attachments[0].content_type",
         "malformed"),
        ("attachments", [{"content": "", "content_type": "multipart/mixed"}],
         "attachments[0].content_type", "type multipart is not taken"),
        ("attachments", [{"content": "", "filename": "a\r\nb"}], "attachments[0].filename",
         "a line end"),
        ("attachments", [{"content": "", "filename": "ä " * 129}], "attachments[0].filename",
         "longer than 255"),
        ("attachments", [{"content": "", "content_type": f'a/b; c="{"x " * 129}"'}],
         "attachments[0].content_type", "longer than 255"),
        ("attachments", [{"content": "", "cid": "a b"}], "attachments[0].cid", "not a content id"),
        ("attachments", [{"content": "", "cid": "a>\r\nX: y"}], "attachments[0].cid", "a line end"),
        ("attachment", [], "attachment", "not known; there are from, sender"),
        ("x\n", 1, "", "not known"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_place(
    field: str, value: Any, where: str, what: str
) -> None:
    """S7: and no line end gets into a header."""
    error = wrong(field, value)
    assert error.field == where
    assert what in error.what


@pytest.mark.parametrize("data", [None, [], "x", 3])
def test_what_is_no_object(data: object) -> None:
    with pytest.raises(DraftError, match="is not an object"):
        read_draft(data)


@given(st.integers(0, 3 * SLICE), st.booleans())
def test_base64_comes_back_slice_by_slice(length: int, wrapped: bool) -> None:
    data = bytes(length)
    encode = base64.encodebytes if wrapped else base64.b64encode
    content = encode(data).decode()
    (attachment,) = read_draft(LEAST | {"attachments": [{"content": content}]}).attachments
    text = attachment.content
    assert b"".join(decode_slice(text, at) for at in range(0, len(text), SLICE)) == data


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=10,
)
FIELDS = st.sampled_from(
    ["from", "to", "cc", "bcc", "sender", "reply_to", "subject", "text", "html", "headers",
     "attachments", "other"]
)  # fmt: skip


@given(st.dictionaries(FIELDS, JSON))
def test_anything_is_read_or_refused(data: dict[str, Any]) -> None:
    place = ""
    try:
        read_draft(LEAST | data)
    except DraftError as error:
        place = error.field
    assert place.isprintable()
