"""Time: it does not jump, and things are woken at their times."""

import pytest
from twisted.internet.task import Clock as Reactor

from netserve.outbox.clock import Clock, Wakes


def test_time_follows_the_monotonic_clock_only() -> None:
    """S20: a wall clock that jumps an hour changes no schedule."""
    reactor, wall = Reactor(), [1000.0]
    clock = Clock(reactor, lambda: wall[0])
    wall[0] += 3600
    reactor.advance(5)
    assert clock.now() == 1005.0


def test_each_thing_is_woken_once_at_the_earliest_time_asked_for() -> None:
    reactor = Reactor()
    woken: list[tuple[float, str]] = []
    wakes = Wakes(reactor, reactor.seconds, lambda thing: woken.append((reactor.seconds(), thing)))
    for thing, when in [("b", 20), ("a", 30), ("a", 10), ("c", 15), ("a", 40), ("b", 25)]:
        wakes.at(thing, when)
    assert len(reactor.getDelayedCalls()) == 1
    reactor.pump([1] * 60)
    assert woken == [(10, "a"), (15, "c"), (20, "b")]
    wakes.at("a", 70)
    wakes.stop()
    assert reactor.getDelayedCalls() == []


def test_an_error_with_one_thing_does_not_let_the_others_sleep_on() -> None:
    reactor = Reactor()
    woken: list[str] = []

    def wake(thing: str) -> None:
        if thing == "a":
            raise ZeroDivisionError
        woken.append(thing)

    wakes = Wakes(reactor, reactor.seconds, wake)
    for thing, when in [("a", 10), ("b", 10), ("c", 20)]:
        wakes.at(thing, when)
    with pytest.raises(ZeroDivisionError):
        reactor.advance(10)
    reactor.advance(0)
    assert woken == ["b"]
    reactor.advance(10)
    assert woken == ["b", "c"]
