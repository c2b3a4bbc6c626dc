"""Signals of child processes.

Twisted hears of a child's end through the descriptor that Python writes signals to
(`signal.set_wakeup_fd`). uvloop takes that for itself while it runs. A handler in Python works on
every loop: each has Python's handlers called soon after the signal.
"""

from __future__ import annotations

import asyncio
import signal
from typing import Any

from twisted.internet import process


class ChildSignals:
    """Reaps Twisted's child processes when one has ended; a Twisted `SignalHandling`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._before: Any = None

    def install(self) -> None:
        """Begin to listen."""
        self._before = signal.signal(signal.SIGCHLD, self._ended)
        # As Twisted has it: a system call goes on after the signal.
        signal.siginterrupt(signal.SIGCHLD, False)
        # Some may have ended before.
        process.reapAllProcesses()

    def uninstall(self) -> None:
        """Leave the signal to whoever had it."""
        signal.signal(signal.SIGCHLD, self._before or signal.SIG_DFL)

    def _ended(self, *_: object) -> None:
        # A handler runs between any two steps of the program: it leaves the work to the loop.
        self._loop.call_soon_threadsafe(process.reapAllProcesses)
