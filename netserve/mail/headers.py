"""The header section of a message as it comes in, and the fields that a relay adds.

RFC 5322 (fields), RFC 5321, 4.4 (trace fields) and 6.3 (loops by the count of ``Received``),
RFC 3848 and RFC 6531, 4.3 (the words behind ``with``).
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from email.utils import formatdate
from typing import Final

from netserve.mail.address import ascii_mailbox
from netserve.mail.envelope import Reply

HEADER_TOO_LARGE: Final = Reply(552, "5.3.4", "The header of the message is too large")
TOO_MANY_HOPS: Final = Reply(554, "5.4.6", "Too many hops; the message is in a loop")

_FIELD: Final = re.compile(rb"[!-9;-~]+[ \t]*:")


@dataclass(frozen=True, slots=True)
class Head:
    """What a relay wants to know of a header section.

    Arguments:
        hops: how many ``Received`` fields it has.
        has_date: whether it has a ``Date``.
        has_message_id: whether it has a ``Message-ID``.
        is_there: False for a message that begins with its text; fields that are put before it
            need an empty line behind them.
    """

    hops: int
    has_date: bool
    has_message_id: bool
    is_there: bool

    @classmethod
    def read(cls, section: bytes) -> Head:
        """The head of a message that begins with these bytes, CRLF behind each line."""
        if not _FIELD.match(section) and not section.startswith(b"\r\n"):
            return cls(0, has_date=False, has_message_id=False, is_there=False)
        lines = b"\n" + section.lower()
        return cls(
            lines.count(b"\nreceived:"),
            has_date=b"\ndate:" in lines,
            has_message_id=b"\nmessage-id:" in lines,
            is_there=True,
        )


class HeadReader:
    """Holds the beginning of a message until its header section is there.

    Arguments:
        size_limit: bytes of the header section.
        hop_limit: ``Received`` fields.
    """

    __slots__ = ("_held", "_hop_limit", "_size_limit", "head", "refused")

    head: Head | None
    """The head, once it is there."""
    refused: Reply | None
    """The first rule that it broke; it gives no more content then."""

    def __init__(self, *, size_limit: int, hop_limit: int) -> None:
        self._size_limit = size_limit
        self._hop_limit = hop_limit
        self._held = bytearray()
        self.head = None
        self.refused = None

    def feed(self, content: bytes) -> bytes:
        """All content so far, once `head` is there, and an empty string until then."""
        seen = len(self._held)
        data: bytes | bytearray = content
        if seen:
            self._held += content
            data = self._held
        end = 0 if data.startswith(b"\r\n") else data.find(b"\r\n\r\n", max(seen - 3, 0)) + 2
        if end == 1 and len(data) <= self._size_limit:
            if not seen:
                self._held += content
            return b""
        return self._complete(bytes(data), end if end != 1 else len(data))

    def finish(self) -> bytes:
        """All content, of a message that ended before its header section did."""
        return self._complete(bytes(self._held), len(self._held))

    def _complete(self, data: bytes, end: int) -> bytes:
        self._held = bytearray()
        if end > self._size_limit:
            self.refused = HEADER_TOO_LARGE
            return b""
        self.head = Head.read(data[:end] if end else data[:2])
        if self.head.hops > self._hop_limit:
            self.refused = TOO_MANY_HOPS
            return b""
        return data


def protocol_word(*, esmtp: bool, tls: bool, authenticated: bool, smtputf8: bool) -> str:
    """The word behind ``with``: SMTP, ESMTP, ESMTPS, ESMTPA, ESMTPSA, or UTF8SMTP and so on."""
    word = "UTF8SMTP" if smtputf8 else "ESMTP" if esmtp else "SMTP"
    if word == "SMTP":
        return word
    return f"{word}{'S' if tls else ''}{'A' if authenticated else ''}"


def received_field(
    *, helo: str, client: str, hostname: str, word: str, queue_id: str, recipient: str, when: float
) -> bytes:
    """The ``Received`` field (RFC 5321, 4.4.1), its CRLF included.

    Arguments:
        helo: the name that the client gave, as `netserve.mail.address.is_helo_name` takes it.
        client: its IP address, or an empty string where it has none (a UNIX socket).
        hostname: who we are.
        word: see `protocol_word`.
        queue_id: the message's id here.
        recipient: the mailbox, where there is just one; empty where there are more, as they are
            not to know of each other. It is written in ASCII, or left out, so that a header of
            ASCII stays one.
        when: unix time.
    """
    origin = f" ({address_literal(client)})" if client else ""
    ascii_recipient = ascii_mailbox(recipient)
    target = f"\r\n\tfor <{ascii_recipient}>" if ascii_recipient else ""
    return (
        f"Received: from {helo}{origin}\r\n\tby {hostname} (netserve) with {word} id {queue_id}"
        f"{target};\r\n\t{_date(int(when))}\r\n"
    ).encode()


def address_literal(client: str) -> str:
    """An IP address as it stands in place of a name (RFC 5321, 4.1.3); an empty string for none."""
    return f"[{'IPv6:' if ':' in client else ''}{client}]" if client else ""


def date_field(when: float) -> bytes:
    """A ``Date`` field, its CRLF included."""
    return f"Date: {_date(int(when))}\r\n".encode()


def message_id_field(queue_id: str, hostname: str) -> bytes:
    """A ``Message-ID`` field, its CRLF included."""
    return f"Message-ID: <{queue_id}@{hostname}>\r\n".encode()


def missing_fields(head: Head, *, queue_id: str, hostname: str, when: float) -> bytes:
    """The ``Date`` and ``Message-ID`` that a header section lacks (RFC 6409, 8)."""
    fields = b"" if head.has_date else date_field(when)
    return fields if head.has_message_id else fields + message_id_field(queue_id, hostname)


@functools.lru_cache(maxsize=4)
def _date(when: int) -> str:
    """The date in UTC; many messages come in one second."""
    return formatdate(when).replace("-0000", "+0000")
