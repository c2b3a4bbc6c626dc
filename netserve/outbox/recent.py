"""What came of the last deliveries, in memory, for who follows a message to its end.

A message that is done is deleted, so the queue itself can no longer tell. What is remembered is
bounded in number: the last outcomes of all messages, and those of the messages that somebody has
said to follow, which are few.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Any, Final, NamedTuple

LAST: Final = 2000
"""Outcomes that are remembered of all messages."""
FOLLOWED: Final = 100
"""Messages that are followed at one time; the oldest goes first."""
OF_ONE: Final = 1000
"""Outcomes that are remembered of one message that is followed."""


class Ended(NamedTuple):
    """What came of one recipient in one attempt.

    Arguments:
        number: of the message.
        recipient: the address.
        outcome: delivered, deferred, failed or expired.
        destination: the key of where it went.
        reply: the remote's, or ours.
        remote: who answered; may be empty.
        at: unix seconds.
    """

    number: int
    recipient: str
    outcome: str
    destination: str
    reply: str
    remote: str
    at: float

    def as_json(self) -> dict[str, Any]:
        """All but the number."""
        shown = self._asdict()
        del shown["number"]
        return shown


class Recent:
    """Remembers the last outcomes."""

    def __init__(self) -> None:
        self._last: deque[Ended] = deque(maxlen=LAST)
        self._followed: OrderedDict[int, deque[Ended]] = OrderedDict()

    def add(self, ended: Ended) -> None:
        """One more outcome."""
        self._last.append(ended)
        if self._followed and (own := self._followed.get(ended.number)) is not None:
            own.append(ended)

    def follow(self, number: int) -> None:
        """Remember the outcomes of this message longer than others'."""
        if number not in self._followed:
            known = (ended for ended in self._last if ended.number == number)
            self._followed[number] = deque(known, maxlen=OF_ONE)
            if len(self._followed) > FOLLOWED:
                self._followed.popitem(last=False)

    def of(self, number: int) -> list[Ended]:
        """What is remembered of a message, the oldest first; it is followed from then on."""
        self.follow(number)
        return list(self._followed[number])
