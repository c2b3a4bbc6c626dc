"""Which requests were answered already: the window of the header Idempotency-Key. Pure.

A client that does not know whether its request was taken sends it again with the same key, and gets
the first one's answer. Only what was taken is remembered: what was refused may be sent again.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

KEYS: Final = 10_000
"""Answers that are remembered; the oldest goes first."""
SECONDS: Final = 86400.0
"""And for how long."""

Key: TypeAlias = tuple[str, str]
"""A user and the user's own key."""


@dataclass(frozen=True, slots=True)
class Answered:
    """A request that was taken.

    Arguments:
        digest: of its content.
        answer: what was answered.
        at: when, in seconds.
    """

    digest: bytes
    answer: Mapping[str, Any]
    at: float


class Window:
    """The keys of one service.

    Arguments:
        clock: gives seconds.
        keys: how many answers are remembered.
        seconds: for how long.
    """

    def __init__(
        self, clock: Callable[[], float], *, keys: int = KEYS, seconds: float = SECONDS
    ) -> None:
        self._clock = clock
        self._keys = keys
        self._seconds = seconds
        self._answered: OrderedDict[Key, Answered] = OrderedDict()
        self._under_way: set[Key] = set()

    def claim(self, key: Key) -> Claim | None:
        """Begin a request with this key; None while another one with it is under way."""
        if key in self._under_way:
            return None
        self._under_way.add(key)
        return Claim(self, key, self._find(key))

    def _find(self, key: Key) -> Answered | None:
        found = self._answered.get(key)
        if found is not None and self._clock() - found.at > self._seconds:
            del self._answered[key]
            return None
        return found

    def end(self, key: Key) -> None:
        """A request with this key is over, whatever came of it."""
        self._under_way.discard(key)

    def remember(self, key: Key, digest: bytes, answer: Mapping[str, Any]) -> None:
        """A request with this key was taken."""
        self._answered[key] = Answered(digest, answer, self._clock())
        if len(self._answered) > self._keys:
            self._answered.popitem(last=False)


class Claim:
    """One request with a key, from its beginning to its end. Made by `Window.claim`.

    Arguments:
        window: of the service.
        key: of the request.
        known: an earlier request with the key that was taken, or None.
    """

    def __init__(self, window: Window, key: Key, known: Answered | None) -> None:
        self.known = known
        self.is_committing = False
        """Set once the message is on its way to the disk."""
        self._window = window
        self._key = key
        self._digest = hashlib.sha256()

    def update(self, data: bytes) -> None:
        """A part of its content."""
        self._digest.update(data)

    @property
    def is_the_same(self) -> bool:
        """Whether its content, which has come, is that of the earlier one."""
        return self.known is not None and self.known.digest == self._digest.digest()

    def taken(self, answer: Mapping[str, Any]) -> None:
        """It was taken, and this is the answer to all that come with its key."""
        self._window.remember(self._key, self._digest.digest(), answer)
        self.end()

    def end(self) -> None:
        """It is over, and may come again; harmless a second time."""
        self._window.end(self._key)

    def leave(self) -> None:
        """Its handler is done; where the message is being committed, the end comes with that."""
        if not self.is_committing:
            self.end()
