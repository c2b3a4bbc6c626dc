"""How much one client and one user may hand over in a time (S8)."""

from __future__ import annotations

from ipaddress import ip_network
from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserve.config.types import Rate, parse_rate
from netserve.protocols.smtp_relay.receiving.rates import (
    Meter,
    Places,
    RateLimits,
    take_of_all,
)


def test_a_bucket_is_used_up_at_once_and_filled_evenly() -> None:
    meter = Meter(parse_rate("3/minute"))
    assert [meter.take("a", 100.0) for _ in range(3)] == [0.0, 0.0, 0.0]
    assert meter.take("a", 100.0) == pytest.approx(20.0)
    assert meter.take("a", 110.0) == pytest.approx(10.0)
    assert meter.take("b", 100.0) == 0.0
    assert meter.take("a", 120.0) == 0.0
    assert meter.take("a", 120.0) == pytest.approx(20.0)
    assert [meter.take("a", 1000.0) for _ in range(3)] == [0.0, 0.0, 0.0]
    assert meter.take("a", 1000.0) == pytest.approx(20.0)


@given(
    st.integers(1, 20),
    st.sampled_from([1.0, 60.0, 3600.0]),
    st.lists(st.floats(0.0, 500.0), max_size=200),
)
def test_in_no_time_is_more_taken_than_a_bucket_and_what_came_in(
    count: int, seconds: float, steps: list[float]
) -> None:
    """And who keeps to the rate is never refused."""
    meter, now, taken = Meter(Rate(count, seconds)), 0.0, []
    for step in steps:
        now += step
        wait = meter.take("a", now)
        if not wait:
            taken.append(now)
        else:
            assert 0 < wait <= seconds / count * 1.011  # the hundredth that is allowed for
    for first, begin in enumerate(taken):
        for last in range(first, len(taken)):
            span = taken[last] - begin
            assert last - first + 1 <= count + span * count / seconds + 0.02 * (last - first + 1)
    steady, now = Meter(Rate(count, seconds)), 0.0
    for _ in range(3 * count):
        assert steady.take("a", now) == 0.0
        now += seconds / count


def test_several_are_taken_together_or_not_at_all() -> None:
    """What does not fit leaves the bucket as it is, so that coming again helps."""
    meter = Meter(parse_rate("10/minute"))
    assert meter.take("a", 0.0, 7) == 0.0
    assert meter.take("a", 0.0, 4) == pytest.approx(6.0)
    assert meter.take("a", 0.0, 3) == 0.0
    assert meter.take("a", 60.0, 11) == inf  # there are never so many
    assert meter.take("a", 60.0, 10) == 0.0
    assert meter.take("a", 60.0, 1) == pytest.approx(6.0)


def test_what_is_known_is_bounded() -> None:
    """S8: whoever came longest ago is forgotten first."""
    meter = Meter(parse_rate("1/hour"), keys=3)
    for key in "abcd":
        assert meter.take(key, 0.0) == 0.0
    assert meter.take("d", 0.0) > 0
    assert meter.take("a", 0.0) == 0.0
    assert len(meter._full_at) == 3


def limits(**options: Any) -> RateLimits:
    rates: dict[str, Any] = dict.fromkeys(
        ("per_address", "per_user", "recipients_per_address", "recipients_per_user"),
        parse_rate("1/hour"),
    )
    return RateLimits(
        **(rates | {"exempt": (ip_network("127.0.0.0/8"),), "clock": lambda: 0.0} | options)
    )


def test_messages_and_recipients_are_counted_apart() -> None:
    allowance = limits().of_client("192.0.2.1")
    assert allowance is not None
    assert (allowance.take(1, 0), allowance.take(0, 1)) == (0.0, 0.0)
    assert allowance.take(1, 0) > 0
    assert allowance.take(0, 1) > 0


@pytest.mark.parametrize("poor", [0, 1])
@pytest.mark.parametrize("of", [(1, 0), (0, 1), (1, 1)])
def test_of_all_allowances_is_taken_or_of_none(poor: int, of: tuple[int, int]) -> None:
    made = limits(per_user=parse_rate("2/hour"), recipients_per_user=parse_rate("2/hour"))
    address = made.of_client("192.0.2.1")
    assert address is not None
    both = [made.of_user("me"), address]
    both.insert(1 - poor, both.pop())
    messages, recipients = of
    address.take(*of)
    assert take_of_all(both, messages=messages, recipients=recipients) == (
        "your address", pytest.approx(3600.0)
    )  # fmt: skip
    user = made.of_user("me")
    assert [user.take(*of) for _ in range(3)] == [0.0, 0.0, pytest.approx(1800.0)]


def test_a_message_is_not_taken_without_its_recipients() -> None:
    user = limits(per_user=parse_rate("1/hour"), recipients_per_user=parse_rate("5/hour"))
    allowance = user.of_user("me")
    assert allowance.take(0, 4) == 0.0
    assert allowance.take(1, 2) == pytest.approx(720.0)
    assert allowance.take(1, 1) == 0.0


def test_one_subscriber_of_ipv6_is_one_address() -> None:
    made = limits()
    for peer, wait in (("2001:db8::1", 0.0), ("2001:db8::2", 3600.0), ("2001:db8:1::1", 0.0)):
        allowance = made.of_client(peer)
        assert allowance is not None
        assert allowance.take(1, 0) == pytest.approx(wait)


@pytest.mark.parametrize("peer", ["", "127.0.0.1", "::ffff:127.0.0.1"])
def test_who_is_exempt_is_not_looked_at(peer: str) -> None:
    assert limits().of_client(peer) is None


@given(st.lists(st.sampled_from(["take a", "take b", "leave a", "leave b"]), max_size=40))
def test_places_are_taken_and_given_back(steps: list[str]) -> None:
    """S8: each user has so many, and a user without any is forgotten."""
    places = Places(2)
    taken = {"a": 0, "b": 0}
    for step in steps:
        verb, user = step.split()
        if verb == "take":
            assert places.take(user) == (taken[user] < 2)
            taken[user] = min(taken[user] + 1, 2)
        elif taken[user]:
            places.leave(user)
            taken[user] -= 1
    assert {user for user in places._taken if places._taken[user]} == {
        user for user in taken if taken[user]
    }
    assert not [user for user, count in places._taken.items() if not count]
