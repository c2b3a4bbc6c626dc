"""What can go wrong with the queue, and what an SMTP server answers to it.

=================  ==========================================  ============
class              what happened                               answer
=================  ==========================================  ============
OutOfSpace         the disk is full; it recovers by itself     452 4.3.1
StorageFailed      a sync or a commit failed, or the queue     451 4.3.0
                   is closed; it takes no more mail
BodyMissing        a queued body is gone or damaged            (held)
BodyUnreadable     a queued body cannot be read now            (deferred)
NoSuchMessage      a verb was given an id that is not there    (404)
=================  ==========================================  ============
"""

from __future__ import annotations

import errno
import sqlite3

from netserve.errors import NetserveError

_DAMAGED = ("SQLITE_CORRUPT", "SQLITE_NOTADB")
NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})


class OutboxError(NetserveError):
    """The base of the queue's errors."""


class OutOfSpace(OutboxError):
    """There is no room on the disk; nothing of the message is left behind."""


class StorageFailed(OutboxError):
    """The message could not be made durable; the queue takes no more mail."""


class BodyMissing(OutboxError):
    """The body of a queued message is missing or damaged."""


class BodyUnreadable(OutboxError):
    """The body of a queued message is there, but the system does not let us read it."""


class NoSuchMessage(OutboxError, LookupError):
    """No message in the queue has this id."""


def is_full(error: BaseException) -> bool:
    """Whether an error of the system or of SQLite says that the disk is full."""
    if isinstance(error, OSError):
        return error.errno in NO_SPACE
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", None)
        return code == sqlite3.SQLITE_FULL
    return False


def storage_error(error: BaseException) -> OutboxError:
    """The queue's own error for what the system or SQLite raised."""
    if isinstance(error, OutboxError):
        return error
    kind = OutOfSpace if is_full(error) else StorageFailed
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith(_DAMAGED):
        return kind(f"the database is damaged: {error}; `netserve queue repair` saves what it can")
    return kind(f"{error} ({name})" if name else str(error))
