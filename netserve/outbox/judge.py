"""From outcomes to what is written: marks on recipients, and the reports that follow. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Final, Literal

from netserve.mail.dsn import Action
from netserve.mail.envelope import Outcome, Reply
from netserve.outbox.model import QueuedMessage, QueuedRecipient, State
from netserve.outbox.records import TaskMark
from netserve.outbox.retries import RetryTimes
from netserve.outbox.schedule import Again, Schedule

NO_OUTCOME: Final = Outcome("deferred", Reply(451, "4.3.0", "the delivery gave no outcome"))
EXPIRED: Final = "4.4.7"
"""The status for a message whose life is over (RFC 3463, 3.5)."""

Verdict = Literal["delivered", "deferred", "failed", "expired"]


@dataclass(frozen=True, slots=True)
class Judged:
    """What follows from one outcome.

    Arguments:
        recipient: as it was before the attempt.
        outcome: of the attempt.
        verdict: what it comes to.
        mark: for the database.
        report: what the sender is told, or None.
    """

    recipient: QueuedRecipient
    outcome: Outcome
    verdict: Verdict
    mark: TaskMark
    report: Action | None

    @property
    def status(self) -> str:
        """The enhanced status code for a report."""
        if self.verdict == "expired":
            return EXPIRED
        reply = self.outcome.reply
        return reply.status or f"{str(reply.code)[:1]}.0.0"


def judge(
    message: QueuedMessage,
    recipients: Sequence[QueuedRecipient],
    outcomes: Mapping[int, Outcome],
    *,
    lane: str,
    schedule: Schedule,
    retries: RetryTimes,
    now: float,
    random: Random,
    tried: bool = True,
) -> list[Judged]:
    """What follows from the outcomes of a delivery.

    Arguments:
        message: what was delivered.
        recipients: to whom.
        outcomes: by the recipients' ids; who is missing is deferred.
        lane: where they went.
        schedule: of the service.
        retries: the retry times so far.
        now: unix seconds.
        random: the source of jitter.
        tried: there was an attempt; without one the deferred recipients stay due.
    """
    found = [outcomes.get(recipient.id, NO_OUTCOME) for recipient in recipients]
    again = Again(now)
    if any(outcome.kind == "deferred" for outcome in found):
        again = _retry(message, recipients, schedule, now, random)
        if again.next_at is not None and tried:
            at = retries.join(message.number, lane, now=now, wanted=again.next_at)
            again = replace(again, next_at=at)
    judged = [
        _judge(message, recipient, outcome, lane, again, now)
        for recipient, outcome in zip(recipients, found, strict=True)
    ]
    if tried:
        return judged
    return [replace(one, mark=replace(one.mark, next_at=now)) for one in judged]


def _retry(
    message: QueuedMessage,
    recipients: Sequence[QueuedRecipient],
    schedule: Schedule,
    now: float,
    random: Random,
) -> Again:
    """What follows a deferral, the same for all of these recipients.

    The jitter is drawn once, for the recipient that was tried most often, and the delay notice is
    due when one of them has had none.
    """
    return schedule.after_deferral(
        created=message.created,
        now=now,
        attempts=max(recipient.attempts for recipient in recipients) + 1,
        warned=all(recipient.warned for recipient in recipients),
        random=random,
    )


def _judge(
    message: QueuedMessage,
    recipient: QueuedRecipient,
    outcome: Outcome,
    lane: str,
    again: Again,
    now: float,
) -> Judged:
    verdict: Verdict = outcome.kind
    state: int | None = None
    next_at, warned, notice = now, recipient.warned, False
    if verdict == "delivered":
        state = State.DONE
    elif verdict == "failed":
        state = State.FAILED
    elif again.next_at is None:
        verdict, state = "expired", State.FAILED
    else:
        next_at, notice = again.next_at, again.notice and not warned
        warned = warned or notice
    mark = TaskMark(
        n=recipient.id,
        state=state,
        next_at=next_at,
        lane=lane,
        attempts=recipient.attempts + 1,
        warned=warned,
        at=now,
        outcome=verdict,
        reply=plain(str(outcome.reply)),
        remote=plain(outcome.remote),
    )
    return Judged(
        recipient, outcome, verdict, mark, _report(message, recipient, outcome, verdict, notice)
    )


def _report(
    message: QueuedMessage,
    recipient: QueuedRecipient,
    outcome: Outcome,
    verdict: Verdict,
    notice: bool,
) -> Action | None:
    """What the sender is told, by NOTIFY (RFC 3461, 4.1); never the null sender."""
    notify = recipient.notify
    if not message.sender:
        return None
    if verdict in {"failed", "expired"}:
        return "failed" if not notify or "FAILURE" in notify else None
    if verdict == "deferred":
        return "delayed" if notice and (not notify or "DELAY" in notify) else None
    if outcome.report and "SUCCESS" in notify:
        return outcome.report
    return None


def plain(text: str) -> str:
    """Text that can be stored: lone surrogates replaced."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
