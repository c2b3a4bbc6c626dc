"""The log context of a connection: whose records a protocol writes while it gets data.

Twisted's reactors put a new context around each read; here it costs a read one append and one
pop, and the prefix is made only when something is logged.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from twisted.python import context
from twisted.python.log import ILogContext

T = TypeVar("T")


class LogContext:
    """A context that names `owner`, which has `logPrefix`, as the system of log records."""

    __slots__ = ("owner",)

    def __init__(self, owner: Any) -> None:
        self.owner = owner

    def __getitem__(self, key: object) -> dict[str, Any]:
        if key is ILogContext:
            return {"isError": 0, "system": self.owner.logPrefix()}
        raise KeyError(key)


def current_stream() -> Any:
    """The stream that is handing data to its protocol at the moment, or None."""
    current = contexts()[-1]
    return current.owner if isinstance(current, LogContext) else None


def logged_for(stream: Any, call: Callable[[], T]) -> T:
    """Call a function, whose log records are those of a stream.

    Arguments:
        stream: as `current_stream` gave it; None for no stream.
        call: the function.
    """
    if stream is None:
        return call()
    stack = contexts()
    stack.append(LogContext(stream))
    try:
        return call()
    finally:
        stack.pop()


def contexts() -> list[Any]:
    """The stack of contexts of the calling thread."""
    stack: list[Any] = context.theContextTracker.currentContext().contexts
    return stack
