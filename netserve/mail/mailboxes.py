r"""Mailboxes in a header: ``"Ada L." <ada@example.org>, bob@example.org (Bob)`` (RFC 5322, 3.4).

Devices write here what they like, so nothing is refused: whatever the text is, it is cut at the
commas that part mailboxes, and of each it is told which bytes are its address. Groups are read as
their members. Time is linear in the length of the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_WSP: Final = b" \t\r\n"
_OPAQUE: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"?|\[[^\[\]]*+\]|\\.|\(', re.DOTALL)
_QUOTED: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_IN_COMMENT: Final = re.compile(rb"[^()\\]++|\\.?|[()]", re.DOTALL)
_PIECE: Final = re.compile(rb"[^<,;]*+(?:<[^>]*+>?[^<,;]*+)*+")
_ATOMS: Final = re.compile(rb"(?:[A-Za-z0-9!#$%&'*+/=?^_`{|}~\-\x80-\xff]+[ \t\r\n]*)++")


@dataclass(frozen=True, slots=True)
class Mailbox:
    """One mailbox.

    Arguments:
        text: all of it, without white space around it.
        begin: where in it the address begins.
        end: where the address ends; the same as `begin` where it has none.
    """

    text: bytes
    begin: int
    end: int

    @property
    def address(self) -> bytes:
        """The address, without brackets; empty where there is none."""
        return self.text[self.begin : self.end]

    def with_address(self, address: bytes) -> bytes:
        """The text with another address in place of this one, the name kept."""
        if self.begin < self.end:
            return self.text[: self.begin] + address + self.text[self.end :]
        return _phrase(self.text) + b" <" + address + b">"


def mailboxes_of(body: bytes) -> list[Mailbox]:
    """The mailboxes of a field's body, in order.

    Arguments:
        body: folded or not; a text without an address, such as ``Scanner 3``, counts as one.
    """
    mask = _mask(body)
    found = (_mailbox(body, mask, *piece.span()) for piece in _PIECE.finditer(mask))
    return [mailbox for mailbox in found if mailbox is not None]


def _mask(body: bytes) -> bytes:
    """The body with spaces for comments, and x for what is quoted or in square brackets.

    What has a meaning is at the same place in both.
    """
    return b"".join(_masked(body))


def _masked(body: bytes) -> Iterator[bytes]:
    at = 0
    while match := _OPAQUE.search(body, at):
        yield body[at : match.start()]
        at = match.end()
        if match[0] == b"(":
            at = _comment_end(body, at)
            yield b" " * (at - match.start())
        else:
            yield b"x" * len(match[0])
    yield body[at:]


def _comment_end(body: bytes, at: int) -> int:
    """Where a comment ends whose bracket has just been read; comments may be in comments."""
    depth = 1
    while depth and (match := _IN_COMMENT.match(body, at)):
        at = match.end()
        depth += {b"(": 1, b")": -1}.get(match[0], 0)
    return at


def _mailbox(body: bytes, mask: bytes, begin: int, end: int) -> Mailbox | None:
    """What stands in a piece between commas, or None for nothing."""
    opened = mask.find(b"<", begin, end)
    colon = mask.find(b":", begin, end if opened < 0 else opened)
    if colon >= 0:
        begin = colon + 1  # behind a group's name
    begin, end = _stripped(body, begin, end)
    if begin == end:
        return None
    if opened < 0:
        return _bare(body, mask, begin, end)
    closed = mask.find(b">", opened, end)
    first, last = _stripped(body, opened + 1, end if closed < 0 else closed)
    if first == last:
        name = body[begin:opened].rstrip(_WSP)
        return Mailbox(name, 0, 0) if name else None
    text = body[begin:end] if closed >= 0 else body[begin:end] + b">"
    return Mailbox(text, first - begin, last - begin)


def _bare(body: bytes, mask: bytes, begin: int, end: int) -> Mailbox | None:
    """A mailbox without brackets: an address, comments beside it, or no address at all."""
    words = [word for word in re.finditer(rb"[^ \t\r\n]+", mask[begin:end]) if b"@" in word[0]]
    if not words:
        return Mailbox(body[begin:end], 0, 0) if mask[begin:end].strip(_WSP) else None
    first, last = words[-1].span()
    if mask[begin:end].strip(_WSP) == words[-1][0]:
        return Mailbox(body[begin:end], first, last)
    return Mailbox(body[begin + first : begin + last], 0, last - first)


def _stripped(body: bytes, begin: int, end: int) -> tuple[int, int]:
    """The span without white space at its ends."""
    kept = body[begin:end].lstrip(_WSP)
    begin = end - len(kept)
    return begin, begin + len(kept.rstrip(_WSP))


def _phrase(text: bytes) -> bytes:
    """A text as it may stand before an address in brackets."""
    if _ATOMS.fullmatch(text) or _QUOTED.fullmatch(text):
        return text
    return b'"' + re.sub(rb'(["\\])', rb"\\\1", text) + b'"'
