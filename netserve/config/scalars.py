"""What a plain scalar means: the core schema of YAML 1.2 (section 10.3.2), and nothing else.

=====================  ================================  ======================
written                means                             in YAML 1.1 it was
=====================  ================================  ======================
``no``, ``on``, ``y``  the text                          a boolean
``22:22``              the text                          1342, to the base 60
``010``                the number 10                     8, octal
``0o10``               the number 8                      the text
``1_000``              the text                          1000
``2024-01-01``         the text                          a date
``~``, ``null``        nothing                           the same
=====================  ================================  ======================
"""

from __future__ import annotations

import re
from typing import Final, TypeAlias

Scalar: TypeAlias = str | int | float | bool | None

MAX_DIGITS: Final = 64
"""A longer number is refused: no option needs it, and converting it takes quadratic time."""

_NULL: Final = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEANS: Final = {
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
}
_INTEGER: Final = re.compile(r"[-+]?[0-9]+")
_OCTAL: Final = re.compile(r"0o[0-7]+")
_HEXADECIMAL: Final = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_SPECIAL_FLOAT: Final = re.compile(r"([-+]?)\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")


def resolve(text: str) -> Scalar:
    """The value of a plain (unquoted) scalar.

    Raises:
        ValueError: it is a number with more than `MAX_DIGITS` characters.
    """
    if text in _NULL:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if text[0] not in "+-.0123456789":
        return text
    number = _number(text)
    return text if number is None else number


def resolve_as(kind: str, text: str) -> Scalar:
    """The value of a scalar with one of the core schema's tags.

    Arguments:
        kind: ``str``, ``int``, ``float``, ``bool`` or ``null``.
        text: the scalar, quoted or not.

    Raises:
        ValueError: the text is not of that kind.
    """
    if kind == "str":
        return text
    value = resolve(text)
    if kind == "float" and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is {"int": int, "float": float, "bool": bool, "null": type(None)}[kind]:
        return value
    raise ValueError(f"not of the kind !!{kind}")


def _number(text: str) -> int | float | None:
    base = next(
        (
            base
            for pattern, base in ((_INTEGER, 10), (_OCTAL, 8), (_HEXADECIMAL, 16))
            if pattern.fullmatch(text)
        ),
        0,
    )
    if not base and not _FLOAT.fullmatch(text):
        special = _SPECIAL_FLOAT.fullmatch(text)
        if special is None:
            return None
        return float(text.replace(".", "").lower())
    if len(text) > MAX_DIGITS:
        raise ValueError(f"a number of more than {MAX_DIGITS} digits; put it in quotes for a text")
    return int(text, base) if base else float(text)
