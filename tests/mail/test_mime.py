"""Messages built from drafts, read again by the standard library."""

from __future__ import annotations

import base64
import copy
import email
from email import policy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserve.mail.draft import SLICE, DraftError, read_draft
from netserve.mail.mime import build as build_draft
from netserve.mail.mime import pieces

LEAST = {"from": "a@b.test", "to": "c@d.test"}


def build(**fields: Any) -> bytes:
    data = {("from" if name == "author" else name): value for name, value in fields.items()}
    draft = read_draft(copy.deepcopy(LEAST | data))
    return b"".join(pieces(build_draft(draft, token="0123abcd")))


def read(message: bytes) -> Any:
    """The message, if every line of it is one that may go anywhere."""
    assert all(len(line) < 998 for line in message.split(b"\r\n"))
    assert message.count(b"\r\n") == message.count(b"\n") == message.count(b"\r")
    # As text: of bytes, it reads what is not ASCII in a header as surrogates.
    return email.message_from_string(message.decode().replace("\r\n", "\n"), policy=policy.default)


def content(part: Any) -> str:
    """A text, whatever the way of its line ends was."""
    text: str = part.get_content()
    return text.replace("\r\n", "\n")


def attachment(data: bytes, **more: str) -> dict[str, str]:
    return {"content": base64.b64encode(data).decode(), **more}


def structure(part: Any) -> Any:
    """The types of a message, as nested lists."""
    if part.is_multipart():
        return [part.get_content_subtype(), *map(structure, part.iter_parts())]
    return part.get_content_type()


PICTURE = attachment(b"\x89PNG", content_type="image/png", cid="logo")
PAPER = attachment(b"%PDF", content_type="application/pdf", filename="paper.pdf")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "text/plain"),
        ({"text": "x"}, "text/plain"),
        ({"html": "x"}, "text/html"),
        ({"text": "x", "html": "x"}, ["alternative", "text/plain", "text/html"]),
        ({"html": "x", "attachments": [PICTURE]}, ["related", "text/html", "image/png"]),
        ({"text": "x", "attachments": [PICTURE]}, ["mixed", "text/plain", "image/png"]),
        ({"attachments": [PAPER]}, ["mixed", "application/pdf"]),
        (
            {"text": "x", "html": "x", "attachments": [PAPER, PICTURE]},
            ["mixed", ["alternative", "text/plain", ["related", "text/html", "image/png"]],
             "application/pdf"],
        ),
    ],
)  # fmt: skip
def test_the_structure(fields: dict[str, Any], expected: Any) -> None:
    message = read(build(**fields))
    assert structure(message) == expected
    assert message["MIME-Version"] == "1.0"
    assert all("MIME-Version" not in part for part in list(message.walk())[1:])


def test_a_whole_message() -> None:
    message = build(
        author="Jürgen <j@b.test>",
        to=["Ada Lovelace <ada@d.test>", '"Doe, J." <doe@d.test>'],
        cc="x@d.test",
        bcc="secret@d.test",
        reply_to={"name": "Reply", "address": "r@b.test"},
        subject="Grüße aus der Straße " * 10,
        text="schöne Grüße\n.\n",
        html='<img src="cid:logo">',
        headers={"X-Order": "4711", "List-Unsubscribe": f"<https://b.test/{'x' * 500}>"},
        attachments=[PICTURE, PAPER],
    )
    assert message.isascii()
    assert b"secret" not in message
    parsed = read(message)
    assert parsed["from"] == "Jürgen <j@b.test>"
    assert [one.addr_spec for one in parsed["to"].addresses] == ["ada@d.test", "doe@d.test"]
    assert [one.display_name for one in parsed["to"].addresses] == ["Ada Lovelace", "Doe, J."]
    assert parsed["cc"] == "x@d.test"
    assert parsed["reply-to"] == "Reply <r@b.test>"
    assert parsed["subject"] == ("Grüße aus der Straße " * 10).strip()
    assert parsed["x-order"] == "4711"
    assert parsed["list-unsubscribe"] == f"<https://b.test/{'x' * 500}>"
    assert content(parsed.get_body(("plain",))) == "schöne Grüße\n.\n"
    assert content(parsed.get_body(("html",))) == '<img src="cid:logo">\n'
    shown = next(part for part in parsed.walk() if part.get_content_type() == "image/png")
    assert shown["content-id"] == "<logo>"
    assert shown.get_content() == b"\x89PNG"
    paper = next(parsed.iter_attachments())
    assert (paper.get_filename(), paper.get_content()) == ("paper.pdf", b"%PDF")


def test_internationalised_addresses_make_a_header_of_utf_8() -> None:
    message = build(author="Jürgen <jürgen@bücher.test>", subject="Grüße")
    assert 'From: "Jürgen" <jürgen@bücher.test>\r\n'.encode() in message
    assert "Subject: Grüße\r\n".encode() in message


@pytest.mark.parametrize("size", [0, 1, 56, 57, 58, SLICE // 4 * 3 - 1, SLICE // 4 * 3, 100_000])
def test_attachments_of_any_size(size: int) -> None:
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    message = build(text="x", attachments=[attachment(data), attachment(data, filename="b")])
    parts = list(read(message).iter_attachments())
    assert [part.get_content() for part in parts] == [data, data]
    assert max(map(len, message.split(b"\r\n"))) < 200


def test_a_long_text_is_handled_as_an_attachment_is() -> None:
    text = "é" * 300_000
    assert content(read(build(text=text))) == text + "\n"
    message = read(build(text=text, html=text, attachments=[PAPER, PICTURE]))
    assert structure(message)[1] == [
        "alternative", "text/plain", ["related", "text/html", "image/png"]
    ]  # fmt: skip
    texts = [content(message.get_body((kind,))) for kind in ("plain", "html")]
    assert texts == [text + "\n"] * 2
    assert [part.get_filename() for part in message.iter_attachments()] == ["paper.pdf"]


NAMES = [
    "Abrechnung, März — 1.pdf", 'a"b\\c;d.txt', "x" * 255, "a b", "ü" * 255, "😀" * 255,
    "a'b'c%20*",
    "=?utf-8?q?x=0D=0ABcc:y?=", "=?utf-7?q?+AA0-?=", "=?utf-8?b?DQpCY2M6IHg=?= =?x?q?y?=", "=?",
    "%0D",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_file_names(name: str) -> None:
    """What looks like an encoded word in a name is none: it could bring a line end."""
    message = build(text="x", attachments=[attachment(b"x", filename=name)])
    assert message.isascii()
    assert max(map(len, message.split(b"\r\n"))) < 100
    assert b"\nBcc" not in message
    (part,) = read(message).iter_attachments()
    assert part.get_filename() == name
    assert part.keys() == ["Content-Type", "Content-Transfer-Encoding", "Content-Disposition"]


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=255))
def test_any_file_name(name: str) -> None:
    try:
        message = build(attachments=[attachment(b"x", filename=name)])
    except DraftError:
        return
    (part,) = read(message).iter_attachments()
    assert part.get_filename() == (name.strip(" ") or None)


def test_parameters_of_a_content_type() -> None:
    kind = 'text/csv; charset=utf-8; header="present; yes"'
    (part,) = read(build(attachments=[attachment(b"x", content_type=kind)])).iter_attachments()
    assert part["content-type"].params == {"charset": "utf-8", "header": "present; yes"}
    hostile = 'text/csv; name="=?utf-8?q?x=0D=0ABcc:y?="'
    message = build(attachments=[attachment(b"x", content_type=hostile)])
    assert b"\nBcc" not in message


def test_many_recipients() -> None:
    to = [{"name": f"Müller {n}", "address": f"user{n}@d.test"} for n in range(1000)]
    parsed = read(build(to=to))
    assert [one.display_name for one in parsed["to"].addresses] == [one["name"] for one in to]


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=120)


@given(TEXT, TEXT, TEXT, st.sampled_from(["a@b.test", "ä@b.test"]))
def test_nothing_gets_out_of_its_field(name: str, subject: str, value: str, address: str) -> None:
    """S7: whatever stands in a field, there are the fields that there should be."""
    fields: dict[str, Any] = {
        "author": {"name": name, "address": address},
        "subject": subject,
        "headers": {"X-Value": value},
    }
    try:
        message = build(**fields)
    except DraftError:
        return
    head = message.partition(b"\r\n\r\n")[0]
    parsed = read(message)
    names = ["From", "To", *["Subject"] * bool(subject.strip(" ")), "X-Value"]
    assert parsed.keys()[: len(names)] == names
    assert set(parsed.keys()[len(names) :]) == {
        "Content-Type", "Content-Transfer-Encoding", "MIME-Version"
    }  # fmt: skip
    assert head.isascii() or address == "ä@b.test"
    assert [one.addr_spec for one in parsed["from"].addresses] == [address]


@given(TEXT, TEXT)
def test_texts_come_back(text: str, html: str) -> None:
    try:
        message = build(text=text, html=html)
    except DraftError:
        return
    parsed = read(message)
    assert message.isascii()
    for wanted, part in zip((text, html), parsed.iter_parts(), strict=True):
        lines = wanted.replace("\r\n", "\n").replace("\r", "\n")
        assert content(part).rstrip("\n") == lines.rstrip("\n")
