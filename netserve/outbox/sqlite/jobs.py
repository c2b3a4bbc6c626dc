"""What the writer's thread is asked for; see `netserve.outbox.sqlite.commit.Job`."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from netserve.outbox.errors import OutboxError
from netserve.outbox.quota import Slice
from netserve.outbox.records import Done, Mark, NewItem
from netserve.outbox.sqlite.bodies import BodyFile
from netserve.outbox.sqlite.changes import Changes

_ROWS = 2048
"""About the bytes that the rows of an item or of an outcome take."""


class Add:
    """Store an item.

    Arguments:
        new: the item.
        done: is called after the commit, or with the error.
    """

    __slots__ = ("file", "new", "settle")
    is_new_mail = True
    reads = False

    def __init__(self, new: NewItem, done: Done) -> None:
        if new.body is not None and not isinstance(new.body, BodyFile):
            raise TypeError("the body was written for another store")
        self.new = new
        self.file = new.body
        self.settle = done

    @property
    def weight(self) -> int:
        """About how many bytes go to the database."""
        return _weight(self.new)

    def collect(self, changes: Changes) -> None:
        """Put the rows to those of the batch."""
        changes.add(self.new)


class Conclude:
    """Store the outcome of a delivery.

    Arguments:
        mark: the outcome.
        done: is called after the commit, or with the error.
    """

    __slots__ = ("mark", "settle")
    is_new_mail = False
    reads = False
    file: None = None

    def __init__(self, mark: Mark, done: Done) -> None:
        self.mark = mark
        self.settle = done

    @property
    def weight(self) -> int:
        """About how many bytes go to the database."""
        return _ROWS + sum(map(_weight, self.mark.reports))

    def collect(self, changes: Changes) -> None:
        """Put the rows to those of the batch."""
        changes.mark(self.mark)


@dataclass(slots=True, eq=False)
class Use:
    """Store what was used of quotas by deliveries that begin now: a crash does not give it back.

    Arguments:
        account: whose quotas.
        used: what has changed in their usage.
    """

    account: str
    used: Sequence[Slice]

    is_new_mail = False
    reads = False
    file: None = None
    weight: int = 512

    def collect(self, changes: Changes) -> None:
        """Put the rows to those of the batch."""
        changes.use(self.account, self.used)

    def settle(self, error: OutboxError | None) -> None:
        """Nobody waits for it: where the disk is full, the next change has all of its slice."""


@dataclass(slots=True, eq=False)
class Call:
    """Anything else that is done within the batch's transaction.

    Arguments:
        function: is given the connection, in the writer thread; it may add to the numbers of
            messages whose body files go. Its errors other than SQLite's are its own result.
        done: is called with the result after the commit.
        failed: is called with the error.
    """

    function: Callable[[sqlite3.Connection, list[int]], Any]
    done: Callable[[Any], object]
    failed: Callable[[BaseException], object]
    result: Any = None
    error: Exception | None = None

    is_new_mail = False
    reads = True
    file: None = None
    weight: int = 4096

    def run(self, connection: sqlite3.Connection, removed_files: list[int]) -> None:
        """Do it."""
        try:
            self.result = self.function(connection, removed_files)
        except sqlite3.Error:
            raise
        except Exception as error:
            self.error = error

    def settle(self, error: OutboxError | None) -> None:
        """Pass the result on."""
        if (problem := error or self.error) is not None:
            self.failed(problem)
        else:
            self.done(self.result)


def _weight(new: NewItem) -> int:
    return _ROWS if new.data is None else _ROWS + len(new.data)
