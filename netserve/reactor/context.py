"""The log context of a connection: whose records a protocol writes while it gets data.

Twisted's reactors put a new context around each read; here it costs a read one append and one
pop, and the prefix is made only when something is logged.
"""

from __future__ import annotations

from typing import Any

from twisted.python import context
from twisted.python.log import ILogContext


class LogContext:
    """A context that names `owner`, which has `logPrefix`, as the system of log records."""

    __slots__ = ("_owner",)

    def __init__(self, owner: Any) -> None:
        self._owner = owner

    def __getitem__(self, key: object) -> dict[str, Any]:
        if key is ILogContext:
            return {"isError": 0, "system": self._owner.logPrefix()}
        raise KeyError(key)


def contexts() -> list[Any]:
    """The stack of contexts of the calling thread."""
    stack: list[Any] = context.theContextTracker.currentContext().contexts
    return stack
