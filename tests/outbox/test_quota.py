"""Quotas: never more than allowed in any stretch of time, over restarts too."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserve.outbox.quota import SLICES, Quota, Slice, Usage

START = 1_700_000_000.0
QUOTAS = (Quota(5, 60.0), Quota(20, 3600.0))


def test_what_is_over_waits_until_the_first_is_forgotten() -> None:
    usage = Usage([Quota(3, 60.0)])
    assert usage.free_at(START, 3) <= START
    usage.add(START, 1)
    usage.add(START + 10, 2)
    assert usage.free_at(START + 10, 1) == pytest.approx(START + 61, abs=1)
    assert usage.free_at(START + 10, 2) == pytest.approx(START + 71, abs=1)
    assert usage.free_at(START + 62, 1) <= START + 62


def test_more_than_the_quota_waits_for_all_of_it() -> None:
    usage = Usage([Quota(3, 60.0)])
    assert usage.free_at(START, 50) <= START
    usage.add(START, 1)
    assert usage.free_at(START, 50) > START


def test_what_did_not_go_is_given_back() -> None:
    usage = Usage([Quota(3, 60.0)])
    usage.add(START, 3)
    usage.add(START + 0.1, -2)
    assert usage.free_at(START + 0.2, 2) <= START + 0.2
    usage.add(START + 0.3, -20)
    assert usage.is_unused(START + 0.4)


def test_short_windows_are_not_stored() -> None:
    usage = Usage([Quota(5, 1.0), Quota(9, 60.0)])
    usage.add(START, 2)
    assert {one.seconds for one in usage.changes()} == {60.0}
    assert not usage.changes(), "only once"


def test_a_quota_that_changes_keeps_what_was_used_in_its_time() -> None:
    old = Usage(QUOTAS)
    old.add(START, 5)
    new = Usage([Quota(6, 3600.0), Quota(100, 86400.0)], old.slices())
    assert new.free_at(START, 1) <= START
    assert new.free_at(START, 2) > START


@given(
    steps=st.lists(
        st.tuples(
            st.floats(0, 400),
            st.integers(1, 4),
            st.sampled_from(["use", "use", "use", "give back", "restart"]),
        ),
        max_size=80,
    )
)
def test_in_no_stretch_of_time_more_than_allowed(steps: list[tuple[float, int, str]]) -> None:
    usage, stored, now = Usage(QUOTAS), dict[tuple[float, float], Slice](), START
    used: list[tuple[float, int]] = []
    for wait, count, what in steps:
        now += wait
        if what == "restart":
            usage = Usage(QUOTAS, stored.values())
        elif what == "give back":
            if used and used[-1][0] == now:
                usage.add(now, -used.pop()[1])
        elif usage.free_at(now, count) <= now:
            usage.add(now, count)
            used.append((now, count))
        stored |= {(one.seconds, one.start): one for one in usage.changes()}
    for quota in QUOTAS:
        for begin, _ in used:
            inside = [n for at, n in used if begin <= at < begin + quota.seconds]
            assert sum(inside) <= quota.count


@given(count=st.integers(1, 5), wait=st.floats(0, 200))
def test_it_is_free_when_it_says(count: int, wait: float) -> None:
    usage = Usage(QUOTAS)
    usage.add(START, 5)
    usage.add(START + wait, 1)
    at = usage.free_at(START + wait, count)
    assert usage.free_at(at, count) <= at
    assert at <= START + wait + 60.0 * (1 + 2 / SLICES)
