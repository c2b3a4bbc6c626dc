"""Doubles for tests of the queue: a courier that does what the test says, and time by hand."""

from __future__ import annotations

import asyncio
import inspect
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock, deferLater
from twisted.logger import Logger

from netserve.crossing import from_asyncio
from netserve.mail.envelope import Envelope, Outcome, Recipient, Reply
from netserve.mail.kind import MailKind
from netserve.mail.queued import QueuedMessage, QueuedRecipient, submission
from netserve.outbox import Destination, Outbox, Schedule
from netserve.outbox.quota import Quota
from netserve.outbox.sqlite.database import open_writer

WALL: Final = 1_700_000_000.0
"""The unix time at which a queue of `opened_queue` begins."""
DELIVERED: Final = Outcome("delivered", Reply(250, "2.0.0", "ok"), "mx.example.com[192.0.2.1]:25")
DEFERRED: Final = Outcome("deferred", Reply(450, "4.2.0", "later"), "mx.example.com[192.0.2.1]:25")
FAILED: Final = Outcome("failed", Reply(550, "5.1.1", "nobody"), "mx.example.com[192.0.2.1]:25")
UNREACHED: Final = Outcome("deferred", Reply(451, "4.4.1", "no route to host"))


class SteeredReactor(Clock):
    """A clock that the test moves, with the threads of the real reactor.

    Arguments:
        reactor: the real one.
    """

    def __init__(self, reactor: Any) -> None:
        super().__init__()
        self.real = reactor
        self.callFromThread = reactor.callFromThread
        self.getThreadPool = reactor.getThreadPool


class Courier:
    """Delivers to nobody: every recipient's outcome is what `answer` gives for it.

    Arguments:
        answer: the outcome for a recipient; `DELIVERED` for all where it is left out.
    """

    kind = MailKind("relay.example.org")

    def __init__(
        self, answer: Callable[[QueuedMessage, QueuedRecipient], Outcome] | Outcome = DELIVERED
    ) -> None:
        self.answer = answer
        self.delivered: list[tuple[str, tuple[str, ...], bytes]] = []
        """What was handed over: the queue id, the addresses, the body."""
        self.waiting: list[Callable[[], None]] = []
        """With `waits`, what lets each delivery end."""
        self.waits = False
        self.concurrency = 20
        self.quotas: tuple[Quota, ...] = ()
        self.key = lambda recipient: recipient.address.rpartition("@")[2]
        """The key of a recipient's destination."""

    def destination(self, message: QueuedMessage, recipient: QueuedRecipient) -> Destination:
        """By the domain of the address."""
        return Destination(self.key(recipient), self.concurrency, quotas=self.quotas)

    def deliver(
        self,
        message: QueuedMessage,
        recipients: Sequence[QueuedRecipient],
        destination: Destination,
    ) -> Deferred[Mapping[int, Outcome]]:
        """Note it, and give the outcomes, at once or when the test says so."""
        reader = message.body()
        body = reader.read()
        reader.close()
        self.delivered.append((message.id, tuple(r.address for r in recipients), body))
        answer = self.answer
        outcomes = {
            r.id: answer if isinstance(answer, Outcome) else answer(message, r) for r in recipients
        }
        if not self.waits:
            return succeed(outcomes)
        result: Deferred[Mapping[int, Outcome]] = Deferred()
        self.waiting.append(lambda: result.callback(outcomes))
        return result

    @property
    def addresses(self) -> list[str]:
        """Every address that was tried, in order."""
        return [address for _, some, _ in self.delivered for address in some]


@asynccontextmanager
async def opened_queue(
    folder: Path,
    courier: Courier,
    *,
    reactor: Any,
    schedule: Schedule = Schedule(jitter=0.0),  # noqa: B008 - it is frozen
    log: Logger | None = None,
    wall: float = WALL,
) -> AsyncIterator[Outbox]:
    """A queue with one service, ``mail``, closed at the end.

    Arguments:
        folder: of the queue.
        courier: of the service.
        reactor: the real one, or a `SteeredReactor`.
        schedule: of the service.
        log: where it logs.
        wall: unix time at the beginning.
    """
    outbox = Outbox(
        folder,
        reactor=reactor,
        log=log or Logger(),
        random=random.Random(0),  # noqa: S311 - jitter
        wall=lambda: wall,
    )
    outbox.attach("mail", courier, schedule)
    await outbox.open()
    try:
        yield outbox
    finally:
        await outbox.close()


def fill_queue(folder: Path, count: int, *, now: float) -> None:
    """Make a long queue, faster than by `put`: small messages of the service ``mail`` that wait.

    They are of 5,000 senders to 100 domains, were tried once, and are due in an hour.

    Arguments:
        folder: of the queue; nothing is there yet.
        count: how many messages, each with one recipient.
        now: unix seconds; they came two hours before.
    """
    (folder / "bodies").mkdir(mode=0o700, parents=True)
    connection = open_writer(folder / "queue.db")
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA cache_size = -200000")
    # Indexes are made in one go at the end, which takes a fraction of the time.
    indexes = dict(
        connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND sql <> ''")
    )
    connection.execute("BEGIN")
    for name in indexes:
        connection.execute(f"DROP INDEX {name}")
    came = now - 7200
    numbers = range(int(came * 1e6), int(came * 1e6) + count)
    connection.executemany(
        "INSERT INTO message VALUES (?,'mail','mail',?,0,?,'','','','',100,1,0,NULL,NULL)",
        ((n, came, f"s{n % 5000}@example.org") for n in numbers),
    )
    connection.executemany("INSERT INTO body VALUES (?,?)", ((n, b"x" * 100) for n in numbers))
    connection.executemany(
        "INSERT INTO recipient VALUES (?,0,0,?,?,1,0,?,?,'','450 4.2.0 later',NULL)",
        (
            (
                n,
                f"mail d{n % 100}.org",
                now + 3600,
                f"r{n % 10_000}@d{n % 100}.org",
                f"d{n % 100}.org",
            )
            for n in numbers
        ),
    )
    for statement in indexes.values():
        connection.execute(statement)
    connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


async def put(
    outbox: Outbox,
    *recipients: str | Recipient,
    sender: str = "sender@example.org",
    body: bytes = b"Subject: test\r\n\r\nHello\r\n",
    **envelope: Any,
) -> str:
    """Put a message into the queue, and give its id, once its first delivery has begun."""
    incoming = outbox.incoming()
    incoming.write(body)
    to = tuple(Recipient(one) if isinstance(one, str) else one for one in recipients)
    message = await incoming.commit(
        "mail", submission(Envelope(sender=sender, recipients=to, **envelope))
    )
    await from_asyncio(asyncio.sleep(0))
    return message


async def until(condition: Callable[[], Any], *, reactor: Any, seconds: float = 10.0) -> None:
    """Wait until something holds.

    Arguments:
        condition: is asked every few milliseconds; may be a coroutine function.
        reactor: the real one.
        seconds: after which the test fails.

    Raises:
        AssertionError: it did not come to hold.
    """
    end = reactor.seconds() + seconds
    while True:
        holds = condition()
        if inspect.isawaitable(holds):
            holds = await holds
        if holds:
            return
        if reactor.seconds() > end:
            raise AssertionError("what the test waits for did not happen")
        await deferLater(reactor, 0.002)
