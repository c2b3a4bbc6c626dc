"""The queue as a whole, on real SQLite: in, out, again, reports, restarts; time goes by hand."""

import errno
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import Logger, formatEvent

from netserve.crossing import ensure_deferred
from netserve.mail import kind
from netserve.mail.envelope import Envelope, Outcome, Recipient, Reply
from netserve.mail.kind import MailKind
from netserve.mail.queued import submission
from netserve.outbox import (
    BodyMissing,
    Filter,
    NotTried,
    Outbox,
    OutOfSpace,
    Schedule,
    StorageFailed,
    budgets,
    lanes,
)
from netserve.outbox.courier import Outcomes
from netserve.outbox.quota import Quota
from netserve.outbox.records import Done, Mark
from netserve.outbox.sqlite.bodies import BodyFolder
from netserve.outbox.sqlite.commit import GroupCommit
from netserve.testing.queue import (
    DEFERRED,
    DELIVERED,
    FAILED,
    UNREACHED,
    WALL,
    Courier,
    SteeredReactor,
    opened_queue,
    put,
    until,
)

HOUR = 3600.0
DAY = 24 * HOUR
LARGE = b"Subject: large\r\n\r\n" + b"0123456789abcdef" * 8192


class Queue:
    """A queue, its courier and its clock, with what tests do to them."""

    def __init__(self, outbox: Outbox, courier: Courier, clock: SteeredReactor) -> None:
        self.outbox = outbox
        self.courier = courier
        self.clock = clock

    async def until(self, condition: Any) -> None:
        await until(condition, reactor=reactor)

    async def messages(self) -> list[dict[str, Any]]:
        return (await self.outbox.verbs.list()).messages

    async def until_empty(self) -> None:
        async def empty() -> bool:
            return not await self.messages()

        await self.until(empty)

    async def until_tried(self, message: str, attempts: int) -> dict[str, Any]:
        """Wait until the first recipient's attempts are written, and give that recipient."""

        async def tried() -> bool:
            shown = await self.outbox.verbs.show(message)
            return bool(shown["recipients"][0]["attempts"] >= attempts)

        await self.until(tried)
        recipient: dict[str, Any] = (await self.outbox.verbs.why(message))["recipients"][0]
        return recipient


@asynccontextmanager
async def queue(
    folder: Path, courier: Courier | None = None, *, later: float = 0.0, **options: Any
) -> AsyncIterator[Queue]:
    """A queue that begins `later` seconds after the first one."""
    clock = SteeredReactor(reactor)
    courier = courier or Courier()
    async with opened_queue(folder, courier, reactor=clock, wall=WALL + later, **options) as outbox:
        yield Queue(outbox, courier, clock)


def files(folder: Path) -> int:
    return len(list((folder / "bodies").iterdir()))


@ensureDeferred
async def test_a_message_is_delivered_from_memory_and_leaves_nothing(tmp_path: Path) -> None:
    async with queue(tmp_path) as q:
        message = await put(q.outbox, "a@example.com", body=b"Subject: x\r\n\r\nbody\r\n")
        assert q.courier.delivered == [(message, ("a@example.com",), b"Subject: x\r\n\r\nbody\r\n")]
        await q.until_empty()


@ensureDeferred
async def test_a_large_body_is_a_file_until_it_is_delivered(tmp_path: Path) -> None:
    courier = Courier(DEFERRED)
    async with queue(tmp_path, courier) as q:
        message = await put(q.outbox, "a@example.com", body=LARGE)
        assert [path.name for path in (tmp_path / "bodies").iterdir()] == [message]
        assert courier.delivered[0][2] == LARGE
        await q.until_tried(message, 1)
        courier.answer = DELIVERED
        q.clock.advance(300)
        await q.until_empty()
        await q.until(lambda: files(tmp_path) == 0)


@ensureDeferred
async def test_an_aborted_message_leaves_nothing(tmp_path: Path) -> None:
    async with queue(tmp_path) as q:
        for data in (b"x", LARGE):
            incoming = q.outbox.incoming()
            incoming.write(data)
            incoming.abort()
            incoming.abort()
            with pytest.raises(RuntimeError):
                incoming.write(b"more")
        assert await q.messages() == []
        assert files(tmp_path) == 0


@ensureDeferred
async def test_abort_after_commit_undoes_nothing(tmp_path: Path) -> None:
    async with queue(tmp_path, Courier(DEFERRED)) as q:
        incoming = q.outbox.incoming()
        incoming.write(LARGE)
        committing = incoming.commit(
            "mail", submission(Envelope(sender="", recipients=(Recipient("a@b"),)))
        )
        incoming.abort()
        assert await committing == incoming.id
        assert files(tmp_path) == 1


@ensureDeferred
async def test_what_cannot_be_a_message_is_refused_at_once(tmp_path: Path) -> None:
    async with queue(tmp_path) as q:
        for envelope in (
            Envelope(sender="a@b", recipients=()),
            Envelope(sender="a@b", recipients=(Recipient("\udc80@b"),)),
            Envelope(sender="\udc80@b", recipients=(Recipient("a@b"),)),
        ):
            incoming = q.outbox.incoming()
            incoming.write(b"x")
            with pytest.raises(ValueError):  # noqa: PT011 - either of two
                incoming.commit("mail", submission(envelope))
            incoming.abort()


@ensureDeferred
async def test_a_deferred_recipient_is_tried_by_the_schedule(tmp_path: Path) -> None:
    courier = Courier(DEFERRED)
    async with queue(tmp_path, courier) as q:
        message = await put(q.outbox, "a@example.com")
        for attempts, wait in enumerate((300, 600, 1200, 2400), start=1):
            recipient = await q.until_tried(message, attempts)
            assert recipient["next_at"] == pytest.approx(WALL + q.clock.seconds() + wait)
            q.clock.advance(wait - 1)
            assert len(courier.delivered) == attempts
            q.clock.advance(1)
            await q.until(lambda so_far=attempts: len(courier.delivered) == so_far + 1)
        recipient = await q.until_tried(message, 5)
        assert [one["reply"] for one in recipient["history"]] == ["450 4.2.0 later"] * 5
        assert recipient["history"][0]["remote"] == "mx.example.com[192.0.2.1]:25"


GREYLISTED = {
    "ten recipients": (10, [10]),
    "more than a transaction has": (120, [20, 50, 50]),
    "more than a page of the queue has": (330, [30, *[50] * 6]),
}


async def retry_time(q: Queue, message: str, attempts: int) -> float:
    """Wait until all recipients were tried so often, and give their one retry time."""
    found: list[dict[str, Any]] = []

    async def tried() -> bool:
        found[:] = (await q.outbox.verbs.show(message))["recipients"]
        return all(one["attempts"] == attempts for one in found)

    await q.until(tried)
    (at,) = {one["next_at"] for one in found}
    return float(at)


@pytest.mark.parametrize("what", GREYLISTED)
@ensureDeferred
async def test_recipients_of_one_destination_stay_together(tmp_path: Path, what: str) -> None:
    """RFC 5321, section 4.5.4.1: a message is retried by its destination, over a restart too."""
    count, transactions = GREYLISTED[what]
    courier = Courier(lambda m, _: DEFERRED if m.sender else DELIVERED)
    schedule = Schedule(first=300, longest=DAY, life=4000, delay_notice=0, jitter=0.3)
    async with queue(tmp_path, courier, schedule=schedule) as q:
        message = await put(q.outbox, *(f"{n}@x.org" for n in range(count)))
        next_at = await retry_time(q, message, 1)
    async with queue(tmp_path, courier, schedule=schedule, later=100) as q:
        for attempts in (2, 3, 4, 5):
            courier.delivered.clear()
            q.clock.advance(next_at - WALL - 100 - q.clock.seconds())
            await q.until(lambda: len(set(courier.addresses) - {"sender@example.org"}) == count)
            tried = [len(some) for one, some, _ in courier.delivered if one == message]
            assert sorted(tried) == transactions
            if next_at < WALL + 4000:
                next_at = await retry_time(q, message, attempts)
        await q.until_empty()
        reports = [body for _, to, body in courier.delivered if to == ("sender@example.org",)]
        assert len(reports) == len(transactions)
        assert sum(body.count(b"\r\nAction: failed\r\n") for body in reports) == count


@ensureDeferred
async def test_deliveries_that_end_at_different_times_are_retried_together(tmp_path: Path) -> None:
    courier = Courier(DEFERRED)
    courier.waits = True
    async with queue(tmp_path, courier, schedule=Schedule(jitter=0.3)) as q:
        message = await put(q.outbox, *(f"{n}@x.org" for n in range(100)))
        courier.waiting.pop()()
        q.clock.advance(60)
        courier.waiting.pop()()
        next_at = await retry_time(q, message, 1)
        courier.delivered.clear()
        q.clock.advance(next_at - WALL - q.clock.seconds() - 1)
        assert courier.delivered == []
        q.clock.advance(1)
        await q.until(lambda: len(courier.addresses) == 100)
        while courier.waiting:
            courier.waiting.pop()()


@ensureDeferred
async def test_only_the_last_attempts_are_remembered(tmp_path: Path) -> None:
    async with queue(tmp_path, Courier(DEFERRED)) as q:
        message = await put(q.outbox, "a@example.com")
        for attempts in range(1, 25):
            recipient = await q.until_tried(message, attempts)
            q.clock.advance(4 * HOUR)
        assert [one["number"] for one in recipient["history"]] == list(range(5, 25))


@ensureDeferred
async def test_recipients_have_states_of_their_own(tmp_path: Path) -> None:
    courier = Courier(lambda _, r: {"a": DELIVERED, "b": DEFERRED, "c": FAILED}[r.address[0]])
    async with queue(tmp_path, courier) as q:
        message = await put(q.outbox, "a@x.org", "b@x.org", "c@x.org")
        await q.until(lambda: len(courier.delivered) == 2)
        shown = await q.outbox.verbs.show(message)
        states = {one["address"]: one["state"] for one in shown["recipients"]}
        assert states == {"a@x.org": "done", "b@x.org": "queued", "c@x.org": "failed"}
        courier.answer = DELIVERED
        q.clock.advance(300)
        await q.until_empty()
        assert courier.addresses.count("a@x.org") == 1
        assert courier.addresses.count("b@x.org") == 2


@ensureDeferred
async def test_equal_destinations_go_together_up_to_the_batch(tmp_path: Path) -> None:
    async with queue(tmp_path) as q:
        await put(q.outbox, *(f"{n}@{n % 2}.org" for n in range(120)))
        assert sorted(len(some) for _, some, _ in q.courier.delivered) == [10, 10, 50, 50]
        for _, some, _ in q.courier.delivered:
            assert len({address.partition("@")[2] for address in some}) == 1


@ensureDeferred
async def test_a_failure_is_reported_at_once_by_the_same_transaction(tmp_path: Path) -> None:
    courier = Courier(lambda m, _: DELIVERED if not m.sender else FAILED)
    async with queue(tmp_path, courier) as q:
        original = await put(
            q.outbox,
            "x@example.com",
            "y@example.com",
            envid="E1",
            body=b"Subject: s\r\n\r\nthe text\r\n",
        )
        await q.until_empty()
        (_, failed, _), (report, to, body) = courier.delivered
        assert failed == ("x@example.com", "y@example.com")
        assert to == ("sender@example.org",)
        assert report != original
        message = message_from_bytes(body)
        assert message["From"].endswith("<MAILER-DAEMON@relay.example.org>")
        assert body.count(b"\r\nAction: failed\r\n") == 2
        assert b"Original-Envelope-Id: E1\r\n" in body
        assert b"Subject: s\r\n" in body
        assert b"the text" not in body, "headers only, where RET does not ask for more"


@ensureDeferred
async def test_ret_full_returns_the_message(tmp_path: Path) -> None:
    courier = Courier(lambda m, _: DELIVERED if not m.sender else FAILED)
    async with queue(tmp_path, courier) as q:
        await put(q.outbox, "x@example.com", ret="FULL", body=b"Subject: s\r\n\r\nthe body\r\n")
        await q.until_empty()
        assert b"the body" in courier.delivered[1][2]


@ensureDeferred
async def test_no_report_on_a_report(tmp_path: Path) -> None:
    async with queue(tmp_path, Courier(FAILED)) as q:
        await put(q.outbox, "x@example.com")
        await q.until_empty()
        assert q.courier.addresses == ["x@example.com", "sender@example.org"]
        await put(q.outbox, "x@example.com", sender="")
        await q.until_empty()
        assert len(q.courier.addresses) == 3


@ensureDeferred
async def test_notify_never_and_success(tmp_path: Path) -> None:
    relayed = replace(DELIVERED, report="relayed")
    courier = Courier(lambda m, r: relayed if r.address[0] == "s" and m.sender else FAILED)
    async with queue(tmp_path, courier) as q:
        await put(q.outbox, Recipient("never@x.org", frozenset({"NEVER"})))
        await q.until_empty()
        assert len(courier.delivered) == 1
        await put(q.outbox, Recipient("s@x.org", frozenset({"SUCCESS"}), "rfc822;first@x.org"))
        await q.until_empty()
        assert b"\r\nAction: relayed\r\n" in courier.delivered[2][2]
        assert b"Original-Recipient: rfc822; first@x.org\r\n" in courier.delivered[2][2]


@ensureDeferred
async def test_a_delay_is_told_once_and_the_end_of_life_ends_it(tmp_path: Path) -> None:
    courier = Courier(lambda m, _: DEFERRED if m.sender else DELIVERED)
    async with queue(tmp_path, courier) as q:
        message = await put(q.outbox, "x@example.com")
        tried: list[int] = []

        async def tried_again_or_gone() -> bool:
            waiting = [one for one in await q.messages() if one["id"] == message]
            attempts = waiting[0]["recipients"][0]["attempts"] if waiting else 0
            changed = attempts != len(tried)
            tried[:] = range(attempts)
            return changed

        await q.until(tried_again_or_gone)
        while tried:
            q.clock.advance(4 * HOUR)
            await q.until(tried_again_or_gone)
        await q.until_empty()
        reports = [body for _, to, body in courier.delivered if to == ("sender@example.org",)]
        assert len(reports) == 2
        assert b"Action: delayed" in reports[0]
        assert b"Will-Retry-Until: " in reports[0]
        assert b"Action: failed" in reports[1]
        assert b"Status: 4.4.7" in reports[1]


@ensureDeferred
async def test_a_courier_that_raises_defers(tmp_path: Path) -> None:
    def broken(*_: Any) -> Outcome:
        raise ZeroDivisionError

    async with queue(tmp_path, Courier(broken)) as q:
        message = await put(q.outbox, "x@example.com")
        recipient = await q.until_tried(message, 1)
        assert recipient["last"].startswith("451 4.3.0")


@ensureDeferred
async def test_a_routing_that_raises_defers(tmp_path: Path) -> None:
    courier = Courier()
    courier.key = lambda _: 1 // 0
    async with queue(tmp_path, courier) as q:
        message = await put(q.outbox, "x@example.com")
        recipient = await q.until_tried(message, 1)
        assert recipient["last"].startswith("451 4.3.5")
        courier.key = lambda _: "fixed"
        q.clock.advance(300)
        await q.until_empty()


@ensureDeferred
async def test_the_route_is_decided_again_at_each_attempt(tmp_path: Path) -> None:
    """The one way is dead, then the file is corrected, and the other way takes the mail."""
    courier = Courier(UNREACHED)
    async with queue(tmp_path, courier) as q:
        message = await put(q.outbox, "x@example.com")
        await q.until_tried(message, 1)
        courier.key, courier.answer = (lambda _: "elsewhere"), DELIVERED
        q.clock.advance(300)
        await q.until_empty()


@ensureDeferred
async def test_a_restart_keeps_the_queue_and_its_times(tmp_path: Path) -> None:
    """S1: what was taken is there after a restart."""
    async with queue(tmp_path, Courier(DEFERRED)) as q:
        small = await put(q.outbox, "a@example.com", trace="t1", user="u", client="192.0.2.9")
        large = await put(q.outbox, "b@example.com", body=LARGE)
        await q.until_tried(small, 1)
        await q.until_tried(large, 1)
    async with queue(tmp_path, later=100) as q:
        assert [one["id"] for one in await q.messages()] == [small, large]
        q.clock.advance(199)
        assert q.courier.delivered == []
        q.clock.advance(1)
        await q.until_empty()
        first, second = sorted(q.courier.delivered)
        assert first[0] == small
        assert second == (large, ("b@example.com",), LARGE)


@ensureDeferred
async def test_a_clock_that_was_ahead_does_not_hold_mail_up(tmp_path: Path) -> None:
    """It is set back before the next start: neither the times nor the quota are of later years."""
    courier = Courier(DEFERRED)
    courier.quotas = (Quota(2, 86400.0),)
    async with queue(tmp_path, courier, later=3000 * DAY) as q:
        for address in ("a@example.com", "b@example.com"):
            await q.until_tried(await put(q.outbox, address), 1)
    courier = Courier()
    courier.quotas = (Quota(2, 86400.0),)
    async with queue(tmp_path, courier) as q:
        await q.until_empty()
        assert sorted(courier.addresses) == ["a@example.com", "b@example.com"]


@ensureDeferred
async def test_a_shutdown_during_delivery_leaves_it_queued(tmp_path: Path) -> None:
    courier = Courier()
    courier.waits = True
    clock = SteeredReactor(reactor)
    async with opened_queue(tmp_path, courier, reactor=clock) as outbox:
        message = await put(outbox, "a@example.com")
        assert outbox.depth()["delivering"] == 1
        closing = ensure_deferred(outbox.close())
        assert not closing.called, "it waits for the delivery"
        clock.advance(11)
        await closing
    async with queue(tmp_path) as q:
        await q.until_empty()
        assert [one for one, _, _ in q.courier.delivered] == [message]


@pytest.mark.parametrize("under_way", [True, False])
@ensureDeferred
async def test_a_shutdown_in_a_hurry_waits_for_no_delivery(tmp_path: Path, under_way: bool) -> None:
    """Whether it is told while the queue closes, or before."""
    courier = Courier()
    courier.waits = True
    clock = SteeredReactor(reactor)
    async with opened_queue(tmp_path, courier, reactor=clock) as outbox:
        message = await put(outbox, "a@example.com")
        if not under_way:
            outbox.cut()
        closing = ensure_deferred(outbox.close())
        assert not closing.called
        if under_way:
            outbox.cut()
        clock.advance(0)
        await closing
    async with queue(tmp_path) as q:
        await q.until_empty()
        assert [one for one, _, _ in q.courier.delivered] == [message]


@ensureDeferred
async def test_a_shutdown_waits_for_a_delivery_that_ends(tmp_path: Path) -> None:
    courier = Courier()
    courier.waits = True
    clock = SteeredReactor(reactor)
    async with opened_queue(tmp_path, courier, reactor=clock) as outbox:
        await put(outbox, "a@example.com")
        closing = ensure_deferred(outbox.close())
        courier.waiting.pop()()
        await closing
    async with queue(tmp_path) as q:
        assert await q.messages() == []


@ensureDeferred
async def test_a_closed_queue_takes_nothing(tmp_path: Path) -> None:
    async with queue(tmp_path) as q:
        incoming = q.outbox.incoming()
        incoming.write(LARGE)
        await q.outbox.close()
        with pytest.raises(StorageFailed):
            await incoming.commit(
                "mail", submission(Envelope(sender="", recipients=(Recipient("a@b"),)))
            )
        with pytest.raises(StorageFailed):
            q.outbox.incoming()
        assert q.outbox.broken == "the queue is closed"
    assert files(tmp_path) == 0


@ensureDeferred
async def test_commits_are_grouped(tmp_path: Path) -> None:
    async with queue(tmp_path, Courier(DEFERRED)) as q:
        before = q.outbox.commits
        await gatherResults(
            [ensure_deferred(put(q.outbox, f"{n}@example.com")) for n in range(200)]
        )
        assert q.outbox.commits - before < 50


@ensureDeferred
async def test_a_slow_destination_does_not_slow_another(tmp_path: Path) -> None:
    """Its memory is full and thousands wait, and mail for others goes on from memory."""
    slow, fast = Courier(), Courier()
    slow.waits = True
    courier = Courier()
    courier.deliver = lambda m, r, d: (slow if d.key == "slow" else fast).deliver(m, r, d)  # type: ignore[method-assign]
    async with queue(tmp_path, courier) as q:
        body = b"x" * 60_000
        await gatherResults(
            [ensure_deferred(put(q.outbox, f"{n}@slow", body=body)) for n in range(400)]
        )
        assert len(slow.delivered) == 5
        await gatherResults(
            [ensure_deferred(put(q.outbox, f"{n}@fast", body=body)) for n in range(100)]
        )
        await q.until(lambda: len(fast.delivered) == 100)
        while len(slow.delivered) < 400 or slow.waiting:
            await q.until(lambda: slow.waiting)
            slow.waiting.pop()()
        await q.until_empty()
        assert sorted(slow.addresses) == sorted(f"{n}@slow" for n in range(400))


@ensureDeferred
async def test_a_dead_destination_rests_and_is_not_hammered(tmp_path: Path) -> None:
    courier = Courier(UNREACHED)
    async with queue(tmp_path, courier) as q:
        for n in range(50):
            await put(q.outbox, f"{n}@dead.example")
        tried = len(courier.delivered)
        assert tried < 10
        q.clock.advance(29)
        assert len(courier.delivered) == tried
        q.clock.advance(2)
        await q.until(lambda: len(courier.delivered) == tried + 1)
        courier.answer = DELIVERED
        await q.outbox.verbs.flush()
        await q.until_empty()


@ensureDeferred
async def test_mail_for_a_dead_destination_expires_without_an_attempt_each(tmp_path: Path) -> None:
    courier = Courier(lambda m, _: UNREACHED if m.sender else DELIVERED)
    schedule = Schedule(jitter=0, life=HOUR, delay_notice=0)
    async with queue(tmp_path, courier, schedule=schedule) as q:
        for n in range(300):
            await put(q.outbox, f"{n}@dead.example")
        for _ in range(30):
            q.clock.advance(300)
            await q.messages()
        await q.until_empty()
        assert courier.addresses.count("sender@example.org") == 300
        assert len(courier.addresses) < 350


@pytest.mark.parametrize("why", ["dead", "quota"])
@ensureDeferred
async def test_the_delay_of_those_who_are_not_tried_is_told(tmp_path: Path, why: str) -> None:
    courier = Courier(lambda m, _: UNREACHED if m.sender and why == "dead" else DELIVERED)
    deliver = courier.destination

    def destination(message: Any, recipient: Any) -> Any:
        quotas = (Quota(1, 86400.0),) if message.sender and why == "quota" else ()
        return replace(deliver(message, recipient), quotas=quotas)

    courier.destination = destination  # type: ignore[method-assign]
    async with queue(tmp_path, courier) as q:
        for n in range(40):
            await put(q.outbox, f"{n}@slow.example")

        def reports() -> list[bytes]:
            return [body for _, to, body in courier.delivered if to == ("sender@example.org",)]

        for _ in range(20):  # five hours
            q.clock.advance(900)
            await q.messages()
        await q.until(lambda: len(reports()) >= 39)
        q.clock.advance(900)
        await q.messages()
        told = reports()
        delayed = {n for n in range(40) for body in told if b"; %d@slow.example\r\n" % n in body}
        assert len(delayed) >= 39, "one was delivered where there is a quota"
        assert len(told) == len(delayed), "once each"
        assert all(b"Action: delayed" in body for body in told)
        tried = [address for address in courier.addresses if "slow" in address]
        assert len(tried) < 40, "for that nobody is asked"


@ensureDeferred
async def test_what_was_not_begun_is_routed_again(tmp_path: Path) -> None:
    """The courier's old destination is closed; nothing counts as an attempt."""
    courier = Courier()
    courier.key = lambda _: "old"
    deliver = courier.deliver

    def closed_one(message: Any, recipients: Any, destination: Any) -> Any:
        if destination.key == "old":
            courier.key = lambda _: "new"
            raise NotTried
        return deliver(message, recipients, destination)

    courier.deliver = closed_one  # type: ignore[method-assign]
    async with queue(tmp_path, courier) as q:
        await put(q.outbox, "a@example.org", "b@example.org")
        await q.until_empty()
        assert courier.addresses == ["a@example.org", "b@example.org"]
        assert q.outbox.outcomes("mail") == {("new", "delivered"): 2}


@ensureDeferred
async def test_new_routes_count_at_once(tmp_path: Path) -> None:
    """Mail for a destination that rests, in memory and not, goes where it goes now."""
    courier = Courier(UNREACHED)
    courier.key = lambda _: "dead"
    async with queue(tmp_path, courier) as q:
        for n in range(150):
            await put(q.outbox, f"{n}@example.org", body=bytes(80_000))
        before = len(courier.delivered)
        assert before < 10
        courier.key, courier.answer = (lambda _: "alive"), DELIVERED
        q.outbox.reroute("other")
        await q.messages()
        assert len(courier.delivered) == before
        q.outbox.reroute("mail")
        await q.until(lambda: len(courier.delivered) == 150)
        q.clock.advance(300)
        await q.until_empty()
        assert len(courier.delivered) == 150 + before


@ensureDeferred
async def test_mail_for_many_destinations_is_not_in_memory_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S8: a start with it reads few pages at one time, and so much as there is room for."""
    monkeypatch.setattr(lanes, "TOTAL_BYTES", 2_000_000)
    body = bytes(80_000)
    async with queue(tmp_path, Courier(DEFERRED)) as q:
        for n in range(600):
            await put(q.outbox, *(f"{n}@d{n % 60}.example",), body=body)
        await q.until(lambda: q.outbox.depth()["delivering"] == 0)
    courier = Courier()
    courier.waits = True
    async with queue(tmp_path, courier, later=DAY) as q:
        agent = q.outbox._parts.agent
        await q.until(lambda: len(courier.waiting) >= 60)
        most = 0
        while await q.messages():
            most = max(most, agent._bytes)
            if courier.waiting:
                courier.waiting.pop(0)()
        assert sorted(courier.addresses) == sorted(f"{n}@d{n % 60}.example" for n in range(600))
        assert most < 2 * 2_000_000 + 60 * 90_000
        # The last message is out of the database a moment before the agent is told.
        await q.until(lambda: agent._bytes == 0)


@ensureDeferred
async def test_a_missing_body_is_held_and_alarmed(tmp_path: Path) -> None:
    courier = Courier(DEFERRED)
    async with queue(tmp_path, courier) as q:
        message = await put(q.outbox, "a@example.com", body=LARGE)
        await q.until_tried(message, 1)
        (tmp_path / "bodies" / message).unlink()
        q.clock.advance(300)

        async def held() -> bool:
            shown = await q.outbox.verbs.show(message)
            return bool(shown["recipients"][0]["state"] == "held")

        await q.until(held)
        shown = await q.outbox.verbs.show(message)
        assert "missing" in shown["recipients"][0]["last"]
        assert "missing" in shown["header"]
        _, loaded = await q.outbox.verbs.export(message)
        with pytest.raises(BodyMissing):
            loaded.body()
        assert len(courier.delivered) == 1


@ensureDeferred
async def test_a_body_that_cannot_be_removed_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    log = Logger(observer=lambda event: lines.append(formatEvent(event)))

    def refuse(*_: Any) -> None:
        raise OSError(errno.EIO, "input/output error")

    async with queue(tmp_path, log=log) as q:
        with monkeypatch.context() as patch:
            patch.setattr(BodyFolder, "remove", refuse)
            message = await put(q.outbox, "a@example.com", body=LARGE)
            await q.until_empty()
            await q.until(lambda: any(f"{message} stays" in line for line in lines))
        await put(q.outbox, "b@example.com", body=LARGE)
        await q.until_empty()
        await q.until(lambda: files(tmp_path) == 1)
    async with queue(tmp_path):
        assert files(tmp_path) == 0


@ensureDeferred
async def test_a_bug_in_the_writer_is_no_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError

    async with queue(tmp_path) as q:
        monkeypatch.setattr(GroupCommit, "_transact", broken)
        with pytest.raises(StorageFailed):
            await put(q.outbox, "a@example.com")
        assert q.outbox.broken
        with pytest.raises(StorageFailed):
            await put(q.outbox, "a@example.com")


@ensureDeferred
async def test_a_bounce_of_what_cannot_be_read_has_no_original(tmp_path: Path) -> None:
    courier = Courier(lambda m, _: FAILED if m.sender else DELIVERED)
    deliver = courier.deliver

    def with_a_folder_in_its_place(message: Any, recipients: Any, destination: Any) -> Any:
        result = deliver(message, recipients, destination)
        if message.in_file:
            body = tmp_path / "bodies" / message.id
            body.unlink()
            body.mkdir()  # reading fails with an error of the system
        return result

    courier.deliver = with_a_folder_in_its_place  # type: ignore[method-assign]
    async with queue(tmp_path, courier) as q:
        await put(q.outbox, "a@example.com", body=LARGE)
        await q.until_empty()
        assert b"Subject: (the message cannot be read)" in courier.delivered[1][2]


@ensureDeferred
async def test_who_fails_is_held_where_no_bounce_can_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    courier = Courier(lambda m, r: FAILED if m.sender and r.address[0] == "a" else DELIVERED)

    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    async with queue(tmp_path, courier) as q:
        with monkeypatch.context() as patch:
            patch.setattr(MailKind, "report", broken)
            message = await put(q.outbox, "a@x.org", "b@x.org")
            await q.until_tried(message, 1)
        shown = await q.outbox.verbs.show(message)
        assert [one["state"] for one in shown["recipients"]] == ["held", "done"]
        assert shown["recipients"][0]["last"] == "550 5.1.1 nobody"
        await q.outbox.verbs.release(Filter())
        await q.until_empty()
        assert courier.addresses == ["a@x.org", "b@x.org", "a@x.org", "sender@example.org"]


@ensureDeferred
async def test_failed_recipients_that_are_held_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S22: they are counted also after a restart, and others that are held are not."""
    courier = Courier(lambda m, r: FAILED if m.sender and r.address[0] == "a" else DEFERRED)

    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(MailKind, "report", broken)
    async with queue(tmp_path, courier) as q:
        assert q.outbox.unreported == 0
        message = await put(q.outbox, "a@x.org", "b@x.org")
        other = await put(q.outbox, "c@x.org")
        await q.until_tried(message, 1)
        await q.until_tried(other, 1)
        await q.outbox.verbs.hold(Filter())
        await q.outbox._parts.depth.count()
        assert (q.outbox.unreported, q.outbox.depth()["held"]) == (1, 3)
    async with queue(tmp_path, courier) as q:
        await q.outbox._parts.depth.count()
        assert q.outbox.unreported == 1
        await q.outbox.verbs.drop(Filter())
        await q.outbox._parts.depth.count()
        assert q.outbox.unreported == 0


@pytest.mark.parametrize("action", ["failed", "delayed"])
@ensureDeferred
async def test_a_plain_report_is_sent_where_the_report_proper_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    """S22: by an error of ours; nobody is held for it."""
    outcome = FAILED if action == "failed" else DEFERRED
    courier = Courier(lambda m, r: outcome if m.sender else DELIVERED)

    def broken(_: Any) -> bytes:
        raise ZeroDivisionError

    monkeypatch.setattr(kind, "build_report", broken)
    async with queue(tmp_path, courier, schedule=Schedule(jitter=0, delay_notice=1)) as q:
        message = await put(q.outbox, "a@x.org")
        if action == "delayed":
            await q.until_tried(message, 1)
            q.clock.advance(HOUR)
        await q.until(lambda: any(to == ("sender@example.org",) for _, to, _ in courier.delivered))
        (report,) = (body for _, to, body in courier.delivered if to == ("sender@example.org",))
        assert b"\r\nTo: <sender@example.org>\r\n" in report
        assert b"\r\nContent-Type: text/plain\r\n\r\n" in report
        assert b"<a@x.org>: " in report
        await q.outbox._parts.depth.count()
        assert q.outbox.depth()["held"] == 0


@ensureDeferred
async def test_nothing_is_delivered_while_an_outcome_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a full disk each delivery more would be one more that a crash repeats."""
    async with queue(tmp_path) as q:
        store = q.outbox._parts.storage
        mark, full, refused = store.mark, True, 0

        def on_a_full_disk(what: Mark, done: Done) -> None:
            if full:
                reactor.callLater(0, refuse, done)
            else:
                mark(what, done)

        def refuse(done: Done) -> None:
            nonlocal refused
            done(OutOfSpace("no space"))
            refused += 1

        monkeypatch.setattr(store, "mark", on_a_full_disk)
        first = await put(q.outbox, "a@example.com")
        await q.until(lambda: refused == 1)
        second = await put(q.outbox, "a@example.com")
        for times in range(2, 6):
            q.clock.advance(1)
            await q.until(lambda times=times: refused == times)
            assert len(q.courier.delivered) == 1
        full = False
        q.clock.advance(1)
        await q.until(lambda: not q.outbox._parts.ledger.unwritten)
        q.clock.advance(1)
        await q.until_empty()
        assert [message for message, _, _ in q.courier.delivered] == [first, second]


@ensureDeferred
async def test_depth_and_space(tmp_path: Path) -> None:
    async with queue(tmp_path, Courier(DEFERRED)) as q:
        assert q.outbox.depth() == {"queued": 0, "held": 0, "delivering": 0}
        message = await put(q.outbox, "a@example.com", "b@example.com")
        await q.until_tried(message, 1)

        async def counted() -> bool:
            q.clock.advance(1)
            return q.outbox.depth()["queued"] == 2

        await q.until(counted)
        assert q.outbox.free_space() > 0


@ensureDeferred
async def test_one_line_a_recipient_in_the_log(tmp_path: Path) -> None:
    lines: list[str] = []
    log = Logger(observer=lambda event: lines.append(formatEvent(event)))
    reply = Outcome("delivered", Reply(250, "2.0.0", "queued as 123"), "mx[192.0.2.1]:25")
    async with queue(tmp_path, Courier(reply), log=log) as q:
        message = await put(q.outbox, "a@example.com", trace="T9")
        await q.until_empty()
    (line,) = lines
    assert line == (
        f"{message}: delivered to <a@example.com> by example.com: 250 2.0.0 queued as 123"
        " (remote mx[192.0.2.1]:25, trace T9, before the queue 0.000 s, in the queue 0.000 s,"
        " connection 0.000 s, transmission 0.000 s)"
    )


@ensureDeferred
async def test_the_log_parts_the_connection_from_the_transmission(tmp_path: Path) -> None:
    lines: list[str] = []
    log = Logger(observer=lambda event: lines.append(formatEvent(event)))
    courier = Courier()
    result: Deferred[Any] = Deferred()
    courier.deliver = lambda message, recipients, destination: result  # type: ignore[method-assign]
    async with queue(tmp_path, courier, log=log) as q:
        await put(q.outbox, "a@example.com")
        q.clock.advance(2)
        session_at = q.clock.seconds()
        q.clock.advance(3)
        result.callback(Outcomes([(0, DELIVERED)], session_at=session_at))
        await q.until_empty()
    assert "connection 2.000 s, transmission 3.000 s)" in lines[0]


@ensureDeferred
async def test_a_quota_holds_and_is_kept_over_a_restart(tmp_path: Path) -> None:
    courier = Courier()
    courier.quotas = (Quota(3, 60.0), Quota(5, HOUR))
    async with queue(tmp_path, courier) as q:
        for n in range(8):
            await put(q.outbox, f"{n}@example.org")
        await q.until(lambda: len(courier.delivered) == 3)
        q.clock.advance(58)
        assert len(courier.delivered) == 3
        q.clock.advance(5)
        await q.until(lambda: len(courier.delivered) == 5)
        await q.until(lambda: q.outbox.depth()["delivering"] == 0)
    async with queue(tmp_path, courier, later=600) as q:
        await q.messages()
        assert len(courier.delivered) == 5, "an hour's quota is still used up"
        await put(q.outbox, "other@example.com")
        assert len(courier.delivered) == 6, "other destinations are not concerned"
    async with queue(tmp_path, courier, later=3700) as q:
        await q.until_empty()
        assert len(courier.delivered) == 9


@ensureDeferred
async def test_quotas_of_destinations_that_do_not_come_again_are_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S8: in memory and in the database, however many destinations there were."""
    monkeypatch.setattr(budgets, "MOST", 3)
    courier = Courier()
    courier.quotas = (Quota(5, 60.0),)

    def stored(connection: sqlite3.Connection) -> int:
        (count,) = connection.execute("SELECT count(DISTINCT account) FROM quota").fetchone()
        return int(count)

    async with queue(tmp_path, courier) as q:
        for at in range(12):
            await put(q.outbox, f"r@d{at}.example")
            await q.until(lambda at=at: len(courier.delivered) == at + 1)
            q.clock.advance(25)
        await q.until_empty()
        assert len(q.outbox._parts.agent._budgets) <= 6
    with closing(sqlite3.connect(tmp_path / "queue.db")) as connection:
        assert 0 < stored(connection) <= 6
    async with queue(tmp_path, courier, later=3600):
        pass
    with closing(sqlite3.connect(tmp_path / "queue.db")) as connection:
        assert stored(connection) == 0


@ensureDeferred
async def test_mail_that_waits_for_a_quota_expires(tmp_path: Path) -> None:
    courier = Courier()
    courier.quotas = (Quota(1, 86400.0),)
    courier.key = lambda recipient: "all" if recipient.address[:1] != "s" else "back"
    schedule = Schedule(jitter=0, life=HOUR, delay_notice=0)
    async with queue(tmp_path, courier, schedule=schedule) as q:
        for n in range(3):
            await put(q.outbox, f"{n}@example.org")
        for _ in range(5):
            q.clock.advance(900)
        await q.until(lambda: len(courier.delivered) == 2)
        _, to, report = courier.delivered[1]
        assert to == ("sender@example.org",), "the next report waits for the quota as well"
        assert b"quota" in report


@ensureDeferred
async def test_what_nobody_took_is_not_counted(tmp_path: Path) -> None:
    courier = Courier(UNREACHED)
    courier.quotas = (Quota(2, 86400.0),)
    schedule = Schedule(jitter=0, delay_notice=0)
    async with queue(tmp_path, courier, schedule=schedule) as q:
        message = await put(q.outbox, "a@example.org")
        for attempt in range(1, 5):
            await q.until_tried(message, attempt)
            q.clock.advance(3 * HOUR)
        await q.until_tried(message, 5)


@ensureDeferred
async def test_outcomes_are_counted_by_destination(tmp_path: Path) -> None:
    answers = {"a": DELIVERED, "b": DEFERRED, "c": FAILED}
    courier = Courier(lambda message, recipient: answers[recipient.address[0]])
    async with queue(tmp_path, courier) as q:
        for address in ("a@example.org", "b@example.org", "a@example.com"):
            await put(q.outbox, address)
        await put(q.outbox, "c@example.org", sender="")
        await q.until(lambda: sum(q.outbox.outcomes("mail").values()) == 4)
        assert q.outbox.outcomes("mail") == {
            ("example.org", "delivered"): 1,
            ("example.org", "deferred"): 1,
            ("example.com", "delivered"): 1,
            ("example.org", "failed"): 1,
        }
        assert q.outbox.outcomes("other") == {}
    assert q.outbox.outcomes("mail") == {}
