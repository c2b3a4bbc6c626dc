"""The schedule: properties over all of its settings."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserve.outbox.schedule import Schedule

SECONDS = st.floats(0.001, 10**7)


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    first = draw(SECONDS)
    return Schedule(
        first=first,
        longest=first * draw(st.floats(1, 1000)),
        life=draw(st.floats(0, 10**7)),
        delay_notice=draw(st.floats(0, 10**6)),
        jitter=draw(st.floats(0, 0.9)),
    )


@given(schedules(), st.integers(1, 10**6), st.integers())
def test_a_wait_is_within_its_bounds(schedule: Schedule, attempts: int, seed: int) -> None:
    wait = schedule.next_attempt(attempts, random.Random(seed))
    assert schedule.first * (1 - schedule.jitter) * 0.999 <= wait <= schedule.longest


@given(schedules(), st.integers(1, 100))
def test_without_jitter_the_wait_doubles_up_to_the_longest(
    schedule: Schedule, attempts: int
) -> None:
    plain = Schedule(first=schedule.first, longest=schedule.longest, jitter=0)
    before, after = (plain.next_attempt(n, random.Random(0)) for n in (attempts, attempts + 1))
    assert after == pytest.approx(min(before * 2, plain.longest))


@given(schedules(), st.floats(0, 10**7), st.integers(1, 50), st.booleans(), st.integers())
def test_an_attempt_follows_until_the_life_is_over(
    schedule: Schedule, age: float, attempts: int, warned: bool, seed: int
) -> None:
    created = 10.0**9
    now = created + age
    again = schedule.after_deferral(
        created=created, now=now, attempts=attempts, warned=warned, random=random.Random(seed)
    )
    if now >= created + schedule.life:
        assert again.next_at is None
    else:
        assert again.next_at is not None
        assert now <= again.next_at <= created + schedule.life


@given(schedules(), st.integers())
def test_the_notice_comes_once_and_at_its_time(schedule: Schedule, seed: int) -> None:
    """Played through: one notice, at its time to the second, if the message lives so long."""
    rng = random.Random(seed)
    created, now, warned, notices = 0.0, 0.0, False, []
    for attempts in range(1, 400):
        again = schedule.after_deferral(
            created=created, now=now, attempts=attempts, warned=warned, random=rng
        )
        if again.notice:
            notices.append(now)
            warned = True
        if again.next_at is None or now > 2 * schedule.delay_notice + 1:
            break
        now = again.next_at
    else:
        return
    expected = 0 < schedule.delay_notice < schedule.life
    assert len(notices) == expected
    if expected:
        assert notices[0] == pytest.approx(schedule.delay_notice)


@pytest.mark.parametrize(
    "wrong", [{"first": 0}, {"first": 10, "longest": 5}, {"jitter": 1}, {"life": -1}]
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="a schedule needs"):
        Schedule(**wrong)
