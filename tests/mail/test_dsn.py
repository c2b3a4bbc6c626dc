"""Reports: their form (RFC 3464, RFC 6522), read back by the standard library."""

from dataclasses import replace
from email import message_from_bytes, policy
from email.message import EmailMessage

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserve.mail.dsn import (
    FULL_LIMIT,
    HEADER_LIMIT,
    Report,
    ReportedRecipient,
    build_report,
    header_of,
    returns_full,
)

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
    ],
)
def test_the_header_of_a_message(begin: bytes, header: bytes) -> None:
    assert header_of(begin) == header


def test_a_long_header_is_cut_at_a_line() -> None:
    header = header_of(b"X: 0123456789\r\n" * 10_000)
    assert HEADER_LIMIT - 20 < len(header) <= HEADER_LIMIT
    assert header.endswith(b"\r\n")
