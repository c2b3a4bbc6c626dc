"""What becomes of a message, told step by step."""

from __future__ import annotations

from typing import Any

import pytest

from netserve.cli.story import EXIT_CODES, Story, ending_text, step_text


def outcome(kind: str, recipient: str = "a@b.test", **more: Any) -> dict[str, Any]:
    return {
        "recipient": recipient, "outcome": kind, "destination": "smarthost:x:25",
        "reply": "250 2.0.0 ok", "remote": "x[192.0.2.1]:25", "at": 1.0, **more,
    }  # fmt: skip


def queued(recipient: str = "a@b.test", **more: Any) -> dict[str, Any]:
    return {
        "address": recipient, "state": "queued", "attempts": 0, "next_at": 0.0,
        "lane": "mail smarthost:x:25", **more,
    }  # fmt: skip


def seen(rows: list[dict[str, Any]] | None, *outcomes: dict[str, Any]) -> dict[str, Any]:
    return {"now": 0.0, "queued": rows, "outcomes": list(outcomes)}


def test_each_step_is_told_once() -> None:
    story = Story(["a@b.test"])
    first = seen([queued()])
    assert [step_text(step) for step in story.look(first)] == [
        "route of <a@b.test>: smarthost:x:25"
    ]
    assert story.look(first) == []
    again = outcome("deferred", reply="450 4.2.0 later")
    assert [step_text(step) for step in story.look(seen([queued(attempts=1)], again))] == [
        "deferred <a@b.test>: 450 4.2.0 later (x[192.0.2.1]:25)"
    ]
    moved = outcome("delivered", destination="maildir:/m", remote="")
    assert [step_text(step) for step in story.look(seen(None, again, moved))] == [
        "route of <a@b.test>: maildir:/m",
        "delivered <a@b.test>: 250 2.0.0 ok",
    ]


@pytest.mark.parametrize(
    ("now", "result"),
    [
        (seen([queued()]), None),
        (seen([queued()], outcome("delivered")), None),  # not written down yet
        (seen([queued(attempts=1, next_at=10.0)], outcome("deferred")), None),
        (seen([queued(attempts=1, next_at=300.0)], outcome("deferred")), "deferred"),
        (seen([queued(attempts=1, next_at=300.0), queued("c@d.test")]), None),
        (seen([queued(state="done"), queued("c@d.test", attempts=1, next_at=300.0)]), "deferred"),
        (seen([queued(state="held")]), "held"),
        (seen([queued(state="held"), queued("c@d.test")]), None),
        (seen(None, outcome("delivered")), "delivered"),
        (seen(None, outcome("deferred"), outcome("delivered")), "delivered"),
        (seen(None, outcome("failed")), "failed"),
        (seen(None, outcome("expired")), "failed"),
        (seen(None, outcome("delivered"), outcome("failed", "c@d.test")), "failed"),
        (seen(None), "dropped"),
        (seen(None, outcome("deferred")), "dropped"),
    ],
)
def test_how_it_ends(now: dict[str, Any], result: str | None) -> None:
    story = Story(["a@b.test"])
    story.look(now)
    assert story.result(now, left=60.0) == result
    assert result is None or result in EXIT_CODES


def test_the_last_line() -> None:
    waiting = seen([queued(attempts=1, next_at=300.0)])
    assert ending_text("deferred", waiting) == "deferred: the next attempt is in 5m"
    assert ending_text("deferred", None).startswith("deferred: it is not delivered yet")


def test_a_terminal_is_left_alone() -> None:
    step = {"step": "attempt", **outcome("failed", reply="550 \x1b[2J")}
    assert "\x1b" not in step_text(step)
