"""How a message is made ready for one server: its senders are rewritten, what the server does not
take is converted, long lines are folded, and the result is signed, in this order. No I/O.

==================  ============================  ============================================
the message has     the server lacks              what is done
==================  ============================  ============================================
BODY=8BITMIME       8BITMIME (RFC 6152, 3)        nothing, where all of it is 7-bit in fact;
                                                  else it is converted (`mail.seven_bit`), or
                                                  fails with 5.6.3
a line of more      (nobody takes it, RFC 5321,   header fields are folded, and parts of the
than 998 octets     4.5.3.1.6)                    body encoded or cut; else it fails with 5.6.3
SMTPUTF8            SMTPUTF8 (RFC 6531, 3.2)      nothing, where its headers are ASCII; else
                                                  it fails with 5.6.9
an internationalised address                      its domain is written with A-labels; where
                                                  the local part is not ASCII that address
                                                  fails with 5.6.7 (the machine's part)
==================  ============================  ============================================

The body of a message that others have signed (DKIM, ARC) is not converted: the conversion breaks
their signatures, and mail with a broken one is lost more quietly than by a bounce; RFC 6376, 5.3,
has signers send 7-bit mail in short lines for that reason. It is converted where we sign it
ourselves, or have rewritten From, so that those signatures do not count any more.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from netserve.mail.address import ascii_mailbox
from netserve.mail.client.extensions import Addressee, Extensions, Sending
from netserve.mail.dkim.signing import Hashing, Signatures, Signer, why_unsigned
from netserve.mail.envelope import Recipient, Reply
from netserve.mail.fields import HeaderField, fields_of, join_fields
from netserve.mail.folding import fold_fields
from netserve.mail.rewriting import Rewriting
from netserve.mail.seven_bit.conversion import Converter
from netserve.mail.seven_bit.plan import Plan, Scan, scanning

LARGEST_HEADER: Final = 1024 * 1024
"""Bytes of a header section that is changed, signed or looked through."""

HEADER_TOO_LARGE: Final = Reply(
    552, "5.3.4", "the header of the message is too large to be changed"
)

_WIDE_HEADER: Final = Reply(
    550,
    "5.6.9",
    "the server does not take internationalised mail, and the message has such headers",
)
_EIGHT_BIT: Final = "the server does not take 8-bit mail"
_LONG: Final = "the message has a line of more than 998 octets"
_SIGNED_BY_OTHERS: Final = frozenset({"dkim-signature", "arc-message-signature"})
_NOT_ASCII: Final = re.compile(r"[^\x00-\x7f]")

Pass: TypeAlias = Callable[[bytes], object]
"""Is fed the body of a message, in chunks."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What a route does to each of its messages.

    Arguments:
        rewriting: of senders, or None.
        signatures: who signs, or None.
    """

    rewriting: Rewriting | None = None
    signatures: Signatures | None = None

    @property
    def of_content(self) -> bool:
        """Whether more than the envelope changes."""
        rewrites = self.rewriting is not None and self.rewriting.author is not None
        return rewrites or self.signatures is not None


@dataclass(frozen=True, slots=True)
class OutgoingEnvelope:
    """The envelope as this server gets it; see `netserve.mail.envelope.Envelope`."""

    sender: str
    body_type: str
    smtputf8: bool
    ret: str
    envid: str


@dataclass(frozen=True, slots=True)
class Ready:
    """A message as this server gets it.

    Arguments:
        envelope: sender and parameters.
        recipients: in their order.
        head: the header section, its empty line included; None: as it was.
        converter: makes what the body goes through; None: it goes as it is.
        size: bytes of all of it.
        unsigned: why it is not signed though the route asks for it, or an empty string.
    """

    envelope: Sending
    recipients: Sequence[Addressee]
    head: bytes | None
    converter: Callable[[], Converter] | None
    size: int
    unsigned: str = ""


def is_fit(envelope: Sending, server: Extensions) -> bool:
    """Whether this server takes such a message as it is."""
    if envelope.body_type == "BINARYMIME":  # it has lines that are too long for any server
        return False
    wide = envelope.smtputf8 and not server.smtputf8
    return not wide and (envelope.body_type != "8BITMIME" or server.eight_bit)


class Preparing:
    """Makes one message ready.

    Iterate over it: each item is a `Pass`, to be fed the whole body before the next one is asked
    for. Behind the last, `result` is there.

    Arguments:
        envelope: sender and parameters.
        recipients: at least one.
        head: the header section, its empty line included; it may be left out, as an empty string,
            where only the envelope changes.
        body_size: bytes behind it.
        server: what it offers.
        changes: what the route asks for.
        now: unix seconds.
    """

    result: Ready | Reply
    """The message, or why it can't be sent to this server."""

    def __init__(
        self,
        envelope: Sending,
        recipients: Sequence[Addressee],
        head: bytes,
        body_size: int,
        *,
        server: Extensions,
        changes: Changes,
        now: float,
    ) -> None:
        self._envelope = envelope
        self._recipients = recipients
        self._head = head
        self._body_size = body_size
        self._server = server
        self._changes = changes
        self._now = now

    def __iter__(self) -> Iterator[Pass]:
        self.result = yield from self._steps()

    def _steps(self) -> Generator[Pass, None, Ready | Reply]:
        original = fields_of(self._head)
        fields: Sequence[HeaderField] = original
        if self._changes.rewriting is not None and self._head:
            fields = self._changes.rewriting.header(fields)
        signers, unsigned = self._signers(fields)
        plan: Plan | None = None
        scan: Scan | None = None
        if not is_fit(self._envelope, self._server):
            if self._envelope.body_type != "7BIT":
                scan = yield from scanning(original, narrow=not self._server.eight_bit)
            breakable = bool(signers) or fields is not original
            if (obstacle := self._obstacle(fields, scan, breakable=breakable)) is not None:
                return obstacle
            if scan is not None and (self._is_narrow_for(scan) or self._is_long(scan)):
                plan = scan.plan(narrow=self._is_narrow_for(scan))
                fields = plan.header(0, fields)
        if self._envelope.body_type == "BINARYMIME" or fields is not original:
            fields = fold_fields(fields)
        hashing = Hashing(signers) if signers else None
        size = self._body_size
        if plan is not None:
            measuring = _Measuring(Converter(plan, original), hashing)
            yield measuring.feed
            size = measuring.finish()
        elif hashing is not None:
            yield hashing.update
        head = None
        if hashing is not None or fields is not original:
            added = b"" if hashing is None else hashing.fields(fields, self._now)
            head = added + join_fields(fields) + self._end_of_head()
        return Ready(
            self._outgoing_envelope(fields, scan, plan),
            self._outgoing_recipients(),
            head,
            None if plan is None else _making(plan, original),
            size + len(self._head if head is None else head),
            unsigned,
        )

    def _signers(self, fields: Sequence[HeaderField]) -> tuple[Sequence[Signer], str]:
        """Who signs it, and why nobody does."""
        signatures = self._changes.signatures
        if signatures is None or (unsigned := why_unsigned(fields)):
            return (), "" if signatures is None else unsigned
        return signatures.of(fields), ""

    def _obstacle(
        self, fields: Iterable[HeaderField], scan: Scan | None, *, breakable: bool
    ) -> Reply | None:
        """Why the message can't be sent to a server that does not take it as it is, or None.

        Arguments:
            fields: of the header that is to be sent.
            scan: of the body, where it may have 8-bit bytes.
            breakable: signatures of others do not count.
        """
        wide = not all(field.raw.isascii() for field in fields)
        wide_inside = scan is not None and scan.wide_header
        if self._envelope.smtputf8 and not self._server.smtputf8 and (wide or wide_inside):
            return _WIDE_HEADER
        if scan is None:
            return None
        if wide and not self._server.eight_bit:
            return _not_converted(_EIGHT_BIT, "its header is 8-bit")
        is_narrow, is_long = self._is_narrow_for(scan), self._is_long(scan)
        if is_narrow and scan.obstacle:
            return _not_converted(_EIGHT_BIT, scan.obstacle)
        if is_long and scan.long_obstacle:
            return _not_converted(_LONG, scan.long_obstacle)
        signed = any(field.name in _SIGNED_BY_OTHERS for field in fields)
        if signed and not breakable and (is_narrow or is_long):
            what = _EIGHT_BIT if is_narrow else _LONG
            return _not_converted(what, "it is signed by DKIM, which would be broken")
        return None

    def _is_narrow_for(self, scan: Scan) -> bool:
        """Whether the body has to be converted to 7-bit."""
        return scan.eight_bit and not self._server.eight_bit

    def _is_long(self, scan: Scan) -> bool:
        """Whether the body has lines that are too long, or nobody knows."""
        unknown = self._envelope.body_type == "BINARYMIME" and bool(scan.long_obstacle)
        return scan.long_lines or unknown

    def _outgoing_envelope(
        self, fields: Iterable[HeaderField], scan: Scan | None, plan: Plan | None
    ) -> Sending:
        envelope, rewriting = self._envelope, self._changes.rewriting
        sender = envelope.sender
        if rewriting is not None:
            sender = rewriting.sender_for(sender)
        if not self._server.smtputf8:
            sender = ascii_mailbox(sender) or sender
        body_type = envelope.body_type
        if scan is not None:
            wide = scan.stays_wide(plan) or not all(field.raw.isascii() for field in fields)
            body_type = "8BITMIME" if wide else "7BIT"
        return OutgoingEnvelope(
            sender,
            body_type,
            envelope.smtputf8 and self._server.smtputf8,
            envelope.ret,
            envelope.envid,
        )

    def _outgoing_recipients(self) -> Sequence[Addressee]:
        if self._server.smtputf8 or not self._envelope.smtputf8:
            return self._recipients
        return [
            Recipient(
                ascii_mailbox(each.address) or each.address,
                frozenset(each.notify),
                _NOT_ASCII.sub(_escaped, each.original),
            )
            for each in self._recipients
        ]

    def _end_of_head(self) -> bytes:
        """The empty line after a header section, where there is one, or has to be one."""
        head = self._head
        is_there = head == b"\r\n" or head.endswith(b"\r\n\r\n")
        return b"\r\n" if is_there or self._body_size else b""


class _Measuring:
    """Runs a conversion for its size and its hashes.

    Arguments:
        converter: fresh.
        hashing: of the result, or None.
    """

    __slots__ = ("_converter", "_hashing", "_size")

    def __init__(self, converter: Converter, hashing: Hashing | None) -> None:
        self._converter = converter
        self._hashing = hashing
        self._size = 0

    def feed(self, data: bytes) -> None:
        self._take(self._converter.feed(data))

    def finish(self) -> int:
        """The size, behind the last chunk."""
        self._take(self._converter.finish())
        return self._size

    def _take(self, converted: bytes) -> None:
        self._size += len(converted)
        if self._hashing is not None:
            self._hashing.update(converted)


def _making(plan: Plan, fields: Sequence[HeaderField]) -> Callable[[], Converter]:
    return lambda: Converter(plan, fields)


def _not_converted(what: str, why: str) -> Reply:
    return Reply(554, "5.6.3", f"{what}; not converted, since {why}")


def _escaped(character: re.Match[str]) -> str:
    r"""A character of an address as ``\x{…}`` (RFC 6533, 3), for servers that take only ASCII."""
    return f"\\x{{{ord(character[0]):X}}}"
