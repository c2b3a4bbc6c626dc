"""The agent: what is due goes to the couriers, lane by lane, and what they say is written down.

New messages come straight from memory, the others from the database, page by page, when their
lane has room; the queue is never in memory as a whole. A delivery is marked only after its
outcome, by the same group commits that take new mail in, so a crash can at most repeat it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from math import inf
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from netserve.outbox.backlog import Backlog
from netserve.outbox.budgets import Budget, Budgets, Turns
from netserve.outbox.clock import Clock, Wakes
from netserve.outbox.courier import NotTried, Outcomes
from netserve.outbox.errors import BodyMissing, BodyUnreadable
from netserve.outbox.kind import Trouble
from netserve.outbox.lanes import Delivery, Lane
from netserve.outbox.ledger import RETRY, Ledger, Notices
from netserve.outbox.model import UNROUTED, Item, Outcome, Task
from netserve.outbox.records import DAMAGED, PAGE, DuePage, Survey, task_key
from netserve.outbox.routing import Attached, Routed, Routing
from netserve.outbox.storage import Storage
from netserve.outbox.under_way import UnderWay

DIRECT: Final = 0.5
"""The part of a lane's memory that new messages may take; the rest is for those of the database."""
LONGEST_WAIT: Final = 900.0
"""Seconds after which a lane that waits for its quota is looked at again, for mail that expires."""
LOOK: Final = 60.0
"""Seconds that are at least between two looks for those who are to be told, or given up."""


class Agent:
    """Delivers the queue.

    Arguments:
        storage: the store.
        services: by name.
        routing: decides where recipients go.
        ledger: writes outcomes down.
        clock: unix time.
        reactor: for timers.
        log: for what goes wrong here.
    """

    def __init__(
        self,
        storage: Storage,
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
        self._services = services
        self._routing = routing
        self._ledger = ledger
        self._now = clock.now
        self._reactor = reactor
        self._log = log
        self._lanes: dict[str, Lane] = {}
        self._bytes = 0  # of bodies in memory
        self._under_way = UnderWay(reactor=reactor, log=log)
        self._backlog = Backlog(
            storage,
            room=self._room,
            take=self._page,
            expect=self.expect,
            now=clock.now,
            reactor=reactor,
            log=log,
        )
        self._inside = self._backlog.inside
        self._budgets = Budgets(self._backlog.forget_usage)
        self._turns = Turns(self._pump_one, clock.now)
        self._wakes = Wakes(reactor, clock.now, self._pump)

    @property
    def delivering(self) -> int:
        """Deliveries that are under way."""
        return len(self._under_way)

    def begin(self, survey: Survey) -> None:
        """Start with what the store has."""
        self._budgets.begin(survey.used)
        unknown: Counter[str] = Counter()
        for name, next_at in survey.lanes:
            service = name.partition(" ")[0]
            if service in self._services:
                self.expect(name, next_at)
            else:
                unknown[service] += 1
        for service, count in unknown.items():
            self._log.warn(
                "mail for {count} destinations waits in the queue, but no service {service} is"
                " configured",
                count=count,
                service=service,
            )

    def accept(self, message: Item, ways: Sequence[Routed]) -> None:
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
            chosen = [some for some in lane.waiting if some.message.number in numbers]
            for delivery in chosen:
                lane.remove(delivery)
                self._forget(lane, delivery)
            if chosen:
                self._pump(lane)
        if dropped:
            self._under_way.withdraw(numbers)

    def reroute(self, service: str) -> None:
        """The routes of a service have changed: ask again where what waits is to go, and try at
        once also those that did not answer by the old routes.
        """
        for lane in [one for one in self._lanes.values() if one.service == service]:
            for delivery in list(lane.waiting):
                lane.remove(delivery)
                self._forget(lane, delivery)
            lane.wake()
            lane.expect(-inf)
            self._pump(lane)

    async def stop(self, patience: float) -> None:
        """Start nothing more, and let what is under way end within so many seconds.

        What is not done then stays queued.
        """
        self.halted = True
        self._wakes.stop()
        self._backlog.stop()
        await self._under_way.stop(patience)

    def give_up(self) -> None:
        """While it stops: wait no more for what is under way."""
        self._under_way.give_up()

    def _lane(self, name: str, limit: int = 1) -> Lane:
        lane = self._lanes.get(name)
        if lane is None:
            lane = self._lanes[name] = Lane(name, limit)
        return lane

    def _put(self, lane: Lane, delivery: Delivery) -> None:
        destination = delivery.destination
        if destination is not lane.destination:
            lane.destination = destination
            lane.limit = max(destination.concurrency, 1)
            self._share(lane, self._budgets.of(destination, self._now()))
        lane.put(delivery)
        self._bytes += delivery.weight
        self._inside.update(_keys(delivery))

    def _share(self, lane: Lane, budget: Budget | None) -> None:
        """Let a lane have this budget from now on."""
        before = lane.budget
        if budget is before:
            return
        lane.budget = budget
        if budget is not None:
            budget.lanes += 1
        if before is not None:
            before.leave(lane)
            self._budgets.lane_ended(before, self._now())
            self._turns.give(before)

    def _room(self, lane: Lane) -> int:
        return lane.room(self._bytes)

    # Lanes, when something has changed.

    def _pump(self, lane: Lane) -> None:
        """Start what may be started, read what there is room for, or sleep."""
        self._turns.pump(lane)

    def _pump_one(self, lane: Lane) -> None:
        if lane.pumping or self.halted:
            return
        if self._ledger.unwritten:
            self._wakes.at(lane, self._now() + RETRY)
            return
        now = self._now()
        budget = lane.budget if lane.budget is not None and lane.budget.is_shared else None
        lane.pumping = True
        while lane.waiting and lane.may_start(now):
            if budget is not None and not budget.grants(lane, now):
                break
            self._start(lane, lane.take(now))
        lane.pumping = False
        if lane.next_at <= now:
            self._read(lane)
        elif lane.next_at < inf and not lane.rests_until:
            self._wakes.at(lane, lane.next_at)
        if lane.rests_until:
            self._rest(lane, now)
        if budget is not None:
            self._pump_shared(lane, budget, now)
        if lane.idle and self._lanes.get(lane.name) is lane:
            del self._lanes[lane.name]
            self._share(lane, None)

    def _pump_shared(self, lane: Lane, budget: Budget, now: float) -> None:
        self._ledger.begun(budget)
        if not lane.waiting or not lane.may_start(now):
            budget.leave(lane)
        if lane.waiting and (until := budget.free_at(lane, now)) > now:
            self._look_after(lane, now, Trouble.OVER_QUOTA)
            self._wakes.at(lane, min(until, now + LONGEST_WAIT))
        self._turns.give(budget)

    def _released(self, lane: Lane, delivery: Delivery) -> None:
        """A delivery has ended whose lane has another budget by now."""
        if (budget := delivery.budget) is not None and budget is not lane.budget:
            self._budgets.drop_unused(budget, self._now())
            self._turns.give(budget)

    def _read(self, lane: Lane) -> None:
        if not lane.reading and len(lane.waiting) < PAGE and lane.has_room(self._bytes):
            self._backlog.read(lane)

    def _rest(self, lane: Lane, now: float) -> None:
        if now < lane.rests_until:
            self._look_after(lane, now, lane.last or Trouble.CRASHED)
            self._wakes.at(lane, lane.rests_until)
        elif now < lane.next_at < inf:
            self._wakes.at(lane, lane.next_at)

    def _look_after(self, lane: Lane, now: float, why: Outcome | Trouble) -> None:
        """Tell and give up in time those who wait while no attempt can be made."""
        if now < lane.looked_at + LOOK:
            return
        lane.looked_at = now
        for delivery in list(lane.waiting):
            message, recipients = delivery.message, delivery.recipients
            schedule = self._services[message.service].schedule
            warned = all(recipient.warned for recipient in recipients)
            if schedule.is_overdue(created=message.created, now=now, warned=warned):
                lane.remove(delivery)
                self._record(lane, delivery, self._all(delivery, why), tried=False)

    def _page(self, lane: Lane, page: DuePage) -> None:
        for held in page.damaged:
            self._log.critical("{id} is held: {why}", id=held, why=DAMAGED)
        moved: list[tuple[int, Routed]] = []
        for message, recipients in page.rows:
            fresh = [
                recipient
                for recipient in recipients
                if task_key(message.number, recipient.id) not in self._inside
            ]
            if fresh:
                moved += self._restore(lane, message, fresh)
        if moved:
            self._backlog.move(moved)
        self._pump(lane)

    def _restore(self, lane: Lane, item: Item, tasks: Sequence[Task]) -> list[tuple[int, Routed]]:
        """Arrange what comes from the store, unless the service is of another kind by now."""
        kind = self._services[lane.service].courier.kind
        if item.kind == kind.name:
            return self._arrange(lane, *kind.restore(item, tasks))
        why = f"it is of the kind {item.kind}, which the service {item.service} does not deliver"
        self._backlog.hold(item, why, lambda: None)
        return []

    def _arrange(
        self, lane: Lane, message: Item, recipients: Sequence[Task]
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

    # One delivery.

    def _start(self, lane: Lane, delivery: Delivery) -> None:
        deferred: Deferred[Mapping[int, Outcome]]
        if delivery.destination is UNROUTED:
            deferred = succeed(self._all(delivery, Trouble.UNROUTED))
        else:
            courier = self._services[delivery.message.service].courier
            try:
                deferred = courier.deliver(
                    delivery.message, delivery.recipients, delivery.destination
                )
            except Exception:  # a courier's bug defers, like its failed Deferred
                deferred = fail()
        self._under_way.add(delivery, deferred)
        deferred.addCallback(self._ended, lane, delivery)
        deferred.addErrback(self._crashed, lane, delivery)

    def _ended(self, outcomes: Mapping[int, Outcome], lane: Lane, delivery: Delivery) -> None:
        if not self._under_way.ended(delivery):
            return  # it was given up at the end of the process
        if isinstance(outcomes, Outcomes):
            delivery.session_at = outcomes.session_at
        lane.ended(delivery, outcomes, self._now())
        self._released(lane, delivery)
        self._record(lane, delivery, outcomes)
        self._pump(lane)
        self._under_way.check_quiet()

    def _crashed(self, failure: Failure, lane: Lane, delivery: Delivery) -> None:
        under_way = delivery in self._under_way
        if under_way and failure.check(NotTried, BodyMissing, BodyUnreadable):
            self._not_made(failure, lane, delivery)
            return
        if not failure.check(CancelledError, NotTried):
            self._log.failure(
                "{id}: delivery to {lane}", failure, id=delivery.message.id, lane=lane.name
            )
        if under_way:
            self._ended(self._all(delivery, Trouble.CRASHED), lane, delivery)

    def _not_made(self, failure: Failure, lane: Lane, delivery: Delivery) -> None:
        """The remote saw no attempt: the body cannot be read, or the route was changed."""
        self._under_way.ended(delivery)
        lane.put_back(delivery, self._now())
        self._released(lane, delivery)
        if failure.check(NotTried):
            self._route_again(lane, delivery)
        elif failure.check(BodyUnreadable):
            self._log.error("{id}: {why}", id=delivery.message.id, why=str(failure.value))
            self._record(lane, delivery, self._all(delivery, Trouble.UNREADABLE))
        else:
            why = str(failure.value)
            self._backlog.hold(delivery.message, why, partial(self._gone, lane, delivery))
        self._pump(lane)
        self._under_way.check_quiet()

    def _route_again(self, lane: Lane, delivery: Delivery) -> None:
        """Forget it, and find it again in the database."""
        self._forget(lane, delivery)
        lane.expect(-inf)

    def _gone(self, lane: Lane, delivery: Delivery) -> None:
        self._forget(lane, delivery)
        self._pump(lane)

    def _record(
        self,
        lane: Lane,
        delivery: Delivery,
        outcomes: Mapping[int, Outcome],
        *,
        tried: bool = True,
    ) -> None:
        self._ledger.record(
            delivery, lane, outcomes, partial(self._written, lane, delivery), tried=tried
        )

    def _written(self, lane: Lane, delivery: Delivery, later: float, notices: Notices) -> None:
        self._forget(lane, delivery)
        if later < inf:
            lane.expect(later)
        self._pump(lane)
        for finished, ways in notices:
            self.accept(finished.message, ways)

    def _all(self, delivery: Delivery, why: Outcome | Trouble) -> dict[int, Outcome]:
        """The same outcome for all tasks."""
        if isinstance(why, Trouble):
            why = self._services[delivery.message.service].courier.kind.trouble(why)
        return dict.fromkeys((task.id for task in delivery.recipients), why)

    def _forget(self, lane: Lane, delivery: Delivery) -> None:
        self._bytes -= delivery.weight
        self._inside.difference_update(_keys(delivery))
        lane.forget(delivery)


def _keys(delivery: Delivery) -> list[int]:
    number = delivery.message.number
    return [task_key(number, recipient.id) for recipient in delivery.recipients]
