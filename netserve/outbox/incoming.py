"""A message that comes in: memory at first, a file when it grows, nothing when it is given up."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final
from zlib import crc32

from twisted.internet.defer import Deferred

from netserve.outbox.ids import encode_id
from netserve.outbox.model import BodyReader, Item, Submission, Task
from netserve.outbox.records import BodyWriter
from netserve.outbox.storage import Storage

IN_MEMORY: Final = 80 * 1024
"""A body that is longer goes to a file; mail of 64 KiB is not, with what a relay puts before it."""

Accept = Callable[["Finished"], None]


class Finished:
    """A message that is complete and waits for its commit.

    Arguments:
        message: as it will be in the queue.
        recipients: all of them.
        data: the body where it is small, else None.
        body: the body where it is large, else None.
        committed: fires with the queue id after the commit.
    """

    __slots__ = ("body", "committed", "data", "message", "recipients")

    def __init__(
        self,
        message: Item,
        recipients: Sequence[Task],
        data: bytes | None,
        body: BodyWriter | None,
    ) -> None:
        self.message = message
        self.recipients = recipients
        self.data = data
        self.body = body
        self.committed: Deferred[str] = Deferred()


class Incoming:
    """A message while it comes in. Made by `Outbox.incoming`.

    Either `commit` or `abort` ends it; `abort` may be called at any time, also after either.

    Arguments:
        number: its key, given before the commit so that it can stand in the Received: field.
        storage: where a large body goes.
        now: unix seconds.
        accept: is given the complete message, and sees to the commit.
    """

    __slots__ = (
        "_accept", "_began", "_body", "_now", "_number", "_parts", "_storage", "_sum", "id", "size",
    )  # fmt: skip

    def __init__(
        self, number: int, storage: Storage, *, now: Callable[[], float], accept: Accept
    ) -> None:
        self.id = encode_id(number)
        """The queue id."""
        self.size = 0
        """Bytes so far."""
        self._number = number
        self._storage = storage
        self._now = now
        self._accept = accept
        self._began = now()
        self._sum = 0
        self._parts: list[bytes] | None = []
        self._body: BodyWriter | None = None

    def write(self, data: bytes) -> None:
        """Append to the message, its header first; lines are ended by CRLF.

        Raises:
            OutOfSpace: the disk is full (452 4.3.1); call `abort`.
            StorageFailed: the disk fails (451 4.3.0); call `abort`.
        """
        if self._parts is None:
            raise RuntimeError("the message has ended")
        self.size += len(data)
        self._sum = crc32(data, self._sum)
        if self._body is not None:
            self._body.write(data)
            return
        self._parts.append(data)
        if self.size > IN_MEMORY:
            self._body = self._storage.body(self._number)
            self._body.write(b"".join(self._parts))
            self._parts = []

    def commit(self, service: str, submission: Submission) -> Deferred[str]:
        """Make the message durable.

        Arguments:
            service: the name of the service that takes it in.
            submission: what it is; for mail see `netserve.mail.queued.submission`.

        Errors:
            OutOfSpace: from the Deferred: 452 4.3.1; nothing is left behind.
            StorageFailed: from the Deferred: 451 4.3.0.
            ValueError: raised at once; there is no task, or a text is not Unicode.
        """
        if self._parts is None:
            raise RuntimeError("the message has ended")
        data = None if self._body is not None else b"".join(self._parts)
        now = self._now()
        source: Callable[[], BodyReader]
        if data is None:
            source = partial(self._storage.open_body, self._number, self.size)
        else:
            source = partial(io.BytesIO, data)
        message = submission.item(
            id=self.id,
            number=self._number,
            service=service,
            created=now,
            size=self.size,
            took=now - self._began,
            in_file=data is None,
            body_sum=self._sum,
            open_body=source,
        )
        finished = Finished(message, submission.tasks, data, self._body)
        self._parts, self._body = None, None
        self._accept(finished)
        return finished.committed

    def abort(self) -> None:
        """Leave nothing behind; harmless after `commit`, which it does not undo."""
        self._parts = None
        if self._body is not None:
            self._body.discard()
            self._body = None
