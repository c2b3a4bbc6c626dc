"""What is in the queue, as plain data. No I/O, no Twisted.

An item is stored once, and each of its tasks has a state of its own (see storage.py). A courier
gets an `Item` and some of its `Task`; where these go is a `Destination`, which the courier decides
again at every attempt, and what became of each of them is an `Outcome`. Mail is one kind of item
(`netserve.mail.queued`); what differs from kind to kind is in kind.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final, Literal, Protocol

from netserve.outbox.quota import Quota


class State(IntEnum):
    """The state of one task; the numbers are those of the database."""

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
class Task:
    """One thing that an item asks for: of a mail, to deliver it to one recipient.

    Arguments:
        id: its number within the item, from 0 up.
        address: whom or what it is for, such as a mailbox without angle brackets.
        meta: what else its kind has to know of it, as one text.
        attempts: how often it was tried before.
        warned: the report about the delay was sent.
        last: the reply to the last attempt, or an empty string.
    """

    id: int
    address: str
    meta: str = ""
    attempts: int = 0
    warned: bool = False
    last: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Item:
    """What is in the queue, without its tasks: a mail, a request.

    Arguments:
        id: the queue id.
        number: the same as a number, the key of the tables.
        service: the service that took it in and whose courier delivers it.
        kind: the name of its `netserve.outbox.kind.Kind`.
        created: when it was taken in, in unix seconds.
        sender: gets the reports about it, as its kind names people; empty for nobody.
        meta: what else its kind has to know of it, as one text.
        user: who authenticated, or an empty string.
        client: the address it came from, or an empty string.
        trace: the id that follows it through the logs.
        size: of the body, in bytes.
        tasks: how many it has in all.
        took: seconds from its first byte to the commit.
        in_file: the body was written by a `BodyWriter`.
        body_sum: CRC-32 of the body; None in a queue that was made before there were checksums.
        open_body: opens the body; see `body`.
    """

    id: str
    number: int
    service: str
    kind: str
    created: float
    sender: str
    meta: str = ""
    user: str = ""
    client: str = ""
    trace: str = ""
    size: int
    tasks: int
    took: float = 0.0
    in_file: bool = False
    body_sum: int | None = None
    open_body: Callable[[], BodyReader]

    def body(self) -> BodyReader:
        """The body from its beginning. Close it after use.

        Errors:
            BodyMissing: it is gone or damaged; let it through, the item is then held. Reading
                may raise it too, before the last bytes are given.
        """
        return self.open_body()


@dataclass(frozen=True, slots=True)
class Submission:
    """What an item is when it is put into the queue, beside its body.

    Arguments:
        kind: the name of its kind.
        tasks: at least one, numbered from 0 up.
        sender: see `Item`.
        meta: see `Item`.
        user: see `Item`.
        client: see `Item`.
        trace: see `Item`.
        make: makes the item of its fields; a kind may have a class of its own.
    """

    kind: str
    tasks: Sequence[Task]
    sender: str = ""
    meta: str = ""
    user: str = ""
    client: str = ""
    trace: str = ""
    make: Callable[..., Item] = Item

    def item(self, **known: Any) -> Item:
        """The item; `known` are the other fields of `Item`.

        Raises:
            ValueError: there is no task, or a text is not Unicode.
        """
        if not self.tasks:
            raise ValueError("an item needs a task")
        "".join((self.sender, self.meta, self.user, self.client, self.trace)).encode()
        "".join([task.address + task.meta for task in self.tasks]).encode()
        return self.make(
            kind=self.kind,
            sender=self.sender,
            meta=self.meta,
            user=self.user,
            client=self.client,
            trace=self.trace,
            tasks=len(self.tasks),
            **known,
        )


class Outcome(Protocol):
    """What became of one task in one attempt, in the terms of its kind."""

    @property
    def verdict(self) -> Literal["delivered", "deferred", "failed"]:
        """Done; to be tried again later; or failed for good."""

    @property
    def text(self) -> str:
        """The reply for people, with its code, such as ``550 5.1.1 no such user``."""

    @property
    def remote(self) -> str:
        """Who answered; empty for ourselves."""

    @property
    def reached(self) -> bool:
        """A session came about with the remote, if there is one; several times in a row without
        one, and the destination is left alone for a while.
        """


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
