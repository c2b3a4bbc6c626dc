"""Modules that say they do no I/O stand in the import contract that makes it true."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SAYS_SO = re.compile(r"\b(pure|no i/o|without i/o|sans-io)\b", re.IGNORECASE)
LINTER = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
PURE = next(each for each in LINTER["contracts"] if each["name"].startswith("Pure logic"))


def _says_so(path: Path) -> bool:
    """Whether the first paragraph of a module's docstring says it."""
    first, _, _ = (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n\n")
    return bool(SAYS_SO.search(first))


def _name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


CLAIMS = sorted({_name(path) for path in ROOT.glob("netserve/**/*.py") if _says_so(path)})


def test_the_contract_forbids_every_kind_of_io() -> None:
    wanted = {"asyncio", "socket", "sqlite3", "threading", "twisted"}
    assert wanted <= set(PURE["forbidden_modules"])
    assert "ignore_imports" not in PURE


@pytest.mark.parametrize("module", CLAIMS)
def test_a_module_that_says_so_is_in_the_contract(module: str) -> None:
    covered = PURE["source_modules"]
    assert any(module == each or module.startswith(each + ".") for each in covered)


def test_imports_for_types_count_as_well() -> None:
    assert LINTER["exclude_type_checking_imports"] is False
