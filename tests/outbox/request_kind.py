"""A kind of items that is not mail: requests, with a report of their own."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from twisted.internet.defer import Deferred, succeed

from netserve.outbox import Destination, Item, Outcome, Submission, Task
from netserve.outbox.kind import Judged, Report, Trouble, Verdict
from netserve.outbox.records import Description, TaskDescription


@dataclass(frozen=True)
class Answer:
    """An outcome: what an upstream has answered."""

    verdict: Literal["delivered", "deferred", "failed"]
    status: int
    remote: str = "upstream.example:443"
    reached: bool = True

    @property
    def text(self) -> str:
        return f"{self.status} of HTTP"


OK = Answer("delivered", 200)
BUSY = Answer("deferred", 503)
GONE = Answer("failed", 410)


class RequestKind:
    """Implements `Kind`. The meta text is the method; a task is an upstream, by its URL.

    Whoever sent a request is told by another request, to the URL that is its sender.
    """

    name = "request"
    media_type = "application/x-request"

    def restore(self, item: Item, tasks: Sequence[Task]) -> tuple[Item, Sequence[Task]]:
        return item, tasks

    def trouble(self, trouble: Trouble) -> Answer:
        return Answer("deferred", 500, remote="", reached=False)

    def action(
        self, item: Item, task: Task, outcome: Outcome, verdict: Verdict, *, delayed: bool
    ) -> str | None:
        if not item.sender:
            return None
        return {"delivered": "done", "failed": "gone", "expired": "late"}.get(verdict)

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
        data = "\n".join(f"{action} {one.task.address} {one.mark.reply}" for one in judged)
        return Report(Submission(self.name, [Task(0, item.sender)], meta="REPORT"), data.encode())

    def is_report(self, item: Item) -> bool:
        return item.meta == "REPORT"

    def describe(self, item: Description) -> Mapping[str, Any]:
        return {"method": item.meta}

    def describe_task(self, task: TaskDescription) -> Mapping[str, Any]:
        return {"version": task.meta}

    def head(self, item: Item) -> str:
        with contextlib.closing(item.body()) as reader:
            return reader.read(20).decode()


class RequestCourier:
    """Sends requests nowhere: `answers` gives each its outcome."""

    kind = RequestKind()

    def __init__(self, answer: Callable[[Task], Answer] = lambda _: OK) -> None:
        self.answer = answer
        self.sent: list[tuple[str, str, str, bytes]] = []
        """Method, URL, version and body."""

    def destination(self, item: Item, task: Task) -> Destination:
        return Destination(task.address.split("/")[2])

    def deliver(
        self, item: Item, tasks: Sequence[Task], destination: Destination
    ) -> Deferred[Mapping[int, Any]]:
        with contextlib.closing(item.body()) as reader:
            body = reader.read()
        self.sent += [(item.meta, task.address, task.meta, body) for task in tasks]
        return succeed({task.id: self.answer(task) for task in tasks})
