"""What mail is made of, for everyone who handles it: addresses' owners, replies, outcomes.

RFC 5321 (SMTP), RFC 3461 (DSN parameters), RFC 3463 (enhanced status codes).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias


@dataclass(frozen=True, slots=True)
class Reply:
    """An SMTP reply, ours or a remote's.

    Arguments:
        code: three digits, such as 250.
        status: the enhanced status code (RFC 3463), such as ``2.1.5``, or an empty string.
        text: without code and status; lines are parted by LF.
    """

    code: int
    status: str
    text: str

    def encode(self) -> bytes:
        """The reply as it goes out, one or more lines, each ended by CRLF."""
        status = f"{self.status} " if self.status else ""
        if "\n" not in self.text:
            return f"{self.code} {status}{self.text}\r\n".encode()
        lines = self.text.split("\n")
        head = "".join(f"{self.code}-{status}{line}\r\n" for line in lines[:-1])
        return f"{head}{self.code} {status}{lines[-1]}\r\n".encode()

    def __str__(self) -> str:
        return " ".join(filter(None, (str(self.code), self.status, self.text.replace("\n", " "))))


@dataclass(frozen=True, slots=True)
class Recipient:
    """One RCPT (RFC 5321, 4.1.1.3) with its DSN parameters (RFC 3461, 4.1 and 4.2).

    Arguments:
        address: the mailbox without angle brackets.
        notify: NEVER, or some of SUCCESS, FAILURE, DELAY; empty where it was not given.
        original: ORCPT as it came (``rfc822;user@example.org``), or an empty string.
    """

    address: str
    notify: frozenset[str] = frozenset()
    original: str = ""


BodyType: TypeAlias = Literal["7BIT", "8BITMIME", "BINARYMIME"]
"""What the content needs of a server: nothing; 8BITMIME (RFC 6152); or BINARYMIME (RFC 3030), since
it has lines of more than 998 octets, which are no 8-bit data either (RFC 2045, 2.8)."""


def body_type(*, eight_bit: bool, long_lines: bool) -> BodyType:
    """The body type of content.

    Arguments:
        eight_bit: it has bytes above 127.
        long_lines: it has lines of more than 998 octets.
    """
    return "BINARYMIME" if long_lines else "8BITMIME" if eight_bit else "7BIT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """Who a message is from and for, and how it came.

    Arguments:
        sender: the mailbox without angle brackets; empty for the null sender.
        recipients: at least one.
        body: what the content is, whatever the client declared.
        smtputf8: SMTPUTF8 of RFC 6531 was given.
        ret: RET of RFC 3461, FULL or HDRS, or an empty string.
        envid: ENVID of RFC 3461, or an empty string.
        user: who authenticated, or an empty string.
        client: the peer's address, or an empty string for a message of our own.
        trace: the id that follows the message through logs and attempts.
    """

    sender: str
    recipients: tuple[Recipient, ...]
    body: BodyType = "7BIT"
    smtputf8: bool = False
    ret: str = ""
    envid: str = ""
    user: str = ""
    client: str = ""
    trace: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one recipient in one attempt.

    Arguments:
        verdict: ``delivered``, ``deferred`` (try again later) or ``failed`` (for good).
        reply: the remote's reply, or one of ours that says why.
        remote: who answered, such as ``smtp.example.org[192.0.2.1]:587``, behind it the level of
            TLS where there was TLS; empty for ourselves.
        report: for a delivered one, what a sender who asked for a report on success (RFC 3461,
            5.2) is told by us: ``delivered`` into a mailbox, ``relayed`` to a server that does
            not report; empty where the next server has taken over the reporting.
        reached: a session came about with the remote, if there is one; several times in a row
            without one, and the destination is left alone for a while.
    """

    verdict: Literal["delivered", "deferred", "failed"]
    reply: Reply
    remote: str = ""
    report: Literal["", "delivered", "relayed"] = ""
    reached: bool = True

    @property
    def text(self) -> str:
        """The reply in one line."""
        return str(self.reply)
