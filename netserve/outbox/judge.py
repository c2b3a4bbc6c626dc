"""From outcomes to what is written: marks on recipients, and the reports that follow. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from random import Random

from netserve.outbox.kind import Judged, Kind, Trouble, Verdict
from netserve.outbox.model import Item, Outcome, State, Task
from netserve.outbox.records import TaskMark
from netserve.outbox.retries import RetryTimes
from netserve.outbox.schedule import Again, Schedule


def judge(
    message: Item,
    recipients: Sequence[Task],
    outcomes: Mapping[int, Outcome],
    *,
    kind: Kind,
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
        kind: of the message.
        lane: where they went.
        schedule: of the service.
        retries: the retry times so far.
        now: unix seconds.
        random: the source of jitter.
        tried: there was an attempt; without one the deferred recipients stay due.
    """
    none = kind.trouble(Trouble.NO_OUTCOME)
    found = [outcomes.get(recipient.id, none) for recipient in recipients]
    again = Again(now)
    if any(outcome.verdict == "deferred" for outcome in found):
        again = _retry(message, recipients, schedule, now, random)
        if again.next_at is not None and tried:
            at = retries.join(message.number, lane, now=now, wanted=again.next_at)
            again = replace(again, next_at=at)
    judged = [
        _judge(kind, message, recipient, outcome, lane, again, now)
        for recipient, outcome in zip(recipients, found, strict=True)
    ]
    if tried:
        return judged
    return [replace(one, mark=replace(one.mark, next_at=now)) for one in judged]


def _retry(
    message: Item,
    recipients: Sequence[Task],
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
    kind: Kind,
    message: Item,
    recipient: Task,
    outcome: Outcome,
    lane: str,
    again: Again,
    now: float,
) -> Judged:
    verdict: Verdict = outcome.verdict
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
        reply=plain(outcome.text),
        remote=plain(outcome.remote),
    )
    report = kind.action(message, recipient, outcome, verdict, delayed=notice)
    return Judged(recipient, outcome, verdict, mark, report)


def by_action(judged: Iterable[Judged]) -> Mapping[str, list[Judged]]:
    """Those of whom the sender is told, by what the sender is told."""
    found: dict[str, list[Judged]] = {}
    for one in judged:
        if one.report is not None:
            found.setdefault(one.report, []).append(one)
    return found


def plain(text: str) -> str:
    """Text that can be stored: lone surrogates replaced."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
