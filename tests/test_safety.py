"""What must hold is told in sentences with numbers, S1 and so on; their tests name them."""

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent


def named() -> set[str]:
    """The numbers in the docstrings of all tests and their modules."""
    found: set[str] = set()
    for path in TESTS.rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Module | ast.FunctionDef | ast.AsyncFunctionDef):
                found.update(re.findall(r"\bS\d+\b", ast.get_docstring(node) or ""))
    return found


@pytest.mark.parametrize("number", [*range(1, 9), 22, 28])
def test_each_sentence_on_mail_has_a_test(number: int) -> None:
    assert f"S{number}" in named()


@pytest.mark.parametrize("number", [8, 9, 11, 12, 13, 14, 18, 23, 24, 27])
def test_each_sentence_on_neighbours_has_a_test(number: int) -> None:
    assert f"S{number}" in named()
