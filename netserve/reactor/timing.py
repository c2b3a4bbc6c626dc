"""Delayed calls, calls from threads, and single iterations, on an asyncio loop.

The calls and their order are those of `twisted.internet.base`; only waking up is different. The
loop gets one timer, for the earliest call. One that is cancelled leaves the timer as it is: most
delayed calls are timeouts that are never needed.
"""

from __future__ import annotations

import asyncio
import math
import select
from collections.abc import Callable
from typing import Any

from twisted.internet.base import DelayedCall, ReactorBase

_NEVER = math.inf
_AT_ONCE = -math.inf
_SOON = 1e-6
"""Seconds that pass in a turn of the loop; a `Cooperator` waits for less between its steps."""
_SLICE = 0.01
"""Seconds after which an iteration that waits lets the loop's own timers run."""


class Timing:
    """The part of a reactor that deals with time; before one of Twisted's reactors.

    A subclass has `loop` and `seconds`, and calls `_start_timing` before anything else.
    """

    loop: asyncio.AbstractEventLoop
    seconds: Callable[[], float]
    threadCallQueue: list[Any]
    _newTimedCalls: list[DelayedCall]
    runUntilCurrent: Callable[[], None]
    timeout: Callable[[], float | None]

    def _start_timing(self: Any) -> None:
        self._wake: Any = None
        self._wake_at = _NEVER  # by `seconds`
        # Bound once, and not for each delayed call.
        self._canceller = self._cancelCallLater
        self._resetter = self._moveCallLaterSooner

    def callLater(
        self: Any,
        delay: float,
        callable: Callable[..., Any],  # noqa: A002 - the interface's name
        *args: object,
        **kw: object,
    ) -> DelayedCall:
        """See `IReactorTime.callLater`."""
        assert delay >= 0, f"{delay} is not greater than or equal to 0 seconds"  # noqa: S101 - as Twisted
        time = self.seconds() + delay
        call = DelayedCall(
            time, callable, args, kw, self._canceller, self._resetter, seconds=self.seconds
        )
        self._newTimedCalls.append(call)
        if time < self._wake_at:
            self._wake_in(time, delay)
        return call

    def _moveCallLaterSooner(self: Any, call: DelayedCall) -> None:
        ReactorBase._moveCallLaterSooner(self, call)  # noqa: SLF001 - its own base class
        if call.time < self._wake_at:
            self._wake_in(call.time, max(0, call.time - self.seconds()))

    def _wake_in(self, time: float, delay: float) -> None:
        if self._wake is not None:
            self._wake.cancel()
        self._wake_at = time
        if delay > _SOON:
            # uvloop rounds to milliseconds, and a call must not come too early.
            self._wake = self.loop.call_later(math.ceil(delay * 1000) / 1000, self._run_due)
        else:
            self._wake = self.loop.call_soon(self._run_due)

    def _run_due(self) -> None:
        """Run the calls whose time has come, and have the loop wake us for the next."""
        if self._wake is not None:
            self._wake.cancel()  # which does nothing to the one that has called
            self._wake = None
        self._wake_at = _AT_ONCE  # what they schedule is looked at below
        try:
            self.runUntilCurrent()
        finally:
            self._wake_at = _NEVER
            delay = self.timeout()
            if delay is not None:
                self._wake_in(self.seconds() + delay, delay)

    def callFromThread(self, f: Callable[..., Any], *args: object, **kwargs: object) -> None:
        """See `IReactorFromThreads.callFromThread`."""
        self.threadCallQueue.append((f, args, kwargs))
        self.loop.call_soon_threadsafe(self._run_calls_from_threads)

    def _run_calls_from_threads(self) -> None:
        if self.threadCallQueue:
            self._run_due()

    def iterate(self, delay: float = 0.0) -> None:
        """See `IReactorCore.iterate`."""
        self.runUntilCurrent()
        self._pass()
        if delay > 0:
            self._wait(self.seconds() + delay)

    def _wait(self, end: float) -> None:
        """Until the loop has input or output to deal with, or until `end`."""
        poll = select.poll()
        for descriptor in _backend(self.loop):
            poll.register(descriptor, select.POLLIN)
        while (left := end - self.seconds()) > 0:
            ready = poll.poll(math.ceil(min(left, _SLICE) * 1000))
            self._pass()
            if ready:
                return

    def _pass(self) -> None:
        """Have the loop do what can be done without waiting."""
        self.loop.stop()
        self.loop.run_forever()


def _backend(loop: Any) -> list[int]:
    """A descriptor that is ready to read when the loop has something to do."""
    if hasattr(loop, "_get_backend_id"):
        return [loop._get_backend_id()]  # noqa: SLF001 - uvloop has no other name for it
    selector: Any = getattr(loop, "_selector", None)
    return [selector.fileno()] if hasattr(selector, "fileno") else []
