"""Twisted's private names are used in one module, or listed there, and Twisted still has them."""

from __future__ import annotations

import ast
import importlib
import inspect
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from netserve.reactor.twisted_private import HOOKS, TESTED

ROOT = Path(__file__).parents[2]
ONLY = ROOT / "netserve" / "reactor" / "twisted_private.py"
SOURCES = {
    path: ast.parse(path.read_text())
    for path in sorted(ROOT.glob("netserve/**/*.py"))
    if path != ONLY and "twisted" in path.read_text()
}


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def _imported(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """The names that a module has from Twisted, and where from."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "twisted":
            yield from (
                (each.asname or each.name, f"{node.module}.{each.name}") for each in node.names
            )
        elif isinstance(node, ast.Import):
            for each in node.names:
                if each.name.split(".")[0] == "twisted":
                    yield each.asname or "twisted", each.name


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_other_module_uses_a_private_name_of_twisted(path: Path) -> None:
    names = dict(_imported(SOURCES[path]))
    private = [full for full in names.values() if any(map(_is_private, full.split(".")))]
    private += [
        f"{names[node.value.id]}.{node.attr}"
        for node in ast.walk(SOURCES[path])
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in names
        and _is_private(node.attr)
    ]
    assert private == []


def _private_of(kind: type) -> set[str]:
    """The private names that the bases of a class in Twisted have, or set on their objects."""
    found: set[str] = set()
    for base in kind.__mro__:
        if base.__module__.split(".")[0] != "twisted":
            continue
        found |= {name for name in vars(base) if _is_private(name)}
        for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(base)))):
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id == "self"
                and _is_private(node.attr)
            ):
                found.add(node.attr)
    return found


def _used_in(node: ast.ClassDef) -> set[str]:
    read = {each.attr for each in ast.walk(node) if isinstance(each, ast.Attribute)}
    made = {each.name for each in node.body if isinstance(each, ast.FunctionDef)}
    return {name for name in read | made if _is_private(name)}


def _classes() -> Iterator[tuple[str, type, ast.ClassDef]]:
    """The classes of netserve that have a base in Twisted."""
    for path, tree in SOURCES.items():
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        nodes = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.bases]
        if not nodes or name.startswith("netserve.packet.helper"):
            continue  # Scapy's process has nothing of Twisted
        module = importlib.import_module(name)
        for node in nodes:
            yield f"{name}.{node.name}", getattr(module, node.name), node


def test_what_subclasses_use_is_listed() -> None:
    used = {name: _private_of(kind) & _used_in(node) for name, kind, node in _classes()}
    assert {name: found for name, found in used.items() if found} == HOOKS


def test_the_range_that_was_tested_is_written_down() -> None:
    first, last = (tuple(map(int, release.split("."))) for release in TESTED)
    assert first <= last
