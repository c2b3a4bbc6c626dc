"""Signals: two of them stop the process, and it survives all others that administrators send.

==================  ===================================================================
signal              what it does
==================  ===================================================================
SIGTERM, SIGINT     an orderly stop; a second one, later, cuts what the stop waits for
SIGUSR1             opens the log file again; a warning where there is none
SIGHUP              a warning: the file is not read again while netserve runs
the other ones of   a warning
`SURVIVED`
==================  ===================================================================

SIGABRT, SIGSEGV and their like are faults, and the watchdog's way to end a process; they, SIGKILL
and the signals of job control keep their meaning. A signal that is ignored (``nohup``) or that a
plugin has taken stays as it is.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from math import inf
from typing import Any, Final

ONE_SIGNAL: Final = 0.5
"""Seconds within which two signals are the same: `make` hands on what its whole group was sent."""

_NAMES: Final = (
    "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGQUIT", "SIGALRM", "SIGVTALRM", "SIGPROF", "SIGIO",
    "SIGPWR", "SIGSTKFLT", "SIGXCPU",
)  # fmt: skip
SURVIVED: Final = frozenset(
    [int(getattr(signal, name)) for name in _NAMES if hasattr(signal, name)]
    + list(range(getattr(signal, "SIGRTMIN", 0), getattr(signal, "SIGRTMAX", -1) + 1))
)
"""The signals that would end the process by default, and do not."""

_early: list[int] = []
"""Those that came before there was a log. The handlers of signals belong to the whole process."""


def hold() -> None:
    """Survive from now on, and keep what comes for the `Signals` that are to take over.

    This is for the time in which the program is still being loaded.
    """
    for number in SURVIVED:
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _keep)


def _keep(number: int, frame: Any) -> None:
    _early.append(number)


class Signals:
    """What this process does with signals.

    Arguments:
        call: calls a function in the reactor, from a signal handler; before it runs as well.
        warn: is given a sentence for the log.
        stop: begins the orderly stop.
        hurry: cuts what the stop waits for.
        clock: gives monotonic seconds.
    """

    def __init__(
        self,
        *,
        call: Callable[..., object],
        warn: Callable[[str], object],
        stop: Callable[[], object],
        hurry: Callable[[], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._call = call
        self._warn = warn
        self._stop = stop
        self._hurry = hurry
        self._clock = clock
        self._stop_from = inf
        self.reopen: Callable[[], object] | None = None
        """Opens the log file again, where there is one."""

    def survive(self) -> None:
        """Take the signals of `SURVIVED`, and tell of those that `hold` has kept."""
        for number in SURVIVED:
            if signal.getsignal(number) in {signal.SIG_DFL, _keep}:
                signal.signal(number, self._received)
        early, _early[:] = list(_early), []
        for number in early:
            self._call(self._tell, number)

    def stop_in_order(self) -> None:
        """Take SIGINT and SIGTERM, which Twisted's own handlers would end the process by.

        For the reactor that runs: it has put its handlers in place by then. A process that ends in
        order exits with 0, whichever of the two has asked for it.
        """
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._asked_to_stop)

    def _received(self, number: int, frame: Any) -> None:
        self._call(self._tell, number)

    def _tell(self, number: int) -> None:
        if number == signal.SIGUSR1 and self.reopen is not None:
            self.reopen()
        else:
            self._warn(f"{_name(number)} changes nothing: {_reason(number)}")

    def _asked_to_stop(self, number: int, frame: Any) -> None:
        now = self._clock()
        if self._stop_from == inf:
            self._stop_from = now
            self._call(self._stop)
        elif now > self._stop_from + ONE_SIGNAL:
            self._call(self._hurry)


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # one of the real-time signals between the first and the last
        return f"SIGRTMIN+{number - signal.SIGRTMIN}"


def _reason(number: int) -> str:
    if number == signal.SIGHUP:
        return "the config file is read at the start only; restart netserve to apply changes"
    if number == signal.SIGUSR1:
        return "netserve writes to no log file of its own that could be opened again"
    return "netserve has no use for it; SIGTERM stops it"
