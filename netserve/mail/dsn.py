"""Reports on mail that failed, waits or arrived: RFC 3464 in the form of RFC 6522. Pure.

A report goes from the null sender to the sender of the message, and has three parts: a text for
people, the fields for programs, and the message or its header.

Most of what is in a report comes from peers: addresses, replies, parameters, the message. So it is
put together from bytes, and nothing of it goes through a parser of header fields. An address is
written as it is: what looks like an encoded word in it is none (RFC 2047, 5). Every value is made
one line first, and is folded if it is long.

`build_plain_report` is for the case that `build_report` fails all the same, by an error of ours.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from email.utils import formatdate
from typing import Final, Literal

from netserve.mail.address import ascii_mailbox
from netserve.mail.fields import fields_of, head_size, join_fields
from netserve.mail.folding import fold_fields
from netserve.mail.lines import LONGEST, has_long_line
from netserve.mail.seven_bit.plan import Scan, scanning

Action = Literal["failed", "delayed", "delivered", "relayed"]

FULL_LIMIT: Final = 48 * 1024
"""A longer message is not returned whole, whatever RET says (RFC 3461, 4.3, allows it)."""
HEADER_LIMIT: Final = 32 * 1024
"""So much of a header is returned at most."""

_WIDTH: Final = 76
_LONGEST_WORD: Final = 900
"""Octets of a word in a field; a longer one is cut."""
_FOLDED: Final = frozenset({"Diagnostic-Code"})
"""Fields that are folded for people; others have one line, if they fit in it."""
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
_NOT_ASCII: Final = re.compile(r"[^\x00-\x7f]")
_PREAMBLE: Final = b"This is a report in several parts (RFC 3464).\r\n"


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
        """Whether an address in it is internationalised, so that its parts are those of RFC 6533.

        They can be converted for any server. Only a sender whose local part is not ASCII needs a
        server that takes SMTPUTF8.
        """
        addresses = (self.sender, *(recipient.address for recipient in self.recipients))
        return not all(map(str.isascii, addresses))


def returns_full(action: Action, ret: str, size: int) -> bool:
    """Whether the whole message is returned: only for failures, where RET asks for it, and for
    a message that is not too long.
    """
    return action == "failed" and ret == "FULL" and size <= FULL_LIMIT


def header_of(begin: bytes) -> bytes:
    """The header in the begin of a message, cut at a line's end if it is too long."""
    header = begin[: begin.rfind(b"\n") + 1]
    header = header[: head_size(header)]
    if header.endswith(b"\r\n\r\n") or header == b"\r\n":
        header = header[:-2]
    if len(header) > HEADER_LIMIT:
        header = header[: header.rfind(b"\n", 0, HEADER_LIMIT) + 1]
    return header


def build_report(report: Report) -> bytes:
    """The report as a message, its lines ended by CRLF; it is ASCII, or needs 8BITMIME.

    It can be converted for a server without 8BITMIME, whatever is in it: if the message could not
    be, its header is returned.
    """
    if report.full:
        message = _assembled(report, full=True)
        if _can_be_converted(message):
            return message
    return _assembled(report, full=False)


def _assembled(report: Report, *, full: bool) -> bytes:
    parts = (_text_part(report), _status_part(report), _original_part(report, full=full))
    boundary = _boundary(report, parts)
    delimiter = b"\r\n--" + boundary
    body = (
        _PREAMBLE + b"".join(delimiter + b"\r\n" + part for part in parts) + delimiter + b"--\r\n"
    )
    head = _head(report, ascii_mailbox(report.sender) or report.sender)
    head += b"Content-Type: multipart/report; report-type=delivery-status;\r\n"
    head += b'\tboundary="' + boundary + b'"\r\n'
    return head + _encoding(head + body) + b"\r\n" + body


def _can_be_converted(message: bytes) -> bool:
    """Whether a message can be made 7-bit, and its lines short."""
    if message.isascii() and not has_long_line(message):
        return True
    size = head_size(message)
    looking = scanning(fields_of(message[:size]), narrow=True)
    while True:
        try:
            next(looking)(message[size:])
        except StopIteration as found:
            scan: Scan = found.value
            return not (scan.obstacle or scan.long_obstacle)


def build_plain_report(report: Report) -> bytes:
    """The report as a text in ASCII, with the least that can be said."""
    recipients = [
        f"<{_ascii(recipient.address)}>: {_ascii(recipient.status)}"
        for recipient in report.recipients
    ]
    text = "\r\n".join(line[:LONGEST] for line in (_TEXTS[report.action], "", *recipients))
    head = _head(report, report.sender)
    return head + b"Content-Type: text/plain\r\n\r\n" + text.encode("ascii") + b"\r\n"


def _ascii(text: str) -> str:
    return one_line(text.encode("ascii", "backslashreplace").decode())


def _boundary(report: Report, parts: Iterable[bytes]) -> bytes:
    """A boundary that no line in the parts has, whoever wrote it."""
    boundary = base = f"={report.report_id}={report.now:.0f}="
    count = 0
    while any(boundary.encode() in part for part in parts):
        count += 1
        boundary = f"{base}{count}="
    return boundary.encode()


def _head(report: Report, sender: str) -> bytes:
    """The header, but for what tells of the content."""
    host = one_line(report.hostname)
    host = host if host.isascii() else "localhost"
    return b"".join(
        (
            _field("From", f"Mail Delivery System <MAILER-DAEMON@{host}>"),
            _field("To", f"<{sender}>"),
            _field("Subject", _SUBJECTS[report.action]),
            _field("Date", _date(report.now)),
            _field("Message-ID", f"<{report.report_id}@{host}>"),
            _field("Auto-Submitted", "auto-replied"),
            _field("MIME-Version", "1.0"),
        )
    )


def _text_part(report: Report) -> bytes:
    paragraphs = [f"This is the mail system at {one_line(report.hostname)}.", _TEXTS[report.action]]
    if report.retry_until is not None:
        paragraphs.append(f"It will be tried until {_date(report.retry_until)}.")
    text = "\n\n".join(textwrap.fill(paragraph, _WIDTH) for paragraph in paragraphs)
    for recipient in report.recipients:
        remote = f" ({one_line(recipient.remote)})" if recipient.remote else ""
        reply = textwrap.fill(
            f"{one_line(recipient.reply)}{remote}",
            _WIDTH,
            initial_indent="    ",
            subsequent_indent="    ",
        )
        address = "\n".join(_cut(f"<{one_line(recipient.address)}>:"))
        text += f"\n\n{address}\n{reply}"
    content = text.encode().replace(b"\n", b"\r\n") + b"\r\n"
    return b"Content-Type: text/plain; charset=utf-8\r\n" + _encoding(content) + b"\r\n" + content


def _status_part(report: Report) -> bytes:
    blocks = [list(_message_fields(report))]
    blocks += [list(_recipient_fields(report, recipient)) for recipient in report.recipients]
    content = b"\r\n".join(
        b"".join(_field(name, value, utf8=report.utf8) for name, value in block) for block in blocks
    )
    kind = b"global-delivery-status" if report.utf8 else b"delivery-status"
    return b"Content-Type: message/" + kind + b"\r\n" + _encoding(content) + b"\r\n" + content


def _message_fields(report: Report) -> Iterator[tuple[str, str]]:
    yield "Reporting-MTA", f"dns; {report.hostname}"
    if report.envid:
        yield "Original-Envelope-Id", _decode_xtext(report.envid)
    yield "Arrival-Date", _date(report.arrived)


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
        yield "Diagnostic-Code", f"smtp; {_one_spaced(recipient.reply)}"
    elif recipient.reply:
        yield "Diagnostic-Code", f"X-Netserve; {_one_spaced(recipient.reply)}"
    yield "Last-Attempt-Date", _date(recipient.attempted)
    if report.retry_until is not None:
        yield "Will-Retry-Until", _date(report.retry_until)


def _original_part(report: Report, *, full: bool) -> bytes:
    content = report.original
    if full:
        kind = b"message/global" if report.utf8 else b"message/rfc822"
    else:
        kind = b"message/global-headers" if report.utf8 else b"text/rfc822-headers"
        content = header_of(content) if report.full else content
        content = join_fields(fold_fields(fields_of(content)))
    return b"Content-Type: " + kind + b"\r\n" + _encoding(content) + b"\r\n" + content


def _encoding(content: bytes) -> bytes:
    return b"" if content.isascii() else b"Content-Transfer-Encoding: 8bit\r\n"


def _field(name: str, value: str, *, utf8: bool = True) -> bytes:
    """A field of one value, folded.

    Arguments:
        name: of the field.
        value: by whomever it was written.
        utf8: whether it may have characters that are not ASCII.
    """
    value = one_line(value)
    if not utf8:
        value = _NOT_ASCII.sub(_escaped, value)
    if name not in _FOLDED and len(value.encode()) <= _LONGEST_WORD:
        return f"{name}: {value}\r\n".encode()
    lines, line = [], f"{name}:"
    for word in value.split(" "):
        if len(line) + len(word) >= _WIDTH and line.strip() and word:
            lines.append(line)
            line = ""
        *whole, last = _cut(f" {word}")
        for piece in whole:
            lines.append(line + piece)
            line = " "
        line += last
    return "\r\n".join([*lines, line]).encode() + b"\r\n"


def _cut(word: str) -> list[str]:
    """A word in pieces that fit in a line, whatever its characters are."""
    if len(word.encode()) <= _LONGEST_WORD:
        return [word]
    size = _LONGEST_WORD // 4
    return [word[at : at + size] for at in range(0, len(word), size)]


def _escaped(character: re.Match[str]) -> str:
    r"""A character as ``\x{…}`` (RFC 6533, 3)."""
    return f"\\x{{{ord(character[0]):X}}}"


def _date(when: float) -> str:
    """A date, also for a time that no calendar has."""
    try:
        return formatdate(when)
    except (ValueError, OverflowError, OSError):
        return formatdate(0)


def one_line(text: str) -> str:
    """Text without control characters, lone surrogates or line ends."""
    return _CONTROL.sub(" ", text).strip()


def _one_spaced(text: str) -> str:
    return " ".join(text.split())


def _decode_xtext(text: str) -> str:
    """The text that xtext stands for (RFC 3461, 4)."""
    return _XTEXT.sub(lambda match: chr(int(match[1], 16)), text)
