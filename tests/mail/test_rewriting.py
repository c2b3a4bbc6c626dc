"""From and MAIL FROM in the form that a provider takes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserve.mail.fields import fields_of, join_fields
from netserve.mail.mailboxes import mailboxes_of
from netserve.mail.rewriting import Rewriting

ME = "me@example.org"


def rewritten(head: bytes, **options: Any) -> bytes:
    return join_fields(Rewriting(author=ME, **options).header(fields_of(head)))


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (
            b"To: x\r\nFrom: scan@lan\r\nSubject: y\r\n",
            b"To: x\r\nFrom: me@example.org\r\nReply-To: scan@lan\r\nSubject: y\r\n",
        ),
        (
            b'From: "Scanner, 2" <scan@lan>\r\n',
            b'From: "Scanner, 2" <me@example.org>\r\nReply-To: "Scanner, 2" <scan@lan>\r\n',
        ),
        (
            b"From: =?utf-8?q?B=C3=BCro?=\r\n <scan@lan>\r\n",
            (
                b"From: =?utf-8?q?B=C3=BCro?=\r\n <me@example.org>\r\n"
                b"Reply-To: =?utf-8?q?B=C3=BCro?=\r\n <scan@lan>\r\n"
            ),
        ),
        (
            b"From: scan@lan\r\nReply-To: office@lan\r\n",
            b"From: me@example.org\r\nReply-To: office@lan\r\n",
        ),
        (
            b"Reply-To: \r\nFrom: scan@lan\r\n",
            b"From: me@example.org\r\nReply-To: scan@lan\r\n",
        ),
        (
            b"Sender: root@lan\r\nFrom: a@lan, b@lan\r\nSENDER: x@lan\r\n",
            b"From: me@example.org\r\nReply-To: a@lan, b@lan\r\n",
        ),
        (
            b"From: a@lan\r\nDate: now\r\nFrom: b@lan\r\n",
            b"From: me@example.org\r\nReply-To: a@lan\r\nDate: now\r\n",
        ),
        (b"From: Scanner\r\n", b"From: Scanner <me@example.org>\r\n"),
        (b"From:\r\n", b"From: me@example.org\r\n"),
        (b"Subject: x\r\n", b"From: me@example.org\r\nSubject: x\r\n"),
        (b"", b"From: me@example.org\r\n"),
        # Nothing to do.
        (b"from : Me <me@EXAMPLE.org>\r\nSender: x@lan\r\n", None),
    ],
)
def test_from(head: bytes, expected: bytes | None) -> None:
    assert rewritten(head) == (head if expected is None else expected)


def test_reply_to_may_be_left_alone() -> None:
    assert rewritten(b"From: a@lan\r\n", reply_to="keep") == b"From: me@example.org\r\n"


def test_the_envelope() -> None:
    rewriting = Rewriting(sender=ME)
    assert rewriting.sender_for("scan@lan") == ME
    assert rewriting.sender_for("") == ""  # a bounce stays one
    assert Rewriting(author=ME).sender_for("scan@lan") == "scan@lan"
    fields = fields_of(b"From: a@lan\r\n")
    assert rewriting.header(fields) is fields


NAMES = st.sampled_from([b"From", b"Sender", b"Reply-To", b"To", b"Subject"])
BODIES = st.lists(
    st.sampled_from([b"a@lan", b"<", b">", b'"', b",", b"(", b")", b" x", b"\r\n\t", b"\xff"]),
    max_size=8,
).map(b"".join)
HEADS = st.lists(st.tuples(NAMES, BODIES).map(b": ".join), max_size=6)


@given(HEADS)
def test_there_is_one_from_with_one_address_and_the_rest_stays(lines: list[bytes]) -> None:
    head = b"".join(line.replace(b"\r\n\t\r\n", b"") + b"\r\n" for line in lines)
    fields = fields_of(rewritten(head))
    (author,) = [field for field in fields if field.name == "from"]
    assert [mailbox.address for mailbox in mailboxes_of(author.body)] == [ME.encode()]
    others = {"to", "subject", ""}
    assert [field.raw for field in fields if field.name in others] == [
        field.raw for field in fields_of(head) if field.name in others
    ]
