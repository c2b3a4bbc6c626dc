"""The tables of earlier versions become those of this one: all of them or none, and whole."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor

from netserve.mail.queued import message_options, recipient_options
from netserve.outbox.sqlite.bodies import BodyFolder
from netserve.outbox.sqlite.checking import check_queue
from netserve.outbox.sqlite.database import VERSION, open_writer
from netserve.outbox.sqlite.salvage import salvage
from netserve.testing.programs import require_program
from netserve.testing.queue import DEFERRED, WALL, Courier, opened_queue
from tests.outbox.earlier import make_earlier, make_version_3

OPTIONS = {
    "me@example.org": ("7BIT", False, "", ""),
    "größe@example.org": ("8BITMIME", True, "", "E+202"),
    "": ("BINARYMIME", False, "HDRS", ""),
}
NOTIFY: dict[str, tuple[set[str], str]] = {
    "a@x.org": (set(), ""),
    "fails@x.org": ({"NEVER"}, ""),
    "c@x.org": ({"DELAY", "FAILURE"}, "rfc822;o@x.org"),
    "d@y.org": (set(), "utf-8;größe@y.org"),
}
OPEN = (
    "import sys; from pathlib import Path; from netserve.outbox.sqlite.database import open_writer;"
    "open_writer(Path(sys.argv[1])).close()"
)


def dump(folder: Path) -> list[str]:
    """All that is in the tables, as open_writer finds or makes it."""
    with closing(open_writer(folder / "queue.db")) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (VERSION,)
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        found = list(database.iterdump())
    return [line for line in found if 'INTO "spool"' not in line]


def test_what_clients_asked_for_is_kept(tmp_path: Path) -> None:
    make_version_3(tmp_path)
    with closing(open_writer(tmp_path / "queue.db")) as database:
        messages = dict(database.execute("SELECT sender, meta FROM message WHERE service = 'mail'"))
        recipients = dict(database.execute("SELECT address, meta FROM recipient"))
        (envid,) = database.execute("SELECT meta FROM message WHERE service = 'other'").fetchone()
        kinds = database.execute("SELECT DISTINCT kind FROM message").fetchall()
        report = check_queue(database, BodyFolder(tmp_path / "bodies"))
    assert {sender: message_options(meta) for sender, meta in messages.items()} == OPTIONS
    assert message_options(envid) == ("7BIT", False, "FULL", "E1")
    assert {to: recipient_options(recipients[to]) for to in NOTIFY} == NOTIFY
    assert kinds == [("mail",)]
    assert report.sound, report


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE message SET sender = 'other@x.org' WHERE id = :id",
        "UPDATE message SET ret = 'FULL' WHERE id = :id",
        "UPDATE message SET envid = x'ff' WHERE id = :id",
        "UPDATE message SET sender = CAST(x'61ff' AS TEXT) WHERE id = :id",
        "UPDATE message SET created = 'then' WHERE id = :id",
        "UPDATE message SET size = x'00' WHERE id = :id",
        "UPDATE message SET sum = NULL WHERE id = :id",
        "UPDATE recipient SET notify = 'NEVER' WHERE message = :id",
        "UPDATE recipient SET original = CAST(x'ff' AS BLOB) WHERE message = :id",
        "UPDATE recipient SET address = 'q@x.org' WHERE message = :id AND n = 0",
    ],
)
@ensureDeferred
async def test_a_row_that_was_damaged_is_so_after_it(tmp_path: Path, damage: str) -> None:
    make_version_3(tmp_path)
    with closing(sqlite3.connect(tmp_path / "queue.db")) as database:
        (number,) = database.execute("SELECT min(id) FROM message").fetchone()
        assert database.execute(damage, {"id": number}).rowcount
        database.commit()
    courier = Courier(DEFERRED)
    async with opened_queue(tmp_path, courier, reactor=reactor, wall=WALL + 600) as outbox:
        await outbox.verbs.repair()
        messages = (await outbox.verbs.list()).messages
        assert len(messages) == 4
        assert {one["state"] for one in messages[0]["recipients"]} <= {"held", "failed"}
    assert not {"a@x.org", "b@x.org", "q@x.org"} & set(courier.addresses)


@pytest.mark.slow
@pytest.mark.parametrize("version", [1, 2, 3])
def test_killed_at_every_write_it_is_done_or_undone(tmp_path: Path, version: int) -> None:
    strace = require_program("strace")
    made, whole = tmp_path / "made", tmp_path / "whole"
    make_earlier(made, version)
    shutil.copytree(made, whole)
    expected = dump(whole)
    versions = set()
    for when in range(1, 200):
        folder = tmp_path / str(when)
        shutil.copytree(made, folder)
        calls = "pwrite64,write,fdatasync,ftruncate,unlink"
        command: list[Any] = [
            strace, "-f", "-o", "/dev/null", "-P", folder / "queue.db", "-P",
            folder / "queue.db-wal", "-e", f"trace={calls}", "-e",
            f"inject={calls}:signal=KILL:when={when}", sys.executable, "-c", OPEN,
            folder / "queue.db",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        with closing(sqlite3.connect(f"file:{folder / 'queue.db'}?mode=ro", uri=True)) as database:
            versions.add(database.execute("PRAGMA user_version").fetchone()[0])
        assert dump(folder) == expected
        shutil.rmtree(folder)
        if done.returncode == 0:
            break
        assert done.returncode in {-9, 137}, done.stderr
    else:
        pytest.fail("it never came to its end")
    assert versions == {version, VERSION}, "it was killed before the commit and after it"
    assert when > 5


def test_an_earlier_database_is_salvaged_whole(tmp_path: Path) -> None:
    make_version_3(tmp_path)
    copied = salvage(tmp_path / "queue.db", tmp_path / "new.db")
    assert (copied["message"], copied["recipient"], copied["errors"]) == (4, 6, 0)
    with closing(open_writer(tmp_path / "new.db")) as database:
        assert check_queue(database, BodyFolder(tmp_path / "bodies")).sound
        assert database.execute("PRAGMA user_version").fetchone() == (VERSION,)
