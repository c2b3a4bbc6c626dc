"""Replies that are ready in any order, and leave in the order of their requests. No I/O."""

from __future__ import annotations

from collections import deque
from typing import Final

__all__ = ["ReplyQueue", "Slot"]

_OPEN: Final = object()


class Slot:
    """The place of one reply."""

    __slots__ = ("_reply",)

    def __init__(self) -> None:
        self._reply: object = _OPEN

    @property
    def is_open(self) -> bool:
        """Whether the reply is still to come."""
        return self._reply is _OPEN

    def fill(self, reply: bytes | None) -> None:
        """The reply is here; None, where there is none to send. A second one is ignored."""
        if self._reply is _OPEN:
            self._reply = reply


class ReplyQueue(deque[Slot]):
    """The replies of one connection that cannot be sent yet, in order.

    A deque itself, so that to ask whether anything waits costs next to nothing.
    """

    __slots__ = ()

    def open(self) -> Slot:
        """A place behind all others."""
        slot = Slot()
        self.append(slot)
        return slot

    def take(self) -> list[bytes]:
        """The replies that are ready with none before them missing; they leave the queue."""
        ready: list[bytes] = []
        while self and not self[0].is_open:
            reply = self.popleft()._reply  # noqa: SLF001 - a slot is a part of its queue
            if isinstance(reply, bytes):
                ready.append(reply)
        return ready
