"""A share of the reactor's time (`netserve.fairness.turns`) for tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from netserve.fairness.turns import Share, Turns


def share_of_turns(reactor: Any = None) -> Share:
    """A share; what fails in it is raised in the reactor, and so logged.

    Arguments:
        reactor: Twisted's global one unless given; a `Clock` has to be advanced.
    """
    if reactor is None:
        from twisted.internet import reactor as global_reactor

        reactor = global_reactor
    return Turns.of(reactor).share(_raise)


def _raise(error: Exception) -> None:
    raise error


def endless_turn() -> Share:
    """A share in a turn that never ends, for protocols that are driven without a reactor."""
    return Turns(lambda _: None, now=lambda: 0.0).share(_raise)


class ManualTurns:
    """Turns in which one unit of work is done, each when `turn` is called.

    A driver must give the same whether its work is done in one go or in such slices.
    """

    def __init__(self) -> None:
        self._now = 0.0
        self._soon: list[Callable[[], None]] = []
        self._turns = Turns(self._soon.append, now=self._look)

    def _look(self) -> float:
        self._now += 1.0
        return self._now

    def share(self) -> Share:
        """A service's share."""
        return self._turns.share(_raise)

    def turn(self) -> bool:
        """The next turn; whether there was anything to do in it."""
        soon = list(self._soon)
        self._soon.clear()
        for call in soon:
            call()
        return bool(soon)

    def all(self, most: int = 100_000) -> int:
        """Turns until nothing is left to do; gives how many there were.

        Raises:
            AssertionError: there is no end of them.
        """
        for number in range(most):
            if not self.turn():
                return number
        raise AssertionError(f"there is still work to do after {most} turns")
