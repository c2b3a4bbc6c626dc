"""The ledger: outcomes are logged, judged, and written down with the reports that follow."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from math import inf
from random import Random
from typing import Any, Final
from zlib import crc32

from twisted.logger import Logger

from netserve.outbox.budgets import Budget
from netserve.outbox.clock import Clock
from netserve.outbox.errors import OutboxError, OutOfSpace
from netserve.outbox.ids import IdSource, encode_id
from netserve.outbox.incoming import Finished
from netserve.outbox.judge import by_action, judge
from netserve.outbox.kind import Judged, Verdict
from netserve.outbox.lanes import Delivery, Lane
from netserve.outbox.model import Item, Outcome, State, Task
from netserve.outbox.recent import Ended, Recent
from netserve.outbox.records import Mark
from netserve.outbox.retries import RetryTimes
from netserve.outbox.routing import Attached, Routed, Routing, new_item
from netserve.outbox.storage import Storage

RETRY: Final = 1.0
"""Seconds after which an outcome that found the disk full is written again."""

Notices = list[tuple[Finished, list[Routed]]]
_NONE: Final[Notices] = []
_GIVEN_UP: Final = frozenset({"failed", "expired"})
_ENDED: Final = frozenset({State.DONE, State.FAILED})
Written = Callable[[float, Notices], None]


class Ledger:
    """Writes outcomes down.

    Arguments:
        storage: the store.
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
        storage: Storage,
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
        self.unwritten: set[Mark] = set()
        """Outcomes that wait for space on the disk; meanwhile nothing should be delivered."""
        self.outcomes: Counter[tuple[str, str, str]] = Counter()
        """Recipients by service, label of the destination, and what came of an attempt."""
        self.recent = Recent()
        """The last outcomes, for who follows a message."""
        self._retries = RetryTimes()
        self._storage = storage
        self._services = services
        self._routing = routing
        self._ids = ids
        self._clock = clock
        self._reactor = reactor
        self._random = random
        self._log = log
        self._changed = changed

    def record(
        self,
        delivery: Delivery,
        lane: Lane,
        outcomes: Mapping[int, Outcome],
        written: Written,
        *,
        tried: bool = True,
    ) -> None:
        """Write down what became of a delivery.

        Arguments:
            delivery: what was delivered.
            lane: the lane that it went by.
            outcomes: by recipient id.
            written: is called after the commit, with the unix seconds of the next attempt,
                infinity for none, and with the reports that it holds.
            tried: there was an attempt.
        """
        message = delivery.message
        now = self._clock.now()
        later, notices = inf, _NONE
        if len(delivery.recipients) == message.tasks and self._plainly_done(delivery, outcomes):
            for recipient in delivery.recipients:
                outcome = outcomes[recipient.id]
                self._tell(delivery, recipient, "delivered", outcome.text, outcome.remote, now)
            mark = Mark(message.number, message.in_file, True, (), ())
        else:
            judged = judge(
                message,
                delivery.recipients,
                outcomes,
                kind=self._services[message.service].courier.kind,
                lane=lane.name,
                schedule=self._services[message.service].schedule,
                retries=self._retries,
                now=now,
                random=self._random,
                tried=tried,
            )
            mark, notices = self._conclude(delivery, judged, now)
            later = min((one.mark.next_at for one in judged if one.mark.state is None), default=inf)
        budget = delivery.budget or lane.budget
        if budget is not None and budget.usage is not None:
            mark.account, mark.used = budget.account, budget.usage.changes()
        self._write(mark, partial(written, later, notices))

    def _plainly_done(self, delivery: Delivery, outcomes: Mapping[int, Outcome]) -> bool:
        """Whether all tasks are done and nobody is told: most mail, and nothing of it stays."""
        kind = self._services[delivery.message.service].courier.kind
        for task in delivery.recipients:
            outcome = outcomes.get(task.id)
            if outcome is None or outcome.verdict != "delivered":
                return False
            if kind.action(delivery.message, task, outcome, "delivered", delayed=False):
                return False
        return True

    def begun(self, budget: Budget) -> None:
        """Write down what deliveries that begin now take of quotas."""
        if budget.usage is not None and (used := budget.usage.changes()):
            self._storage.use(budget.account, used)

    def _conclude(
        self, delivery: Delivery, judged: Sequence[Judged], now: float
    ) -> tuple[Mark, Notices]:
        message = delivery.message
        for one in judged:
            mark = one.mark
            self._tell(delivery, one.task, one.verdict, mark.reply, mark.remote, now)
        marks = [one.mark for one in judged]
        notices: Notices = []
        for action, some in by_action(() if delivery.withdrawn else judged).items():
            made = self._notice(message, action, some, now)
            if made is not None:
                notices.append(made)
            else:
                untold = {one.mark.n for one in some if one.verdict in _GIVEN_UP}
                marks = [replace(m, state=State.HELD) if m.n in untold else m for m in marks]
        reports = [new_item(finished, ways, finished.message.created) for finished, ways in notices]
        whole = len(marks) == message.tasks and all(m.state in _ENDED for m in marks)
        return Mark(message.number, message.in_file, whole, marks, reports), notices

    def _write(self, mark: Mark, written: Callable[[], None]) -> None:
        self._storage.mark(mark, partial(self._marked, mark, written))

    def _marked(self, mark: Mark, written: Callable[[], None], error: OutboxError | None) -> None:
        if isinstance(error, OutOfSpace):
            if not self.unwritten:
                self._log.error("the disk is full: deliveries stop until outcomes can be written")
            self.unwritten.add(mark)
            self._reactor.callLater(RETRY, self._write, mark, written)
            return
        self.unwritten.discard(mark)
        if error is None:
            self._changed()
            written()
        elif self._storage.broken is None:
            self._log.error(
                "{id}: what came of a delivery cannot be written, so that the next start makes it"
                " again: {error}",
                id=encode_id(mark.number),
                error=str(error),
            )
        # Else the store has said it; the next start makes all such deliveries again.

    def _notice(
        self, message: Item, action: str, some: Sequence[Judged], now: float
    ) -> tuple[Finished, list[Routed]] | None:
        """A report to the sender, with its ways; None if it cannot be made, by an error of ours.

        If the report proper cannot be made, a plain one is; if neither can be made, a recipient
        that has failed is held, so that no message is given up without a word.
        """
        make = partial(self._make_notice, message, action, some, now)
        finished = make(plain=False) or make(plain=True)
        if finished is None:
            self._log.critical(
                "{id}: the sender <{sender}> cannot be told that its message is {action}",
                id=message.id,
                sender=message.sender,
                action=action,
            )
            return None
        self._log.info(
            "{id}: the sender <{sender}> is told by {notice}: {action}",
            id=message.id,
            sender=message.sender,
            notice=finished.message.id,
            action=action,
        )
        return finished, self._routing.ways(finished.message, finished.recipients)

    def _make_notice(
        self,
        message: Item,
        action: str,
        some: Sequence[Judged],
        now: float,
        *,
        plain: bool,
    ) -> Finished | None:
        service = self._services[message.service]
        number = self._ids.next()
        try:
            report = service.courier.kind.report(
                action,
                message,
                some,
                report_id=encode_id(number),
                now=now,
                life=service.schedule.life,
                plain=plain,
            )
            own = report.submission.item(
                id=encode_id(number),
                number=number,
                service=message.service,
                created=now,
                size=len(report.data),
                body_sum=crc32(report.data),
                open_body=partial(io.BytesIO, report.data),
            )
            return Finished(own, report.submission.tasks, report.data, None)
        except Exception:
            kind = "plain" if plain else "full"
            self._log.failure("{id}: the {kind} report failed", id=message.id, kind=kind)
            return None

    def _tell(
        self,
        delivery: Delivery,
        recipient: Task,
        verdict: Verdict,
        reply: str,
        remote: str,
        now: float,
    ) -> None:
        message, started = delivery.message, delivery.started
        destination = delivery.destination
        self.outcomes[message.service, destination.label or destination.key, verdict] += 1
        self.recent.add(
            Ended(message.number, recipient.address, verdict, destination.key, reply, remote, now)
        )
        # What had no session with a remote took no time to reach one.
        begun = self._clock.unix(delivery.session_at) if delivery.session_at else started
        self._log.info(
            "{id}: {outcome} to <{recipient}> by {destination}: {reply}"
            " (remote {remote}, trace {trace}, before the queue {before:.3f} s,"
            " in the queue {queued:.3f} s, connection {connection:.3f} s,"
            " transmission {transmission:.3f} s)",
            id=message.id,
            outcome=verdict,
            recipient=recipient.address,
            destination=destination.key,
            reply=reply,
            remote=remote or "none",
            trace=message.trace or "none",
            before=message.took,
            queued=max((started or now) - message.created, 0.0),
            connection=begun - started if started else 0.0,
            transmission=now - begun if started else 0.0,
        )
        if verdict in _GIVEN_UP and self._services[message.service].courier.kind.is_report(message):
            self._log.warn(
                "{id}: a report to <{recipient}> cannot be delivered and is given up",
                id=message.id,
                recipient=recipient.address,
            )
