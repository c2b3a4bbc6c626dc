"""The paths among a service's options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pytest
from pydantic import AfterValidator, Field

from netserve.config.paths import PathOption, paths_of
from netserve.config.types import FilePath, ReadPath, Section, WrittenPath

FOLDER = Path("/srv")


class Inner(Section):
    key: FilePath
    mailbox: Annotated[WrittenPath, AfterValidator(lambda path: path)] | None = None


class Outer(Section):
    first: FilePath | None = None
    users: ReadPath | None = None
    one: Inner | tuple[Inner, ...] | None = None
    by_name: dict[str, Inner] = Field(default={})
    names: dict[str, FilePath] = Field(default={})
    many: tuple[FilePath, ...] = ()
    text: str = ""


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({}, []),
        ({"text": "/etc/passwd"}, []),
        ({"first": "a"}, [(("x", "first"), "a", None)]),
        ({"users": "a"}, [(("x", "users"), "a", "read")]),
        (
            {"one": {"key": "a", "mailbox": "b"}},
            [(("x", "one", "key"), "a", None), (("x", "one", "mailbox"), "b", "write")],
        ),
        ({"one": ({"key": "a"},)}, [(("x", "one", 0, "key"), "a", None)]),
        ({"by_name": {"n": {"key": "a"}}}, [(("x", "by_name", "n", "key"), "a", None)]),
        ({"names": {"n": "a"}}, [(("x", "names", "n"), "a", None)]),
        ({"many": ("a", "b")}, [(("x", "many", 0), "a", None), (("x", "many", 1), "b", None)]),
    ],
)
def test_every_path_with_its_place(options: dict[str, object], found: list[object]) -> None:
    settings = Outer.model_validate(options, context={"folder": FOLDER})
    wanted = [PathOption(way, FOLDER / path, access) for way, path, access in found]  # type: ignore[misc]
    assert list(paths_of(settings, ("x",))) == wanted
