"""Runs one coroutine on netserve's reactor, for commands."""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine
from typing import Any


def react(main: Callable[[Any], Coroutine[Any, Any, int]]) -> int:
    """Run a coroutine to its end; Ctrl-C cancels it, and waits until it has ended.

    Arguments:
        main: takes the reactor, awaits Deferreds, and returns the exit code.

    Returns:
        the exit code; 130 after Ctrl-C, unless the coroutine returned one.
    """
    from netserve.reactor import install  # noqa: PLC0415 - see cli/__init__.py

    reactor = install()
    from twisted.internet.defer import CancelledError, Deferred  # noqa: PLC0415

    ended: list[Any] = []
    running: Deferred[int] | None = None
    stopped: Deferred[None] = Deferred()
    is_stopping = False

    def begin() -> None:
        nonlocal running
        running = Deferred.fromCoroutine(main(reactor))
        running.addBoth(end)

    def end(result: Any) -> None:
        ended.append(result)
        if is_stopping:
            stopped.callback(None)
        else:
            reactor.stop()

    def cancel() -> Deferred[None] | None:
        """Cancel the coroutine; the reactor stops when it has ended."""
        nonlocal is_stopping
        is_stopping = True
        if running is None or ended:
            return None
        running.cancel()
        return stopped

    reactor.callWhenRunning(begin)
    reactor.addSystemEventTrigger("before", "shutdown", cancel)
    reactor.run()
    if not ended:
        return 1
    (result,) = ended
    if isinstance(result, int):
        return result
    if result.check(CancelledError):
        return 130
    result.printTraceback(file=sys.stderr)
    return 70
