"""Folders of queues, and what can happen to them."""

import os
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from netserve.outbox.sqlite.database import open_writer
from netserve.outbox.sqlite.examine import examine
from netserve.outbox.sqlite.marker import MARKER, Marker, Place
from tests.outbox.earlier import make_version_2

DRIVER = Path(__file__).with_name("driver.py")
FRAME = 24 + 4096
"""Bytes of a page in a write-ahead log."""


TAKEN = 20
"""Messages that a crashed queue has; ten of them are large."""


def crash(folder: Path) -> Path:
    """Make a queue whose process was killed after it had taken mail; there was no checkpoint."""
    arguments = [folder / "queue", folder / "spooled", "deferred", str(TAKEN - 3), "stay"]
    with subprocess.Popen([sys.executable, DRIVER, *arguments], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert b"idle\n" in process.stdout
        process.kill()
    assert (folder / "queue" / "queue.db-wal").stat().st_size > TAKEN * FRAME
    return folder / "queue"


def belonging(folder: Path) -> Path:
    """Let a copy of a queue take its folder for the one that it was made in.

    The last transaction is counted, which a process may have been killed before.
    """
    marker = Marker.read(folder / MARKER)
    assert marker is not None
    commits = examine(folder).commits
    replace(marker, commits=commits, place=Place.of(folder)).write(folder / MARKER)
    return folder


def remove(*names: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return damage


def put_in_place(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(content) and None


def cut(name: str, size: Callable[[int], int]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        path = folder / name
        os.truncate(path, size(path.stat().st_size))

    return damage


def overwrite(name: str, at: int, data: bytes) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        with (folder / name).open("r+b") as file:
            file.seek(at, os.SEEK_END if at < 0 else os.SEEK_SET)
            file.write(data)

    return damage


def both(*damages: Callable[[Path], None]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        for one in damages:
            one(folder)

    return damage


def statements(script: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        with closing(sqlite3.connect(folder / "queue.db")) as database:
            database.executescript(script)

    return damage


def another_program(folder: Path) -> None:
    remove("queue.db", "queue.db-wal", "queue.db-shm")(folder)
    with closing(sqlite3.connect(folder / "queue.db")) as database:
        database.executescript("CREATE TABLE message(id, text); INSERT INTO message VALUES (1, 2)")


def another_queue(folder: Path) -> None:
    remove("queue.db", "queue.db-wal", "queue.db-shm")(folder)
    open_writer(folder / "queue.db").close()


def released_before(folder: Path) -> None:
    """A database of version 2, such as a backup of a time before there were markers."""
    remove("queue.db", "queue.db-wal", "queue.db-shm")(folder)
    make_version_2(folder)


def checkpointed(folder: Path) -> None:
    """End it as an orderly stop does, and let the marker say so."""
    with closing(sqlite3.connect(folder / "queue.db")) as database:
        database.execute("SELECT count(*) FROM message").fetchone()
    assert not (folder / "queue.db-wal").exists()


def bad_page(folder: Path) -> None:
    checkpointed(folder)
    with closing(sqlite3.connect(folder / "queue.db")) as database:
        (page,) = database.execute(
            "SELECT rootpage FROM sqlite_schema WHERE name = 'recipient'"
        ).fetchone()
    overwrite("queue.db", (page - 1) * 4096, random.Random(1).randbytes(4096))(folder)


DATABASE = ("queue.db", "queue.db-wal", "queue.db-shm")
LOG = "queue.db-wal"
DAMAGES: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "an empty database": (
        both(put_in_place("queue.db", b""), remove(*DATABASE[1:])),
        "lost",
        "is empty, but bodies of messages are in",
    ),
    "an empty database beside the log": (put_in_place("queue.db", b""), "lost", "is empty"),
    "no database": (remove(*DATABASE), "lost", "is missing, but bodies of messages are in"),
    "no database beside the log": (remove("queue.db"), "lost", "is missing"),
    "no database, and no bodies": (
        both(remove(*DATABASE), lambda folder: shutil.rmtree(folder / "bodies")),
        "lost",
        "is missing, but the marker says that there was one",
    ),
    "no database, no bodies, no marker, but the log": (
        both(remove("queue.db", MARKER), lambda folder: shutil.rmtree(folder / "bodies")),
        "lost",
        "is missing, but its write-ahead log is there",
    ),
    "no database and no marker": (remove(*DATABASE, MARKER), "lost", "bodies of messages are in"),
    "no log": (remove(LOG), "older", "has lost transactions: it has "),
    "neither log nor its index": (remove(*DATABASE[1:]), "older", "has lost transactions"),
    "an empty log": (put_in_place(LOG, b""), "older", "has lost transactions"),
    "a log cut by a half": (cut(LOG, lambda size: size // 2), "older", "has lost transactions"),
    "a log cut by a byte": (cut(LOG, lambda size: size - 1), "older", "has lost transactions"),
    "a log cut by a page": (cut(LOG, lambda size: size - FRAME), "older", "has lost transactions"),
    "a log of zeros": (
        lambda folder: put_in_place(LOG, bytes((folder / LOG).stat().st_size))(folder),
        "older",
        "has lost transactions",
    ),
    "a log of noise": (
        lambda folder: put_in_place(LOG, random.Random(2).randbytes((folder / LOG).stat().st_size))(
            folder
        ),
        "older",
        "has lost transactions",
    ),
    "a log with another salt": (overwrite(LOG, 16, b"salt"), "older", "has lost transactions"),
    "a log with a bad header": (overwrite(LOG, 0, bytes(32)), "older", "has lost transactions"),
    "a log with a bad page": (
        overwrite(LOG, 32 + 5 * FRAME + 100, b"damage"),
        "older",
        "has lost transactions",
    ),
    "another queue's database": (another_queue, "other", "belongs to another queue"),
    "a database of an earlier version": (released_before, "older", "before this queue had a mark"),
    "another program's database": (
        another_program,
        "foreign",
        "is not the database of a netserve queue",
    ),
    "no database at all": (put_in_place("queue.db", b"garbage!" * 1000), "damaged", "not a data"),
    "a short file": (put_in_place("queue.db", b"SQLite format 3\0"), "damaged", "not a database"),
    "a database cut by a half": (
        both(checkpointed, cut("queue.db", lambda size: size // 8192 * 4096)),
        "damaged",
        "malformed",
    ),
    "a bad page": (bad_page, "damaged", "is damaged: "),
    "a table less": (
        statements("DROP TABLE recipient"),
        "damaged",
        "lacks recipient, recipient_due, recipient_held, recipient_address, recipient_domain",
    ),
    "an index less": (statements("DROP INDEX recipient_due"), "damaged", "lacks recipient_due"),
    "no tables": (
        statements(
            "DROP TABLE message; DROP TABLE body; DROP TABLE recipient; DROP TABLE attempt;"
            "DROP TABLE quota; DROP TABLE spool; DROP TABLE finished"
        ),
        "damaged",
        "lacks message, ",
    ),
    "no row of the queue": (statements("DELETE FROM spool"), "other", "belongs to another queue"),
    "a later version": (
        statements("PRAGMA user_version = 99"),
        "newer",
        "has version 99 of the tables, this netserve needs 4",
    ),
    "a foreign journal": (
        put_in_place("queue.db-journal", b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7" + bytes(5000)),
        "damaged",
        "a rollback journal of another database",
    ),
    "no marker": (remove(MARKER), "marker", "marker is missing; the folder may be a part"),
    "an empty marker": (put_in_place(MARKER, b""), "marker", "marker is damaged"),
    "a marker of noise": (put_in_place(MARKER, b"\xff" * 200), "marker", "marker is damaged"),
    "a marker with another count": (overwrite(MARKER, 40, b"9"), "marker", "marker is damaged"),
    "a marker with another id": (overwrite(MARKER, 80, b"0123456"), "marker", "marker is damaged"),
    "no folder of bodies": (
        lambda folder: shutil.rmtree(folder / "bodies"),
        "bodies",
        "bodies is missing, and lacks the bodies of 10 messages",
    ),
    "another folder of bodies": (
        both(
            lambda folder: (folder / "bodies").rename(folder / "old") and None,
            lambda folder: (folder / "bodies").mkdir(),
        ),
        "bodies",
        "bodies is another one than before, and lacks the bodies of 10 messages",
    ),
}
