"""What is done to a message for a route and for a server; the result, verified by dkimpy."""

from __future__ import annotations

import email
import email.message
import time
from typing import Any

import dkim
import pytest

from netserve.mail.client.extensions import Extensions
from netserve.mail.dkim.keys import load_key, make_key
from netserve.mail.dkim.signing import Signatures, Signer
from netserve.mail.envelope import Recipient, Reply
from netserve.mail.fields import head_size
from netserve.mail.lines import has_long_line
from netserve.mail.outgoing import Changes, OutgoingEnvelope, Preparing, Ready, is_fit
from netserve.mail.rewriting import Rewriting

KEY = load_key(make_key("ed25519"))
SIGNING = Changes(signatures=Signatures([Signer(domain="example.org", selector="s", key=KEY)], {}))
ALL = Extensions(eight_bit=True, smtputf8=True)
NONE = Extensions()
EIGHT_BIT = Extensions(eight_bit=True)

PLAIN = b"From: a@lan\r\nSubject: x\r\n\r\nhello\r\n"
WIDE = b"From: a@lan\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" + "grüße\r\n".encode()


class Mail:
    """What the queue has of a message."""

    def __init__(self, **options: Any) -> None:
        values = {"sender": "a@lan", "body_type": "7BIT", "smtputf8": False, "ret": "", "envid": ""}
        self.__dict__.update(values | options)


def result(
    message: bytes,
    *,
    server: Extensions,
    changes: Changes | None = None,
    to: list[Recipient] | None = None,
    **options: Any,
) -> tuple[Ready, bytes] | Reply:
    size = head_size(message)
    head, body = message[:size], message[size:]
    preparing = Preparing(
        Mail(**options),  # type: ignore[arg-type]
        to or [Recipient("r@example.net")],
        head,
        len(body),
        server=server,
        changes=changes or Changes(),
        now=time.time(),
    )
    for feed in preparing:
        for at in range(0, len(body), 3):
            feed(body[at : at + 3])
    ready = preparing.result
    if isinstance(ready, Reply):
        return ready
    if ready.converter is not None:
        converter = ready.converter()
        body = converter.feed(body) + converter.finish()
    sent = (head if ready.head is None else ready.head) + body
    assert ready.size == len(sent)
    return ready, sent


def done(*arguments: Any, **options: Any) -> tuple[Ready, bytes]:
    outcome = result(*arguments, **options)
    assert not isinstance(outcome, Reply), outcome
    return outcome


def verifies(message: bytes) -> bool:
    right: bool = dkim.DKIM(message).verify(dnsfunc=lambda *_, **__: KEY.record.encode())
    return right


@pytest.mark.parametrize(
    ("server", "options", "fits"),
    [
        (NONE, {}, True),
        (NONE, {"body_type": "8BITMIME"}, False),
        (EIGHT_BIT, {"body_type": "8BITMIME"}, True),
        (EIGHT_BIT, {"smtputf8": True}, False),
        (Extensions(smtputf8=True), {"smtputf8": True}, True),
        (Extensions(smtputf8=True), {"smtputf8": True, "body_type": "8BITMIME"}, False),
        (ALL, {"smtputf8": True, "body_type": "8BITMIME"}, True),
        (ALL, {"body_type": "BINARYMIME"}, False),
    ],
)
def test_which_messages_a_server_takes(
    server: Extensions, options: dict[str, Any], fits: bool
) -> None:
    assert is_fit(Mail(**options), server) is fits  # type: ignore[arg-type]


def test_all_in_one() -> None:
    """Rewritten, converted, and signed as it then is."""
    changes = Changes(
        Rewriting(sender="me@example.org", author="me@example.org"), SIGNING.signatures
    )
    ready, sent = done(WIDE, server=NONE, changes=changes, body_type="8BITMIME")
    assert ready.envelope == OutgoingEnvelope("me@example.org", "7BIT", False, "", "")
    assert sent.isascii()
    assert b"\r\nFrom: me@example.org\r\nReply-To: a@lan\r\n" in sent
    assert b"gr=C3=BC=C3=9Fe\r\n" in sent
    assert verifies(sent)


def test_only_what_is_asked_for() -> None:
    ready, sent = done(PLAIN, server=ALL)
    assert (ready.head, ready.converter, sent) == (None, None, PLAIN)
    ready, sent = done(PLAIN, server=ALL, changes=Changes(Rewriting(sender="me@example.org")))
    assert (ready.head, ready.envelope.sender, sent) == (None, "me@example.org", PLAIN)
    assert done(PLAIN, server=ALL, changes=SIGNING)[1].endswith(PLAIN)


def test_a_message_of_nothing_but_a_header() -> None:
    for message in (b"From: a@lan\r\n", b"From: a@lan", b"\r\n", b"From: a@lan\r\n\r\n"):
        changes = Changes(Rewriting(author="me@example.org"), SIGNING.signatures)
        _, sent = done(message, server=ALL, changes=changes)
        assert verifies(sent), message


@pytest.mark.parametrize("size", [0, 100_000])
def test_7_bit_mail_that_was_said_to_be_8_bit(size: int) -> None:
    message = PLAIN + b"x\r\n" * size
    ready, sent = done(message, server=NONE, body_type="8BITMIME")
    assert (ready.envelope.body_type, sent) == ("7BIT", message)


def test_a_server_with_8bitmime_gets_8_bit_mail() -> None:
    ready, sent = done(WIDE, server=EIGHT_BIT, changes=SIGNING, body_type="8BITMIME")
    assert ready.envelope.body_type == "8BITMIME"
    assert sent.endswith(WIDE)


SIGNED = b"DKIM-Signature: v=1; d=lan\r\n" + WIDE


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (WIDE.replace(b"a@lan", b"\xc3\xa4 <a@lan>"), "its header is 8-bit"),
        (SIGNED, "it is signed by DKIM"),
        (SIGNED.replace(b"DKIM-", b"ARC-Message-"), "it is signed by DKIM"),
        (WIDE.replace(b"text/plain", b"multipart/mixed"), "of type multipart/mixed"),
    ],
)
def test_8_bit_mail_that_is_not_converted(message: bytes, why: str) -> None:
    refused = result(message, server=NONE, body_type="8BITMIME")
    assert isinstance(refused, Reply)
    assert (refused.code, refused.status) == (554, "5.6.3")
    assert why in refused.text


@pytest.mark.parametrize(
    "changes", [SIGNING, Changes(Rewriting(author="me@example.org"))], ids=["signed", "rewritten"]
)
def test_signatures_of_others_do_not_count_beside_our_own(changes: Changes) -> None:
    _, sent = done(SIGNED, server=NONE, changes=changes, body_type="8BITMIME")
    assert sent.isascii()


# Lines that are too long.

TYPE = b"From: a@lan\r\nContent-Type: text/plain; charset=utf-8\r\n"
LONG = b"\xc3\xa4" * 800


@pytest.mark.parametrize("server", [NONE, EIGHT_BIT, ALL], ids=["none", "8bit", "all"])
@pytest.mark.parametrize("changes", [SIGNING, Changes(Rewriting(author="me@example.org")), None])
@pytest.mark.parametrize(
    "message",
    [
        TYPE + b"\r\n" + b"word " * 300 + b"\r\n",
        TYPE + b"\r\n" + LONG + b"\r\n",
        TYPE + b"X: " + b"word " * 300 + b"\r\nReferences: " + b"<x@y>" * 300 + b"\r\n\r\nhi\r\n",
        b"From: " + b"a@lan, " * 400 + b"b@lan\r\n\r\n" + b"x" * 5000 + b"\r\n",
        TYPE + b"X: " + b"x" * 2000 + b"\r\n",
    ],
)  # fmt: skip
def test_no_line_over_998_octets_is_sent(
    message: bytes, changes: Changes | None, server: Extensions
) -> None:
    """S28: folded or encoded, whatever else is done, and signed as it then is."""
    ready, sent = done(message, server=server, changes=changes, body_type="BINARYMIME")
    assert not has_long_line(sent)
    assert ready.envelope.body_type in {"7BIT", "8BITMIME"}
    assert (ready.envelope.body_type == "7BIT") is sent.isascii()
    before, after = email.message_from_bytes(message), email.message_from_bytes(sent)
    assert text(after) == text(before)
    for name in ("X", "References"):
        assert "".join((after[name] or "").split()) == "".join((before[name] or "").split())
    if changes is SIGNING:
        assert verifies(sent)


def text(message: email.message.Message) -> bytes:
    payload = message.get_payload(decode=True)
    assert isinstance(payload, bytes)
    return payload.replace(b"\r\n", b"\n")


def test_a_field_that_becomes_longer_is_folded() -> None:
    """S28: an old From of just 998 octets is a longer Reply-To."""
    message = b"From: " + b"x" * 980 + b" <a@lan>\r\n\r\nhello\r\n"
    changes = Changes(Rewriting(author="me@example.org"), SIGNING.signatures)
    _, sent = done(message, server=ALL, changes=changes)
    assert not has_long_line(sent)
    assert verifies(sent)


def test_short_lines_in_the_body_stay_as_they_are() -> None:
    """Only its header is too long: no signature of others over the body is broken."""
    head = b"DKIM-Signature: v=1\r\nFrom: a@lan\r\nX: " + b"word " * 300 + b"\r\n\r\n"
    ready, sent = done(head + b"hello\r\n", server=ALL, body_type="BINARYMIME")
    assert ready.converter is None
    assert sent.endswith(b"\r\n\r\nhello\r\n")
    assert not has_long_line(sent)


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (b"DKIM-Signature: v=1\r\n" + TYPE + b"\r\n" + b"x" * 1000 + b"\r\n", "signed by DKIM"),
        (TYPE + b"Content-Transfer-Encoding: x-u\r\n\r\n" + b"x" * 1000 + b"\r\n", "not known"),
        (
            b"Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\n" + LONG + b"\r\n",
            "signed or encrypted",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_made_shorter_is_not_sent(message: bytes, why: str) -> None:
    """S28."""
    refused = result(message, server=ALL, body_type="BINARYMIME")
    assert isinstance(refused, Reply)
    assert (refused.code, refused.status) == (554, "5.6.3")
    assert refused.text.startswith("the message has a line of more than 998 octets")
    assert why in refused.text


# Mail that is not signed.


@pytest.mark.parametrize(
    ("header", "why"),
    [
        (b"", "it has no From field"),
        (b"From : \r\n", "its From field has no address"),
        (b"From: Scanner 3\r\n", "its From field has no address"),
        (b"From: <root>\r\n", "its From field has no address"),
        (b"From: @lan, a@\r\n", "its From field has no address"),
        (b"From: nobody:;\r\n", "its From field has no address"),
        (b"X-From: a@lan\r\n", "it has no From field"),
        (b"From: a@lan\r\n", ""),
        (b"From: Scanner, a@lan\r\n", ""),
        (b"from: Us: a@lan;\r\n", ""),
    ],
)
def test_a_message_without_an_author_is_not_signed(header: bytes, why: str) -> None:
    """RFC 6376, 5.4."""
    message = header + b"Subject: x\r\n\r\nhello\r\n"
    ready, sent = done(message, server=ALL, changes=SIGNING)
    assert ready.unsigned == why
    assert (sent == message) is bool(why)
    if not why:
        assert verifies(sent)


# Internationalised mail.

IDN = "s@müller.example"
TO = [Recipient("r@bücher.example"), Recipient("ü@x.example"), Recipient("plain@x.example")]


def test_domains_become_a_labels() -> None:
    original = [Recipient(to.address, frozenset({"NEVER"}), "utf-8;ü@b\\c") for to in TO]
    ready, sent = done(PLAIN, server=NONE, to=original, sender=IDN, smtputf8=True)
    assert ready.envelope.sender == "s@xn--mller-kva.example"
    assert not ready.envelope.smtputf8
    assert [to.address for to in ready.recipients] == [
        "r@xn--bcher-kva.example", "ü@x.example", "plain@x.example",
    ]  # fmt: skip
    assert {to.original for to in ready.recipients} == {"utf-8;\\x{FC}@b\\c"}
    assert sent == PLAIN


def test_a_server_with_smtputf8_gets_u_labels() -> None:
    ready, _ = done(PLAIN, server=ALL, changes=SIGNING, to=TO, sender=IDN, smtputf8=True)
    assert ready.envelope.smtputf8
    assert (ready.envelope.sender, ready.recipients) == (IDN, TO)


PART = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nX: \xc3\xa4\r\n\r\nx\r\n--b--\r\n"


@pytest.mark.parametrize("server", [NONE, EIGHT_BIT])
@pytest.mark.parametrize("message", ["Subject: ä\r\n\r\nx\r\n".encode(), PART])
def test_internationalised_headers_are_not_downgraded(server: Extensions, message: bytes) -> None:
    refused = result(message, server=server, smtputf8=True, body_type="8BITMIME")
    assert isinstance(refused, Reply)
    assert (refused.code, refused.status) == (550, "5.6.9")


def test_internationalised_mail_with_ascii_headers() -> None:
    ready, sent = done(WIDE, server=EIGHT_BIT, smtputf8=True, body_type="8BITMIME")
    assert (ready.envelope.body_type, ready.envelope.smtputf8, sent) == ("8BITMIME", False, WIDE)
    _, sent = done(WIDE, server=NONE, smtputf8=True, body_type="8BITMIME")
    assert sent.isascii()


def test_a_rewritten_from_may_make_a_header_ascii() -> None:
    message = "From: ä@lan\r\n\r\nx\r\n".encode()
    changes = Changes(Rewriting(author="me@example.org", reply_to="keep"))
    _, sent = done(message, server=NONE, changes=changes, smtputf8=True, body_type="8BITMIME")
    assert sent == b"From: me@example.org\r\n\r\nx\r\n"
