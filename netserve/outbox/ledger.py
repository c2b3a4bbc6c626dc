"""The ledger: outcomes are logged, judged, and written down with the reports that follow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from random import Random
from typing import Any, Final

from twisted.logger import Logger

from netserve.mail.envelope import Outcome
from netserve.outbox.changes import Mark
from netserve.outbox.clock import Clock
from netserve.outbox.errors import OutboxError, OutOfSpace
from netserve.outbox.ids import IdSource
from netserve.outbox.incoming import Finished
from netserve.outbox.judge import Judged, judge
from netserve.outbox.lanes import Delivery
from netserve.outbox.notices import by_action, notice
from netserve.outbox.routing import Attached, Routed, Routing, insertion
from netserve.outbox.store import Store

RETRY: Final = 1.0
"""Seconds after which an outcome that found the disk full is written again."""

Notices = list[tuple[Finished, list[Routed]]]
Written = Callable[[Sequence[Judged], Notices], None]


class Ledger:
    """Writes outcomes down.

    Arguments:
        store: where to.
        services: by name, for schedules and host names.
        routing: finds the ways of reports.
        ids: gives reports their numbers.
        clock: unix time.
        reactor: for trying again on a full disk.
        random: the source of jitter.
        log: gets one line a recipient and attempt.
        changed: is called when the number of queued recipients may have changed.
    """

    def __init__(
        self,
        store: Store,
        services: Mapping[str, Attached],
        routing: Routing,
        ids: IdSource,
        *,
        clock: Clock,
        reactor: Any,
        random: Random,
        log: Logger,
        changed: Callable[[], None],
    ) -> None:
        self.unwritten = 0
        """Outcomes that wait for space on the disk; meanwhile nothing should be delivered."""
        self._store = store
        self._services = services
        self._routing = routing
        self._ids = ids
        self._clock = clock
        self._reactor = reactor
        self._random = random
        self._log = log
        self._changed = changed

    def record(
        self, delivery: Delivery, lane: str, outcomes: Mapping[int, Outcome], written: Written
    ) -> None:
        """Write down what became of a delivery.

        Arguments:
            delivery: what was delivered.
            lane: the lane that it went by.
            outcomes: by recipient id.
            written: is called after the commit, with the reports that it holds.
        """
        message = delivery.message
        judged = judge(
            message,
            delivery.recipients,
            outcomes,
            lane=lane,
            schedule=self._services[message.service].schedule,
            now=self._clock.now(),
            random=self._random,
        )
        for one in judged:
            self._tell(delivery, one)
        notices = [] if delivery.withdrawn else self._notices(delivery, judged)
        whole = len(judged) == message.recipients and all(
            one.mark.state is not None for one in judged
        )
        jobs = [
            insertion(finished, ways, finished.message.created, _ignore)
            for finished, ways in notices
        ]
        marks = [one.mark for one in judged]
        mark = Mark(message.number, message.in_file, whole, marks, jobs, _ignore)
        mark.done = partial(self._marked, mark, partial(written, judged, notices))
        self._store.mark(mark)

    def _marked(self, mark: Mark, written: Callable[[], None], error: OutboxError | None) -> None:
        if error is None:
            self._changed()
            written()
        elif isinstance(error, OutOfSpace):
            if not self.unwritten:
                self._log.error("the disk is full: deliveries stop until outcomes can be written")
            self.unwritten += 1
            self._reactor.callLater(RETRY, self._again, mark)
        # Else the store is broken and has said so; the next start delivers this again.

    def _again(self, mark: Mark) -> None:
        self.unwritten -= 1
        self._store.mark(mark)

    def _notices(self, delivery: Delivery, judged: Sequence[Judged]) -> Notices:
        made: Notices = []
        message = delivery.message
        service = self._services[message.service]
        for action, some in by_action(judged).items():
            finished = notice(
                action,
                message,
                some,
                number=self._ids.next(),
                hostname=service.courier.hostname,
                now=self._clock.now(),
                life=service.schedule.life,
            )
            self._log.info(
                "{id}: the sender <{sender}> is told by {notice}: {action}",
                id=message.id,
                sender=message.sender,
                notice=finished.message.id,
                action=action,
            )
            made.append((finished, self._routing.ways(finished.message, finished.recipients)))
        return made

    def _tell(self, delivery: Delivery, one: Judged) -> None:
        message, now = delivery.message, self._clock.now()
        self._log.info(
            "{id}: {outcome} to <{recipient}> by {destination}: {reply}"
            " (remote {remote}, trace {trace}, before the queue {before:.3f} s,"
            " in the queue {queued:.3f} s, delivery {delivery:.3f} s)",
            id=message.id,
            outcome=one.verdict,
            recipient=one.recipient.address,
            destination=delivery.destination.key,
            reply=one.mark.reply,
            remote=one.mark.remote or "none",
            trace=message.trace or "none",
            before=message.took,
            queued=max(delivery.started - message.created, 0.0),
            delivery=now - delivery.started if delivery.started else 0.0,
        )
        if one.mark.state and one.verdict != "delivered" and not message.sender:
            self._log.warn(
                "{id}: a report to <{recipient}> cannot be delivered and is given up",
                id=message.id,
                recipient=one.recipient.address,
            )


def _ignore(_: OutboxError | None) -> None:
    """The result of a job within another one, whose result counts."""
