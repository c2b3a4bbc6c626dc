"""A build notes what it asks of the process; a build that fails leaves nothing."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.logger import Logger

from netserve.fairness.turns import Turns
from netserve.http import ClientOptions, HttpClients
from netserve.plugin import Attachment, Context, Hosted, ProtocolPlugin, Settings
from netserve.server.build import Built, Lasting, Process, build_service


class Accounts:
    """Something that services share."""


class Queue:
    """Notes what is attached to it."""

    def __init__(self) -> None:
        self.attached: list[tuple[str, object, object]] = []
        self.broken = "not at all"

    def attach(self, service: str, courier: object, schedule: object) -> None:
        self.attached.append((service, courier, schedule))


@pytest.fixture
def process(tmp_path: Path) -> Process:
    clock = Clock()
    return Process(
        reactor=clock,
        folder=tmp_path,
        state=tmp_path / "state",
        random=random.Random(0),
        turns=Turns.of(clock),
        http=HttpClients(reactor=clock, log=Logger()),
    )


def build(process: Process, built: Any, lasting: Lasting | None = None) -> Built:
    plugin = ProtocolPlugin(name="test", settings=Settings, build=built)
    settings = Settings.model_validate({"protocol": "test", "listen": "tcp:0"})
    return build_service("one", plugin, settings, process, lasting=lasting)


def asking(settings: Settings, context: Context) -> Hosted:
    """Asks for everything that the process has."""
    queue = context.outbox()
    queue.attach("one", "a courier", "a schedule")  # type: ignore[arg-type]  # only noted
    context.shared.get(Accounts, Accounts)
    context.http.client(ClientOptions())
    context.metrics.gauge("waiting", "Waiting.", lambda: 7)
    context.metrics.counter("seen", "Seen.").add(1)
    stream: Any = Factory.forProtocol(Protocol)
    return Hosted(stream=stream, state=lambda: str(queue.broken))


def test_what_a_build_asks_for_takes_effect_when_it_is_attached(process: Process) -> None:
    queue: Any = Queue()
    built = build(process, asking)
    metrics = built.lasting.metrics
    assert (metrics.families, queue.attached, process.http._clients) == ({}, [], [])
    with pytest.raises(RuntimeError, match="while it is being built"):
        built.hosted.state()  # type: ignore[misc]  # it has one
    built.attach(process, lambda: queue)
    assert queue.attached == [("one", "a courier", "a schedule")]
    assert (metrics.value("waiting"), metrics.value("seen")) == (7, 1)
    assert len(process.http._clients) == 1
    assert built.hosted.state is not None
    assert built.hosted.state() == "not at all"
    assert process.shared.get(Accounts, object) is built.shared.get(Accounts, object)  # type: ignore[arg-type]


def test_an_attachment_may_come_with_what_is_hosted(process: Process) -> None:
    queue: Any = Queue()
    order: list[str] = []
    attachment: Any = Attachment(courier="c", schedule="s")  # type: ignore[arg-type]  # only noted

    def with_attachment(settings: Settings, context: Context) -> Hosted:
        stream: Any = Factory.forProtocol(Protocol)
        return Hosted(stream=stream, outbox=attachment, attach=lambda: order.append("attached"))

    built = build(process, with_attachment)
    assert order == []
    built.attach(process, lambda: queue)
    assert (order, queue.attached) == (["attached"], [("one", "c", "s")])


@pytest.mark.parametrize("error", [ValueError("no"), KeyError("a bug"), SystemExit(1)])
def test_a_build_that_fails_leaves_nothing(process: Process, error: BaseException) -> None:
    """Not even in a service that runs and is built again."""

    def failing(settings: Settings, context: Context) -> Hosted:
        asking(settings, context)
        raise error

    running = build(process, asking)
    queue: Any = Queue()
    running.attach(process, lambda: queue)
    lasting = running.lasting
    families, clients = dict(lasting.metrics.families), list(process.http._clients)
    shared = process.shared.get(Accounts, Accounts)
    with pytest.raises(type(error)):
        build(process, failing, lasting)
    assert lasting.metrics.families == families
    assert process.http._clients == clients
    assert process.shared.get(Accounts, Accounts) is shared
    assert len(queue.attached) == 1


def test_a_service_that_is_built_again_goes_on_counting(process: Process) -> None:
    first = build(process, asking)
    queue: Any = Queue()
    first.attach(process, lambda: queue)
    second = build(process, asking, first.lasting)
    second.attach(process, lambda: queue)
    assert second.lasting.metrics.value("seen") == 2
