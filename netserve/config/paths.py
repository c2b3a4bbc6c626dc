"""The paths among a service's options: where each stands, and what is done with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from netserve.config.shapes import Shape, fields
from netserve.config.tree import Way
from netserve.config.types import Use


@dataclass(frozen=True, slots=True)
class PathOption:
    """A path that the file gives.

    Arguments:
        way: to it, from the model on.
        path: absolute, or with the folder of the file before it.
        access: what a service does with it while it runs; None where it is read once, at the start.
    """

    way: Way
    path: Path
    access: Literal["read", "write"] | None


def paths_of(model: BaseModel, way: Way = ()) -> Iterator[PathOption]:
    """Every path in a settings model, in the order of its options.

    Arguments:
        model: the settings.
        way: to the model.
    """
    known = type(model).model_fields
    for attribute, (name, field) in zip(known, fields(type(model)), strict=True):
        yield from _below(Shape.of_field(field), getattr(model, attribute), (*way, name))


def _below(shape: Shape, value: Any, way: Way) -> Iterator[PathOption]:
    if isinstance(value, BaseModel):
        yield from paths_of(value, way)
    elif isinstance(value, Path):
        uses = [use for leaf in (shape, *shape.leaves) for use in leaf.metadata]
        marks = [use.access for use in uses if isinstance(use, Use)]
        yield PathOption(way, value, marks[0] if marks else None)
    elif isinstance(value, tuple):
        inner = next((leaf.item for leaf in shape.leaves if leaf.item), Shape(Any))
        for index, item in enumerate(value):
            yield from _below(inner, item, (*way, index))
    elif isinstance(value, Mapping):
        inner = next((leaf.value for leaf in shape.leaves if leaf.value), Shape(Any))
        for key, item in value.items():
            yield from _below(inner, item, (*way, str(key)))
