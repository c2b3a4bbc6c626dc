"""The rate: never more than it, and all of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserve.packet.pace import Pace


def test_packets_go_at_the_rate() -> None:
    pace, now, went = Pace(0.01), 100.0, []
    for _ in range(50):
        now += pace.wait(now)
        pace.take(now)
        went.append(now)
    assert went[-1] - went[0] == pytest.approx(49 * 0.01 - 0.02)


def test_a_late_timer_costs_no_rate_but_idle_time_is_not_saved_up() -> None:
    pace = Pace(0.01)
    pace.take(100.0)
    assert pace.wait(100.0) == 0.0  # within the burst
    pace.take(200.0, count=5)
    assert pace.wait(200.0) == pytest.approx(0.03)


@given(st.lists(st.floats(0, 0.1), min_size=1, max_size=200))
def test_in_any_window_there_are_no_more_than_the_rate_and_the_burst(pauses: list[float]) -> None:
    pace, now, went = Pace(0.01), 5.0, []
    for pause in pauses:
        now += pause
        if pace.wait(now) == 0:
            pace.take(now)
            went.append(now)
    for first in range(len(went)):
        for last in range(first, len(went)):
            assert last - first <= (went[last] - went[first]) / 0.01 + 2 + 1e-6
