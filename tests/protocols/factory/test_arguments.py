"""Arguments from the file become Python values; what cannot is refused with its reason."""

from __future__ import annotations

import collections
from pathlib import Path
from typing import Any

import pytest

from netserve.protocols.factory.arguments import Builder, check


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        (5, 5),
        ("text", "text"),
        (None, None),
        (("a", (1,)), ["a", [1]]),
        ({"a": ("b",)}, {"a": ["b"]}),
        ({"path": "./files"}, "/srv/files"),
        ({"path": "/tmp"}, "/tmp"),
        ({"path": "x", "mode": 1}, {"path": "x", "mode": 1}),
        ({"import": "collections:OrderedDict"}, collections.OrderedDict),
        ({"object": "collections:Counter", "arguments": ("aab",)}, collections.Counter("aab")),
        ({"object": "collections:Counter", "arguments": {"a": 2}}, collections.Counter(a=2)),
        (
            {"object": "fractions:Fraction", "arguments": ({"object": "decimal:Decimal"},)},
            0,
        ),
    ],
)
def test_a_value(argument: Any, value: Any) -> None:
    check((argument,))
    assert Builder(Path("/srv")).value(argument) == value


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ("text", "not arguments; write a list, or a mapping of names"),
        (({"object": 5},), "object: not a text"),
        (({"path": ("a",)},), "path: not a text"),
        (({"object": "a:b", "argument": ()},), "has nothing else but arguments"),
        (({"object": "a:b", "arguments": "x"},), "not arguments"),
        (({"a": {"import": 5}},), "import: not a text"),
    ],
)
def test_what_is_no_argument(arguments: Any, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        check(arguments)


@pytest.mark.parametrize(
    ("argument", "what"),
    [
        ({"import": "no_such_module:x"}, "cannot import no_such_module: ModuleNotFoundError"),
        ({"object": "math:pi"}, "math:pi is of the type float, and takes no arguments"),
        ({"object": "fractions:Fraction", "arguments": (1, 2, 3)}, "does not take these arguments"),
        ({"object": "fractions:Fraction", "arguments": ("x",)}, "failed: ValueError"),
    ],
)
def test_what_cannot_be_made(argument: Any, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        Builder(Path("/srv")).value(argument)
