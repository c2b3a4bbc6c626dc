"""What differs from one kind of item to another: the interface between the queue and a kind.

A kind decides what the meta texts of its items and tasks mean, which reports the sender gets, and
how an item is shown. The queue knows nothing of mail; `netserve.mail.kind` is mail's kind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from netserve.outbox.model import Item, Outcome, Submission, Task
from netserve.outbox.records import TaskMark

if TYPE_CHECKING:
    from netserve.outbox.records import Description, TaskDescription

Verdict = Literal["delivered", "deferred", "failed", "expired"]
"""What an outcome comes to; the life of an expired one is over."""


class Trouble(Enum):
    """Why the queue itself defers a task; the value says it to people."""

    UNROUTED = "routing failed here; see the log"
    OVER_QUOTA = "the quota of this destination is used up"
    UNREADABLE = "the message cannot be read here; see the log"
    CRASHED = "delivery failed here; see the log"
    NO_OUTCOME = "the delivery gave no outcome"


@dataclass(frozen=True, slots=True)
class Judged:
    """What follows from one outcome.

    Arguments:
        task: as it was before the attempt.
        outcome: of the attempt.
        verdict: what it comes to.
        mark: for the store.
        report: which report the sender gets about it, in a word of the kind, or None.
    """

    task: Task
    outcome: Outcome
    verdict: Verdict
    mark: TaskMark
    report: str | None


class Report(NamedTuple):
    """A report about an item: an item of its own.

    Arguments:
        submission: whom it is for.
        data: its body.
    """

    submission: Submission
    data: bytes


class Kind(Protocol):
    """A kind of items, for one service."""

    @property
    def name(self) -> str:
        """Stands in the store, and never changes."""

    @property
    def media_type(self) -> str:
        """Of an item's body, as HTTP has it."""

    def restore(self, item: Item, tasks: Sequence[Task]) -> tuple[Item, Sequence[Task]]:
        """An item that comes from the store, with some of its tasks, as couriers want to see it."""

    def trouble(self, trouble: Trouble) -> Outcome:
        """The outcome of an attempt that was deferred by the queue itself."""

    def action(
        self, item: Item, task: Task, outcome: Outcome, verdict: Verdict, *, delayed: bool
    ) -> str | None:
        """Which report the sender gets about an outcome, in a word; None for no report.

        Tasks with the same word share one report. The queue asks for every outcome.

        Arguments:
            item: the item.
            task: one of its tasks.
            outcome: of the attempt.
            verdict: what it comes to.
            delayed: a report about the delay is due.
        """

    def report(
        self,
        action: str,
        item: Item,
        judged: Sequence[Judged],
        *,
        report_id: str,
        now: float,
        life: float,
        plain: bool,
    ) -> Report:
        """The report about some tasks of an item.

        Arguments:
            action: what `action` gave for them.
            item: the item; its body may be read, and may be missing.
            judged: the tasks.
            report_id: the queue id of the report.
            now: unix seconds.
            life: of an item, in seconds.
            plain: the least that can be said, where the report proper failed.
        """

    def is_report(self, item: Item) -> bool:
        """Whether an item is itself a report, so that its end is not reported."""

    def describe(self, item: Description) -> Mapping[str, Any]:
        """What `queue list` and `queue show` have of an item beyond what every kind has."""

    def describe_task(self, task: TaskDescription) -> Mapping[str, Any]:
        """The same for a task."""

    def head(self, item: Item) -> str:
        """What `queue show` prints of the body. It may block, and runs in a thread.

        Raises:
            OutboxError: the body cannot be read.
        """
