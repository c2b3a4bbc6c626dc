"""The mail relay is killed again and again, and loses nothing (S1)."""

from __future__ import annotations

import random
import re
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from netserve.testing.process import RunningProcess, free_port, running, wait_until
from netserve.testing.programs import require_program

MAILS = 3000
BATCH = 50
KILLS = 10


@contextmanager
def smtp_sink(port: int, folder: Path) -> Iterator[Path]:
    """Postfix's own test server as the next hop; what it took stands in the file."""
    taken = folder / "taken"
    process = subprocess.Popen(
        [require_program("smtp-sink"), "-u", "root", "-D", taken, f"127.0.0.1:{port}", "1000"],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield taken
    finally:
        process.kill()
        process.wait()


def send(port: int, number: int) -> bool:
    """One batch over several sessions; true when each of its mails got a 250."""
    source = require_program("smtp-source")
    sent = subprocess.run(
        [
            source,
            "-s",
            "5",
            "-m",
            str(BATCH),
            "-l",
            "4096",
            "-f",
            f"batch-{number}@example.org",
            "-t",
            "to@example.net",
            f"127.0.0.1:{port}",
        ],
        check=False,
        capture_output=True,
        timeout=60,
    )
    return sent.returncode == 0


@pytest.mark.slow
def test_every_mail_with_a_250_arrives(tmp_path: Path) -> None:
    """S1: 3,000 mails, ten times kill -9 in between; what got its 250 arrives."""
    port, next_hop = free_port(), free_port()
    config = tmp_path / "config.yaml"
    config.write_text(
        "netserve: {state: ./var}\n"
        "services:\n"
        "  mail:\n"
        "    protocol: smtp-relay\n"
        f"    listen: tcp:{port}:interface=127.0.0.1\n"
        "    hostname: relay.example.org\n"
        "    retry: {first: 1s, longest: 2s}\n"
        f"    routes: [{{deliver: {{smarthost: '127.0.0.1:{next_hop}', tls: none}}}}]\n"
    )
    choice = random.Random(20)
    kill_before = set(choice.sample(range(1, MAILS // BATCH), KILLS))
    accepted: list[int] = []
    number = 0
    with smtp_sink(next_hop, tmp_path) as taken:
        while len(accepted) * BATCH < MAILS:
            with running(config) as process:
                while len(accepted) * BATCH < MAILS:
                    number += 1
                    assert number < 3 * MAILS // BATCH, "too few batches get through"
                    if len(accepted) in kill_before:
                        kill_before.discard(len(accepted))
                        kill_during_a_batch(process, port, number, choice)
                        break
                    if send(port, number):
                        accepted.append(number)
        with running(config):
            wait_until(lambda: set(missing(taken, accepted)) == set(), seconds=120)
    assert not kill_before


def kill_during_a_batch(
    process: RunningProcess, port: int, number: int, choice: random.Random
) -> None:
    """Kill while mails come in and go out."""
    sender = subprocess.Popen(
        [
            require_program("smtp-source"),
            "-s",
            "5",
            "-m",
            "500",
            "-l",
            "4096",
            "-f",
            f"killed-{number}@example.org",
            "-t",
            "to@example.net",
            f"127.0.0.1:{port}",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    with suppress(subprocess.TimeoutExpired):
        sender.wait(choice.uniform(0.05, 0.4))
    process.stop(number=signal.SIGKILL)
    sender.wait(30)


def missing(taken: Path, accepted: list[int]) -> list[int]:
    """The batches of which not every mail has arrived."""
    text = taken.read_text(errors="replace") if taken.exists() else ""
    arrived = Counter(re.findall(r"^X-Mail-Args: <batch-(\d+)@example\.org>", text, re.MULTILINE))
    return [number for number in accepted if arrived[str(number)] < BATCH]
