"""Numbered sentences say what must hold (S1 and so on); docs/safety.md names the tests of each."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
TABLE = TESTS.parent / "docs" / "safety.md"
SENTENCES = range(1, 31)
NOT_YET: set[int] = set()
"""Sentences without a test. A sentence that gets one leaves this set and enters the table."""

ROW = re.compile(r"^\| S(\d+) \| (.+) \| (.+) \|$", re.MULTILINE)
TEST = re.compile(r"`([\w/]+\.py)::(test_\w+)`")


@cache
def docstrings(path: Path) -> dict[str, str]:
    """The docstring of each test of a module, by the test's name, after that of the module."""
    module = ast.parse(path.read_text())
    of_module = ast.get_docstring(module) or ""
    return {
        node.name: f"{of_module}\n{ast.get_docstring(node) or ''}"
        for node in ast.walk(module)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def table() -> dict[int, list[tuple[str, str]]]:
    """The tests of each sentence, as the table has them: their module and their name."""
    rows = ROW.findall(TABLE.read_text())
    numbers = [int(number) for number, _, _ in rows]
    assert numbers == sorted(set(numbers))
    return {int(number): TEST.findall(tests) for number, _, tests in rows}


def test_the_table_has_every_sentence() -> None:
    rows = table()
    assert rows.keys() | NOT_YET == set(SENTENCES)
    assert not rows.keys() & NOT_YET


@pytest.mark.parametrize("number", [each for each in SENTENCES if each not in NOT_YET])
def test_each_sentence_has_tests_that_name_it(number: int) -> None:
    tests = table()[number]
    assert tests
    for module, name in tests:
        path = TESTS / module
        assert path.is_file(), module
        found = docstrings(path)
        assert name in found, f"{module} has no {name}"
        assert re.search(rf"\bS{number}\b", found[name]), (
            f"{module}::{name} does not name S{number}"
        )


def test_a_sentence_with_a_test_is_in_the_table() -> None:
    for path in TESTS.rglob("test_*.py"):
        if path != Path(__file__):
            named = " ".join(docstrings(path).values())
            numbers = {int(number) for number in re.findall(r"\bS(\d+)\b", named)}
            assert not numbers & NOT_YET, f"{path} has a test: name it in {TABLE.name}"
