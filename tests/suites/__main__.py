"""Run other programs' tests on Twisted's epoll reactor and on netserve's: ``make suites``.

    python -m tests.suites [SUITE…]

The programs are installed into `.venv-suites`, in the versions of `requirements.txt` beside this
file. A suite runs on both reactors at the same time; the tests whose outcomes differ then run
again, alone. The table goes to standard output, the reports of the runners to
`.venv-suites/reports`. The exit status is 1 if a test differs, or if no test of a suite passes.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.suites.outcomes import Result, read, table
from tests.suites.programs import SUITES, Suite

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
HOME = ROOT / ".venv-suites"
PYTHON = HOME / "bin" / "python"
REPORTS = HOME / "reports"
SOURCES = HOME / "sources"
REACTORS = ("epoll", "netserve")
TIMEOUT = 1800.0
"""Seconds for one suite on one reactor."""


def pip(*arguments: str) -> None:
    words = [PYTHON, "-m", "pip", "--disable-pip-version-check", *arguments, "--quiet"]
    subprocess.run(words, check=True, stdout=sys.stderr)


def set_up() -> None:
    """Install the programs, and netserve as it is here."""
    if not PYTHON.exists():
        subprocess.run([sys.executable, "-m", "venv", HOME], check=True)
    pip("install", "--requirement", str(HERE / "requirements.txt"), "--editable", str(ROOT))


def version(suite: Suite) -> str:
    code = f"from importlib.metadata import version; print(version({suite.distribution!r}))"
    return subprocess.check_output([PYTHON, "-c", code], text=True).strip()


def source(suite: Suite) -> Path:
    """The unpacked sdist of the installed version."""
    folder = SOURCES / f"{suite.distribution}-{version(suite)}"
    if not folder.exists():
        pip("download", "--no-deps", "--no-binary=:all:", f"--dest={SOURCES}",
            f"{suite.distribution}=={version(suite)}")  # fmt: skip
        with tarfile.open(folder.with_name(f"{folder.name}.tar.gz")) as archive:
            archive.extractall(SOURCES, filter="data")
    return folder


def run(suite: Suite, reactor: str, tests: tuple[str, ...], label: str) -> dict[str, str]:
    """Run tests of a suite on one reactor, and give the outcome of each."""
    name = f"{suite.name.replace(' ', '-')}-{reactor}-{label}"
    outcomes = REPORTS / f"{name}.json"
    outcomes.unlink(missing_ok=True)
    folder = HOME / "work" / name
    folder.mkdir(parents=True, exist_ok=True)
    if suite.from_source:
        folder = source(suite)
    words = [PYTHON, HERE / "one_suite.py", reactor, suite.runner, outcomes, *suite.options, *tests]
    with (REPORTS / f"{name}.txt").open("wb") as report:
        process = subprocess.Popen(
            words,
            cwd=folder,
            env={**os.environ, **suite.environment},
            stdin=subprocess.DEVNULL,
            stdout=report,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            process.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return {**read(outcomes), "(the suite did not end)": "failed"}
    return read(outcomes)


def compare(suite: Suite) -> Result:
    """Run a suite on both reactors."""
    if suite.from_source:
        source(suite)
    with ThreadPoolExecutor() as threads:
        both = list(threads.map(lambda each: run(suite, each, suite.tests, "all"), REACTORS))
    result = Result(suite.name, version(suite), *both)
    if result.differences:
        tests = tuple(result.differences)
        result.settle(*(run(suite, each, tests, "again") for each in REACTORS))
    return result


def main(names: list[str]) -> int:
    known = {suite.name: suite for suite in SUITES}
    if unknown := set(names) - known.keys():
        sys.exit(f"unknown: {', '.join(sorted(unknown))}; there are: {', '.join(known)}")
    set_up()
    REPORTS.mkdir(exist_ok=True)
    results = []
    for suite in SUITES:
        if not names or suite.name in names:
            print(suite.name, file=sys.stderr)
            results.append(compare(suite))
    print(table(results))
    return int(not all(each.is_equal for each in results))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
