"""Handlers: how they are found, how long they are waited for, how they are reported."""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import Logger

from netserve.crossing import TimedOut
from netserve.plugin import Context, Metrics
from netserve.protocols.request_response.handling import Reporter, load_handler, wait
from netserve.protocols.request_response.responder import Pending, Replies, Request, Responder
from netserve.testing.turns import endless_turn

REQUEST = Request(b"x", "127.0.0.1:4711", "hello")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "handlers_of_this_test.py").write_text(
        "class Shop:\n    @staticmethod\n    def price(request):\n        return b'1'\nlist = [1]\n"
    )
    (tmp_path / "broken_of_this_test.py").write_text("1 / 0\n")
    return tmp_path


def test_beside_the_file(folder: Path) -> None:
    handler = load_handler("handlers_of_this_test:Shop.price", folder)
    assert handler(REQUEST) == b"1"


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("no_such_module_anywhere:x", "ModuleNotFoundError: No module named"),
        ("handlers_of_this_test:missing", "there is no missing in"),
        ("handlers_of_this_test:list", "is of the type list, not a function"),
        ("broken_of_this_test:x", "ZeroDivisionError: division by zero"),
    ],
)
def test_not_found(folder: Path, path: str, reason: str) -> None:
    with pytest.raises(ValueError, match=f"the handler {path} .*{reason}"):
        load_handler(path, folder)


class Waiting:
    """A handler's work, a clock, and what came of it."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.reports: list[tuple[str, str]] = []
        self.done: list[bytes | None] = []
        self.responder = Responder(
            Replies(error="error"), service="hello", report=lambda k, _, e: self.add(k, e)
        )

    def add(self, kind: str, error: Exception) -> None:
        self.reports.append((kind, str(error)))

    def start(self, work: Any) -> Any:
        pending = Pending(REQUEST, work)
        return wait(pending, self.responder, self.done.append, clock=self.clock, timeout=5)


def test_a_deferred() -> None:
    waiting, work = Waiting(), Deferred[Any]()
    waiting.start(work)
    assert waiting.done == []
    work.callback("later")
    assert waiting.done == [b"later"]
    assert waiting.clock.getDelayedCalls() == []


def test_a_coroutine_that_is_done_at_once() -> None:
    async def work() -> bytes:
        return b"now"

    waiting = Waiting()
    waiting.start(work())
    assert waiting.done == [b"now"]
    assert waiting.clock.getDelayedCalls() == []


def test_a_failure() -> None:
    waiting, work = Waiting(), Deferred[Any]()
    waiting.start(work)
    work.errback(ValueError("no"))
    assert (waiting.done, waiting.reports) == ([b"error"], [("handler", "no")])


def test_a_timeout_of_the_handler_itself() -> None:
    waiting, work = Waiting(), Deferred[Any]()
    waiting.start(work)
    work.errback(TimedOut("the shop took longer than 1 s"))
    assert waiting.reports == [("timeout", "the shop took longer than 1 s")]


def test_too_slow() -> None:
    """Each request has its timeout; the work is cancelled, and what it still does is ignored."""
    cancelled: list[Any] = []
    waiting = Waiting()
    waiting.start(Deferred(cancelled.append))
    waiting.clock.advance(4.9)
    assert waiting.done == []
    waiting.clock.advance(0.2)
    assert (waiting.done, len(cancelled)) == ([b"error"], 1)
    assert waiting.reports == [("timeout", "it took longer than 5 s")]


def test_a_coroutine_that_does_not_let_itself_be_cancelled() -> None:
    inner, second = Deferred[Any](), Deferred[Any]()

    async def work() -> bytes:
        try:
            await inner
        except BaseException:
            await second
        return b"late"

    waiting = Waiting()
    waiting.start(work())
    waiting.clock.advance(6)
    assert waiting.done == [b"error"]
    if not second.called:
        second.callback(None)
    assert waiting.done == [b"error"]


def test_given_up() -> None:
    """The peer is gone: the work is cancelled, and nobody is told."""
    waiting, cancelled = Waiting(), list[Any]()
    cancel = waiting.start(Deferred(cancelled.append))
    cancel()
    waiting.clock.advance(10)
    assert (waiting.done, waiting.reports, len(cancelled)) == ([], [], 1)
    cancel()


def reporter() -> tuple[Reporter, list[dict[str, Any]], Context]:
    events: list[dict[str, Any]] = []
    context = Context(
        service="hello",
        reactor=Clock(),
        log=Logger(namespace="test", observer=events.append),
        metrics=Metrics(),
        folder=Path(),
        state=Path(),
        datagram_ports=frozenset(),
        tls=None,
        outbox=lambda: None,  # type: ignore[arg-type, return-value]
        http=None,  # type: ignore[arg-type]
        random=random.Random(1),
        turns=endless_turn(),
    )
    return Reporter(context), events, context


def test_a_report_is_one_line_with_the_place() -> None:
    report, events, context = reporter()
    try:
        dict[str, int]()["x"]
    except KeyError as error:
        report("handler", "peer", error)
    [event] = events
    assert event["log_level"].name == "error"
    assert event["reason"].startswith("KeyError: 'x' (in ")
    assert Path(__file__).name in event["reason"]
    assert context.metrics.errors == {"handler": 1}


def test_reports_do_not_flood_the_log() -> None:
    """All are counted, one in a second is logged."""
    report, events, context = reporter()
    for _ in range(50):
        report("oversized", "peer", ValueError("long"))
    report("framing", "peer", ValueError("nonsense"))
    context.reactor.advance(1.5)
    report("oversized", "peer", ValueError("long"))
    assert [event["more"] for event in events] == ["", "", " (50 times since the last such line)"]
    assert context.metrics.errors == {"oversized": 51, "framing": 1}
    assert events[0]["log_format"] == "refused a request from {peer}: {reason}{more}"
