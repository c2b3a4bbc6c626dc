"""Options of which the file may give one or a list."""

from __future__ import annotations

from typing import Any, Final

from pydantic import WithJsonSchema

from netserve.errors import InvalidValue


def not_empty(value: tuple[Any, ...]) -> tuple[Any, ...]:
    """The value itself.

    Raises:
        ValueError: nothing is in it.
    """
    if not value:
        raise InvalidValue("at least one is needed")
    return value


ONE_OR_MANY_TEXTS: Final = WithJsonSchema(
    {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}
)
