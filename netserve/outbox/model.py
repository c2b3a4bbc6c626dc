"""What is in the queue, as plain data. No I/O, no Twisted.

A message is stored once, and each of its recipients has a state of its own (see storage.py). What
a courier gets to see is a `QueuedMessage` and some of its `QueuedRecipient`; where these go is a
`Destination`, which the courier decides anew at every attempt.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, Protocol

from netserve.outbox.quota import Quota


class State(IntEnum):
    """The state of one recipient; the numbers are those of the database."""

    QUEUED = 0
    HELD = 1
    DONE = 2
    FAILED = 3

    @property
    def word(self) -> str:
        """As people read it: ``queued``, ``held``, ``done``, ``failed``."""
        return self.name.lower()


class BodyReader(Protocol):
    """A body that is read from its begin, by one reader."""

    def read(self, size: int = -1, /) -> bytes:
        """Up to so many bytes; empty at the end."""

    def close(self) -> None:
        """Must be called; reading ends."""


@dataclass(frozen=True, slots=True)
class QueuedRecipient:
    """One recipient of a queued message.

    Arguments:
        id: its number within the message, from 0 up.
        address: the mailbox without angle brackets.
        notify: NOTIFY of RFC 3461; empty where it was not given.
        original: ORCPT as it came, or an empty string.
        attempts: how often it was tried before.
        warned: a delay notice was sent.
        last: the reply to the last attempt, or an empty string.
    """

    id: int
    address: str
    notify: frozenset[str] = frozenset()
    original: str = ""
    attempts: int = 0
    warned: bool = False
    last: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class QueuedMessage:
    """A message in the queue, without its recipients.

    Arguments:
        id: the queue id.
        number: the same as a number, the key of the tables.
        service: the service that took it in and whose courier delivers it.
        created: when it was taken in, in unix seconds.
        sender: the mailbox without angle brackets; empty for the null sender.
        body_type: ``7BIT``, ``8BITMIME``, or ``BINARYMIME`` for a message that has lines of more
            than 998 octets; see `netserve.mail.envelope.BodyType`.
        smtputf8: SMTPUTF8 of RFC 6531 was given.
        ret: RET of RFC 3461, or an empty string.
        envid: ENVID of RFC 3461, or an empty string.
        user: who authenticated, or an empty string.
        client: the address it came from, or an empty string.
        trace: the id that follows it through the logs.
        size: of the body, in bytes.
        recipients: how many the message has in all.
        took: seconds from its first byte to the commit.
        in_file: the body is a file, not a row.
        body_sum: CRC-32 of the body; None in a queue that was made before there were checksums.
        open_body: opens the body; see `body`.
    """

    id: str
    number: int
    service: str
    created: float
    sender: str
    body_type: str = "7BIT"
    smtputf8: bool = False
    ret: str = ""
    envid: str = ""
    user: str = ""
    client: str = ""
    trace: str = ""
    size: int
    recipients: int
    took: float = 0.0
    in_file: bool = False
    body_sum: int | None = None
    open_body: Callable[[], BodyReader]

    def body(self) -> BodyReader:
        """The body from its begin, header first, lines ended by CRLF. Close it after use.

        Errors:
            BodyMissing: it is gone or damaged; let it through, the message is then held. Reading
                may raise it too, before the last bytes are given.
        """
        return self.open_body()


@dataclass(frozen=True, slots=True)
class Destination:
    """Where recipients go. Those of one message with equal destinations go in one delivery.

    Arguments:
        key: names the destination, such as ``smtp:mx.example.org:25``; one queue of its own
            for each key, so that a slow one does not slow the others.
        concurrency: deliveries at one time.
        batch: recipients in one delivery.
        quotas: how many recipients may go there in a time.
        account: names what the limits belong to, where that is not the key: a server and a login,
            say, that several services use. They share concurrency and quotas, and give them alike.
        label: what it is counted by in metrics, where that is not its key: a few for all of them.
        handle: for the courier's own use; it is not compared.
    """

    key: str
    concurrency: int = 20
    batch: int = 50
    quotas: tuple[Quota, ...] = ()
    account: str = ""
    label: str = ""
    handle: object = field(default=None, compare=False)


UNROUTED: Final = Destination("(unrouted)")
"""Where recipients wait whose routing failed by an error of ours."""
