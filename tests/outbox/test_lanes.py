"""Lanes: how much runs at one time, how much waits, and when a dead destination rests."""

from netserve.mail.queued import QueuedMessage, QueuedRecipient
from netserve.outbox.lanes import LANE_BYTES, TOTAL_BYTES, Delivery, Lane
from netserve.outbox.model import Destination
from netserve.testing.queue import DEFERRED, DELIVERED, FAILED, UNREACHED


def delivery(size: int = 1000) -> Delivery:
    message = QueuedMessage(
        id="0",
        number=0,
        service="mail",
        created=0,
        sender="",
        size=size,
        tasks=1,
        open_body=lambda: None,  # type: ignore[arg-type, return-value]
    )
    return Delivery(message, [QueuedRecipient(0, "a@example.org")], Destination("x"))


def test_concurrency_grows_with_success_up_to_the_limit() -> None:
    lane = Lane("mail x", limit=8)
    for _ in range(100):
        lane.put(delivery())
    for _ in range(20):
        while lane.may_start(0):
            lane.take(0)
        assert lane.running <= 8
        lane.ended(delivery(), {0: DELIVERED}, 0)
    while lane.may_start(0):
        lane.take(0)
    assert lane.running == 8


def test_what_a_destination_allows_holds_from_the_first_delivery_on() -> None:
    lane = Lane("mail x", limit=2)
    for _ in range(10):
        lane.put(delivery())
    while lane.may_start(0):
        lane.take(0)
    assert lane.running == 2
    lane.limit = 1  # the route has changed
    lane.ended(delivery(), {0: DELIVERED}, 0)
    assert not lane.may_start(0)


def test_any_answer_of_the_destination_keeps_it_awake() -> None:
    lane = Lane("mail x", limit=8)
    for outcome in (DEFERRED, FAILED, DELIVERED) * 5:
        lane.put(delivery())
        lane.take(0)
        lane.ended(delivery(), {0: outcome}, 0)
    assert lane.rests_until == 0
    assert lane.may_start(0)


def test_a_dead_destination_rests_longer_and_longer_and_is_tried_by_one() -> None:
    lane = Lane("mail x", limit=20)
    now, rests = 0.0, []
    for _ in range(12):
        lane.put(delivery())
        lane.take(now)
        lane.ended(delivery(), {0: UNREACHED}, now)
        if lane.rests_until:
            assert not lane.may_start(now)
            rests.append(lane.rests_until - now)
            now = lane.rests_until
            lane.running = 1
            assert not lane.may_start(now), "one at a time"
            lane.running = 0
    assert rests[:6] == [30, 60, 120, 240, 480, 900]
    assert max(rests) == 900
    lane.put(delivery())
    lane.take(now)
    lane.ended(delivery(), {0: DELIVERED}, now)
    assert lane.rests_until == 0


def test_memory_is_bounded_but_each_lane_has_a_minimum() -> None:
    lane = Lane("mail x", limit=5)
    total = TOTAL_BYTES
    while lane.has_room(total):
        lane.put(delivery())
    assert len(lane.waiting) == 5, "the minimum, though all memory is taken"
    while lane.has_room(0):
        lane.put(delivery(60_000))
    assert LANE_BYTES <= lane.bytes < LANE_BYTES + 70_000
    while lane.waiting:
        lane.remove(lane.waiting[0])
    assert lane.bytes == 0


def test_a_lane_is_idle_only_when_nothing_of_it_is_in_memory_or_known() -> None:
    lane = Lane("mail x", limit=5)
    assert lane.idle
    one = delivery()
    lane.put(one)
    lane.take(0)
    lane.ended(delivery(), {0: DELIVERED}, 0)
    assert not lane.idle, "its outcome is not written yet"
    lane.forget(one)
    assert lane.idle
    lane.next_at = 5.0
    assert not lane.idle
