"""How much a machine holds: the bytes and the elements that can be reached from it."""

from __future__ import annotations

import enum
from functools import cache
from typing import Any

_FLAT = (bytes, bytearray, str)
_MANY = (list, tuple, set, frozenset)


def held(thing: Any) -> int:
    """Bytes of all that a machine refers to, its settings left out: not exact, but it grows with
    whatever grows.
    """
    total = 0
    waiting = [thing]
    while waiting:
        each = waiting.pop()
        kind = type(each)
        if kind in _FLAT:
            total += len(each)
        elif isinstance(each, _MANY):  # the fields of a message are a kind of list
            total += 8 * len(each)
            waiting.extend(each)
        elif kind is dict:
            total += 16 * len(each)
            waiting.extend(each)
            waiting.extend(each.values())
        else:
            waiting.extend(getattr(each, name) for name in _attributes(kind) if hasattr(each, name))
            if hasattr(each, "__dict__") and _is_ours(kind):
                waiting.extend(value for value in vars(each).values())
    return total


def _is_ours(kind: type) -> bool:
    name = kind.__name__
    return (
        kind.__module__.startswith(("netserve.mail", "netserve.http.h1"))
        and not issubclass(kind, enum.Enum)
        and not name.endswith(("Options", "Limits", "Settings"))
    )


@cache
def _attributes(kind: type) -> tuple[str, ...]:
    """The slots of a class of ours."""
    if not _is_ours(kind):
        return ()
    slots = [vars(base).get("__slots__", ()) for base in kind.__mro__]
    return tuple(
        name
        for some in slots
        for name in ((some,) if isinstance(some, str) else some)
        if name not in {"__dict__", "__weakref__"}
    )
