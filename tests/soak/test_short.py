"""A short soak; `make soak` runs the long one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_half_a_minute_of_mixed_load_with_kills() -> None:
    """S1: what was acknowledged arrives, whatever is killed; every answer is the right one."""
    command = [sys.executable, "-m", "tests.soak", "--minutes", "0.5", "--kill-every", "8"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=350, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("PASS") == 1
