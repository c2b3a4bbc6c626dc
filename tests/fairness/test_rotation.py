"""One item of each key in turn."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netserve.fairness.rotation import Rotation


def rotation(*items: tuple[str, int]) -> Rotation[str, int]:
    made: Rotation[str, int] = Rotation()
    for key, item in items:
        made.put(key, item)
    return made


def test_a_key_with_many_items_does_not_hold_up_the_others() -> None:
    made = rotation(("a", 1), ("a", 2), ("a", 3), ("b", 4), ("c", 5))
    assert [made.pop() for _ in range(5)] == [("a", 1), ("b", 4), ("c", 5), ("a", 2), ("a", 3)]
    with pytest.raises(IndexError):
        made.pop()


def test_what_is_discarded_is_not_served() -> None:
    made = rotation(("a", 1), ("a", 2), ("b", 3))
    assert made.discard("a", 1)
    assert made.discard("b", 3)
    assert not made.discard("b", 3)
    assert not made.discard("a", 9)
    assert (len(made), made.pop(), len(made)) == (1, ("a", 2), 0)


def test_keys_that_are_not_permitted_are_passed_over_and_keep_their_place() -> None:
    made = rotation(("a", 1), ("b", 2), ("c", 3))
    assert made.pop_where(lambda key: key != "a") == ("b", 2)
    assert made.pop_where(lambda key: key == "z") is None
    assert made.pop() == ("a", 1)


@settings(deadline=None)
@given(items=st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 99))))
def test_everything_comes_out_once_and_nobody_waits_for_more_than_a_round(
    items: list[tuple[str, int]],
) -> None:
    made = rotation(*items)
    served: list[tuple[str, int]] = []
    while made:
        served.append(made.pop())
    assert Counter(served) == Counter(items)
    for key in {key for key, _ in items}:
        assert [i for k, i in served if k == key] == [i for k, i in items if k == key]
    # Between two items of a key each of the others has had one, as long as it had any left.
    for key in {key for key, _ in items}:
        at = [number for number, (k, _) in enumerate(served) if k == key]
        for one, next_one in itertools.pairwise(at):
            between = served[one + 1 : next_one]
            later = {k for k, _ in served[next_one:]}
            assert {k for k, _ in between} >= later - {key}
