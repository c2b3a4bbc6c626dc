"""The limit of descriptors is raised to what the file allows, or the log tells."""

from __future__ import annotations

import resource
import subprocess
import sys

PROGRAM = """
import resource, sys
from twisted.logger import Logger
from netserve.server.descriptors import provide
resource.setrlimit(resource.RLIMIT_NOFILE, (64, {hard}))
log = Logger(observer=lambda event: print(event["log_format"]))
print(provide({count}, log), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


def provided(count: int, hard: int) -> list[str]:
    command = [sys.executable, "-c", PROGRAM.format(count=count, hard=hard)]
    printed = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    return printed.splitlines()


def test_the_limit_is_raised_as_far_as_needed() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert provided(600, hard) == ["600 600"]
    assert provided(10, hard) == ["64 64"]


def test_the_log_tells_when_there_are_too_few() -> None:
    told, limits = provided(600, 100)
    assert "raise the system's (LimitNOFILE" in told
    assert limits == "100 100"
