"""Turns: the reactor's time, in small parts, among services, addresses and connections.

A turn of the reactor calls everything that has input, so others wait for all of it. A driver of
connections therefore bounds what it does in one go, by a `Turn`::

    self._turn = context.turns.turn(counting_key(peer), self._work)

    def dataReceived(self, data):
        self._held.append(data)
        self._turn.ask()

    def _work(self):                      # one unit of work at the least, then as time allows
        while self._held:
            self._handle(self._held.popleft())
            if self._turn.is_over():
                return True               # there is more to do
        return False

`Turn.ask` has the work done at once while the reactor's turn is young. Later the connection waits:
for the next turn of the reactor, in which one slice of work is done for each service in rotation,
among the connections of a service for each address in rotation, and among those of an address for
each connection. So what one address can do to others is bounded by one slice, whatever the number
of its connections, and the reactor comes back to its sockets within `TURN` and one unit of work.

Work that is small and bounded needs no turn of its own while `Turns.has_time` says so.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Any, Final

from netserve.fairness.rotation import Rotation

TURN: Final = 0.005
"""Seconds that a turn of the reactor gives to work that waits, and once more to new work."""
SLICE: Final = 0.001
"""Seconds of work of one connection before others are served."""
UNMEASURED: Final = 64
"""Small pieces of work in a turn of the reactor before its time is looked at."""


class Turns:
    """The turns of one reactor.

    Arguments:
        call_soon: calls a function in the next turn of the reactor.
        now: a monotonic clock, in seconds.
        turn: see `TURN`.
        slice_: see `SLICE`.
    """

    __slots__ = ("_call_soon", "_end", "_now", "_slice", "_turn", "_waiting", "_watches", "left",
                 "slice_end")  # fmt: skip

    left: int
    """Small pieces of work before the time of this turn of the reactor is looked at. Who counts
    them here, and asks `has_time` only below 0, saves a call."""
    slice_end: float
    """When the slice of work that is being done is over."""

    def __init__(
        self,
        call_soon: Callable[[Callable[[], None]], object],
        *,
        now: Callable[[], float] = time.monotonic,
        turn: float = TURN,
        slice_: float = SLICE,
    ) -> None:
        self._call_soon = call_soon
        self._now = now
        self._turn = turn
        self._slice = slice_
        self._end = self.slice_end = 0.0
        self.left = UNMEASURED
        self._watches = False  # whether this turn of the reactor is measured
        self._waiting: deque[Share] = deque()  # each share that waits, once

    @classmethod
    def of(cls, reactor: Any) -> Turns:
        """The turns of a reactor.

        Arguments:
            reactor: `netserve.reactor.NetserveReactor`, or another with ``callLater``.
        """
        loop = getattr(reactor, "loop", None)
        if loop is not None:
            return cls(loop.call_soon)
        return cls(lambda call: reactor.callLater(0, call))

    def share(self, failed: Callable[[Exception], object]) -> Share:
        """The share of one service.

        Arguments:
            failed: is called with what the work of a connection raised while it had its turn; the
                connection is aborted.
        """
        return Share(self, failed)

    def has_time(self) -> bool:
        """Whether this turn of the reactor has time for one more small piece of work."""
        if self.left > 0:
            self.left -= 1
            return True
        return self.is_young()

    def is_young(self) -> bool:
        """Whether this turn of the reactor has time, by the clock."""
        if not self._watches:
            self._watch()
            return True
        return self._now() < self._end

    def _watch(self) -> None:
        """Measure this turn of the reactor from now on."""
        self._watches = True
        self.left = 0
        self._end = self._now() + self._turn
        self._call_soon(self._begin)

    def _begin(self) -> None:
        """The next turn of the reactor: do what waits, as far as there is time."""
        self._watches = False
        self.left = UNMEASURED
        waiting = self._waiting
        if not waiting:
            return
        self._watch()
        end = self._end
        while waiting:
            share = waiting.popleft()
            turn = share.pop()
            if share.waiting:
                waiting.append(share)
            if turn is None:
                continue  # who waited is gone
            try:
                self._do(turn, end)
            except Exception as error:
                turn.abort()
                share.failed(error)
            end -= turn.cost
            if self._now() >= end:
                break
        self._end = self._now() + self._turn  # for what comes new

    def _do(self, turn: Turn, end: float) -> None:
        """One slice of work."""
        outer = self.slice_end
        self.slice_end = min(self._now() + self._slice, end)
        turn.state = _WORKS
        more: object = False
        try:
            more = turn.work()
        finally:
            # Work may bring about other work, such as that of a connection that waited for it.
            self.slice_end = outer
            more = more or turn.state is _ASKED
            if turn.state is not _DROPPED:
                turn.state = _RESTS
        if more and turn.state is _RESTS:
            self._wait(turn)

    def ask(self, turn: Turn) -> None:
        """Have work done; see `Turn.ask`."""
        if turn.state is _WORKS:
            turn.state = _ASKED
        elif turn.state is _RESTS:
            if self.is_young():
                self._end -= turn.cost
                self._do(turn, self._end)
            else:
                self._wait(turn)

    def _wait(self, turn: Turn) -> None:
        turn.state = _WAITS
        if turn.share.put(turn):
            self._waiting.append(turn.share)
        if not self._watches:
            self._watch()

    def is_over(self) -> bool:
        """Whether the slice of work that is being done is over."""
        return self._now() >= self.slice_end


class Share:
    """One service's share of the turns; made by `Turns.share`.

    Arguments:
        turns: of the reactor.
        failed: see `Turns.share`.
    """

    __slots__ = ("_queued", "_waiting", "failed", "turns")

    def __init__(self, turns: Turns, failed: Callable[[Exception], object]) -> None:
        self.turns = turns
        self.failed = failed
        self._waiting: Rotation[str, Turn] = Rotation()
        self._queued = False  # whether it is among the shares that wait

    @property
    def waiting(self) -> int:
        """How many of its connections wait for their turn."""
        return len(self._waiting)

    def turn(
        self,
        address: str,
        work: Callable[[], object],
        abort: Callable[[], object] | None = None,
        *,
        cost: float = 0.0,
    ) -> Turn:
        """The turn of a connection, or of other work of a client.

        Arguments:
            address: the client's.
            work: does one unit of work, and more until `Turn.is_over`; true means that there is
                more to do.
            abort: is called when work that had to wait for its turn has raised something.
            cost: seconds that pass elsewhere for each call of `work`, in the same turn of the
                reactor: where it only begins something.
        """
        return Turn(self, address, work, abort or _nothing, cost)

    def put(self, turn: Turn) -> bool:
        """Append a turn to those that wait; says whether the share has to be queued for it."""
        self._waiting.put(turn.address, turn)
        was, self._queued = self._queued, True
        return not was

    def pop(self) -> Turn | None:
        """Take the next turn that waits; None where all are gone."""
        turn = self._waiting.pop()[1] if self._waiting else None
        self._queued = bool(self._waiting)
        return turn

    def discard(self, turn: Turn) -> None:
        """Let a turn wait no longer."""
        self._waiting.discard(turn.address, turn)


def _nothing() -> None:
    """Nothing is to be aborted."""


class State(Enum):
    """Where a turn is."""

    RESTS = "there is no work"
    WAITS = "it waits for the reactor's time"
    WORKS = "its work is being done"
    ASKED = "its work is being done, and was asked for once more"
    DROPPED = "no work of it is done any more"


_RESTS: Final = State.RESTS
_WAITS: Final = State.WAITS
_WORKS: Final = State.WORKS
_ASKED: Final = State.ASKED
_DROPPED: Final = State.DROPPED


class Turn:
    """One connection's part in the turns; made by `Share.turn`."""

    __slots__ = ("_turns", "abort", "address", "cost", "share", "state", "work")

    def __init__(
        self,
        share: Share,
        address: str,
        work: Callable[[], object],
        abort: Callable[[], object],
        cost: float,
    ) -> None:
        self.share = share
        self.address = address
        self.state = _RESTS
        self.work = work
        self.abort = abort
        self.cost = cost
        self._turns = share.turns

    @property
    def waits(self) -> bool:
        """Whether its work waits for the reactor's time."""
        return self.state is _WAITS

    def ask(self) -> None:
        """Have the work done: at once, or when its turn comes."""
        self._turns.ask(self)

    def is_over(self) -> bool:
        """Whether others are to be served; to be asked by the work after each unit of it."""
        return self._turns.is_over()

    def drop(self) -> None:
        """Do no more of the work: the connection is gone."""
        if self.state is _WAITS:
            self.share.discard(self)
        self.state = _DROPPED
