"""Reports on mail that failed, waits or arrived: RFC 3464 in the form of RFC 6522. Pure.

A report goes from the null sender to the sender of the message, and has three parts: a text for
people, the fields for programs, and the message or its header. What a peer said appears in it,
so every value is made one line before it is put in.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from email import policy as policies
from email.headerregistry import Address
from email.message import EmailMessage, MIMEPart
from email.utils import formatdate
from typing import Any, Final, Literal, TypeAlias

Action = Literal["failed", "delayed", "delivered", "relayed"]

Policy: TypeAlias = "policies.EmailPolicy[Any]"

FULL_LIMIT: Final = 48 * 1024
"""A longer message is not returned whole, whatever RET says (RFC 3461, 4.3, allows it)."""
HEADER_LIMIT: Final = 32 * 1024
"""So much of a header is returned at most."""

_SUBJECTS: Final[dict[Action, str]] = {
    "failed": "Your message could not be delivered",
    "delayed": "Your message is delayed",
    "delivered": "Your message was delivered",
    "relayed": "Your message was passed on",
}
_TEXTS: Final[dict[Action, str]] = {
    "failed": "Your message could not be delivered to the following recipients. It will not be"
    " tried again.",
    "delayed": "Your message could not be delivered yet to the following recipients. You need not"
    " send it again: it will be tried further.",
    "delivered": "Your message was delivered to the following recipients.",
    "relayed": "Your message was passed on to the following recipients, by a server that does not"
    " report what becomes of it.",
}
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
_XTEXT: Final = re.compile(r"\+([0-9A-F]{2})")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedRecipient:
    """One recipient in a report (RFC 3464, 2.3).

    Arguments:
        address: the mailbox.
        original: ORCPT as it came, in xtext, or an empty string.
        status: the enhanced status code, such as ``5.1.1``.
        reply: the last reply as text.
        remote: who gave it, such as ``mx.example.org[192.0.2.1]:25``; empty for ourselves.
        attempted: when, in unix seconds.
    """

    address: str
    original: str = ""
    status: str
    reply: str
    remote: str = ""
    attempted: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All that a report tells.

    Arguments:
        action: what became of the recipients; the same for all of them.
        hostname: of this host.
        sender: the sender of the message, to whom the report goes.
        envid: ENVID as it came, in xtext, or an empty string.
        queue_id: of the message.
        arrived: when it was taken in, in unix seconds.
        recipients: at least one.
        retry_until: in unix seconds, for delayed ones.
        original: the message, or its header.
        full: `original` is the whole message.
        report_id: of the report, for its Message-ID and its boundary.
        now: in unix seconds.
    """

    action: Action
    hostname: str
    sender: str
    envid: str = ""
    queue_id: str
    arrived: float
    recipients: Sequence[ReportedRecipient]
    retry_until: float | None = None
    original: bytes
    full: bool
    report_id: str
    now: float

    @property
    def utf8(self) -> bool:
        """Whether addresses in it need SMTPUTF8 (RFC 6533)."""
        addresses = (self.sender, *(recipient.address for recipient in self.recipients))
        return not all(map(str.isascii, addresses))


def returns_full(action: Action, ret: str, size: int) -> bool:
    """Whether the whole message is returned: only for failures, where RET asks for it, and for
    a message that is not too long.
    """
    return action == "failed" and ret == "FULL" and size <= FULL_LIMIT


def header_of(begin: bytes) -> bytes:
    """The header in the begin of a message, cut at a line's end where it is too long."""
    end = begin.find(b"\r\n\r\n")
    header = begin[: end + 2] if end >= 0 else begin
    if len(header) > HEADER_LIMIT or end < 0:
        header = header[: header.rfind(b"\n", 0, HEADER_LIMIT) + 1]
    return header


def build_report(report: Report) -> bytes:
    """The report as a message, its lines ended by CRLF; it is ASCII, or needs 8BITMIME."""
    policy = policies.SMTPUTF8 if report.utf8 else policies.SMTP
    boundary = f"={report.report_id}={report.now:.0f}="
    parts = (_text_part(report, policy), _status_part(report, policy), _original_part(report))
    between = b"\r\n--" + boundary.encode() + b"\r\n"
    body = b"".join(
        (
            b"This is a report in several parts (RFC 3464).\r\n",
            *(between + part for part in parts),
            b"\r\n--" + boundary.encode() + b"--\r\n",
        )
    )
    return _head(report, policy, boundary, eight_bit=not body.isascii()) + body


def _head(report: Report, policy: Policy, boundary: str, *, eight_bit: bool) -> bytes:
    message = EmailMessage(policy)
    host = one_line(report.hostname)
    message["From"] = Address("Mail Delivery System", "MAILER-DAEMON", _ascii_host(host))
    message["To"] = f"<{one_line(report.sender)}>"
    message["Subject"] = _SUBJECTS[report.action]
    message["Date"] = formatdate(report.now)
    message["Message-ID"] = f"<{report.report_id}@{host}>"
    message["Auto-Submitted"] = "auto-replied"
    message["MIME-Version"] = "1.0"
    message["Content-Type"] = (
        f'multipart/report; report-type=delivery-status; boundary="{boundary}"'
    )
    if eight_bit:
        message["Content-Transfer-Encoding"] = "8bit"
    return _fields(message, policy)


def _text_part(report: Report, policy: Policy) -> bytes:
    paragraphs = [f"This is the mail system at {one_line(report.hostname)}.", _TEXTS[report.action]]
    if report.retry_until is not None:
        paragraphs.append(f"It will be tried until {formatdate(report.retry_until)}.")
    text = "\n\n".join(textwrap.fill(paragraph, 76) for paragraph in paragraphs)
    for recipient in report.recipients:
        who = f" ({one_line(recipient.remote)})" if recipient.remote else ""
        reply = textwrap.fill(
            f"{one_line(recipient.reply)}{who}", 76, initial_indent="    ", subsequent_indent="    "
        )
        text += f"\n\n<{one_line(recipient.address)}>:\n{reply}"
    part = MIMEPart(policy)
    part.set_content(text + "\n", cte=None if text.isascii() else "8bit")
    return part.as_bytes()


def _status_part(report: Report, policy: Policy) -> bytes:
    kind = "global-delivery-status" if report.utf8 else "delivery-status"
    blocks = [MIMEPart(policy)]
    blocks[0]["Reporting-MTA"] = f"dns; {one_line(report.hostname)}"
    if report.envid:
        blocks[0]["Original-Envelope-Id"] = one_line(_decode_xtext(report.envid))
    blocks[0]["Arrival-Date"] = formatdate(report.arrived)
    for recipient in report.recipients:
        block = MIMEPart(policy)
        for name, value in _recipient_fields(report, recipient):
            block[name] = one_line(value)
        blocks.append(block)
    head = f"Content-Type: message/{kind}\r\n".encode()
    if report.utf8:
        head += b"Content-Transfer-Encoding: 8bit\r\n"
    return head + b"\r\n" + b"".join(_fields(block, policy) for block in blocks)


def _recipient_fields(report: Report, recipient: ReportedRecipient) -> Iterator[tuple[str, str]]:
    if recipient.original:
        kind, _, address = recipient.original.partition(";")
        yield "Original-Recipient", f"{kind}; {_decode_xtext(address)}"
    kind = "rfc822" if recipient.address.isascii() else "utf-8"
    yield "Final-Recipient", f"{kind}; {recipient.address}"
    yield "Action", report.action
    yield "Status", recipient.status
    if recipient.remote:
        yield "Remote-MTA", f"dns; {recipient.remote.partition('[')[0]}"
        yield "Diagnostic-Code", f"smtp; {recipient.reply}"
    elif recipient.reply:
        yield "Diagnostic-Code", f"X-Netserve; {recipient.reply}"
    yield "Last-Attempt-Date", formatdate(recipient.attempted)
    if report.retry_until is not None:
        yield "Will-Retry-Until", formatdate(report.retry_until)


def _original_part(report: Report) -> bytes:
    if report.full:
        kind = "message/global" if report.utf8 else "message/rfc822"
    else:
        kind = "message/global-headers" if report.utf8 else "text/rfc822-headers"
    head = f"Content-Type: {kind}\r\n".encode()
    if not report.original.isascii():
        head += b"Content-Transfer-Encoding: 8bit\r\n"
    return head + b"\r\n" + report.original


def _fields(message: MIMEPart, policy: Policy) -> bytes:
    """The fields of a header and the empty line behind it."""
    folded = (policy.fold_binary(name, value) for name, value in message.raw_items())
    return b"".join(folded) + b"\r\n"


def one_line(text: str) -> str:
    """Text without control characters, lone surrogates or line ends."""
    return _CONTROL.sub(" ", text).strip()


def _ascii_host(host: str) -> str:
    return host.encode("idna").decode() if not host.isascii() else host


def _decode_xtext(text: str) -> str:
    """The text behind xtext (RFC 3461, 4)."""
    return _XTEXT.sub(lambda match: chr(int(match[1], 16)), text)
