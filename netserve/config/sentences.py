"""What is wrong with a value, and what would be right, in a plain sentence for each kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Final

from netserve.config.faults import NO_BRANCH, Fault, discriminator
from netserve.config.shapes import Shape, any_of, choice_text, fields, shape_of_key
from netserve.config.types import Secret

_YES_AND_NO: Final = {
    "yes": "true", "y": "true", "on": "true", "no": "false", "n": "false", "off": "false",
}  # fmt: skip

_KINDS: Final = (
    (bool, "true or false"), (int, "a number"), (float, "a number"), (str, "a text"),
    (tuple, "a list"), (Mapping, "a mapping"),
)  # fmt: skip

_EXPECTED: Final = {
    "string_type": "a text",
    "bytes_type": "a text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "mapping_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "tuple_type": "a list",
    "list_type": "a list",
    "set_type": "a list",
    "frozen_set_type": "a list",
    "none_required": "nothing",
}

# What a constraint can say, with the names of pydantic's context in it.
_CONSTRAINTS: Final = {
    "greater_than": "too small; it has to be more than {gt}",
    "greater_than_equal": "too small; the least is {ge}",
    "less_than": "too large; it has to be less than {lt}",
    "less_than_equal": "too large; the most is {le}",
    "multiple_of": "not a multiple of {multiple_of}",
    "finite_number": "not a finite number",
    "string_too_short": "too short; the least is {min_length} characters",
    "string_too_long": "too long; the most is {max_length} characters",
    "string_pattern_mismatch": "not of the form {pattern}",
    "too_short": "too few items; the least is {min_length}",
    "too_long": "too many items; the most is {max_length}",
}


def sentence(fault: Fault, *, shows: bool) -> str:
    """One line about a fault that a type has found.

    Arguments:
        fault: it.
        shows: whether the value may be repeated.
    """
    kind = fault.kind
    if kind == "missing":
        return _missing(fault)
    if kind == "extra_forbidden":
        return f"unknown key; {nearest(str(fault.way[-1]), _siblings(fault))}"
    if kind in {"literal_error", "enum", "union_tag_invalid"}:
        return _not_a_choice(fault)
    if kind == "union_tag_not_found":
        return f"{discriminator(fault.context)} is missing, which tells what this is"
    if kind in _EXPECTED or kind == NO_BRANCH:
        return _wrong_type(fault, shows=shows)
    if kind in _CONSTRAINTS:
        return _CONSTRAINTS[kind].format_map(fault.context)
    return f"not a value that fits ({kind.replace('_', ' ')})"


def nearest(word: str, known: Sequence[str]) -> str:
    """``did you mean X?``, or the list of what is known."""
    if near := get_close_matches(word.lower(), known, n=1, cutoff=0.6):
        return f"did you mean {near[0]}?"
    return f"known are {', '.join(known)}" if known else "none is known here"


def kind_of(value: object) -> str:
    """What a value is, in a file's terms: ``a text``, ``a list``."""
    return next((name for kind, name in _KINDS if isinstance(value, kind)), "empty")


def _siblings(fault: Fault) -> list[str]:
    model = fault.parent.model if fault.parent else None
    return [name for name, _ in fields(model)] if model else []


def nearest_key(fault: Fault) -> str | None:
    """The key that an unknown key was probably meant to be."""
    near = get_close_matches(str(fault.way[-1]).lower(), _siblings(fault), n=1, cutoff=0.6)
    return near[0] if near else None


def _missing(fault: Fault) -> str:
    key = str(fault.way[-1])
    shape = shape_of_key(fault.parent.model, key) if fault.parent and fault.parent.model else None
    return f"{key} is missing; it takes {_takes(shape)}" if shape else f"{key} is missing"


def _not_a_choice(fault: Fault) -> str:
    choices = [choice_text(choice) for choice in fault.shape.choices] if fault.shape else []
    if "expected_tags" in fault.context:
        choices = str(fault.context["expected_tags"]).replace("'", "").split(", ")
    if not choices:
        return f"not one of {fault.context.get('expected', 'the known values')}"
    if len(choices) == 1:
        return f"only {choices[0]} is allowed here"
    what = f"not one of {', '.join(choices)}"
    if not isinstance(fault.value, str) and choice_text(fault.value) in choices:
        return f"expected a text, not {kind_of(fault.value)}; put it in quotes"
    near = get_close_matches(str(fault.value).lower(), choices, n=1, cutoff=0.6)
    return f"{what}; did you mean {near[0]}?" if near else what


def _wrong_type(fault: Fault, *, shows: bool) -> str:
    expected = _EXPECTED.get(fault.kind) or (_right(fault.shape) if fault.shape else "another")
    if fault.kind == "bool_type" and (right := _YES_AND_NO.get(str(fault.value).lower())):
        value = fault.value if shows else "this"
        return f"expected true or false; {value} is a text, write {right}"
    if fault.kind in {"model_type", "model_attributes_type"} and fault.shape and fault.shape.model:
        names = [name for name, _ in fields(fault.shape.model)]
        expected += f" with {', '.join(names)}"
    is_fraction = expected == "a whole number" and isinstance(fault.value, float)
    what = f"expected {expected}, not {'a fraction' if is_fraction else kind_of(fault.value)}"
    if fault.value is None:
        what = f"no value; expected {expected}"
    texts = {leaf.base for leaf in fault.shape.leaves} & {str, Secret} if fault.shape else set()
    if texts and isinstance(fault.value, (bool, int, float)):
        what += "; put it in quotes"
    return what


def _right(shape: Shape) -> str:
    """What may stand where a union is expected: ``a text or a list``."""
    words = [
        {"mapping": _mapping_words(leaf), "list": "a list", "scalar": _takes(leaf)}[leaf.accepts]
        for leaf in shape.leaves
    ]
    return " or ".join(dict.fromkeys(words))


def _mapping_words(shape: Shape) -> str:
    if shape.model is None:
        return "a mapping"
    return f"a mapping with {', '.join(name for name, _ in fields(shape.model))}"


def _takes(shape: Shape) -> str:
    if shape.choices:
        return any_of([choice_text(choice) for choice in shape.choices])
    if shape.base is Secret:
        return "a text"
    words = shape.words()
    if words[:7] in {"list of", "true or", "nothing", "anythin"} or ":" in words:
        return words if words[:7] != "list of" else f"a {words}"
    return f"an {words}" if words[0] in "aeiou" else f"a {words}"
