"""A launcher whose helpers are made of the test, on a clock of the test's own."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import Logger

from netserve.packet.client import PacketHelper
from netserve.packet.client.link import Link
from netserve.packet.errors import PacketError
from netserve.packet.frames import FrameReader, frame
from netserve.packet.policy import Policy


@dataclass
class Started:
    """One helper that was started: the test says what it says."""

    link: Link
    transport: StringTransport = field(default_factory=StringTransport)
    reader: FrameReader = field(default_factory=FrameReader)
    killed: bool = False

    def begin(self) -> None:
        self.link.makeConnection(self.transport)
        (message,) = self.read()
        assert Policy.from_json(message["policy"]) == Policy()
        self.say({"ready": {"scapy": "2"}})

    def read(self) -> list[Any]:
        data = self.transport.value()
        self.transport.clear()
        return self.reader.feed(data)

    def say(self, *messages: Any) -> None:
        self.link.dataReceived(b"".join(map(frame, messages)))

    def end(self) -> None:
        self.link.connectionLost()

    def kill(self) -> None:
        self.killed = True
        self.end()


class FakeLauncher:
    """Starts what the test plays."""

    def __init__(self) -> None:
        self.started: list[Started] = []
        self.problem: PacketError | None = None

    def launch(self, reactor: Any, link: Link, log: Logger) -> Started:
        if self.problem is not None:
            raise self.problem
        self.started.append(Started(link))
        return self.started[-1]

    @property
    def last(self) -> Started:
        return self.started[-1]


@dataclass
class Bench:
    """A supervisor with all that is around it."""

    helper: PacketHelper
    launcher: FakeLauncher
    clock: Clock
    logged: list[str]


@pytest.fixture
def bench() -> Bench:
    clock, launcher = Clock(), FakeLauncher()
    logged: list[str] = []

    def observe(event: Any) -> None:
        logged.append(event["log_format"].format(**event))

    helper = PacketHelper(
        reactor=clock,
        policy=Policy(),
        launcher=launcher,
        log=Logger(observer=observe),  # type: ignore[arg-type]
        user="ada",
        chance=random.Random(1),
    )
    return Bench(helper, launcher, clock, logged)
