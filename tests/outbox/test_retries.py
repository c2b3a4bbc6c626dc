"""One retry time for each message and destination, whichever delivery ends first."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserve.outbox import retries
from netserve.outbox.retries import STRETCH, RetryTimes


def test_later_deliveries_join_the_time_of_the_first() -> None:
    times = RetryTimes()
    assert times.join(1, "mail x", now=0.0, wanted=300.0) == 300.0
    for second in range(1, 151):
        assert times.join(1, "mail x", now=second, wanted=second + 300.0) == 300.0


@pytest.mark.parametrize(("message", "lane"), [(2, "mail x"), (1, "mail y"), (1, "other x")])
def test_other_messages_and_destinations_have_times_of_their_own(message: int, lane: str) -> None:
    times = RetryTimes()
    times.join(1, "mail x", now=0.0, wanted=300.0)
    assert times.join(message, lane, now=1.0, wanted=301.0) == 301.0


def test_a_delivery_that_ends_late_waits_for_at_least_half_of_its_time() -> None:
    times = RetryTimes()
    times.join(1, "mail x", now=0.0, wanted=300.0)
    assert times.join(1, "mail x", now=200.0, wanted=500.0) == 500.0
    assert times.join(1, "mail x", now=300.0, wanted=900.0) == 900.0, "the next round"
    assert times.join(1, "mail x", now=500.0, wanted=1100.0) == 900.0, "together again"


def test_a_time_that_has_passed_is_not_joined() -> None:
    times = RetryTimes()
    times.join(1, "mail x", now=0.0, wanted=300.0)
    assert times.join(1, "mail x", now=300.0, wanted=900.0) == 900.0


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.floats(0, 1e5), st.floats(1, 1e5)), min_size=1, max_size=50
    )
)
def test_a_wait_stays_near_the_one_of_the_schedule(
    deferrals: list[tuple[int, float, float]],
) -> None:
    times, now = RetryTimes(), 1e9
    for message, pause, wait in deferrals:
        now += pause
        at = times.join(message, "mail x", now=now, wanted=now + wait)
        assert wait / STRETCH * 0.999 <= at - now <= wait * STRETCH * 1.001


def test_the_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """S8: the oldest is forgotten."""
    monkeypatch.setattr(retries, "MOST", 3)
    times = RetryTimes()
    for number in range(10):
        times.join(number, "mail x", now=0.0, wanted=300.0)
    assert len(times) == 3
    assert times.join(9, "mail x", now=1.0, wanted=301.0) == 300.0
    assert times.join(0, "mail x", now=1.0, wanted=301.0) == 301.0
