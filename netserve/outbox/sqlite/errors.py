"""SQLite's errors as the queue's own."""

from __future__ import annotations

import sqlite3

from netserve.outbox import errors
from netserve.outbox.errors import OutboxError, OutOfSpace, StorageFailed

_DAMAGED = ("SQLITE_CORRUPT", "SQLITE_NOTADB")


def is_full(error: BaseException) -> bool:
    """Whether an error of the system or of SQLite says that the disk is full."""
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
    return errors.is_full(error)


def storage_error(error: BaseException) -> OutboxError:
    """The queue's own error for what the system or SQLite raised."""
    if not isinstance(error, sqlite3.Error):
        return errors.storage_error(error)
    kind = OutOfSpace if is_full(error) else StorageFailed
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith(_DAMAGED):
        return kind(f"the database is damaged: {error}; `netserve queue repair` saves what it can")
    return kind(f"{error} ({name})" if name else str(error))
