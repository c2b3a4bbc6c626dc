"""Which messages an operator means. Plain data.

A store finds them; see `netserve.outbox.storage.Storage.find`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from netserve.outbox.errors import NoSuchMessage
from netserve.outbox.ids import decode_id
from netserve.outbox.model import State


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which messages are meant: those to which all of it applies; without anything, all.

    Arguments:
        ids: queue ids; empty for any.
        sender: the exact address, an empty string for the null sender; None for any.
        recipient: the exact address of one of its recipients.
        domain: of one of its recipients.
        reply: is part of the last reply to one of its recipients, in any case.
        older: it was taken in at least so many seconds ago.
        younger: it was taken in at most so many seconds ago.
        state: one of its recipients is in this state.
        service: the service that took it in.
    """

    ids: tuple[str, ...] = ()
    sender: str | None = None
    recipient: str | None = None
    domain: str | None = None
    reply: str | None = None
    older: float | None = None
    younger: float | None = None
    state: State | None = None
    service: str | None = None


EVERY: Final = Filter()
"""All messages."""


def number_of(text: str) -> int:
    """The number for an id that somebody typed.

    Raises:
        NoSuchMessage: it cannot be one.
    """
    try:
        return decode_id(text.strip().lower())
    except ValueError as error:
        raise NoSuchMessage(str(error)) from None
