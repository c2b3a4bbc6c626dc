"""Programs of the system that tests use as peers."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest

_ALSO = os.pathsep.join(("/usr/sbin", "/sbin", "/usr/local/sbin"))


def require_program(name: str) -> str:
    """The path of a program, for a test that needs it.

    Without it the test is skipped; with ``CI=true`` in the environment it fails, so that a
    machine that is to have it cannot pass without.
    """
    path = shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", ""), _ALSO)))
    if path is None:
        missing(f"the program {name} is not installed")
    return path


def missing(reason: str) -> NoReturn:
    """Skip a test for something that this machine does not have; fail where CI is true."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
