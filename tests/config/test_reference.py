"""The rows that the options' reference is made of."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field

from netserve.config.envelope import ProcessSettings
from netserve.config.listen import ListenAddresses
from netserve.config.reference import format_duration, format_size, options_of
from netserve.config.types import (
    Duration,
    FilePath,
    ImportPath,
    Networks,
    PositiveInt,
    Secret,
    Section,
    Size,
    Words,
)
from netserve.plugin import Settings
from netserve.registry import BUILT_IN, Registry


class Inner(Section):
    """Inside."""

    kind: Literal["inner"] = "inner"
    """The kind."""
    size: Size = 65536
    """A size
    on two lines."""


class Other(Section):
    """Another."""

    kind: Literal["other"] = "other"
    """The kind."""
    wait: Annotated[Duration, Field(gt=0)]
    """A time."""


class Everything(Section):
    """Every type."""

    text: str
    """A text."""
    number: PositiveInt = 5
    """A number."""
    ratio: float = 0.5
    """A ratio."""
    flag: bool = False
    """A flag."""
    wait: Duration | None = 90.0
    """A time."""
    size: Annotated[Size, Field(ge=1)] = 1000
    """A size."""
    secret: Secret | None = None
    """A secret."""
    path: FilePath = Path("var")
    """A path."""
    paths: tuple[FilePath, ...] = ()
    """Paths."""
    listen: ListenAddresses = ()
    """Addresses."""
    networks: Networks = ()
    """Networks."""
    handler: ImportPath | None = None
    """A function."""
    word: Literal["one", "two", "three"] = "two"
    """A word."""
    names: tuple[str, ...] = ("a", "b")
    """Names."""
    headers: dict[str, str] = Field(default_factory=dict)
    """Headers."""
    made: str = Field(default_factory=lambda: "on this machine")
    """Made by a function."""
    one_or_more: Annotated[tuple[str, ...], Words("text or list of texts")] | None = None
    """In words."""
    either: str | int = "*"
    """Either."""
    raw: bytes = b"\r\n"
    """Bytes."""
    inner: Inner = Inner(size=1)
    """A section."""
    sections: tuple[Annotated[Inner | Other, Field(discriminator="kind")], ...] = ()
    """Sections."""
    one_or_many: Inner | tuple[Inner, ...] = ()
    """One section or more."""
    named: dict[str, Inner] = Field(default_factory=dict)
    """Sections by name."""
    json_: str = Field(default="", alias="json")
    """With another name."""


def test_every_type_has_its_words() -> None:
    rows = {row.path: (row.type, row.default, row.meaning) for row in options_of(Everything)}
    assert rows == {
        "text": ("text", "", "A text."),
        "number": ("number from 1 up", "5", "A number."),
        "ratio": ("number", "0.5", "A ratio."),
        "flag": ("true or false", "false", "A flag."),
        "wait": ("duration", "90s", "A time."),
        "size": ("size", "1000", "A size."),
        "secret": ("secret", "", "A secret."),
        "path": ("path", "var", "A path."),
        "paths": ("list of paths", "", "Paths."),
        "listen": ("address or list of addresses", "", "Addresses."),
        "networks": ("network or list of networks", "", "Networks."),
        "handler": ("module:object", "", "A function."),
        "word": ("one, two or three", "two", "A word."),
        "names": ("list of texts", "[a, b]", "Names."),
        "headers": ("mapping", "", "Headers."),
        "made": ("text", "", "Made by a function."),
        "one_or_more": ("text or list of texts", "", "In words."),
        "either": ("text or whole number", '"*"', "Either."),
        "raw": ("text", '"\\r\\n"', "Bytes."),
        "inner": ("mapping", "inner", "A section."),
        "inner.kind": ("inner", "inner", "The kind."),
        "inner.size": ("size", "1", "A size on two lines."),
        "sections": ("list of mappings", "", "Sections."),
        "sections[].kind": ("inner, other", "inner", "`inner`: The kind. `other`: The kind."),
        "sections[].size": ("size", "64KiB", "`inner`: A size on two lines."),
        "sections[].wait": ("duration", "", "`other`: A time."),
        "one_or_many": ("mapping or list of mappings", "", "One section or more."),
        "one_or_many.kind": ("inner", "inner", "`inner`: The kind."),
        "one_or_many.size": ("size", "64KiB", "`inner`: A size on two lines."),
        "named": ("mapping", "", "Sections by name."),
        "named.NAME.kind": ("inner", "inner", "The kind."),
        "named.NAME.size": ("size", "64KiB", "A size on two lines."),
        "json": ("text", '""', "With another name."),
    }
    assert [row.path for row in options_of(Everything) if row.required] == [
        "text",
        "sections[].wait",
    ]


def test_no_name_of_a_class_is_a_type_in_the_reference() -> None:
    """Such as `Smarthost`: what an option takes is told in the file's words."""
    rows = [row for name, _ in BUILT_IN for row in options_of(Registry().find(name).settings)]
    assert [row.path for row in rows if re.search(r"[A-Z]", row.type)] == []


def test_a_model_inside_of_itself_ends() -> None:
    assert 0 < len(options_of(Tree)) < 100


class Tree(Section):
    """A tree."""

    below: tuple[Tree, ...] = ()
    """More of it."""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0s"), (0.2, "200ms"), (1.5, "1500ms"), (5.0, "5s"), (60.0, "1m"), (90.0, "90s"),
     (3600.0, "1h"), (5400.0, "90m"), (432000.0, "5d")],
)  # fmt: skip
def test_a_duration(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0"), (1000, "1000"), (1024, "1KiB"), (25 * 2**20, "25MiB"), (2**30, "1GiB")]
)  # fmt: skip
def test_a_size(size: int, text: str) -> None:
    assert format_size(size) == text


@pytest.mark.parametrize(
    "model",
    [ProcessSettings, Settings, *(name for name, _ in BUILT_IN)],
)
def test_every_option_of_netserve_has_a_meaning(model: type[BaseModel] | str) -> None:
    if isinstance(model, str):
        model = Registry().find(model).settings
    assert not [row.path for row in options_of(model) if not row.meaning.endswith(".")]
