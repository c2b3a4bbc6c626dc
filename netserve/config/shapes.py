"""What a settings model says about its options' types, in the words of someone who writes YAML.

The errors of a config file, the tables of ``netserve list`` and the reference pages all take
their words from here.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Union

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from netserve.config import values
from netserve.config.listen import Listen, ListenAddresses
from netserve.config.values import Rate, Secret

_NAMED: Final = (
    (values.Duration, "duration"),
    (values.Size, "size"),
    (values.Rates, "rate or list of rates"),
    (values.FilePath, "path"),
    (values.Network, "network"),
    (values.Networks, "network or list of networks"),
    (ListenAddresses, "address or list of addresses"),
    (values.ImportPath, "module:object"),
    (values.PositiveInt, "number from 1 up"),
)
_PLAIN: Final[Mapping[Any, str]] = {
    str: "text",
    bytes: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    type(None): "nothing",
    Secret: "secret",
    Listen: "address",
    Rate: "rate",
    Path: "path",
    Any: "anything",
    object: "anything",
}
_SEQUENCES: Final = (tuple, list, set, frozenset)
_MAPPINGS: Final = (dict, Mapping)


@dataclass(frozen=True, slots=True)
class Shape:
    """A type as an option has it: what is under ``Annotated``, and what stands around it."""

    base: Any
    metadata: tuple[Any, ...] = ()

    @classmethod
    def of(cls, annotation: Any) -> Shape:
        """The shape of any annotation."""
        if typing.get_origin(annotation) is Annotated:
            base, *metadata = typing.get_args(annotation)
            return cls(base, _constraints(metadata))
        if isinstance(annotation, typing.TypeAliasType if hasattr(typing, "TypeAliasType") else ()):
            return cls.of(annotation.__value__)
        return cls(annotation)

    @classmethod
    def of_field(cls, field: FieldInfo) -> Shape:
        """The shape of a model's option."""
        inner = cls.of(field.annotation)
        return cls(inner.base, (*inner.metadata, *_constraints(field.metadata)))

    @property
    def members(self) -> tuple[Shape, ...]:
        """The branches of a union, without None; the shape itself where it is no union."""
        if typing.get_origin(self.base) not in {Union, types.UnionType}:
            return (self,)
        return tuple(Shape.of(arg) for arg in typing.get_args(self.base) if arg is not type(None))

    @property
    def unwrapped(self) -> Shape:
        """The shape without the None that it may be instead."""
        shape = self
        while not shape.is_union and shape.members[0] != shape:
            shape = shape.members[0]
        return shape

    @property
    def is_union(self) -> bool:
        """Whether there is more than one branch."""
        return len(self.members) > 1

    @property
    def leaves(self) -> tuple[Shape, ...]:
        """The branches, with unions inside of unions opened."""
        if self.members == (self,):
            return (self,)
        return tuple(leaf for member in self.members for leaf in member.leaves)

    @property
    def model(self) -> type[BaseModel] | None:
        """The model of a nested section."""
        is_model = isinstance(self.base, type) and issubclass(self.base, BaseModel)
        return self.base if is_model else None

    @property
    def item(self) -> Shape | None:
        """What a list has in it; None where this is no list."""
        if typing.get_origin(self.base) in _SEQUENCES:
            return Shape.of(typing.get_args(self.base)[0])
        return Shape(Any) if self.base in _SEQUENCES else None

    @property
    def value(self) -> Shape | None:
        """What a plain mapping has behind its keys; None where this is none."""
        if typing.get_origin(self.base) in _MAPPINGS:
            return Shape.of(typing.get_args(self.base)[1])
        return Shape(Any) if self.base in _MAPPINGS else None

    @property
    def key(self) -> Shape | None:
        """What the keys of a plain mapping are; None where this is none."""
        if typing.get_origin(self.base) in _MAPPINGS:
            return Shape.of(typing.get_args(self.base)[0])
        return Shape(str) if self.base in _MAPPINGS else None

    @property
    def choices(self) -> tuple[Any, ...]:
        """The values of a `Literal`."""
        return typing.get_args(self.base) if typing.get_origin(self.base) is Literal else ()

    @property
    def accepts(self) -> Literal["mapping", "list", "scalar"]:
        """What stands in the file for it. A list that also takes one item is a scalar too."""
        if self.model or self.value:
            return "mapping"
        return "list" if self.item else "scalar"

    def words(self) -> str:
        """The type as a few words: ``duration``, ``text``, ``list of paths``, ``tcp or udp``."""
        told = [item.text for item in self.metadata if isinstance(item, values.Words)]
        if told or (name := self._alias()):
            return told[-1] if told else name
        members = self.members
        if len(members) > 1:
            return any_of([member.words() for member in members])
        shape = members[0]
        if shape != self:
            return shape.words()
        if self.choices:
            return any_of([choice_text(choice) for choice in self.choices])
        if self.item:
            return f"list of {_plural(self.item.words())}"
        if self.model or self.value:
            return "mapping"
        return _PLAIN.get(self.base, getattr(self.base, "__name__", str(self.base)))

    def _alias(self) -> str:
        """The name of one of `netserve.config.types`; further constraints may stand behind it."""
        for alias, name in _NAMED:
            known = Shape.of(alias)
            if (self.base, self.metadata[: len(known.metadata)]) == (known.base, known.metadata):
                return name
        return ""


def fields(model: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    """The options of a model by the names that they have in the file."""
    for name, field in model.model_fields.items():
        yield field.alias or name, field


def shape_of_key(model: type[BaseModel], key: str) -> Shape | None:
    """The shape of a model's option, or None where it has none of that name."""
    return next((Shape.of_field(field) for name, field in fields(model) if name == key), None)


def choice_text(choice: object) -> str:
    """A value of a `Literal` as it is written in the file."""
    if isinstance(choice, bool):
        return "true" if choice else "false"
    return str(choice) or '""'


def any_of(words: Sequence[str]) -> str:
    """``a, b or c``, each of them once."""
    *others, last = dict.fromkeys(words)
    return f"{', '.join(others)} or {last}" if others else last


def _constraints(metadata: Sequence[Any]) -> tuple[Any, ...]:
    """Metadata with what `Field(ge=1)` brings written out, as pydantic has it in a model."""
    return tuple(
        constraint
        for item in metadata
        for constraint in (item.metadata if isinstance(item, FieldInfo) else [item])
    )


def _plural(words: str) -> str:
    if words.endswith("y"):
        return words[:-1] + "ies"
    if words.endswith("s"):
        return words + "es"
    if " " in words or ":" in words or words in {"anything", "nothing"}:
        return words
    return words + "s"
