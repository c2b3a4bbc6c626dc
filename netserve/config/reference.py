"""A settings model -> rows that say what each option is, for people.

``netserve list NAME`` and the reference pages print the same rows. A nested section's options
stand below it with a dotted path; ``[]`` is an item of a list, ``NAME`` a key of your choice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from netserve.config.meanings import meanings_of
from netserve.config.shapes import Shape, choice_text, fields, shape_of_key
from netserve.config.types import Section

_DURATION_UNITS: Final = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))
_SIZE_UNITS: Final = ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))
_INDICATORS: Final = "*&!%@`{[|>#"
_MAX_DEPTH: Final = 8  # a model may have itself inside


@dataclass(frozen=True, slots=True)
class Option:
    """One option.

    Arguments:
        path: the dotted way to it.
        type: what it takes, in a few words such as ``duration``.
        default: as it would be written in the file; empty where there is none.
        meaning: what it is for.
        required: whether it has to be given.
    """

    path: str
    type: str
    default: str
    meaning: str
    required: bool


def options_of(model: type[BaseModel]) -> tuple[Option, ...]:
    """Every option of a section, with those of the sections in it.

    Arguments:
        model: a subclass of `netserve.plugin.Settings`, or any other section.
    """
    options: dict[str, Option] = {}
    for option in _section(model, "", None, 0):
        other = options.get(option.path)
        options[option.path] = _merged(other, option) if other else option
    return tuple(options.values())


def format_duration(seconds: float) -> str:
    """Seconds as they are written in a file: ``5s``, ``90s``, ``200ms``."""
    if seconds < 1 or seconds != int(seconds):
        return f"{seconds * 1000:g}ms" if seconds else "0s"
    unit, name = next((unit, name) for unit, name in _DURATION_UNITS if seconds % unit == 0)
    return f"{seconds / unit:g}{name}"


def format_size(size: int) -> str:
    """Bytes as they are written in a file: ``64KiB``, ``1000``."""
    for unit, name in _SIZE_UNITS:
        if size and size % unit == 0:
            return f"{size // unit}{name}"
    return str(size)


def format_value(value: object, shape: Shape) -> str:
    """A value as it is written in a file; empty for none, and for a section of many options."""
    if value is None or value in ({}, ()):
        return ""
    if isinstance(value, BaseModel):
        kind = getattr(value, "kind", "")
        return kind if isinstance(kind, str) else ""
    if isinstance(value, (tuple, list)):
        item = next((leaf.item for leaf in shape.leaves if leaf.item), Shape(Any))
        return f"[{', '.join(format_value(part, item) for part in value)}]"
    words = {leaf.words() for leaf in shape.leaves}
    if "duration" in words and isinstance(value, float):
        return format_duration(value)
    if "size" in words and type(value) is int:
        return format_size(value)
    return _format_scalar(value)


def _format_scalar(value: object) -> str:
    if isinstance(value, bytes):
        return f'"{ascii(value)[2:-1]}"'
    if isinstance(value, str) and (not value or value != value.strip() or value[0] in _INDICATORS):
        return f'"{value}"'
    return choice_text(value)


def _section(model: type[BaseModel], prefix: str, default: object, depth: int) -> Iterator[Option]:
    if depth > _MAX_DEPTH:
        return
    names = {field.alias or name: name for name, field in model.model_fields.items()}
    meanings = meanings_of(model)
    for key, field in fields(model):
        shape = Shape.of_field(field)
        required = field.is_required() and default is None
        value = _default(field) if default is None else getattr(default, names[key], None)
        yield Option(
            path=prefix + key,
            type=shape.words(),
            default="" if required else format_value(value, shape),
            meaning=" ".join(meanings.get(names[key], "").split()),
            required=required,
        )
        yield from _below(shape, prefix + key, value, depth)


def _of_branch(option: Option, branch: Shape, path: str) -> Option:
    """An option that only one branch of a union has, with the branch's kind before its meaning."""
    kind = shape_of_key(branch.model, "kind") if branch.model else None
    if kind is None or len(kind.choices) != 1 or not option.path.startswith(f"{path}."):
        return option
    return replace(option, meaning=f"`{kind.choices[0]}`: {option.meaning}")


def _merged(one: Option, other: Option) -> Option:
    """The same option of two branches of a union."""
    return Option(
        path=one.path,
        type=one.type if other.type == one.type else f"{one.type}, {other.type}",
        default=one.default or other.default,
        meaning=one.meaning if other.meaning == one.meaning else f"{one.meaning} {other.meaning}",
        required=one.required and other.required,
    )


def _below(shape: Shape, path: str, default: object, depth: int) -> Iterator[Option]:
    """The options of the sections inside of an option's type, branch by branch."""
    sections = {leaf.model for leaf in shape.leaves if leaf.model}
    for leaf in shape.leaves:
        if leaf.item and leaf.item.model in sections:
            continue  # one of them, or a list of them: they are told once
        for option in _below_leaf(leaf, path, default, depth):
            yield _of_branch(option, leaf, path) if len(shape.leaves) > 1 else option


def _below_leaf(leaf: Shape, path: str, default: object, depth: int) -> Iterator[Option]:
    if leaf.model:
        if issubclass(leaf.model, Section):
            own = default if isinstance(default, leaf.model) else None
            yield from _section(leaf.model, f"{path}.", own, depth + 1)
    elif leaf.item:
        yield from _below(leaf.item, f"{path}[]", None, depth)
    elif leaf.value:
        yield from _below(leaf.value, f"{path}.NAME", None, depth)


def _default(field: FieldInfo) -> object:
    # What a factory makes may be another thing on each machine, such as its name.
    if field.is_required() or field.default_factory is not None:
        return None
    return field.get_default()
