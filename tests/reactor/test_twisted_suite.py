"""Twisted's own tests: what passes on its default reactor passes on netserve's, on both loops."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

RUNNER = Path(__file__).with_name("twisted_suite.py")

BUILT = ["twisted.internet.test", "twisted.test.test_tcp", "twisted.test.test_unix",
         "twisted.test.test_udp", "twisted.test.test_ssl"]  # fmt: skip
RUNNING = [*BUILT[1:], "twisted.test.test_internet", "twisted.protocols.test.test_tls"]

EXCEPTIONS = {
    "test_avoidLeakingFileDescriptors": "it looks for a record that only Twisted's recvmsg"
    " writes; here the kernel closes a descriptor that nobody takes",
    "test_tcpNoDelay": "it counts on Nagle's algorithm at first; asyncio's transports, which"
    " send at once, begin without it",
    "testCloseWriteCloser": "it reads _tempDataBuffer, the private buffer of Twisted's own"
    " transports",
    "test_lostFileDescriptor": "it is skipped by name on Twisted's epoll and asyncio reactors,"
    " whose limit this is",
    "test_changeUID": "as root it needs another user to enter this Python's folder; it fails on"
    " Twisted's default reactor as well",
    "test_internalDefGenReturnValueDoesntLeak": "it counts objects over a garbage collection,"
    " and uses no reactor",
}
"""Tests that may fail, each with its reason: at most ten."""

HEADING = re.compile(r"^\[(FAIL|ERROR)\]$", re.MULTILINE)
TEST = re.compile(r"^twisted(?:\.\w+)+\.(test\w+)$", re.MULTILINE)
SUMMARY = re.compile(r"successes=(\d+)")


@pytest.mark.slow
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize(
    ("which", "names", "least"), [("built", BUILT, 975), ("running", RUNNING, 200)]
)
def test_twisteds_own_tests_pass(
    loop: str, which: str, names: list[str], least: int, tmp_path: Path
) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    words = [sys.executable, str(RUNNER), loop, which, "--reporter=text", *names]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=240,
                          env=os.environ, check=False)  # fmt: skip
    report = done.stdout + done.stderr
    trouble = HEADING.search(report)
    failed = set(TEST.findall(report, trouble.start())) if trouble else set()
    assert failed <= EXCEPTIONS.keys(), report[-8000:]
    passed = SUMMARY.search(report)
    assert passed is not None, report[-2000:]
    assert int(passed[1]) >= least, report[-2000:]


def test_the_exceptions_are_few_and_have_reasons() -> None:
    assert len(EXCEPTIONS) <= 10
    assert all(EXCEPTIONS.values())
