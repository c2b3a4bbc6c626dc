"""The outcomes of suites: as their runners tell them, and in the table."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.suites.outcomes import Result, differing, read, table

PROGRAM = Path(__file__).with_name("one_suite.py")

TRIAL = """
from twisted.internet import reactor, task
from twisted.trial.unittest import TestCase

class Some(TestCase):
    def test_the_reactor(self):
        self.assertEqual(type(reactor).__name__, "{reactor}")

    def test_waits(self):
        return task.deferLater(reactor, 0.001, lambda: None)

    def test_fails(self):
        self.fail()

    def test_is_skipped(self):
        pass
    test_is_skipped.skip = "as it is"

    def test_is_expected_to_fail(self):
        self.fail()
    test_is_expected_to_fail.todo = "as it is"

    def test_leaves_a_call(self):
        reactor.callLater(1000, print)
"""

PYTEST = """
import pytest
import pytest_twisted
from twisted.internet import reactor, task

def test_the_reactor():
    assert type(reactor).__name__ == "{reactor}"

@pytest_twisted.inlineCallbacks
def test_waits():
    yield task.deferLater(reactor, 0.001)

def test_fails():
    assert False

@pytest.mark.skip
def test_is_skipped():
    pass

@pytest.mark.xfail
def test_is_expected_to_fail():
    assert False

@pytest.fixture
def left():
    yield
    assert False

def test_leaves_a_call(left):
    pass
"""

REACTORS = [("epoll", "EPollReactor"), ("netserve", "NetserveReactor")]


@pytest.mark.parametrize(("reactor", "name"), REACTORS)
@pytest.mark.parametrize(
    ("runner", "source", "arguments", "expected_failure"),
    [
        ("trial", TRIAL, ["test_made_up"], "passed"),
        ("pytest", PYTEST, ["-c", "/dev/null", "--rootdir=.", "test_made_up.py"], "skipped"),
    ],
)
def test_each_test_has_its_outcome(
    runner: str,
    source: str,
    arguments: list[str],
    expected_failure: str,
    reactor: str,
    name: str,
    tmp_path: Path,
) -> None:
    (tmp_path / "test_made_up.py").write_text(source.format(reactor=name))
    words = [sys.executable, PROGRAM, reactor, runner, tmp_path / "outcomes", *arguments]
    subprocess.run(words, cwd=tmp_path, capture_output=True, timeout=60, check=False)
    outcomes = {
        test.replace("::", ".").rpartition(".")[2].removeprefix("test_"): outcome
        for test, outcome in read(tmp_path / "outcomes").items()
    }
    assert outcomes == {
        "the_reactor": "passed",
        "waits": "passed",
        "fails": "failed",
        "is_skipped": "skipped",
        "is_expected_to_fail": expected_failure,
        "leaves_a_call": "failed",
    }


def test_a_test_that_did_not_run_differs() -> None:
    assert differing({"a": "passed", "b": "failed"}, {"b": "failed", "c": "skipped"}) == ["a", "c"]


def test_only_what_is_equal_alone_is_settled() -> None:
    result = Result(
        "program",
        "1.0",
        epoll={"a": "passed", "b": "passed", "c": "passed", "d": "passed"},
        netserve={"a": "passed", "b": "failed", "c": "failed"},
    )
    result.settle({"b": "passed", "c": "passed"}, {"b": "passed", "c": "failed"})
    assert result.differences == ["c", "d"]
    assert result.unsteady == ["b"]
    assert not result.is_equal
    assert "| program | 1.0 | 4 / 0 / 0 | 2 / 1 / 0 | 2 |" in table([result])
    assert "program: d: epoll passed, netserve not run" in table([result])


def test_a_suite_that_does_not_run_is_not_equal() -> None:
    assert not Result("program", "1.0", {}, {}).is_equal
    assert not Result("program", "1.0", {"a": "failed"}, {"a": "failed"}).is_equal
    assert Result("program", "1.0", {"a": "passed"}, {"a": "passed"}).is_equal
