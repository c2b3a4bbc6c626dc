"""What is done with signals, without a process (S29)."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from netserve.server.signals import ONE_SIGNAL, SURVIVED, Signals, hold


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Put the handlers back that the tests' own process has."""
    numbers = [*SURVIVED, signal.SIGINT, signal.SIGTERM]
    before = {number: signal.getsignal(number) for number in numbers}
    for number in SURVIVED:
        signal.signal(number, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class Recorder:
    def __init__(self) -> None:
        self.done: list[str] = []
        self.now = 100.0
        self.signals = Signals(
            call=lambda function, *arguments: function(*arguments),
            warn=self.done.append,
            stop=lambda: self.done.append("stop"),
            hurry=lambda: self.done.append("hurry"),
            clock=lambda: self.now,
        )


@pytest.mark.parametrize("number", sorted(SURVIVED))
def test_a_warning_for_each(number: int) -> None:
    recorder = Recorder()
    recorder.signals.survive()
    os.kill(os.getpid(), number)
    assert len(recorder.done) == 1
    assert " changes nothing: " in recorder.done[0]


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (signal.SIGHUP, "SIGHUP changes nothing: the config file is read at the start only"),
        (signal.SIGUSR1, "SIGUSR1 changes nothing: netserve writes to no log file of its own"),
        (signal.SIGUSR2, "SIGUSR2 changes nothing: netserve has no use for it"),
        (signal.SIGRTMIN + 4, "SIGRTMIN+4 changes nothing: "),
    ],
)
def test_the_warning_says_why(number: int, told: str) -> None:
    recorder = Recorder()
    recorder.signals.survive()
    os.kill(os.getpid(), number)
    assert recorder.done[0].startswith(told)


def test_usr1_opens_the_log_again() -> None:
    recorder = Recorder()
    recorder.signals.survive()
    recorder.signals.reopen = lambda: recorder.done.append("reopened")
    os.kill(os.getpid(), signal.SIGUSR1)
    assert recorder.done == ["reopened"]


def test_what_comes_while_the_program_is_loaded_is_told_later() -> None:
    hold()
    os.kill(os.getpid(), signal.SIGHUP)
    os.kill(os.getpid(), signal.SIGUSR2)
    recorder = Recorder()
    recorder.signals.survive()
    assert [text.split()[0] for text in recorder.done] == ["SIGHUP", "SIGUSR2"]
    os.kill(os.getpid(), signal.SIGHUP)
    assert len(recorder.done) == 3


def test_handlers_of_others_stay() -> None:
    """Those of a plugin, and the ignoring of `nohup`."""
    taken: list[int] = []

    def mine(number: int, frame: Any) -> None:
        taken.append(number)

    signal.signal(signal.SIGUSR2, mine)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    hold()
    recorder = Recorder()
    recorder.signals.survive()
    os.kill(os.getpid(), signal.SIGUSR2)
    os.kill(os.getpid(), signal.SIGHUP)
    assert taken == [signal.SIGUSR2]
    assert recorder.done == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_stops_and_a_later_one_hurries(number: int) -> None:
    recorder = Recorder()
    recorder.signals.stop_in_order()
    os.kill(os.getpid(), number)
    recorder.now += ONE_SIGNAL
    os.kill(os.getpid(), signal.SIGTERM)  # make hands on what its whole group was sent
    assert recorder.done == ["stop"]
    recorder.now += 0.1
    os.kill(os.getpid(), number)
    assert recorder.done == ["stop", "hurry"]
