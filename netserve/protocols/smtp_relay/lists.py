"""Options of which the file may give one or a list."""

from __future__ import annotations

from typing import Any, Final

from pydantic import WithJsonSchema

from netserve.config.types import Words


def one_or_many(value: object) -> object:
    """A value that is no list as a list of one; before the type is checked."""
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


def not_empty(value: tuple[Any, ...]) -> tuple[Any, ...]:
    """The value itself.

    Raises:
        ValueError: nothing is in it.
    """
    if not value:
        raise ValueError("at least one is needed")
    return value


TEXTS: Final = Words("text or list of texts")
ONE_OR_MANY_TEXTS: Final = WithJsonSchema(
    {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}
)
