"""Mail as a kind of the queue's items: which reports a sender gets (RFC 3461)."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from netserve.mail import dsn
from netserve.mail.dsn import (
    HEADER_LIMIT,
    Action,
    ReportedRecipient,
    build_plain_report,
    build_report,
    header_of,
    returns_full,
)
from netserve.mail.envelope import Envelope, Outcome, Recipient, Reply, body_type
from netserve.mail.lines import has_long_line
from netserve.mail.queued import KIND, QueuedMessage, QueuedRecipient, recipient_options, submission
from netserve.outbox import model
from netserve.outbox.errors import OutboxError
from netserve.outbox.kind import Judged, Report, Trouble, Verdict
from netserve.outbox.model import Item, Task
from netserve.outbox.records import Description, TaskDescription

_NO_BODY: Final = b"Subject: (the message cannot be read)\r\n"
EXPIRED: Final = "4.4.7"
"""The status for a message whose life is over (RFC 3463, 3.5)."""
_STATUS: Final = {
    Trouble.UNROUTED: "4.3.5",
    Trouble.OVER_QUOTA: "4.7.1",
    Trouble.UNREADABLE: "4.3.0",
    Trouble.CRASHED: "4.3.0",
    Trouble.NO_OUTCOME: "4.3.0",
}
_TROUBLES: Final = {
    trouble: Outcome("deferred", Reply(451, status, trouble.value))
    for trouble, status in _STATUS.items()
}


class MailKind:
    """Implements `netserve.outbox.kind.Kind`.

    Arguments:
        hostname: the name of this host, for the reports: ``MAILER-DAEMON@hostname``.
    """

    name = KIND
    media_type = "message/rfc822"

    def __init__(self, hostname: str) -> None:
        self.hostname = hostname

    def restore(self, item: Item, tasks: Sequence[Task]) -> tuple[Item, Sequence[Task]]:
        """See `Kind`: messages and recipients with their options."""
        return QueuedMessage.of(item), [QueuedRecipient.of(task) for task in tasks]

    def trouble(self, trouble: Trouble) -> Outcome:
        """See `Kind`."""
        return _TROUBLES[trouble]

    def action(
        self, item: Item, task: Task, outcome: model.Outcome, verdict: Verdict, *, delayed: bool
    ) -> Action | None:
        """The report that NOTIFY asks for (RFC 3461, 4.1); the null sender gets none."""
        if not item.sender:
            return None
        notify = cast("QueuedRecipient", task).notify
        if verdict == "delivered":
            report = cast("Outcome", outcome).report
            return report if report and "SUCCESS" in notify else None
        if verdict == "deferred":
            return "delayed" if delayed and (not notify or "DELAY" in notify) else None
        return "failed" if not notify or "FAILURE" in notify else None

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
        """See `Kind`: a report from the null sender, as dsn.py builds it."""
        message, what = cast("QueuedMessage", item), cast("Action", action)
        full = not plain and returns_full(what, message.ret, message.size)
        report = dsn.Report(
            action=what,
            hostname=self.hostname,
            sender=message.sender,
            envid=message.envid,
            queue_id=message.id,
            arrived=message.created,
            recipients=[_reported(one) for one in judged],
            retry_until=message.created + life if what == "delayed" else None,
            original=b"" if plain else _original(message, full=full),
            full=full,
            report_id=report_id,
            now=now,
        )
        data = build_plain_report(report) if plain else build_report(report)
        envelope = Envelope(
            sender="",
            recipients=(Recipient(message.sender, frozenset({"NEVER"})),),
            body=body_type(eight_bit=not data.isascii(), long_lines=has_long_line(data)),
            smtputf8=not message.sender.isascii(),
            trace=message.trace,
        )
        return Report(submission(envelope), data)

    def is_report(self, item: Item) -> bool:
        """See `Kind`: no report about mail from the null sender (RFC 5321, 6.1)."""
        return not item.sender

    def describe(self, item: Description) -> Mapping[str, Any]:
        """See `Kind`; all that operators ask for every kind has."""
        return {}

    def describe_task(self, task: TaskDescription) -> Mapping[str, Any]:
        """See `Kind`: the parameters of RFC 3461."""
        notify, original = recipient_options(str(task.meta))  # it may be damaged
        return {"notify": ",".join(sorted(notify)), "original": original}

    def head(self, item: Item) -> str:
        """See `Kind`: the header."""
        with contextlib.closing(item.body()) as reader:
            return header_of(reader.read(HEADER_LIMIT)).decode("utf-8", "replace")


def status_of(one: Judged) -> str:
    """The enhanced status code for a report."""
    if one.verdict == "expired":
        return EXPIRED
    reply = cast("Outcome", one.outcome).reply
    return reply.status or f"{str(reply.code)[:1]}.0.0"


def _reported(one: Judged) -> ReportedRecipient:
    return ReportedRecipient(
        address=one.task.address,
        original=cast("QueuedRecipient", one.task).original,
        status=status_of(one),
        reply=one.mark.reply,
        remote=one.mark.remote,
        attempted=one.mark.at,
    )


def _original(message: QueuedMessage, *, full: bool) -> bytes:
    try:
        with contextlib.closing(message.body()) as reader:
            return reader.read() if full else header_of(reader.read(HEADER_LIMIT))
    except (OutboxError, OSError):
        return _NO_BODY
