"""A sender that the next server takes in place of one that it refuses: From and MAIL FROM.

Providers take mail only from the addresses of the account that has logged in; the devices behind a
relay write others. Only the header is looked at. A message has one From afterwards, whatever it
had before (RFC 5322, 3.6), and no Sender: that told who sent it if not the one in From (3.6.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from netserve.mail.fields import HeaderField, make_field
from netserve.mail.mailboxes import mailboxes_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewriting:
    """What is put in the place of senders.

    Arguments:
        sender: of the envelope; None leaves it.
        author: the address in From; None leaves the header.
        reply_to: with `author`: `original` makes the old From the Reply-To of a message that has
            none, `keep` leaves that as it is.
    """

    sender: str | None = None
    author: str | None = None
    reply_to: Literal["original", "keep"] = "original"

    def sender_for(self, sender: str) -> str:
        """The sender of the envelope; the null sender of a bounce stays (RFC 5321, 4.5.5)."""
        return self.sender if sender and self.sender is not None else sender

    def header(self, fields: Sequence[HeaderField]) -> Sequence[HeaderField]:
        """The header's fields; the same ones where nothing has to change."""
        if self.author is None:
            return fields
        address = self.author.encode()
        authors = [field for field in fields if field.name == "from"]
        mailboxes = mailboxes_of(authors[0].body) if authors else []
        if len(authors) == len(mailboxes) == 1 and _same(mailboxes[0].address, address):
            return fields
        body = mailboxes[0].with_address(address) if mailboxes else address
        new = [make_field("From", body)]
        told = any(b"@" in mailbox.address for mailbox in mailboxes)
        if told and self.reply_to == "original" and not _has_reply_to(fields):
            new.append(make_field("Reply-To", authors[0].body))
        return _in_place(fields, new)


def _in_place(fields: Sequence[HeaderField], new: Sequence[HeaderField]) -> list[HeaderField]:
    """The fields with the new ones where the first From was, or else in front."""
    left_out = {"from", "sender"}
    if len(new) > 1:
        left_out.add("reply-to")  # it has one without an address
    at = next((at for at, field in enumerate(fields) if field.name == "from"), 0)
    before = [field for field in fields[:at] if field.name not in left_out]
    behind = [field for field in fields[at:] if field.name not in left_out]
    return [*before, *new, *behind]


def _has_reply_to(fields: Sequence[HeaderField]) -> bool:
    return any(field.name == "reply-to" and mailboxes_of(field.body) for field in fields)


def _same(one: bytes, other: bytes) -> bool:
    """Whether these are one address: domains are compared without regard to case."""
    local, _, domain = one.rpartition(b"@")
    other_local, _, other_domain = other.rpartition(b"@")
    return local == other_local and domain.lower() == other_domain.lower()
