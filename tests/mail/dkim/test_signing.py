"""Signatures, verified by dkimpy; and what they cover."""

from __future__ import annotations

import re
import time
from typing import Any

import dkim
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserve.mail.dkim.canonical import BodyHash, Form
from netserve.mail.dkim.keys import SigningKey, load_key, make_key
from netserve.mail.dkim.signing import MOST_OF_A_NAME, Hashing, Signatures, Signer, from_domain
from netserve.mail.fields import fields_of, head_size
from netserve.testing import chunkings

KEYS: dict[str, SigningKey] = {
    "rsa": load_key(make_key("rsa")),
    "ed25519": load_key(make_key("ed25519")),
}
SIMPLE = b"From: Ada <ada@example.org>\r\nSubject: hi\r\n\r\nHello\r\n"


def signer(kind: str = "rsa", **options: Any) -> Signer:
    values: dict[str, Any] = {"domain": "example.org", "selector": kind, "key": KEYS[kind]}
    return Signer(**(values | options))


def record(name: bytes, timeout: float = 5) -> bytes:
    kind = name.partition(b".")[0].decode()
    assert name == f"{kind}._domainkey.example.org.".encode()
    return KEYS[kind].record.encode()


def sign(message: bytes, *signers: Signer, now: float | None = None) -> bytes:
    """The message with its signatures in front."""
    size = head_size(message)
    hashing = Hashing(signers)
    hashing.update(message[size:])
    now = time.time() if now is None else now
    return hashing.fields(fields_of(message[:size]), now) + message


def verified(message: bytes) -> list[bool]:
    """Whether each signature is right; as SMTP has it, the last line has an end."""
    if not message.endswith(b"\r\n"):
        message += b"\r\n"
    return [_verified(message, at) for at in range(message.count(b"DKIM-Signature:"))]


def _verified(message: bytes, at: int) -> bool:
    try:
        right: bool = dkim.DKIM(message).verify(at, dnsfunc=record)
    except dkim.ValidationError:  # the body's hash is another one
        return False
    return right


FORMS: tuple[Form, Form] = ("relaxed", "simple")


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize("header", FORMS)
@pytest.mark.parametrize("body", FORMS)
def test_every_algorithm_in_every_form(kind: str, header: Form, body: Form) -> None:
    message = sign(SIMPLE, signer(kind, header_form=header, body_form=body))
    assert f"c={header}/{body}".encode() in message
    assert f"a={kind}-sha256".encode() in message
    assert verified(message) == [True]


def test_several_signatures_stand_side_by_side() -> None:
    message = sign(SIMPLE, signer("rsa"), signer("ed25519", body_form="simple"))
    assert verified(message) == [True, True]


def test_all_tags_and_the_lines_they_stand_in() -> None:
    message = sign(SIMPLE, signer("ed25519", identity="@mx.example.org", life=3600), now=1e9)
    field = message.partition(b"\r\nFrom:")[0].decode()
    assert (
        re.sub(r"b=[\w+/=\s]{88,}\Z", "b=…", field)
        == (
            "DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed; d=example.org;\r\n"
            "\t s=ed25519; t=1000000000; x=1000003600; i=@mx.example.org;\r\n"
            "\th=from:from:reply-to:subject:subject:to:cc;\r\n"
            "\tbh=TjREPlEwUOB9N2hEuDYZOqFnt+VZ5aOM4XzGRYwiIaY=;\r\n"
            "\tb=…"
        )
        or field
    )
    assert max(map(len, field.split("\r\n"))) <= 78


def test_an_identity_with_an_equals_sign_is_encoded() -> None:
    message = sign(SIMPLE, signer(identity="a=b@example.org"))
    assert b"; i=a=3Db@example.org;" in message
    assert verified(message) == [True]


@pytest.mark.parametrize(
    ("added", "stays"),
    [
        (b"From: Eve <eve@example.net>\r\n", False),
        (b"Subject: buy\r\n", False),
        (b"Reply-To: eve@example.net\r\n", False),  # it had none, and is not to get one
        (b"Received: by mx\r\n", True),
        (b"Date: now\r\n", True),  # a server that takes submissions adds it
        (b"X-Spam: no\r\n", True),
    ],
)
def test_what_may_be_added(added: bytes, stays: bool) -> None:
    assert verified(added + sign(SIMPLE, signer())) == [stays]


@pytest.mark.parametrize("name", [b"Date", b"Content-Type", b"Message-ID"])
def test_a_second_one_may_not_be_added(name: bytes) -> None:
    message = sign(name + b": one\r\n" + SIMPLE, signer())
    assert verified(message) == [True]
    assert verified(name + b": two\r\n" + message) == [False]


@pytest.mark.parametrize(
    "change",
    [(b"Hello", b"Hallo"), (b"Ada", b"Eve"), (b"hi\r\n", b"ho\r\n"), (b"lo\r", b"lo\r\nx\r")],
)
def test_what_is_covered_may_not_change(change: tuple[bytes, bytes]) -> None:
    assert verified(sign(SIMPLE, signer()).replace(*change)) == [False]


@pytest.mark.parametrize(
    "message",
    [
        b"From: a@example.org\r\n",  # no empty line
        b"From: a@example.org",  # no end of the line
        b"From: a@example.org\r\n\r\n",  # no body
        b"From: a@example.org\r\n\r\n\r\n\r\n",
        b"From: a@example.org\r\n\r\nno end",
        b"From: a@example.org\r\n\r\n \t \r\n\t\r\n",
        b"From: a@example.org\r\n\r\n.\r\n..\r\n.x\r\n",
        b"From: a@example.org\r\n\r\n\xe4\xff\x80\r\n",
        b"From: =?utf-8?q?=C3=A4?=\r\n\t<a@example.org>\r\nSubject:a\t b\r\n  \r\n c \r\n\r\nx\r\n",
        b"From: a@example.org\r\nFrom: b@example.org\r\nTo: x\r\nTo: y\r\nTo: z\r\n\r\nx\r\n",
        "From: ä@example.org\r\nSubject: ä\r\n\r\nä\r\n".encode(),
        b"Subject: nobody wrote it\r\n\r\nx\r\n",
        b"From a@example.org Mon\r\nFrom: a@example.org\r\n\r\nx\r\n",  # of an mbox
        b"From: a@example.org\r\nSubject:\r\nTo: \r\n\r\nx\r\n",
    ],
)
@pytest.mark.parametrize("form", FORMS)
def test_messages_at_the_edges(message: bytes, form: Form) -> None:
    message = sign(message, signer("ed25519", header_form=form, body_form=form))
    assert verified(message) == [True]


def test_fields_of_one_name_are_limited() -> None:
    """S8: a header of nothing but To does not make a signature as long."""
    message = b"From: a@example.org\r\n" + b"To: x\r\n" * 5000 + b"\r\nx\r\n"
    signed = sign(message, signer())
    assert len(signed) - len(message) < 1000
    assert signed.partition(b"From:")[0].count(b"to:") == MOST_OF_A_NAME + 1  # and reply-to
    assert verified(signed) == [True]


# Properties.

WHITE = st.sampled_from([b" ", b"\t", b"  ", b"\t \t"])
WORDS = st.one_of(
    WHITE,
    st.sampled_from([b".", b"=", b"--", b"a", b"From: x", b":", b"<", b'"']),
    st.binary(min_size=1, max_size=8).map(lambda text: re.sub(rb"[\r\n]", b"x", text)),
)
LINES = st.lists(WORDS, max_size=5).map(b"".join)
BODIES = st.tuples(
    st.lists(st.one_of(st.just(b""), LINES), max_size=8).map(b"\r\n".join),
    st.integers(0, 4).map(lambda count: b"\r\n" * count),
).map(b"".join)

# dkimpy takes \x0b and \x0c for white space to be stripped, and RFC 6376 does not.
PLAIN = st.binary(max_size=8).map(lambda text: re.sub(rb"[\x00-\x1f\x7f\x85\xa0]", b"x", text))
VALUES = st.lists(
    st.one_of(PLAIN, WHITE, WHITE.map(lambda white: b"\r\n" + white + b"x")), max_size=5
)
NAMES = st.sampled_from(
    [b"From", b"FROM", b"Subject", b"to", b"Cc", b"X-Other", b"Date", b"List-Id", b"Content-Type"]
)
FIELDS = st.tuples(NAMES, VALUES.map(b"".join)).map(lambda pair: b":".join(pair) + b"\r\n")
HEADS = st.lists(FIELDS, max_size=8).map(b"".join)


@given(
    head=HEADS,
    body=BODIES,
    header_form=st.sampled_from(FORMS),
    body_form=st.sampled_from(FORMS),
)
def test_dkimpy_verifies_whatever_is_signed(
    head: bytes, body: bytes, header_form: Form, body_form: Form
) -> None:
    signing = signer("ed25519", header_form=header_form, body_form=body_form)
    assert verified(sign(head + b"\r\n" + body, signing)) == [True]


@given(body=BODIES, form=st.sampled_from(FORMS), cuts=st.data())
def test_it_does_not_matter_where_a_body_is_cut(
    body: bytes, form: Form, cuts: st.DataObject
) -> None:
    whole, pieces = BodyHash(form), BodyHash(form)
    whole.update(body)
    for piece in cuts.draw(chunkings(body)):
        pieces.update(piece)
    assert pieces.digest() == whole.digest()


def test_empty_lines_without_end_take_no_memory() -> None:
    """S8: 64 MiB of empty lines are a number."""
    hashing = BodyHash("relaxed")
    for _ in range(1024):
        hashing.update(b"\r\n" * 32768)
    hashing.update(b"x")
    few = BodyHash("relaxed")
    few.update(b"\r\n" * (1024 * 32768) + b"x")
    assert hashing.digest() == few.digest()


# Who signs.


@pytest.mark.parametrize(
    ("head", "domain"),
    [
        (b"From: a@example.org\r\n", "example.org"),
        (b'From: "x, <y@z>" <a@Sub.Example.ORG>\r\n', "sub.example.org"),
        ("From: a@müller.example\r\n".encode(), "xn--mller-kva.example"),
        (b"From: a@example.org, b@example.net\r\n", "example.org"),
        (b"From: a@example.org\r\nFrom: b@example.net\r\n", ""),
        (b"From: Scanner\r\n", ""),
        (b"From:\r\n", ""),
        (b"From: a@\xff\r\n", ""),
        (b"Subject: x\r\n", ""),
    ],
)
def test_the_domain_of_the_author(head: bytes, domain: str) -> None:
    assert from_domain(fields_of(head)) == domain


def test_who_signs_is_found_by_the_nearest_domain() -> None:
    one, two, always = signer(), signer(domain="a.example.org"), signer(domain="example.net")
    signatures = Signatures([always], {"example.org": [one], "a.example.org": [two]})
    for address, expected in {
        b"x@example.org": (always, one),
        b"x@b.example.org": (always, one),
        b"x@b.a.example.org": (always, two),
        b"x@notexample.org": (always,),
        b"x@org": (always,),
    }.items():
        assert signatures.of(fields_of(b"From: " + address + b"\r\n")) == expected
    assert Signatures([], {"example.org": [one]}).of([]) == ()
