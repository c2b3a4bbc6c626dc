"""Reports: their form (RFC 3464, RFC 6522), read back by the standard library."""

from dataclasses import replace
from email import message_from_bytes, policy
from email.message import EmailMessage

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserve.mail.address import AddressError, ascii_mailbox, parse_path
from netserve.mail.client.extensions import Extensions
from netserve.mail.dsn import (
    FULL_LIMIT,
    HEADER_LIMIT,
    Report,
    ReportedRecipient,
    build_plain_report,
    build_report,
    header_of,
    returns_full,
)
from netserve.mail.envelope import Recipient, body_type
from netserve.mail.fields import fields_of, head_size
from netserve.mail.lines import has_long_line
from netserve.mail.outgoing import Changes, OutgoingEnvelope, Preparing, Ready

RECIPIENT = ReportedRecipient(
    address="nobody@example.com",
    original="rfc822;no+2Bbody@example.com",
    status="5.1.1",
    reply="550 5.1.1 no such user",
    remote="mx.example.com[192.0.2.1]:25",
    attempted=1_700_000_000,
)
REPORT = Report(
    action="failed",
    hostname="relay.example.org",
    sender="sender@example.org",
    envid="QQ+2B314",
    queue_id="0000000000a",
    arrived=1_699_999_000,
    recipients=[RECIPIENT],
    original=b"Subject: hi\r\nFrom: x@example.org\r\n",
    full=False,
    report_id="0000000000b",
    now=1_700_000_000,
)
TEXT = st.text(max_size=300)


def parsed(report: Report) -> EmailMessage:
    message = message_from_bytes(build_report(report), policy=policy.default)
    assert isinstance(message, EmailMessage)
    return message


def test_a_failure_has_its_three_parts_and_all_fields() -> None:
    message = parsed(REPORT)
    assert message.get_content_type() == "multipart/report"
    assert message.get_param("report-type") == "delivery-status"
    assert message["Auto-Submitted"] == "auto-replied"
    assert message["From"].addresses[0].addr_spec == "MAILER-DAEMON@relay.example.org"
    assert message["To"].addresses[0].addr_spec == "sender@example.org"
    text, status, header = message.iter_parts()
    assert "nobody@example.com" in text.get_content()
    assert "no such user" in text.get_content()
    assert status.get_content_type() == "message/delivery-status"
    of_message, of_recipient, *rest = status.get_payload()
    assert [part for part in rest if part.items()] == []
    assert of_message["Reporting-MTA"] == "dns; relay.example.org"
    assert of_message["Original-Envelope-Id"] == "QQ+314"
    assert dict(of_recipient.items()) == {
        "Original-Recipient": "rfc822; no+body@example.com",
        "Final-Recipient": "rfc822; nobody@example.com",
        "Action": "failed",
        "Status": "5.1.1",
        "Remote-MTA": "dns; mx.example.com",
        "Diagnostic-Code": "smtp; 550 5.1.1 no such user",
        "Last-Attempt-Date": "Tue, 14 Nov 2023 22:13:20 -0000",
    }
    assert header.get_content_type() == "text/rfc822-headers"
    assert "Subject: hi" in header.get_payload()


def test_a_full_original_comes_back_byte_for_byte() -> None:
    original = b"Subject:  odd   spacing\r\n\tfolded\r\nX-8bit: \xff\r\n\r\n\x80body\r\n.\r\n"
    data = build_report(replace(REPORT, original=original, full=True))
    assert original in data
    assert b"Content-Type: message/rfc822\r\n" in data
    assert b"Content-Transfer-Encoding: 8bit\r\n" in data


def test_a_delay_tells_until_when_it_is_tried() -> None:
    status = list(
        parsed(replace(REPORT, action="delayed", retry_until=1_700_400_000)).iter_parts()
    )[1]
    assert status.get_payload()[1]["Action"] == "delayed"
    assert status.get_payload()[1]["Will-Retry-Until"] == "Sun, 19 Nov 2023 13:20:00 -0000"


def test_international_addresses_use_the_global_types() -> None:
    report = replace(REPORT, recipients=[replace(RECIPIENT, address="jürgen@exämple.org")])
    data = build_report(report)
    assert report.utf8
    assert b"message/global-delivery-status" in data
    assert "Final-Recipient: utf-8; jürgen@exämple.org\r\n".encode() in data


PIECES = st.sampled_from(
    ["=?utf-7?q?+AA0-?=", "=?utf-8?q?a=40evil.test=3E?=", "=?utf-8?b?DQpCY2M6IHg=?=",
     "=?x?q?y?=", "\r\nBcc: x@evil.test\r\n", "\r\n\r\n", "\n.\n", "+0D+0A", "\\", '"', "<", ">",
     "@", "a", ".", " ", "  ", ";", "rfc822;", "utf-8;", "ü", "😀" * 300, "x" * 1200, "\u2028",
     "\udc80", "\0", "\x1b[2J", "--=0000000000b=1700000000=",
     "\r\n--=0000000000b=1700000000=--\r\n", "%s", "{0}", "\x85", "Action: delivered",
     "\tFinal-Recipient: rfc822; x"]
)  # fmt: skip
HOSTILE = st.one_of(TEXT, st.lists(PIECES, max_size=8).map("".join))
LINES = st.lists(
    st.sampled_from(
        [b"Subject: x", b"From: a@b.test", b"X: \xff", b"X: " + b"y " * 700, b"X: " + b"y" * 1500,
         b"", b"no field", b" folded", b"--=0000000000b=1700000000=", b"z" * 2000, b"\xff\xfe",
         b"--=0000000000b=1700000000=--", b"--b", b"--b--", b"QUJD",
         b"Content-Type: multipart/mixed; boundary=b", b"Content-Type: message/rfc822",
         b"Content-Type: multipart/signed; boundary=b",
         b"Content-Transfer-Encoding: base64", b"Content-Transfer-Encoding: x-u"]
    ),
    max_size=20,
)  # fmt: skip
ORIGINALS = st.one_of(
    LINES.map(lambda lines: b"".join(line + b"\r\n" for line in lines)),
    st.binary(max_size=200).map(lambda data: b"X: y\r\n\r\n%s\r\n" % data.translate(None, b"\r\n")),
)  # fmt: skip
REPORTS = st.builds(
    Report,
    action=st.sampled_from(["failed", "delayed", "delivered", "relayed"]),
    hostname=st.just("relay.example.org"),
    sender=HOSTILE,
    envid=HOSTILE,
    queue_id=st.just("0000000000a"),
    arrived=st.floats(),
    recipients=st.lists(
        st.builds(
            ReportedRecipient, address=HOSTILE, original=HOSTILE, status=st.just("5.1.1"),
            reply=HOSTILE, remote=HOSTILE, attempted=st.floats(),
        ),
        min_size=1, max_size=3,
    ),
    retry_until=st.none() | st.floats(),
    original=ORIGINALS,
    full=st.booleans(),
    report_id=st.just("0000000000b"),
    now=st.just(1_700_000_000.0),
)  # fmt: skip
OUR_FIELDS = [
    "from", "to", "subject", "date", "message-id", "auto-submitted", "mime-version", "content-type",
]  # fmt: skip
OF_A_RECIPIENT = {
    "original-recipient", "final-recipient", "action", "status", "remote-mta", "diagnostic-code",
    "last-attempt-date", "will-retry-until",
}  # fmt: skip


@given(REPORTS)
def test_nothing_that_a_peer_sends_can_spoil_its_report(report: Report) -> None:
    """S22: it is made, goes to the sender, and has our fields and parts, and no others."""
    data = build_report(report)
    assert b"\r" not in data.replace(b"\r\n", b"")
    assert b"\n" not in data.replace(b"\r\n", b"")
    head, body = data[: head_size(data)], data[head_size(data) :]
    fields = fields_of(head)
    assert [each.name for each in fields if each.name != "content-transfer-encoding"] == OUR_FIELDS
    boundary = fields[7].raw.partition(b'boundary="')[2].partition(b'"')[0]
    preamble, *parts, end = (b"\r\n" + body).split(b"\r\n--" + boundary)
    assert (preamble.strip(), end) == (b"This is a report in several parts (RFC 3464).", b"--\r\n")
    assert len(parts) == 3
    text, status, original = (part.removeprefix(b"\r\n") for part in parts)
    for part in (text, status, original):
        assert b"\r\n\r\n" in part
    if not report.full:
        assert not has_long_line(data)
    blocks = status[head_size(status) :].removesuffix(b"\r\n").split(b"\r\n\r\n")
    names = [[each.name for each in fields_of(block + b"\r\n")] for block in blocks]
    assert len(names) == 1 + len(report.recipients)
    for of_recipient in names[1:]:
        assert set(of_recipient) <= OF_A_RECIPIENT
        assert len(set(of_recipient)) == len(of_recipient)
    if not report.utf8:
        assert status.isascii()


@given(REPORTS)
def test_a_report_can_be_sent_to_any_server(report: Report) -> None:
    """S22: also to one that takes only 7-bit mail, whatever is returned in it."""
    data = build_report(report)
    size = head_size(data)
    if not data[:size].isascii():
        return  # to a sender whose mailbox only a server with SMTPUTF8 can have
    body = body_type(eight_bit=not data.isascii(), long_lines=has_long_line(data))
    preparing = Preparing(
        OutgoingEnvelope("", body, not report.sender.isascii(), "", ""), [Recipient("a@b.test")],
        data[:size], len(data) - size, server=Extensions(), changes=Changes(), now=0.0,
    )  # fmt: skip
    for feed in preparing:
        feed(data[size:])
    ready = preparing.result
    assert isinstance(ready, Ready), ready
    sent = data[size:]
    if ready.converter is not None:
        converter = ready.converter()
        sent = converter.feed(sent) + converter.finish()
    sent = (data[:size] if ready.head is None else ready.head) + sent
    assert sent.isascii()
    assert not has_long_line(sent)
    assert ready.envelope.body_type == "7BIT"


@given(REPORTS)
def test_the_plain_report_is_nothing_but_text(report: Report) -> None:
    """S22: what is left when the report proper fails."""
    data = build_plain_report(report)
    fields = fields_of(data[: head_size(data)])
    assert [each.name for each in fields] == OUR_FIELDS
    assert not has_long_line(data)
    assert data.count(b"\r\n") == data.count(b"\r") == data.count(b"\n")
    assert data[head_size(data) :].isascii()


SENDERS = [
    "=?utf-7?q?+AA0-?=@b.example",
    "=?utf-8?q?a=40evil.test=3E=2C?=@b.example",
    "=?utf-8?b?DQpCY2M6IHg=?=@b.example",
    '"=?utf-8?q?x?= y"@b.example',
    '"a\\"b, c:;<>()"@b.example',
    "a@[192.0.2.1]",
    "a@[IPv6:2001:db8::1]",
    "a=b+c/d{e}|f~g@b.example",
    "postmaster",
    "x" * 64 + "@" + ".".join(["y" * 59] * 3) + ".example",
]


@pytest.mark.parametrize("sender", SENDERS)
def test_an_address_is_written_as_it_is(sender: str) -> None:
    """S22: RFC 2047, 5: there is no encoded word in an address."""
    assert parse_path(f"<{sender}>")[0] == sender
    recipient = replace(RECIPIENT, address=sender, original="")
    data = build_report(replace(REPORT, sender=sender, recipients=[recipient]))
    assert b"\r\nTo: <" + sender.encode() + b">\r\n" in data
    assert b"\r\nFinal-Recipient: rfc822; " + sender.encode() + b"\r\n" in data
    assert b"\r\n<" + sender.encode() + b">:\r\n" in data


WORDS = st.lists(
    st.sampled_from(
        ["=?utf-7?q?+AA0-?=", "=?utf-8?q?a=40b?=", "=?", "?=", "a", ".", '"', "\\", " ", "@",
         "b.example", "ü", "=", "+"]
    ),
    max_size=8,
).map("".join)  # fmt: skip


@given(WORDS)
def test_every_sender_that_is_accepted_gets_its_report(text: str) -> None:
    """S22."""
    try:
        sender, _ = parse_path(f"<{text}>")
    except AddressError:
        return
    data = build_report(replace(REPORT, sender=sender))
    written = (ascii_mailbox(sender) or sender).encode()
    assert data.partition(b"\r\nTo: ")[2].startswith(b"<" + written + b">\r\n")


def test_an_internationalised_domain_needs_no_smtputf8() -> None:
    """RFC 6533: its header is ASCII, so that any server takes it."""
    data = build_report(replace(REPORT, sender="a@bücher.example"))
    assert b"\r\nTo: <a@xn--bcher-kva.example>\r\n" in data
    assert data[: head_size(data)].isascii()


def test_a_boundary_that_was_guessed_is_not_used() -> None:
    guess = b"--=0000000000b=1700000000=\r\n"
    data = build_report(replace(REPORT, original=b"X: y\r\n\r\n" + guess * 3, full=True))
    assert b'boundary="=0000000000b=1700000000=1="' in data
    assert len(list(parsed(replace(REPORT, original=b"X: " + guess)).iter_parts())) == 3


def test_what_cannot_be_returned_whole_is_returned_as_its_header() -> None:
    """A part that only a server with 8BITMIME could be given."""
    original = b"Subject: x\r\nContent-Transfer-Encoding: x-u\r\n\r\n" + b"y" * 2000 + b"\r\n"
    deep = b"".join(
        b"Content-Type: multipart/x; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(30)
    )
    for content in (original, deep + b"\r\n\xff\r\n"):
        data = build_report(replace(REPORT, original=content, full=True))
        is_whole = content in data
        assert is_whole is (content is original)  # it may be encoded as a whole
        kind = b"message/rfc822" if is_whole else b"text/rfc822-headers"
        assert b"Content-Type: " + kind + b"\r\n" in data


@given(TEXT, TEXT, TEXT, TEXT, TEXT, TEXT)
def test_nothing_that_a_peer_says_makes_a_field_or_a_part(
    address: str, reply: str, remote: str, envid: str, original: str, sender: str
) -> None:
    """S7: CR and LF in what peers said are not passed on."""
    hostile = replace(
        REPORT,
        envid=envid,
        sender=sender,
        recipients=[
            replace(RECIPIENT, address=address, reply=reply, remote=remote, original=original)
        ],
    )
    data = build_report(hostile)
    assert b"\r" not in data.replace(b"\r\n", b"")
    assert b"\n" not in data.replace(b"\r\n", b"")
    assert data.count(b"\r\n--=0000000000b") == 4
    status = data.split(b"--=0000000000b=1700000000=")[2]
    assert status.count(b"\r\nAction: failed\r\n") == 1
    assert max(map(len, data.split(b"\r\n"))) <= 998
    assert data.isascii() or b"\r\nContent-Transfer-Encoding: 8bit\r\n" in data


@pytest.mark.parametrize("reply", ["x" * 5000, "ü" * 3000, "5 " * 3000, "\r\n.\r\nQUIT\r\n"])
def test_lines_stay_within_the_limit_of_smtp(reply: str) -> None:
    data = build_report(replace(REPORT, recipients=[replace(RECIPIENT, reply=reply)]))
    assert max(map(len, data.split(b"\r\n"))) <= 998


def test_when_the_whole_message_is_returned() -> None:
    assert returns_full("failed", "FULL", 1000)
    assert not returns_full("failed", "HDRS", 1000)
    assert not returns_full("failed", "", 1000)
    assert not returns_full("delayed", "FULL", 1000)
    assert not returns_full("failed", "FULL", FULL_LIMIT + 1)


@pytest.mark.parametrize(
    ("begin", "header"),
    [
        (b"A: b\r\n\r\nbody", b"A: b\r\n"),
        (b"A: b\r\nC: d\r\n", b"A: b\r\nC: d\r\n"),
        (b"A: b\r\ncut off he", b"A: b\r\n"),
        (b"", b""),
        (b"x" * 100, b""),
        (b"A: b\r\nno field\r\n\r\nbody", b"A: b\r\n"),
        (b"\r\nA: b\r\n\r\n", b""),
    ],
)
def test_the_header_of_a_message(begin: bytes, header: bytes) -> None:
    assert header_of(begin) == header


def test_a_long_header_is_cut_at_a_line() -> None:
    header = header_of(b"X: 0123456789\r\n" * 10_000)
    assert HEADER_LIMIT - 20 < len(header) <= HEADER_LIMIT
    assert header.endswith(b"\r\n")
