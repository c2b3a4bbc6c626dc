"""Slots to an upstream, which addresses are given in turn (S24)."""

from __future__ import annotations

from functools import partial

from netserve.fairness.slots import Slots


def waiting(slots: Slots, address: str, log: list[str]) -> None:
    slots.wait(address, partial(log.append, address))


def test_an_address_that_has_its_share_waits_and_others_do_not() -> None:
    """S24: one address cannot take all slots."""
    slots, log = Slots(4), list[str]()
    assert [slots.take("a") for _ in range(3)] == [True, True, False]
    assert slots.take("b")
    for _ in range(3):
        waiting(slots, "a", log)
    slots.give("a")
    assert (log, slots.used, slots.waiting) == (["a"], 3, 2)
    slots.give("b")
    assert (log, slots.used) == (["a"], 2), "it has two, and may not have a third"


def test_those_that_wait_are_served_in_turn_by_address() -> None:
    """S24: the queue of one address is not in the way of the others."""
    slots, log = Slots(2, per_address=2), list[str]()
    assert slots.take("a")
    assert slots.take("a")
    for address in ("a", "a", "a", "b", "c"):
        waiting(slots, address, log)
    for _ in range(2):
        slots.give("a")
    assert log == ["a", "b"]
    slots.give("a")
    slots.give("b")
    assert log == ["a", "b", "c", "a"]


def test_who_waits_no_longer_is_not_given_one() -> None:
    slots, log = Slots(1), list[str]()
    assert slots.take("a")
    gone = partial(log.append, "gone")
    slots.wait("b", gone)
    waiting(slots, "c", log)
    assert slots.leave("b", gone)
    assert not slots.leave("b", gone)
    slots.give("a")
    assert (log, slots.used, slots.waiting) == (["c"], 1, 0)
