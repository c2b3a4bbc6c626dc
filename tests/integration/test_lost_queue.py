"""A real process does not start on a queue that has lost mail, and starts after a repair (S21)."""

from __future__ import annotations

import signal
import smtplib
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from netserve.testing.process import BIN, free_port, running, wait_until

CONFIG = """\
netserve: {{state: ./var, status: 'tcp:{status}:interface=127.0.0.1'}}
services:
  mail:
    protocol: smtp-relay
    listen: tcp:{port}:interface=127.0.0.1
    hostname: relay.test
    routes: [{{deliver: {{smarthost: '127.0.0.1:{nobody}', tls: none}}}}]
"""
LARGE = b"Subject: large\r\n\r\n" + b"0123456789abcdef\r\n" * 6000
FILES = ("queue.db", "queue.db-wal", "queue.db-shm")


def lose_all(queue: Path) -> None:
    (queue / "queue.db").write_bytes(b"")
    for name in FILES[1:]:
        (queue / name).unlink()


LOSSES: dict[str, Callable[[Path], object]] = {
    "truncated to nothing": lose_all,
    "without its log": lambda queue: (queue / "queue.db-wal").unlink(),
    "gone": lambda queue: [(queue / name).unlink() for name in FILES],
}


@pytest.mark.slow
@pytest.mark.parametrize("what", LOSSES)
def test_a_queue_that_has_lost_its_database_is_not_taken_for_a_new_one(
    tmp_path: Path, what: str
) -> None:
    """S21: the start fails with all that was found; the bodies outlive a repair and a start."""
    port = free_port()
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG.format(port=port, status=free_port(), nobody=free_port()))
    with running(config) as process:
        with smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
            for _ in range(2):
                client.sendmail("me@example.org", ["you@example.net"], LARGE)
        process.stop(number=signal.SIGKILL)
    queue = tmp_path / "var" / "outbox"
    bodies = {path.name: path.read_bytes() for path in (queue / "bodies").iterdir()}
    assert len(bodies) == 2
    LOSSES[what](queue)

    done = subprocess.run(
        [BIN / "netserve", "run", config],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "cannot start: the queue " in done.stdout
    assert "ready" not in done.stdout
    assert {path.name for path in (queue / "bodies").iterdir()} == set(bodies)

    done = subprocess.run(
        [BIN / "netserve", "queue", "repair", "--yes", "--config", config],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    with running(config) as process:
        wait_until(lambda: "ready: " in process.log())
    kept = {path.name: path.read_bytes() for path in (queue / "quarantine").iterdir()}
    assert kept == bodies
