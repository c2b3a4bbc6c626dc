"""The types that settings models are made of: `Section`, and those of `netserve.config.values`.

Every model that describes a part of the file is a `Section`: frozen, strict about types, and
closed to unknown keys. Options are documented by the string below them, which becomes the text
of ``netserve list NAME``, of the JSON Schema and of the reference pages.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict

from netserve.config.secrets import shows_in_repr
from netserve.config.values import (
    TEXTS,
    Duration,
    FilePath,
    ImportPath,
    Network,
    Networks,
    PositiveInt,
    Rate,
    Rates,
    ReadPath,
    Secret,
    Shown,
    Size,
    Use,
    Words,
    WrittenPath,
    expand_home,
    json_one_or_many,
    one_or_many,
    parse_duration,
    parse_network,
    parse_rate,
    parse_size,
)

__all__ = [
    "TEXTS",
    "Duration",
    "FilePath",
    "ImportPath",
    "Network",
    "Networks",
    "PositiveInt",
    "Rate",
    "Rates",
    "ReadPath",
    "Secret",
    "Section",
    "Shown",
    "Size",
    "Use",
    "Words",
    "WrittenPath",
    "expand_home",
    "json_one_or_many",
    "one_or_many",
    "parse_duration",
    "parse_network",
    "parse_rate",
    "parse_size",
]


class Section(BaseModel):
    """A mapping of the file: frozen, strict, closed to unknown keys."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        hide_input_in_errors=True,
        validate_default=False,
        arbitrary_types_allowed=True,
    )

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """What its repr shows: as errors do, only what cannot be a secret."""
        for name, value in super().__repr_args__():
            yield name, value if shows_in_repr(type(self), name, value) else Secret("")
