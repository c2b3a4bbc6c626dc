"""pydantic's errors in the terms of the file: where each is, and which of them to tell.

pydantic says, for a value that may be of several types, what is wrong with it for each of them.
Here one branch is picked: the one that the value was meant for, by its form (mapping, list or
scalar) and, among mappings, by the keys that it has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from pydantic import Tag
from pydantic_core import ErrorDetails

from netserve.config.shapes import Shape, fields, shape_of_key
from netserve.config.tree import Way

NO_BRANCH: Final = "no_branch"
"""The kind of a fault where a value fits none of the types that it may have."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Which branch of a union a fault is about.

    Arguments:
        way: to the value.
        union: the types that it may have.
        label: pydantic's name of the branch.
    """

    way: Way
    union: Shape
    label: str

    @property
    def branch(self) -> Shape | None:
        """The branch's shape, where the label tells it."""
        return _branch(self.union.members, self.label)


@dataclass(frozen=True, slots=True)
class Fault:
    """One of pydantic's errors.

    Arguments:
        kind: pydantic's word for it, or `NO_BRANCH`.
        way: to the value.
        shape: the type that the value should have, where it is known.
        parent: the type of what it stands in, where it is known.
        value: the value itself; None where it is missing.
        context: pydantic's numbers and names.
        message: pydantic's sentence.
        choices: the branches of unions on the way, from the outside in.
    """

    kind: str
    way: Way
    shape: Shape | None
    parent: Shape | None
    value: Any
    context: Mapping[str, Any]
    message: str
    choices: tuple[Choice, ...] = ()


def faults(shape: Shape, data: object, errors: Sequence[ErrorDetails]) -> list[Fault]:
    """What to tell about a value.

    Arguments:
        shape: what the value was checked against.
        data: the value.
        errors: what pydantic said about it.
    """
    found = [_locate(shape, data, error) for error in errors]
    return _pick([fault for fault in found if not _is_echo(fault)], data, 0)


def _is_echo(fault: Fault) -> bool:
    """Whether a list is called too short only because its items are wrong."""
    least = fault.context.get("min_length", 0)
    return (
        fault.kind == "too_short" and isinstance(fault.value, tuple) and len(fault.value) >= least
    )


def form(data: object) -> Literal["mapping", "list", "scalar"]:
    """What a value looks like in the file."""
    if isinstance(data, Mapping):
        return "mapping"
    return "list" if isinstance(data, tuple) else "scalar"


def below(shape: Shape, key: str) -> Shape | None:
    """The type behind a key; anything, where the shape does not tell, None for an unknown key."""
    if shape.model:
        return shape_of_key(shape.model, key)
    return shape.value or Shape(Any)


def _locate(shape: Shape, data: object, details: ErrorDetails) -> Fault:
    """Tell the keys in an error's location from the names of union branches."""
    way: Way = ()
    choices: list[Choice] = []
    parent: Shape | None = None
    current: Shape | None = shape
    steps = list(details["loc"])
    while steps:
        current = current.unwrapped if current else None
        if current and current.is_union:
            choices.append(Choice(way, current, str(steps.pop(0))))
            current = choices[-1].branch
            continue
        step = steps.pop(0)
        if current and isinstance(step, str) and current.accepts == "mapping":
            # A text may be a short form of a mapping; then the fault is the text's.
            if step != "[key]" and isinstance(_get(data, way), Mapping):
                way, parent, current = (*way, step), current, below(current, step)
        elif current and isinstance(step, int) and current.item:
            way, parent, current = (*way, step), current, current.item
        elif _has(data, (*way, step)):
            way, parent, current = (*way, step), None, None
    context = details.get("ctx", {})
    if details["type"] == "union_tag_invalid" and _has(data, (*way, discriminator(context))):
        way, current = (*way, discriminator(context)), None
    return Fault(
        kind=details["type"],
        way=way,
        shape=current.unwrapped if current else None,
        parent=parent,
        value=_get(data, way),
        context=context,
        message=details["msg"],
        choices=tuple(choices),
    )


def discriminator(context: Mapping[str, Any]) -> str:
    """The key that tells the branches of a union apart, as pydantic's context names it."""
    return str(context.get("discriminator", "")).strip("'")


def _branch(members: Sequence[Shape], label: str) -> Shape | None:
    """The member of a union that pydantic calls by this label."""
    for member in members:
        if any(isinstance(item, Tag) and item.tag == label for item in member.metadata):
            return member
    # A model with validators is called ``function-after[_one_way(), Name]``.
    name = label.rstrip("]").rpartition(" ")[2] if label.startswith("function-") else label
    if found := [member for member in members if name in _labels(member)]:
        return found[0]
    kind = label.partition("[")[0]
    fits = {
        "literal": lambda member: bool(member.choices),
        "tuple": lambda member: member.item is not None,
        "list": lambda member: member.item is not None,
        "dict": lambda member: member.value is not None,
    }.get(kind, _has_validator)
    found = [member for member in members if fits(member)]
    return found[0] if len(found) == 1 else None


def _has_validator(member: Shape) -> bool:
    """Whether pydantic's label is that of a function, not of the type."""
    return not member.model and (bool(member.metadata) or member.base not in _PLAIN_TYPES)


def _labels(member: Shape) -> list[str]:
    if member.model is None:
        return [] if member.metadata else [str(getattr(member.base, "__name__", ""))]
    labels = [member.model.__name__]
    for _, field in fields(member.model):
        labels += [str(choice) for choice in Shape.of_field(field).choices]
    return labels


_PLAIN_TYPES: Final = (str, bytes, int, float, bool)


def _get(data: Any, way: Way) -> Any:
    for step in way:
        if not _has(data, (step,)):
            return None
        data = data[step]
    return data


def _has(data: Any, way: Way) -> bool:
    inner, step = _get(data, way[:-1]), way[-1]
    if isinstance(inner, Mapping):
        return step in inner
    return isinstance(inner, tuple) and isinstance(step, int) and step < len(inner)


def _pick(found: Sequence[Fault], data: object, depth: int) -> list[Fault]:
    """The faults outside of unions, and those of one branch of each union."""
    picked = [fault for fault in found if len(fault.choices) <= depth]
    unions: dict[Way, list[Fault]] = {}
    for fault in found:
        if len(fault.choices) > depth:
            unions.setdefault(fault.choices[depth].way, []).append(fault)
    for several in unions.values():
        picked += _pick_branch(several, data, depth)
    return picked


def _pick_branch(found: list[Fault], data: object, depth: int) -> list[Fault]:
    choice = found[0].choices[depth]
    value = _get(data, choice.way)
    by_label: dict[str, list[Fault]] = {}
    for fault in found:
        by_label.setdefault(fault.choices[depth].label, []).append(fault)
    if len(by_label) == 1:  # a discriminator has picked, or only one branch has a fault
        return _pick(found, data, depth + 1)
    fitting = {
        label: several
        for label, several in by_label.items()
        if (branch := several[0].choices[depth].branch)
        and any(leaf.accepts == form(value) for leaf in branch.leaves)
    }
    if len(fitting) > 1 and isinstance(value, Mapping):
        best = max(fitting, key=lambda label: _fit(fitting[label][0].choices[depth], value))
        return _pick(fitting[best], data, depth + 1)
    if len(fitting) == 1:
        return _pick(next(iter(fitting.values())), data, depth + 1)
    own_words = [
        fault for several in fitting.values() for fault in several if fault.kind == "value_error"
    ]
    if len(own_words) == 1 and isinstance(value, str):
        return own_words
    no_branch = replace(found[0], kind=NO_BRANCH, way=choice.way, shape=choice.union, value=value)
    return [no_branch]


def _fit(choice: Choice, value: Mapping[str, Any]) -> tuple[int, int, int]:
    """How well a mapping fits a section: its constant (``kind: x``), what it needs, its keys."""
    model = choice.branch.model if choice.branch else None
    if model is None:
        return (-1, 0, 0)
    known = dict(fields(model))
    constant = 0
    for name, field in known.items():
        choices = Shape.of_field(field).choices
        if len(choices) == 1 and name in value:
            constant += 1 if value[name] in choices else -1
    missing = sum(1 for name, field in known.items() if field.is_required() and name not in value)
    return (constant, -missing, sum(1 for key in value if key in known))
