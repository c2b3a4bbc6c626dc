"""A supply that no address can use up (S24)."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netserve.fairness.shares import Holding, Shares


@pytest.mark.parametrize(
    ("total", "one"), [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (100, 50), (101, 51)]
)
def test_one_address_gets_about_a_half(total: int, one: int) -> None:
    """S24: and leaves the rest to the others."""
    shares = Shares(total)
    taken = 0
    while shares.take("a"):
        taken += 1
    assert taken == one
    assert total == 1 or shares.take("b")


@pytest.mark.parametrize("hogs", [1, 2, 3, 10, 30])
def test_the_more_addresses_take_all_they_can_the_less_each_has_and_some_is_left(hogs: int) -> None:
    """S24: with 30 addresses that take all they can get there is still some for the next one."""
    shares = Shares(1000)
    while sum(shares.take(f"10.0.0.{hog}") for hog in range(hogs)):
        pass
    left = shares.total - shares.used
    assert left >= shares.total // (hogs + 1) - 1
    assert shares.take("192.0.2.1")


def test_a_limit_for_each_address_takes_the_place_of_the_rule() -> None:
    shares = Shares(4, most=4)
    assert [shares.take("a") for _ in range(5)] == [True] * 4 + [False]
    assert not shares.take("b")
    shares.give("a")
    assert shares.take("b")


def test_what_is_beyond_a_share_is_not_taken_from_the_others() -> None:
    """S24: an answer that has come is held, however large; it is its own address that waits."""
    shares = Shares(100)
    shares.add("a", 1000)
    assert shares.used == 50
    assert not shares.permits("a")
    assert shares.take("b", 25)
    shares.give("a", 940)
    assert not shares.permits("a")
    shares.give("a", 20)
    assert shares.used == 65
    shares.give("a", 40)
    shares.give("b", 25)
    assert (shares.used, len(shares._of), len(shares._beyond)) == (0, 0, 0)


def test_a_client_without_an_address_is_held_to_the_total_only() -> None:
    shares = Shares(4)
    assert [shares.take("") for _ in range(5)] == [True] * 4 + [False]


@settings(deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(1, 40), st.booleans()), max_size=60
    )
)
def test_what_is_counted_is_what_was_taken(steps: list[tuple[str, int, bool]]) -> None:
    shares, have = Shares(100), Counter[str]()
    for key, amount, takes in steps:
        if takes:
            if shares.take(key, amount):
                have[key] += amount
                assert have[key] <= shares.total - shares.used + 1
        elif have[key] >= amount:
            shares.give(key, amount)
            have[key] -= amount
        assert shares.used == have.total() <= 100
    for key, amount in have.items():
        if amount:
            shares.give(key, amount)
    assert (shares.used, len(shares._of)) == (0, 0)


@settings(deadline=None)
@given(steps=st.lists(st.integers(-50, 80)), free=st.sampled_from([0, 30]))
def test_a_holding_counts_what_is_over_its_free_part(steps: list[int], free: int) -> None:
    shares = Shares(10_000)
    holding = Holding(shares, "a", free=free)
    size = 0
    for step in steps:
        if step > 0 and holding.grow(step):
            size += step
        elif step < 0:
            given = min(-step, size)
            holding.add(-given)
            size -= given
        assert (holding.size, shares.used) == (size, max(size - free, 0))
    holding.close()
    assert (holding.size, shares.used) == (0, 0)


def test_a_holding_that_may_not_grow_stays_as_it_is() -> None:
    shares = Shares(100)
    one, other = Holding(shares, "a", free=10), Holding(shares, "a", free=10)
    assert one.grow(50)
    assert not other.grow(50)
    assert (other.size, shares.used) == (0, 40)
    other.add(50)  # it has come, and there is no choice
    assert (other.size, shares.used) == (50, 50)
    other.close()
    assert shares.used == 40
