"""The queue as a whole, on real SQLite: in, out, again, reports, restarts. Time is moved by hand."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from email import message_from_bytes
from pathlib import Path

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import gatherResults
from twisted.logger import Logger

from netserve.errors import StartError
from netserve.mail.envelope import Envelope, Outcome, Recipient, Reply
from netserve.outbox import BodyMissing, Destination, Outbox, Schedule, StorageFailed
from netserve.testing.queue import (
    DEFERRED,
    DELIVERED,
    FAILED,
    UNREACHED,
    WALL,
    Courier,
    SteeredReactor,
    opened_queue,
    put,
    until,
)

HOUR = 3600.0
LARGE = b"Subject: large\r\n\r\n" + b"0123456789abcdef" * 8192


class Queue:
    """A queue, its courier and its clock, with what tests do to them."""

    def __init__(self, outbox: Outbox, courier: Courier, clock: SteeredReactor) -> None:
        self.outbox = outbox
        self.courier = courier
        self.clock = clock

    async def until(self, condition: object) -> None:
        await until(condition, reactor=reactor)  # type: ignore[arg-type]

    async def tries(self, count: int) -> None:
        """Wait until so many recipients were tried, and all outcomes are written."""
        await self.until(lambda: len(self.courier.addresses) >= count)
        await self.outbox.verbs.list(limit=1)
        await self.settle()

    async def settle(self) -> None:
        await self.outbox.verbs.retry_nothing() if False else None
        done = self.outbox._parts.store  # everything that waits is in front of this call
        from twisted.internet.defer import Deferred

        for _ in range(2):
            waiting: Deferred[None] = Deferred()
            done.call(lambda connection, removed: None, waiting.callback, waiting.errback)
            await waiting

    async def messages(self) -> list[dict[str, object]]:
        return (await self.outbox.verbs.list()).messages


@asynccontextmanager
async def queue(
    folder: Path, courier: Courier | None = None, *, later: float = 0.0, **options: object
) -> AsyncIterator[Queue]:
    """A queue that begins `later` seconds after the first one."""
    clock = SteeredReactor(reactor)
    courier = courier or Courier()
    async with opened_queue(
        folder, courier, reactor=clock, wall=WALL + later, **options  # type: ignore[arg-type]
    ) as outbox:
        yield Queue(outbox, courier, clock)


def count_files(folder: Path) -> int:
    return len(list((folder / "bodies").iterdir()))
