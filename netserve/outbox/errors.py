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

from netserve.errors import NetserveError

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
    """Whether an error of the system says that the disk is full."""
    return isinstance(error, OSError) and error.errno in NO_SPACE


def storage_error(error: BaseException) -> OutboxError:
    """The queue's own error for what the system raised."""
    if isinstance(error, OutboxError):
        return error
    kind = OutOfSpace if is_full(error) else StorageFailed
    return kind(str(error))
