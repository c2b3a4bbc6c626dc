"""A share of the reactor's time (`netserve.fairness.turns`) for tests."""

from __future__ import annotations

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
