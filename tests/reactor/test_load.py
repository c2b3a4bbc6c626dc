"""Under load nothing is lost, and nothing is left behind."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("load_program.py")
SECONDS = float(os.environ.get("NETSERVE_LOAD_SECONDS", "15"))


@pytest.mark.slow
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_every_byte_is_accounted_for(loop: str) -> None:
    """1,000 connections at a time: random sizes, pauses, half-closes and aborts."""
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    words = [sys.executable, str(PROGRAM), loop, "1000", str(SECONDS), "1"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=SECONDS + 90, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    seen = json.loads(done.stdout)
    assert "error" not in seen, seen["error"]
    assert seen["wrong"] == 0
    assert seen["connections"] > 1000
    assert 0 < seen["aborted"] < seen["connections"]
    assert seen["client_lost"] == seen["server_lost"] == seen["connections"]
    assert seen["left"] == 0
    assert seen["descriptors"] <= seen["descriptors_before"]
    assert seen["memory"] <= seen["memory_before"] * 1.02
    assert done.stderr == ""
