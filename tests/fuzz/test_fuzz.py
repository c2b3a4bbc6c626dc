"""The SMTP machines under fuzzing: the corpus that is kept, and a short run that looks further.

`docs/fuzzing.md` tells what must hold, how to run it for long, and what was run.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.fuzz import smtp_server, targets
from tests.fuzz.coding import decode, encode, read_corpus
from tests.fuzz.held import held

ROOT = Path(__file__).parents[2]
SECONDS = 6
RUNS = 30_000
SEED = 1
"""Always the same, so that a run that fails does so for the change it is run on."""

every_target = pytest.mark.parametrize("target", targets.ALL, ids=lambda target: target.NAME)


@every_target
def test_the_corpus(target: ModuleType) -> None:
    """S4, S5, S6, S8, S16: whatever was found worth keeping still passes, fed several ways."""
    inputs = [*target.seeds(), *read_corpus(target.NAME)]
    assert len(inputs) > 100
    for data in inputs:
        try:
            target.run_one(data)
        except BaseException:
            print(f"the input in hex: {data.hex()}")
            raise


@pytest.mark.slow
@every_target
def test_a_short_run(target: ModuleType, tmp_path: Path) -> None:
    """S4, S5, S6, S8: some thousand new inputs, led by coverage."""
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("atheris is not installed; it is in the extra `fuzz`, for Linux on x86-64")
    command = [sys.executable, "-m", "tests.fuzz", target.NAME, f"--corpus={tmp_path / 'corpus'}"]
    limits = [f"-max_total_time={SECONDS}", f"-runs={RUNS}", f"-seed={SEED}"]
    done = subprocess.run(
        [*command, *limits, f"-artifact_prefix={tmp_path}/"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    count = re.search(r"number_of_executed_units: (\d+)", done.stderr)
    assert count, done.stderr[-2000:]
    assert int(count[1]) > 100


def test_an_input_is_what_it_stands_for() -> None:
    words = [b"EHLO x\r\n", b"\n"]
    data = encode([7, words[0], b"ab", words[1]], words)
    assert data == b"\x07\x80ab\x81"
    assert decode(data, words) == b"\x07EHLO x\r\nab\n"
    assert decode(b"\x82", words) == words[0]


def test_what_grows_is_noticed() -> None:
    """The measure of memory sees input that waits, recipients, and content that is held."""
    empty = smtp_server.Outside(0, 0)
    least = held(empty.machine)
    full = smtp_server.Outside(0, 0)
    full.feed(b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.test>\r\nDATA\r\nSubject: " + b"x" * 150)
    assert held(full.machine) > least + 150
    waiting = smtp_server.Outside(0, 0x55)
    waiting.feed(b"EHLO x\r\nMAIL FROM:<>\r\n" + b"NOOP\r\n" * 50)
    assert held(waiting.machine) > least + 250


def test_a_machine_that_leaves_content_early_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """S4: the second reading of the input finds a server that takes LF, dot, LF for the end."""
    from netserve.mail.server import data

    monkeypatch.setattr(data, "_END", b"\n.\n")
    monkeypatch.setattr(data, "_DOT_LINE", b"\n.")
    session = b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.test>\r\nDATA\r\nx\r\n\n.\nRSET\r\n\r\n.\r\n"
    with pytest.raises(AssertionError):
        smtp_server.run_one(b"\0\0\0" + session)
