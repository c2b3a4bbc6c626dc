"""Deadlines: never early, at most two ticks late, and no timer where nothing is watched."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock

from netserve.http.deadlines import BATCH, Deadlines


class Waiting:
    """Waits for some seconds."""

    def __init__(self, deadlines: Deadlines, seconds: float) -> None:
        self._deadlines = deadlines
        self._since = deadlines.now
        self._seconds = seconds
        self.gave_up = 0

    def is_overdue(self, now: float) -> bool:
        return now - self._since >= self._seconds

    def give_up(self) -> None:
        self.gave_up += 1
        self._deadlines.forget(self)


def test_a_deadline_is_never_early_and_hardly_late() -> None:
    for begun in (0.0, 0.05, 0.1, 0.24, 0.26):
        clock = Clock()
        deadlines = Deadlines(clock, [1.0])
        other = Waiting(deadlines, 100.0)
        deadlines.watch(other)
        clock.advance(begun)
        waiting = Waiting(deadlines, 1.0)
        deadlines.watch(waiting)
        waited = 0.0
        while not waiting.gave_up:
            clock.advance(0.01)
            waited += 0.01
            assert waited < 2.0
        assert 1.0 - 1e-9 <= waited <= 1.0 + 2 * deadlines.tick + 0.011
        assert not other.gave_up


def test_nothing_is_scheduled_where_nothing_is_watched() -> None:
    clock = Clock()
    deadlines = Deadlines(clock, [1.0])
    assert not clock.getDelayedCalls()
    waiting = Waiting(deadlines, 0.5)
    deadlines.watch(waiting)
    assert clock.getDelayedCalls()
    clock.pump([0.25] * 8)
    assert waiting.gave_up == 1
    assert not clock.getDelayedCalls()


def test_many_are_looked_at_in_several_turns() -> None:
    """S23."""
    clock = Clock()
    deadlines = Deadlines(clock, [1.0])
    many = [Waiting(deadlines, 0.1) for _ in range(BATCH * 2 + 1)]
    for each in many:
        deadlines.watch(each)
    counts: list[int] = []
    looked = deadlines._look_at

    def look(things: list[Any], now: float) -> None:
        counts.append(len(things))
        looked(things, now)

    deadlines._look_at = look  # type: ignore[method-assign]
    clock.pump([0.25, 0.25, 0])
    assert counts[-3:] == [BATCH * 2 + 1, BATCH + 1, 1]
    assert all(each.gave_up == 1 for each in many)


def test_one_that_another_one_ends_is_not_told() -> None:
    clock = Clock()
    deadlines = Deadlines(clock, [1.0])
    first, second = Waiting(deadlines, 0.1), Waiting(deadlines, 0.1)
    for each, other in ((first, second), (second, first)):
        each.give_up = lambda each=each, other=other: (  # type: ignore[method-assign]
            setattr(each, "gave_up", each.gave_up + 1), deadlines.forget(other)
        )  # fmt: skip
        deadlines.watch(each)
    clock.pump([0.25, 0.25])
    assert first.gave_up + second.gave_up == 1
