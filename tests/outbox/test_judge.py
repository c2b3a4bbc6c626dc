"""What follows from an outcome, and whether the sender is told (RFC 3461, 4.1)."""

import random
from dataclasses import replace

import pytest

from netserve.mail.envelope import Outcome, Reply
from netserve.mail.kind import MailKind, status_of
from netserve.mail.queued import QueuedMessage, QueuedRecipient
from netserve.outbox.judge import Judged, judge
from netserve.outbox.model import State
from netserve.outbox.retries import RetryTimes
from netserve.outbox.schedule import Schedule
from netserve.testing.queue import DEFERRED, DELIVERED, FAILED

HOUR = 3600.0
SCHEDULE = Schedule(jitter=0)
MAIL = MailKind("relay.example.org")
MESSAGE = QueuedMessage(
    id="0",
    number=0,
    service="mail",
    created=1000.0,
    sender="a@example.org",
    size=10,
    tasks=1,
    open_body=lambda: None,  # type: ignore[arg-type, return-value]
)
SUCCESS = replace(DELIVERED, report="relayed")


def one(
    outcome: Outcome | None,
    *,
    notify: str = "",
    age: float = 10,
    warned: bool = False,
    sender: str = "a@example.org",
) -> Judged:
    recipient = QueuedRecipient(
        0, "b@example.com", notify=frozenset(notify.split()), attempts=3, warned=warned
    )
    (judged,) = judge(
        replace(MESSAGE, sender=sender),
        [recipient],
        {} if outcome is None else {0: outcome},
        kind=MAIL,
        lane="mail x",
        schedule=SCHEDULE,
        retries=RetryTimes(),
        now=1000 + age,
        random=random.Random(0),
    )
    return judged


@pytest.mark.parametrize(
    ("outcome", "age", "verdict", "state"),
    [
        (DELIVERED, 10, "delivered", State.DONE),
        (FAILED, 10, "failed", State.FAILED),
        (DEFERRED, 10, "deferred", None),
        (None, 10, "deferred", None),
        (DEFERRED, 5 * 24 * HOUR, "expired", State.FAILED),
        (DELIVERED, 5 * 24 * HOUR, "delivered", State.DONE),
    ],
)
def test_the_verdict(
    outcome: Outcome | None, age: float, verdict: str, state: State | None
) -> None:
    judged = one(outcome, age=age)
    assert (judged.verdict, judged.mark.state) == (verdict, state)
    assert judged.mark.attempts == 4


@pytest.mark.parametrize(
    ("outcome", "age", "notify", "report"),
    [
        (FAILED, 10, "", "failed"),
        (FAILED, 10, "FAILURE DELAY", "failed"),
        (FAILED, 10, "NEVER", None),
        (FAILED, 10, "SUCCESS", None),
        (DEFERRED, 5 * 24 * HOUR, "", "failed"),
        (DEFERRED, 10, "", None),
        (DEFERRED, 4 * HOUR, "", "delayed"),
        (DEFERRED, 4 * HOUR, "DELAY", "delayed"),
        (DEFERRED, 4 * HOUR, "FAILURE", None),
        (DEFERRED, 4 * HOUR, "NEVER", None),
        (DELIVERED, 10, "SUCCESS", None),
        (SUCCESS, 10, "SUCCESS", "relayed"),
        (SUCCESS, 10, "", None),
        (SUCCESS, 10, "NEVER", None),
    ],
)
def test_whether_the_sender_is_told(
    outcome: Outcome, age: float, notify: str, report: str | None
) -> None:
    assert one(outcome, age=age, notify=notify).report == report
    assert one(outcome, age=age, notify=notify, sender="").report is None, "never a null sender"


def test_a_delay_is_told_once() -> None:
    first = one(DEFERRED, age=4 * HOUR)
    assert first.mark.warned
    again = one(DEFERRED, age=8 * HOUR, warned=True)
    assert again.report is None
    assert again.mark.warned


@pytest.mark.parametrize(
    ("reply", "age", "status"),
    [
        (Reply(550, "5.1.1", "x"), 10, "5.1.1"),
        (Reply(554, "", "x"), 10, "5.0.0"),
        (Reply(450, "4.2.0", "x"), 5 * 24 * HOUR, "4.4.7"),
    ],
)
def test_the_status_in_a_report(reply: Reply, age: float, status: str) -> None:
    kind = "failed" if reply.code >= 500 else "deferred"
    assert status_of(one(Outcome(kind, reply), age=age)) == status


def test_what_cannot_be_stored_is_replaced() -> None:
    judged = one(Outcome("deferred", Reply(450, "", "bad \udc80 byte")))
    judged.mark.reply.encode()


@pytest.mark.parametrize("attempts", [(0,) * 10, (3, 0, 1), (7, 7)])
def test_recipients_that_were_deferred_together_are_retried_together(
    attempts: tuple[int, ...],
) -> None:
    """RFC 5321, section 4.5.4.1: the retry time belongs to the message and the destination."""
    schedule = Schedule(first=100, jitter=0.5)
    judged = judge(
        MESSAGE,
        [
            QueuedRecipient(n, f"{n}@example.com", attempts=tried)
            for n, tried in enumerate(attempts)
        ],
        {},
        kind=MAIL,
        lane="mail x",
        schedule=schedule,
        retries=RetryTimes(),
        now=2000.0,
        random=random.Random(1),
    )
    assert len({one.mark.next_at for one in judged}) == 1
    wait = schedule.first * 2 ** max(attempts)
    assert 0.5 * wait <= judged[0].mark.next_at - 2000.0 <= 1.5 * wait
    assert [one.mark.attempts for one in judged] == [tried + 1 for tried in attempts]


def test_a_recipient_that_has_had_its_notice_gets_no_second_one_with_the_others() -> None:
    recipients = [QueuedRecipient(0, "a@x.org", warned=True), QueuedRecipient(1, "b@x.org")]
    told = judge(
        MESSAGE,
        recipients,
        {},
        kind=MAIL,
        lane="mail x",
        schedule=SCHEDULE,
        retries=RetryTimes(),
        now=1000 + 4 * HOUR,
        random=random.Random(0),
    )
    assert [one.report for one in told] == [None, "delayed"]
    assert all(one.mark.warned for one in told)
