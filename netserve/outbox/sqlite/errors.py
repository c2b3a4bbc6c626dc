"""SQLite's errors as the queue's own."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Final

from netserve.outbox import errors
from netserve.outbox.errors import OutboxError, OutOfSpace, StorageFailed

_INDEX_SIZE: Final = 64 * 1024
"""Bytes that SQLite wants for the index of a write-ahead log, at least."""
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


def why_not_opened(error: BaseException, folder: Path) -> str:
    """Why a database cannot be opened; on a full disk SQLite says only that there is an I/O error.

    Arguments:
        error: of the system or of SQLite.
        folder: of the queue.
    """
    status = os.statvfs(folder)
    is_out_of_space = status.f_bavail * status.f_frsize < _INDEX_SIZE
    return "the disk is full" if is_out_of_space else str(error)
