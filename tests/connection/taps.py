"""Taps for tests: one that remembers, and some that misbehave."""

from __future__ import annotations

import time
from typing import Any

from netserve.connection import Connection, Tap


class Remembering:
    """Keeps what it is told of one connection."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.pieces: list[tuple[str, bytes]] = []
        self.halves: list[bool] = []
        self.reasons: list[Any] = []

    def received(self, data: bytes) -> None:
        self._keep("received", data)

    def sent(self, data: bytes) -> None:
        self._keep("sent", data)

    def _keep(self, what: str, data: bytes) -> None:
        assert type(data) is bytes
        assert not self.reasons, f"{what} after the end"
        self.pieces.append((what, data))

    def half_closed(self, *, by_peer: bool) -> None:
        self.halves.append(by_peer)

    def ended(self, reason: Any) -> None:
        self.reasons.append(reason)

    def all(self, what: str) -> bytes:
        """Everything in one direction."""
        return b"".join(data for which, data in self.pieces if which == what)


class Taps:
    """An `OpenTap` whose taps remember; they are in `opened`."""

    def __init__(self) -> None:
        self.opened: list[Remembering] = []

    def __call__(self, connection: Connection) -> Tap:
        self.opened.append(Remembering(connection))
        return self.opened[-1]


class Failing(Remembering):
    """Fails at a certain call.

    Arguments:
        at: the name of the method.
        after: calls of it that go well before.
    """

    def __init__(self, connection: Connection, at: str, after: int = 0) -> None:
        super().__init__(connection)
        self._at = at
        self._left = after
        self.calls_after = 0
        self.has_failed = False

    def _may_fail(self, name: str) -> None:
        if self.has_failed and name != "ended":
            self.calls_after += 1
        if name == self._at:
            if not self._left:
                self.has_failed = True
                raise RuntimeError(f"the tap failed at {name}")
            self._left -= 1

    def received(self, data: bytes) -> None:
        self._may_fail("received")
        super().received(data)

    def sent(self, data: bytes) -> None:
        self._may_fail("sent")
        super().sent(data)

    def half_closed(self, *, by_peer: bool) -> None:
        self._may_fail("half_closed")
        super().half_closed(by_peer=by_peer)

    def ended(self, reason: Any) -> None:
        self._may_fail("ended")
        super().ended(reason)


class Blocking(Remembering):
    """Takes its time for each read."""

    def received(self, data: bytes) -> None:
        time.sleep(0.06)
        super().received(data)
