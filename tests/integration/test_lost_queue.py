"""A real process does not start on a queue that has lost mail, and starts after a repair (S21)."""

from __future__ import annotations

import os
import shutil
import signal
import smtplib
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from netserve.testing.process import BIN, free_port, running, wait_until

CONFIG = """\
netserve: {{state: ./var}}
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


def overwrite_log(queue: Path) -> None:
    log = queue / "queue.db-wal"
    log.write_bytes(bytes(log.stat().st_size))


def cut_log(queue: Path) -> None:
    log = queue / "queue.db-wal"
    os.truncate(log, log.stat().st_size // 2)


def put_older_copy(queue: Path) -> None:
    """As a restored backup of the database alone, of a moment before the last transaction."""
    shutil.copyfile(queue / "queue.db", queue / "older.db")
    shutil.copyfile(queue / "queue.db-wal", queue / "older.db-wal")
    with closing(sqlite3.connect(queue / "older.db")) as older:
        older.execute("UPDATE spool SET commits = commits - 1")
        (last,) = older.execute("SELECT max(id) FROM message").fetchone()
        older.execute("DELETE FROM recipient WHERE message = ?", (last,))
        older.execute("DELETE FROM attempt WHERE message = ?", (last,))
        older.execute("DELETE FROM message WHERE id = ?", (last,))
        older.commit()
    for name in FILES:
        (queue / name).unlink()
    (queue / "older.db").rename(queue / "queue.db")


def damage_page(queue: Path) -> None:
    with closing(sqlite3.connect(queue / "queue.db")) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        find = "SELECT rootpage FROM sqlite_schema WHERE name = 'recipient'"
        (page,) = database.execute(find).fetchone()
    with (queue / "queue.db").open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xa5" * 4096)


LOSSES: dict[str, Callable[[Path], object]] = {
    "truncated to nothing": lose_all,
    "without its log": lambda queue: (queue / "queue.db-wal").unlink(),
    "with a log of zeros": overwrite_log,
    "with half of its log": cut_log,
    "with an older database": put_older_copy,
    "with a damaged page": damage_page,
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
    config.write_text(CONFIG.format(port=port, nobody=free_port()))
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
    places = [place for place in (queue / "bodies", queue / "quarantine") if place.exists()]
    kept = {path.name: path.read_bytes() for place in places for path in place.iterdir()}
    assert kept == bodies


@pytest.mark.slow
def test_a_copy_of_a_queue_sends_nothing_until_it_is_adopted(tmp_path: Path) -> None:
    """S21: were both to run, they would send each message twice."""
    port = free_port()
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    text = CONFIG.format(port=port, nobody=free_port())
    (first / "config.yaml").write_text(text)
    with running(first / "config.yaml") as process:
        with smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
            client.sendmail("me@example.org", ["you@example.net"], LARGE)
        process.stop(number=signal.SIGKILL)
    shutil.copytree(first, second, ignore=shutil.ignore_patterns("control"))

    def netserve(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [BIN / "netserve", *arguments],
            cwd=second, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    done = netserve("run", "config.yaml")
    assert done.returncode == 1
    assert "this seems to be a copy of a queue" in done.stdout
    done = netserve("queue", "repair", "--yes", "--config", "config.yaml")
    assert done.returncode == 1
    assert "--adopt" in done.stderr
    assert netserve("run", "config.yaml").returncode == 1
    done = netserve("queue", "repair", "--yes", "--adopt", "--config", "config.yaml")
    assert done.returncode == 0, done.stderr
    assert "sound: 1 messages, 1 recipients queued" in done.stdout
    with running(second / "config.yaml"):
        pass
