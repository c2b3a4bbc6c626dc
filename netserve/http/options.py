"""Types of options that services with an HTTP client have in common."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema

from netserve.config.types import Words
from netserve.http.guard import AddressGuard


def _texts(value: object) -> object:
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)


def _are_upstreams(value: tuple[str, ...]) -> tuple[str, ...]:
    AddressGuard.parse(value)
    return value


_ONE_OR_MANY = WithJsonSchema(
    {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
)
_WORDS = Words("text or list of texts")
Texts: TypeAlias = Annotated[tuple[str, ...], BeforeValidator(_texts), _ONE_OR_MANY, _WORDS]
"""One text or a list of them."""
Upstreams: TypeAlias = Annotated[
    tuple[str, ...], BeforeValidator(_texts), AfterValidator(_are_upstreams), _ONE_OR_MANY, _WORDS
]
"""What `AddressGuard.parse` takes: one entry or a list of them."""
