"""Types of options that services with an HTTP client have in common."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema

from netserve.config.types import TEXTS, json_one_or_many, one_or_many
from netserve.http.guard import AddressGuard


def _are_upstreams(value: tuple[str, ...]) -> tuple[str, ...]:
    AddressGuard.parse(value)
    return value


_ONE_OR_MANY = WithJsonSchema(json_one_or_many({"type": "string"}))
Texts: TypeAlias = Annotated[tuple[str, ...], BeforeValidator(one_or_many), _ONE_OR_MANY, TEXTS]
"""One text or a list of them."""
Upstreams: TypeAlias = Annotated[
    tuple[str, ...],
    BeforeValidator(one_or_many),
    AfterValidator(_are_upstreams),
    _ONE_OR_MANY,
    TEXTS,
]
"""What `AddressGuard.parse` takes: one entry or a list of them."""
