"""Queues as earlier versions have left them: made by their code, and kept as SQL."""

import sqlite3
from contextlib import closing
from pathlib import Path

from netserve.outbox.sqlite.database import APPLICATION
from netserve.outbox.sqlite.marker import MARKER, NOWHERE, Marker

LARGE = b"Subject: large\r\n\r\n" + b"0123456789abcdef" * 6000
"""The body of the large message."""
LARGE_ID = "1ga4gc1wg03"


def make_version_2(folder: Path, *, version: int = 2) -> None:
    """Make the queue of the commit 744fbde: three messages that are queued, and one that is held.

    They are of two services, ``mail`` and ``other``; quotas were used.

    Arguments:
        folder: of the queue.
        version: 1 for the one before, which had no quotas.
    """
    (folder / "bodies").mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / "bodies" / LARGE_ID).write_bytes(LARGE)
    script = Path(__file__).with_name("version_2.sql").read_text()
    with closing(sqlite3.connect(folder / "queue.db")) as database:
        database.executescript(script)
        if version == 1:
            database.execute("DROP TABLE quota")
        database.executescript(
            f"PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {version};"
            "PRAGMA journal_mode = WAL"
        )


LARGE_ID_3 = "1ga4gc1wqda"


def make_version_3(folder: Path) -> None:
    """Make a queue with the same mail as it was before there were kinds: with checksums.

    Arguments:
        folder: of the queue.
    """
    (folder / "bodies").mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / "bodies" / LARGE_ID_3).write_bytes(LARGE)
    script = Path(__file__).with_name("version_3.sql").read_text()
    with closing(sqlite3.connect(folder / "queue.db")) as database:
        database.executescript(
            f"{script} PRAGMA application_id = {APPLICATION}; PRAGMA user_version = 3;"
            "PRAGMA journal_mode = WAL"
        )
        spool, commits = database.execute("SELECT id, commits FROM spool").fetchone()
    Marker(spool, commits, commits, NOWHERE).write(folder / MARKER)


def make_earlier(folder: Path, version: int) -> None:
    """Make the queue of an earlier version, 1 to 3."""
    if version == 3:
        make_version_3(folder)
    else:
        make_version_2(folder, version=version)
