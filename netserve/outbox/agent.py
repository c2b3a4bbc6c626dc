"""The agent: what is due goes to the couriers, lane by lane, and what they say is written down.

New messages come straight from memory, the others from the database, page by page, when their
lane has room; the queue is never in memory as a whole. A delivery is marked only after its
outcome, by the same group commits that take new mail in, so a crash can at most repeat it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from math import inf
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from netserve.mail.envelope import Outcome, Reply
from netserve.outbox.clock import Clock, Wakes
from netserve.outbox.courier import Outcomes
from netserve.outbox.due import PAGE, START, DuePage, due_page, forget_used, recipient_key
from netserve.outbox.errors import BodyMissing
from netserve.outbox.lanes import Delivery, Lane
from netserve.outbox.ledger import RETRY, Ledger, Notices
from netserve.outbox.model import QueuedMessage, QueuedRecipient
from netserve.outbox.quota import Slice
from netserve.outbox.recovery import DAMAGED, quarantine
from netserve.outbox.routing import UNROUTED, Attached, Routed, Routing
from netserve.outbox.store import Store
from netserve.outbox.usages import Usages

DIRECT: Final = 0.5
"""The part of a lane's memory that new messages may take; the rest is for those of the database."""
_UNROUTED: Final = Outcome("deferred", Reply(451, "4.3.5", "routing failed here; see the log"))
_OVER_QUOTA: Final = Outcome(
    "deferred", Reply(451, "4.7.1", "the quota of this destination is used up")
)
LONGEST_WAIT: Final = 900.0
"""Seconds after which a lane that waits for its quota is looked at again, for mail that expires."""
_CRASHED: Final = Outcome("deferred", Reply(451, "4.3.0", "delivery failed here; see the log"))


class Agent:
    """Delivers the queue.

    Arguments:
        store: the queue.
        services: by name.
        routing: decides where recipients go.
        ledger: writes outcomes down.
        clock: unix time.
        reactor: for timers.
        log: for what goes wrong here.
    """

    def __init__(
        self,
        store: Store,
        services: Mapping[str, Attached],
        routing: Routing,
        ledger: Ledger,
        *,
        clock: Clock,
        reactor: Any,
        log: Logger,
    ) -> None:
        self.halted = False
        """No delivery is started any more."""
        self._store = store
        self._services = services
        self._routing = routing
        self._ledger = ledger
        self._now = clock.now
        self._reactor = reactor
        self._log = log
        self._lanes: dict[str, Lane] = {}
        self._inside: set[int] = set()
        self._bytes = 0
        self._running: dict[Delivery, Deferred[Any]] = {}
        self._quiet: Deferred[None] | None = None
        self._usages = Usages(self._lanes, self._forget_used)
        self._wakes = Wakes(reactor, clock.now, self._pump)

    @property
    def delivering(self) -> int:
        """Deliveries that are under way."""
        return len(self._running)

    def begin(
        self, lanes: Iterable[tuple[str, float]], used: Mapping[str, Sequence[Slice]]
    ) -> None:
        """Start with what the database has.

        Arguments:
            lanes: with the unix seconds of their first recipient.
            used: of quotas, by lane.
        """
        self._usages.begin(used)
        for name, next_at in lanes:
            service = name.partition(" ")[0]
            if service in self._services:
                self.expect(name, next_at)
            else:
                self._log.warn(
                    "mail for {lane} waits in the queue, but no service {service} is configured",
                    lane=name,
                    service=service,
                )

    def accept(self, message: QueuedMessage, ways: Sequence[Routed]) -> None:
        """Deliver a message that was just committed, now or as soon as there is room."""
        for way in ways:
            lane = self._lane(way.lane, way.destination.concurrency)
            if not self.halted and lane.has_room(self._bytes, DIRECT):
                self._put(lane, Delivery(message, way.recipients, way.destination))
            else:
                lane.expect(message.created)
            self._pump(lane)

    def expect(self, name: str, next_at: float, *, at_once: bool = False) -> None:
        """In a lane, a recipient of the database is due at a time in unix seconds.

        Arguments:
            name: of the lane.
            next_at: unix seconds.
            at_once: also where the destination rests because it did not answer.
        """
        if name.partition(" ")[0] not in self._services:
            return
        lane = self._lane(name)
        lane.expect(next_at)
        if at_once:
            lane.wake()
        self._pump(lane)

    def withdraw(self, numbers: Collection[int], *, dropped: bool) -> None:
        """Forget what waits here of some messages, since a verb has changed them.

        Arguments:
            numbers: of the messages.
            dropped: those under way are dropped as well; only their outcome is logged.
        """
        for lane in list(self._lanes.values()):
            for delivery in [some for some in lane.waiting if some.message.number in numbers]:
                lane.remove(delivery)
                self._bytes -= delivery.weight
                self._forget(lane, delivery)
        if dropped:
            for delivery in self._running:
                if delivery.message.number in numbers:
                    delivery.withdrawn = True

    async def stop(self, patience: float) -> None:
        """Start nothing more, and let what is under way end within so many seconds.

        What is not done then stays queued.
        """
        self.halted = True
        self._wakes.stop()
        if self._running:
            self._quiet = Deferred()
            timer = self._reactor.callLater(patience, self._give_up)
            await self._quiet
            if timer.active():
                timer.cancel()

    def _give_up(self) -> None:
        running = list(self._running.values())
        self._running.clear()
        self._log.info("{count} deliveries did not end in time", count=len(running))
        for deferred in running:
            deferred.cancel()
        self._check_quiet()

    def _check_quiet(self) -> None:
        if not self._running and self._quiet is not None and not self._quiet.called:
            self._quiet.callback(None)

    def _lane(self, name: str, limit: int = 1) -> Lane:
        lane = self._lanes.get(name)
        if lane is None:
            lane = self._lanes[name] = Lane(name, limit)
        return lane

    def _put(self, lane: Lane, delivery: Delivery) -> None:
        lane.limit = max(delivery.destination.concurrency, 1)
        if delivery.destination.quotas or lane.usage is not None:
            quotas = delivery.destination.quotas
            lane.usage = self._usages.of(lane.name, quotas, self._now())
        lane.put(delivery)
        self._bytes += delivery.weight
        self._inside.update(_keys(delivery))

    def _forget_used(self, now: float) -> None:
        self._store.call(
            lambda connection, _: forget_used(connection, now),
            lambda _: None,
            lambda error: self._log.error("{error}", error=str(error)),
        )

    # Lanes, when something has changed.

    def _pump(self, lane: Lane) -> None:
        """Start what may be started, read what there is room for, or sleep."""
        if lane.pumping or self.halted:
            return
        if self._ledger.unwritten:
            self._wakes.at(lane, self._now() + RETRY)
            return
        now = self._now()
        lane.pumping = True
        while lane.waiting and lane.may_start(now):
            self._start(lane, lane.take(now))
        lane.pumping = False
        if lane.next_at <= now:
            self._read(lane, now)
        elif lane.next_at < inf and not lane.rests_until:
            self._wakes.at(lane, lane.next_at)
        if lane.rests_until:
            self._rest(lane, now)
        if lane.waiting and (until := lane.quota_until(now)) > now:
            self._expire(lane, now, _OVER_QUOTA)
            self._wakes.at(lane, min(until, now + LONGEST_WAIT))
        if lane.idle and self._lanes.get(lane.name) is lane:
            del self._lanes[lane.name]
            if lane.usage is not None:
                self._usages.lane_ended(lane.name, now)

    def _rest(self, lane: Lane, now: float) -> None:
        if now < lane.rests_until:
            self._expire(lane, now, lane.last or _CRASHED)
            self._wakes.at(lane, lane.rests_until)
        elif now < lane.next_at < inf:
            self._wakes.at(lane, lane.next_at)

    def _read(self, lane: Lane, now: float) -> None:
        if lane.reading or len(lane.waiting) >= PAGE or not lane.has_room(self._bytes):
            return
        lane.reading, lane.next_at = True, inf
        self._store.call(
            lambda connection, _: due_page(
                connection, self._store.bodies, lane.name, now, lane.position, self._inside
            ),
            partial(self._page, lane),
            partial(self._no_page, lane),
        )

    def _page(self, lane: Lane, page: DuePage) -> None:
        for held in page.damaged:
            self._log.critical("{id} is held: {why}", id=held, why=DAMAGED)
        lane.turn_page(page.position, page.next_at if page.position is None else self._now())
        moved: list[tuple[int, Routed]] = []
        for message, recipients in page.rows:
            fresh = [
                recipient
                for recipient in recipients
                if recipient_key(message.number, recipient.id) not in self._inside
            ]
            if fresh:
                moved += self._arrange(lane, message, fresh)
        if moved:
            self._move(moved)
        self._pump(lane)

    def _arrange(
        self, lane: Lane, message: QueuedMessage, recipients: Sequence[QueuedRecipient]
    ) -> list[tuple[int, Routed]]:
        """Let them wait where they go by now; says who has no room there."""
        moved: list[tuple[int, Routed]] = []
        for way in self._routing.ways(message, recipients):
            own = (
                lane if way.lane == lane.name else self._lane(way.lane, way.destination.concurrency)
            )
            if own is lane or own.has_room(self._bytes):
                self._put(own, Delivery(message, way.recipients, way.destination))
                if own is not lane:
                    self._pump(own)
            else:
                moved.append((message.number, way))
        return moved

    def _move(self, moved: Sequence[tuple[int, Routed]]) -> None:
        """Recipients whose route has changed wait in the database, in their new lane."""
        rows = [
            (way.lane, number, recipient.id)
            for number, way in moved
            for recipient in way.recipients
        ]
        keys = [recipient_key(number, n) for _, number, n in rows]
        self._inside.update(keys)  # until they are there, the old lane does not see them again

        def update(connection: sqlite3.Connection, _: list[int]) -> None:
            connection.executemany(
                "UPDATE recipient SET lane = ? WHERE message = ? AND n = ?", rows
            )

        def done(_: None) -> None:
            self._inside.difference_update(keys)
            for name in {name for name, _, _ in rows}:
                self.expect(name, -inf)

        self._store.call(update, done, partial(self._refused, partial(self._move, moved)))

    def _refused(self, again: Callable[[], None], error: BaseException) -> None:
        """The store has not done something, such as on a full disk: ask once more in a while."""
        self._log.error("the queue cannot be changed: {error}", error=str(error))
        if not self.halted:
            self._reactor.callLater(RETRY, again)

    def _no_page(self, lane: Lane, error: BaseException) -> None:
        lane.reading, lane.position = False, START
        lane.next_at = self._now() + RETRY
        self._log.error("cannot read what is due for {lane}: {error}", lane=lane.name, error=error)
        if self._store.broken is None:
            self._pump(lane)

    def _expire(self, lane: Lane, now: float, last: Outcome) -> None:
        """Give up what is past its life, without an attempt that could not be made anyway."""
        for delivery in list(lane.waiting):
            life = self._services[delivery.message.service].schedule.life
            if now >= delivery.message.created + life:
                lane.remove(delivery)
                self._bytes -= delivery.weight
                self._record(lane, delivery, _all(delivery, last))

    # One delivery.

    def _start(self, lane: Lane, delivery: Delivery) -> None:
        self._bytes -= delivery.weight
        deferred: Deferred[Mapping[int, Outcome]]
        if delivery.destination is UNROUTED:
            deferred = succeed(_all(delivery, _UNROUTED))
        else:
            courier = self._services[delivery.message.service].courier
            try:
                deferred = courier.deliver(
                    delivery.message, delivery.recipients, delivery.destination
                )
            except Exception:  # a courier's bug defers, like its failed Deferred
                deferred = fail()
        self._running[delivery] = deferred
        deferred.addCallback(self._ended, lane, delivery)
        deferred.addErrback(self._crashed, lane, delivery)

    def _ended(self, outcomes: Mapping[int, Outcome], lane: Lane, delivery: Delivery) -> None:
        if self._running.pop(delivery, None) is None:
            return  # it was given up at the end of the process
        if isinstance(outcomes, Outcomes):
            delivery.session_at = outcomes.session_at
        lane.ended(outcomes, self._now())
        self._record(lane, delivery, outcomes)
        self._pump(lane)
        self._check_quiet()

    def _crashed(self, failure: Failure, lane: Lane, delivery: Delivery) -> None:
        under_way = delivery in self._running
        if under_way and failure.check(BodyMissing):
            del self._running[delivery]
            lane.ended({}, self._now())
            self._hold(lane, delivery, str(failure.value))
            self._pump(lane)
            self._check_quiet()
            return
        if not failure.check(CancelledError):
            self._log.failure(
                "{id}: delivery to {lane}", failure, id=delivery.message.id, lane=lane.name
            )
        if under_way:
            self._ended(_all(delivery, _CRASHED), lane, delivery)

    def _record(self, lane: Lane, delivery: Delivery, outcomes: Mapping[int, Outcome]) -> None:
        self._ledger.record(delivery, lane, outcomes, partial(self._written, lane, delivery))

    def _written(self, lane: Lane, delivery: Delivery, later: float, notices: Notices) -> None:
        self._forget(lane, delivery)
        if later < inf:
            lane.expect(later)
        self._pump(lane)
        for finished, ways in notices:
            self.accept(finished.message, ways)

    def _forget(self, lane: Lane, delivery: Delivery) -> None:
        self._inside.difference_update(_keys(delivery))
        lane.forget(delivery)

    def _hold(self, lane: Lane, delivery: Delivery, why: str) -> None:
        """Hold a message whose body is missing."""
        message = delivery.message

        def done(held: int) -> None:
            if held:  # else it was dropped, and its body with it
                self._log.critical("{id} is held: {why}", id=message.id, why=why)
            self._forget(lane, delivery)
            self._pump(lane)

        self._store.call(
            lambda connection, _: quarantine(connection, [message.number], why),
            done,
            partial(self._refused, partial(self._hold, lane, delivery, why)),
        )


def _keys(delivery: Delivery) -> list[int]:
    number = delivery.message.number
    return [recipient_key(number, recipient.id) for recipient in delivery.recipients]


def _all(delivery: Delivery, outcome: Outcome) -> dict[int, Outcome]:
    return dict.fromkeys((recipient.id for recipient in delivery.recipients), outcome)
