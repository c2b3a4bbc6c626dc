"""One protocol on Twisted's transports and on netserve's: the same callbacks in the same order.

Histories are made up at random; `histories.py` plays each of them on Twisted's epoll reactor and on
netserve's, on both loops. `comparable` leaves out what the network decides. What differs on purpose
(docs/reactor.md) is left out by `histories.py`: it does not write what Twisted would drop.
"""

from __future__ import annotations

import json
import os
import random
import selectors
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).with_name("histories.py")
HISTORIES = int(os.environ.get("NETSERVE_HISTORIES", "400"))
TIMEOUT = 60.0

SIZES = (0, 1, 100, 20_000, 65_536, 65_537, 90_000)
VERBS = ("push", "push", "unregister", "pause", "resume", "lose", "lose", "losewrite", "losewrite",
         "abort", "raise")  # fmt: skip
EVENTS = ("made", "data", "readlost", "writelost", "pause", "resume", "stop")
CONCURRENT = {
    "data": {"unregister", "pause", "lose", "abort", "raise"},
    "made": {"raise"},  # after which Twisted keeps a connection that it has accepted
    "resume": {"raise"},  # the same: a pull producer is resumed while it is registered
    "stop": {"raise"},  # after which Twisted does not tell that the connection is lost
}
"""What does not follow an event. With data, what is next would depend on how much has come."""

ORDERS = (
    {"made", "pause", "resume", "stop", "lost"},
    {"made", "handshake", "lost"},
    {"readlost", "lost"},
    {"writelost", "lost"},
)
"""Callbacks whose order is the protocol's own doing. The others come when the network has it."""


def made_up(seed: int) -> dict[str, Any]:
    """The history of a seed; see `histories.py` for its form."""
    chance = random.Random(seed)

    def action() -> str:
        which = chance.random()
        if which < 0.35:
            return f"{chance.choice(['write', 'write', 'sequence'])} {chance.choice(SIZES)}"
        if which < 0.38:
            return "write 6000000"
        if which < 0.48:
            return f"pull {chance.randint(1, 4)} {chance.choice([1, 20_000, 70_000])}"
        return chance.choice(VERBS)

    def actions() -> list[str]:
        return [action() for _ in range(chance.randint(1, 4))]

    def reactions() -> dict[str, list[str]]:
        events = chance.sample(EVENTS, chance.choice([0, 0, 1, 2]))
        # With data, a producer may be registered, and thereby resumed.
        causes = {"resume": {"resume", "data"} & set(events)}
        return {
            event: [
                one
                for one in actions()
                if not any(one in CONCURRENT.get(cause, ()) for cause in causes.get(event, {event}))
            ]
            for event in events
        }

    return {
        "link": chance.choice(["tcp", "tcp", "unix", "tls"]),
        "half": [chance.random() < 0.5, chance.random() < 0.5],
        "on": [reactions(), reactions()],
        "steps": [[chance.randint(0, 1), actions()] for _ in range(chance.randint(1, 5))],
    }


class Reactor:
    """A process that plays histories on one kind of reactor."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        words = [sys.executable, str(PROGRAM), kind]
        self._process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._process.stdout, selectors.EVENT_READ)  # type: ignore[arg-type]

    def begin(self, history: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        print(json.dumps(history), file=self._process.stdin, flush=True)

    def told(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        assert self._selector.select(TIMEOUT), f"{self.kind} does not come to an end"
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        assert "error" not in answer, answer["error"]
        return answer

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(20)


@pytest.fixture(scope="module")
def reactors() -> Iterator[list[Reactor]]:
    pytest.importorskip("uvloop")
    made = [Reactor(kind) for kind in ("epoll", "uvloop", "asyncio")]
    yield made
    for reactor in made:
        reactor.close()


def comparable(history: dict[str, Any], answer: dict[str, Any]) -> Any:
    """What all reactors have to agree on, by side and step."""
    return [
        [
            [[event for event in events if event.split()[0] in names] for names in ORDERS]
            for events in side[: compared(history, answer["told"])]
        ]
        for side in answer["told"]
    ]


def compared(history: dict[str, Any], told: list[list[list[str]]]) -> int | None:
    """How many steps are compared: all of them, but on UNIX sockets those before an end.

    Twisted writes nothing to the socket before it closes it, and takes the error that a UNIX socket
    without a peer gives then for the reason.
    """
    if history["link"] != "unix":
        return None
    ends = [
        step
        for side in told
        for step, events in enumerate(side)
        if any(event.startswith("lost") for event in events)
    ]
    return min(ends, default=None)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(HISTORIES))
def test_every_callback_comes_as_from_twisteds_transports(
    reactors: list[Reactor], seed: int
) -> None:
    history = made_up(seed)
    print(json.dumps(history))
    for reactor in reactors:
        reactor.begin(history)
    seen = []
    for reactor in reactors:
        answer = reactor.told()
        print(reactor.kind, json.dumps(answer))
        assert answer["wrong"] == [[], []] or history["link"] == "tls"
        seen.append(comparable(history, answer))
    twisted, *ours = seen
    assert ours == [twisted, twisted]
