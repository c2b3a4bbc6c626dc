"""What the tests of a suite came to on two reactors, and the table of it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

RANK = {"passed": 0, "skipped": 1, "failed": 2}
"""If a test has several outcomes, such as its body's and its tear-down's, the highest counts."""


def read(path: Path) -> dict[str, str]:
    """The outcomes that `one_suite.py` wrote, by test."""
    found: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        name, outcome = json.loads(line)
        found[name] = max(found.get(name, outcome), outcome, key=RANK.__getitem__)
    return found


def differing(first: Mapping[str, str], second: Mapping[str, str]) -> list[str]:
    """The tests whose outcomes differ; one that did not run differs from one that did."""
    return sorted(
        name for name in first.keys() | second.keys() if first.get(name) != second.get(name)
    )


@dataclass
class Result:
    """One suite on both reactors.

    Attributes:
        unsteady: tests that differed at first, and were equal when they ran alone.
    """

    name: str
    version: str
    epoll: dict[str, str]
    netserve: dict[str, str]
    unsteady: list[str] = field(default_factory=list)

    def settle(self, epoll: Mapping[str, str], netserve: Mapping[str, str]) -> None:
        """Take the outcomes of the tests that differed and ran again, alone."""
        for name in differing(self.epoll, self.netserve):
            if name in epoll and epoll[name] == netserve.get(name):
                self.epoll[name] = self.netserve[name] = epoll[name]
                self.unsteady.append(name)

    @property
    def is_equal(self) -> bool:
        """Whether the suite ran, and no test differs."""
        return "passed" in self.epoll.values() and not self.differences

    @property
    def differences(self) -> list[str]:
        return differing(self.epoll, self.netserve)


def counts(outcomes: Mapping[str, str]) -> str:
    """Passed, failed and skipped, as a cell of the table."""
    number = Counter(outcomes.values())
    return " / ".join(f"{number[outcome]:,}" for outcome in ("passed", "failed", "skipped"))


def table(results: Sequence[Result]) -> str:
    """The results as Markdown, and each test that differs."""
    lines = [
        "Passed / failed / skipped:",
        "",
        "| suite | version | epoll | netserve | differences |",
        "|---|---|--:|--:|--:|",
    ]
    lines += [
        f"| {each.name} | {each.version} | {counts(each.epoll)} | {counts(each.netserve)}"
        f" | {len(each.differences)} |"
        for each in results
    ]
    for each in results:
        lines += [
            f"\n{each.name}: {name}: epoll {each.epoll.get(name, 'not run')},"
            f" netserve {each.netserve.get(name, 'not run')}"
            for name in each.differences
        ]
        lines += [f"\n{each.name}: {name}: unsteady" for name in each.unsteady]
    return "\n".join(lines)
