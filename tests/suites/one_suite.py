"""Runs one suite on one reactor, and writes the outcome of each test.

Arguments: `epoll` or `netserve`; `trial` or `pytest`; the file to write; the runner's arguments.
Each line of the file is a test's name and outcome as JSON: `["some.module.Case.test", "passed"]`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, TextIO


class Outcomes:
    """The file of outcomes."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, name: str, outcome: str) -> None:
        print(json.dumps([name, outcome]), file=self._file, flush=True)


def install(reactor: str) -> None:
    """Install the reactor before the suite does."""
    if reactor == "netserve":
        from netserve.reactor import install as install_reactor
    else:
        from twisted.internet.epollreactor import install as install_reactor
    install_reactor()


def run_trial(outcomes: Outcomes, names: list[str]) -> None:
    """Run the tests as trial does."""
    from twisted.trial.reporter import VerboseTextReporter
    from twisted.trial.runner import TestLoader, TestSuite, TrialRunner

    class Reporter(VerboseTextReporter):
        def addSuccess(self, test: Any) -> None:
            super().addSuccess(test)
            outcomes.write(test.id(), "passed")

        def addFailure(self, test: Any, fail: Any) -> None:
            super().addFailure(test, fail)
            outcomes.write(test.id(), "failed")

        def addError(self, test: Any, error: Any) -> None:
            super().addError(test, error)
            outcomes.write(test.id() or str(test), "failed")

        def addUnexpectedSuccess(self, test: Any, todo: Any = None) -> None:
            super().addUnexpectedSuccess(test, todo)
            outcomes.write(test.id(), "failed")

        def addExpectedFailure(self, test: Any, error: Any, todo: Any = None) -> None:
            super().addExpectedFailure(test, error, todo)
            outcomes.write(test.id(), "passed")

        def addSkip(self, test: Any, reason: Any) -> None:
            super().addSkip(test, reason)
            outcomes.write(test.id(), "skipped")

    loader = TestLoader()
    suite = TestSuite([loader.loadByName(name, recurse=True) for name in names])
    TrialRunner(Reporter, workingDirectory="_trial_temp").run(suite)


def run_pytest(outcomes: Outcomes, arguments: list[str]) -> None:
    """Run the tests in pytest."""
    import pytest

    class Plugin:
        @pytest.hookimpl(tryfirst=True)
        def pytest_configure(self, config: Any) -> None:
            plugin = config.pluginmanager.get_plugin("twisted")
            if plugin is not None:
                # For pytest-twisted, the default reactor is the one that is installed.
                plugin.reactor_installers["default"] = lambda: plugin._install_reactor(
                    lambda: None, object
                )

        def pytest_runtest_logreport(self, report: Any) -> None:
            # Set-up and tear-down count if they fail, or if the test is skipped there.
            counts = report.when == "call" or report.outcome != "passed"
            if counts and report.outcome != "rerun":  # pytest-rerunfailures tries it once more
                outcomes.write(report.nodeid, report.outcome)

        def pytest_collectreport(self, report: Any) -> None:
            if report.failed:
                outcomes.write(report.nodeid, "failed")

    pytest.main(["-v", "-p", "no:cacheprovider", *arguments], plugins=[Plugin()])


def main() -> None:
    reactor, runner, path, *arguments = sys.argv[1:]
    sys.argv[1:] = []
    sys.path[0] = ""  # the suite's folder in place of this file's
    install(reactor)
    with Path(path).open("a", encoding="utf-8") as file:
        outcomes = Outcomes(file)
        {"trial": run_trial, "pytest": run_pytest}[runner](outcomes, arguments)


if __name__ == "__main__":
    main()
