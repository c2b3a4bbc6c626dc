"""The header section of a message as it comes in, and the fields that a relay adds and removes.

RFC 5322 (fields), RFC 5321, 4.4 (trace fields) and 6.3 (loops by the count of ``Received``),
RFC 3848 and RFC 6531, 4.3 (the words after ``with``).

A header section ends with an empty line, or before the first line that is no field: what follows
is text, for every reader that goes by the standard. Lines that a mailbox file has in front of a
message (``From root Sat Jan  3 01:05:34 1996``, RFC 4155) are no part of it.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Final

from netserve.mail.address import ascii_mailbox
from netserve.mail.envelope import Reply
from netserve.mail.fields import MBOX_LINE, fields_end, fields_of, join_fields

HEADER_TOO_LARGE: Final = Reply(552, "5.3.4", "The header of the message is too large")
TOO_MANY_HOPS: Final = Reply(554, "5.4.6", "Too many hops; the message is in a loop")

_USUAL_SECTION: Final = re.compile(rb"(?:[!-9;-~]++:[^\n]*+\n(?:[ \t][^\n]*+\n)*+)++\r\n")
"""What nearly every header section is, its empty line included; only others take the long way."""
_BEGIN_OF_FIELD: Final = re.compile(rb"[!-9;-~]++[ \t]*+(?::|\Z)|[ \t]|\Z")
_SPACE_BEFORE_COLON: Final = re.compile(rb"^([!-9;-~]+)[ \t]+(?=:)", re.MULTILINE)


@dataclass(slots=True)
class Head:
    """What a relay wants to know of a header section.

    Arguments:
        hops: how many ``Received`` fields it has.
        has_date: whether it has a ``Date``.
        has_message_id: whether it has a ``Message-ID``.
        is_there: whether it has a field, or an empty line at its end; False for a message that
            begins with its text.
        begin: where it begins in the message: after the lines of a mailbox file.
        end: where it ends, before the empty line.
        is_tidy: whether it is well formed as it came, and has none of the unwanted fields.
        unwanted: whether it has one of them.
    """

    hops: int
    has_date: bool
    has_message_id: bool
    is_there: bool
    begin: int = field(default=0, compare=False)
    end: int = field(default=0, compare=False)
    is_tidy: bool = field(default=False, compare=False)
    unwanted: bool = field(default=False, compare=False)

    @classmethod
    def of(
        cls,
        message: bytes,
        begin: int,
        end: int,
        unwanted: re.Pattern[bytes] | None,
        *,
        usual: bool,
    ) -> Head:
        """The head of a message.

        Arguments:
            message: its begin, with all of its header section.
            begin: where that begins.
            end: where that ends, before the empty line.
            unwanted: see `finder`.
            usual: see `_USUAL_SECTION`.
        """
        fields = b"\n" + message[begin:end].lower()
        has_end = is_tidy = usual
        if not usual:
            fields, spaced = _SPACE_BEFORE_COLON.subn(rb"\1", fields)
            has_end = message.startswith(b"\r\n", end)
            is_tidy = not (begin or spaced) and (has_end or len(message) == end > 0)
        found = unwanted is not None and unwanted.search(fields) is not None
        return cls(
            fields.count(b"\nreceived:"),
            b"\ndate:" in fields,
            b"\nmessage-id:" in fields,
            has_end or end > begin,
            begin,
            end,
            is_tidy and not found,
            found,
        )


class HeadReader:
    """Holds the beginning of a message until its header section is there.

    Arguments:
        size_limit: bytes of the header section.
        hop_limit: ``Received`` fields.
        unwanted: finds fields that the head tells of; see `finder`.
    """

    __slots__ = (
        "_at", "_begin", "_held", "_hop_limit", "_seen", "_size_limit", "_unwanted", "head",
        "refused",
    )  # fmt: skip

    head: Head | None
    """The head, once it is there."""
    refused: Reply | None
    """The first rule that it broke; it gives no more content then."""

    def __init__(
        self, *, size_limit: int, hop_limit: int, unwanted: re.Pattern[bytes] | None = None
    ) -> None:
        self._size_limit = size_limit
        self._hop_limit = hop_limit
        self._unwanted = unwanted
        self._held = bytearray()
        self._begin = 0  # after the lines of a mailbox file
        self._at = 0  # everything before is fields
        self._seen = 0  # everything before was searched for line ends
        self.head = None
        self.refused = None

    def feed(self, content: bytes) -> bytes:
        """All content so far, once `head` is there, and an empty string until then."""
        data: bytes | bytearray = content
        if self._held:
            self._held += content
            data = self._held
        elif usual := _USUAL_SECTION.match(content):
            return self._complete(content, usual.end() - 2, usual=True)
        end = self._find_end(data)
        if end < 0:
            if len(data) <= self._size_limit or _BEGIN_OF_FIELD.match(data, self._at):
                if len(data) > self._size_limit:
                    self.refused = HEADER_TOO_LARGE
                    self._held.clear()
                elif data is content:
                    self._held += content
                return b""
            end = self._at
        return self._complete(bytes(data), end)

    def finish(self) -> bytes:
        """All content, of a message that ended before its header section did."""
        data = bytes(self._held)
        rest = data[self._at :]
        is_field = b":" in rest and _BEGIN_OF_FIELD.match(rest)
        return self._complete(data, len(data) if is_field else self._at)

    def _find_end(self, data: bytes | bytearray) -> int:
        """Where the header section ends, or -1 while that is not known."""
        seen, self._seen = self._seen, len(data)
        if data.find(b"\n", seen) < 0:
            return -1  # as for most pieces of a client that sends it byte by byte
        at = self._at
        while True:
            if at > self._begin or data[at : at + 1] not in (b" ", b"\t"):
                at = fields_end(data, at)
            line_end = data.find(b"\n", at)
            if line_end < 0:
                self._at = at
                return -1
            if at > self._begin or not MBOX_LINE.match(data, at):
                return at
            at = self._begin = line_end + 1

    def _complete(self, data: bytes, end: int, *, usual: bool = False) -> bytes:
        """All content, with its head.

        Arguments:
            data: the content.
            end: where the header section ends.
            usual: see `_USUAL_SECTION`.
        """
        if self._held:
            self._held = bytearray()
        if end > self._size_limit:
            self.refused = HEADER_TOO_LARGE
            return b""
        self.head = Head.of(data, self._begin, end, self._unwanted, usual=usual)
        if self.head.hops > self._hop_limit:
            self.refused = TOO_MANY_HOPS
            return b""
        return data


def finder(names: Collection[str]) -> re.Pattern[bytes] | None:
    """What finds fields by the beginning of their lines, in lower case, each with the LF before it.

    Arguments:
        names: in lower case; with none there is nothing to find.
    """
    if not names:
        return None
    return re.compile(b"\n(?:%s):" % b"|".join(re.escape(name.encode()) for name in names))


def received_message(message: bytes, head: Head, added: bytes, unwanted: Collection[str]) -> bytes:
    """The begin of a message as it goes into the queue.

    It is what the client sent but for these things: our fields are in front; lines of a mailbox
    file and unwanted fields are left out, as is white space before a field's colon, which only
    readers have to know (RFC 5322, 4.5.8); and a header section that ended with a line of text has
    an empty line at its end.

    Arguments:
        message: its begin, with all of its header section.
        head: of it.
        added: the fields that are put in front.
        unwanted: names in lower case of fields that are left out.
    """
    if head.is_tidy:
        return added + message
    section, rest = message[head.begin : head.end], message[head.end :]
    section = _SPACE_BEFORE_COLON.sub(rb"\1", section)
    if head.unwanted:
        section = join_fields(each for each in fields_of(section) if each.name not in unwanted)
    needs_end = not rest.startswith(b"\r\n") and (rest or not section)
    return added + section + (b"\r\n" if needs_end else b"") + rest


def protocol_word(*, esmtp: bool, tls: bool, authenticated: bool, smtputf8: bool) -> str:
    """The word after ``with``: SMTP, ESMTP, ESMTPS, ESMTPA, ESMTPSA, or UTF8SMTP and so on."""
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
