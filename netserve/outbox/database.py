"""The database: its tables, and how a connection to it is opened.

One connection writes and checkpoints, and nobody but its thread uses it: SQLite 3.7.0 to 3.51.2
can lose a commit when two connections write and checkpoint at once. A second one only reads.

Checkpoints are not left to SQLite, which passes over their errors: see commit.py.
"""

from __future__ import annotations

import os
import sqlite3
import struct
from functools import partial
from pathlib import Path
from typing import Final

from netserve.durable import sync_folder
from netserve.errors import StartError

APPLICATION: Final = 0x6E736F62
"""Stands in the file's header, so that another program's database is not taken for ours."""
VERSION: Final = 2
"""The version of the tables."""
_CACHED_STATEMENTS: Final = 256

SCHEMA: Final = """
CREATE TABLE message(
    id INTEGER PRIMARY KEY,         -- see ids.py
    service TEXT NOT NULL,
    created REAL NOT NULL,          -- unix seconds
    took REAL NOT NULL,             -- seconds from the first byte to the commit
    sender TEXT NOT NULL COLLATE NOCASE,
    body_type TEXT NOT NULL,
    smtputf8 INTEGER NOT NULL,
    ret TEXT NOT NULL,
    envid TEXT NOT NULL,
    user TEXT NOT NULL,
    client TEXT NOT NULL,
    trace TEXT NOT NULL,
    size INTEGER NOT NULL,
    recipients INTEGER NOT NULL,    -- how many rows of the table below
    in_file INTEGER NOT NULL        -- the body is a file, else a row of the table body
);
CREATE INDEX message_sender ON message(sender);
CREATE INDEX message_in_file ON message(id) WHERE in_file = 1;
CREATE TABLE body(id INTEGER PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE recipient(
    message INTEGER NOT NULL,
    n INTEGER NOT NULL,             -- from 0 up
    state INTEGER NOT NULL,         -- model.State
    lane TEXT NOT NULL,             -- where it went last, or would have gone: only a hint
    next_at REAL NOT NULL,          -- unix seconds
    attempts INTEGER NOT NULL,
    warned INTEGER NOT NULL,        -- the delay notice was sent
    address TEXT NOT NULL COLLATE NOCASE,
    domain TEXT NOT NULL COLLATE NOCASE,
    notify TEXT NOT NULL,
    original TEXT NOT NULL,
    last TEXT NOT NULL,             -- the last reply, or why it is held
    PRIMARY KEY(message, n)
) WITHOUT ROWID;
CREATE INDEX recipient_due ON recipient(state, lane, next_at);
CREATE INDEX recipient_held ON recipient(state, message) WHERE state = 1;
CREATE INDEX recipient_address ON recipient(address);
CREATE INDEX recipient_domain ON recipient(domain);
CREATE TABLE attempt(
    message INTEGER NOT NULL,
    n INTEGER NOT NULL,
    number INTEGER NOT NULL,        -- from 1 up
    at REAL NOT NULL,
    outcome TEXT NOT NULL,
    reply TEXT NOT NULL,
    remote TEXT NOT NULL,
    PRIMARY KEY(message, n, number)
) WITHOUT ROWID;
"""
_QUOTA: Final = """
CREATE TABLE quota(
    lane TEXT NOT NULL,
    seconds REAL NOT NULL,          -- see quota.Slice
    start REAL NOT NULL,
    used INTEGER NOT NULL,
    PRIMARY KEY(lane, seconds, start)
) WITHOUT ROWID;
"""
_UPGRADES: Final = {1: _QUOTA}
"""By version, what makes the next one of it."""


_SETTINGS: Final = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
PRAGMA wal_autocheckpoint = 0;
PRAGMA cache_size = -16384;
PRAGMA temp_store = MEMORY;
PRAGMA secure_delete = OFF;
"""

BELONGING: Final = (
    "DELETE FROM body WHERE id = OLD.id",
    "DELETE FROM recipient WHERE message = OLD.id",
    "DELETE FROM attempt WHERE message = OLD.id",
)
"""What is deleted with a message. A trigger does it, which is the writer's alone: each statement of
Python's would let another thread have the interpreter, and may wait for it to come back."""
_TRIGGER: Final = (
    "CREATE TEMP TRIGGER message_deleted AFTER DELETE ON main.message BEGIN"
    f" {'; '.join(BELONGING)}; END;"
)


def open_writer(path: Path) -> sqlite3.Connection:
    """Open the one connection that writes; a new database is made where there is none.

    Raises:
        StartError: it is damaged, another program's, or a newer netserve's; it is left as it is.
    """
    try:
        _check_header(path)
        connection = _connect(path, "rw")
        try:
            _create_where_empty(connection, path)
            _upgrade(connection)
            connection.executescript(_SETTINGS + _TRIGGER)
        except BaseException:
            connection.close()
            raise
    except (sqlite3.Error, OSError) as error:
        raise StartError(f"cannot open the queue's database {path}: {error}") from error
    return connection


def _check_header(path: Path) -> None:
    """Look at a file before SQLite does, which might repair or change it; make it, if it is not
    there.
    """
    file = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        header = os.read(file, 100)
    finally:
        os.close(file)
    if not header:
        return
    if len(header) < 100 or not header.startswith(b"SQLite format 3\0"):
        raise StartError(f"the queue's database {path} is damaged: the file is not a database")
    version, application = struct.unpack_from(">I4xI", header, 60)
    if application not in {APPLICATION, 0}:
        raise StartError(f"{path} is not the database of a netserve queue")
    if application == APPLICATION and not 1 <= version <= VERSION:
        raise StartError(
            f"{path} has version {version} of the tables, this netserve needs {VERSION}"
        )


def _create_where_empty(connection: sqlite3.Connection, path: Path) -> None:
    """Make the tables in a new file, or in one whose making was cut off and rolled back."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if application == APPLICATION:
        return
    if connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
        raise StartError(f"{path} is not the database of a netserve queue")
    connection.executescript(
        f"PRAGMA synchronous = FULL; BEGIN EXCLUSIVE; {SCHEMA}{_QUOTA}"
        f"PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION}; COMMIT;"
    )
    sync_folder(path.parent)


def _upgrade(connection: sqlite3.Connection) -> None:
    """Bring the tables of an earlier version up to this one, all at once or not at all."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version < VERSION:
        steps = "".join(_UPGRADES[step] for step in range(version, VERSION))
        connection.executescript(
            f"PRAGMA synchronous = FULL; BEGIN EXCLUSIVE; {steps}"
            f"PRAGMA user_version = {VERSION}; COMMIT;"
        )


def open_reader(path: Path) -> sqlite3.Connection:
    """Open a connection that reads what was committed, beside the one that writes.

    It must be closed after the writer's where that one's last sync has failed: then nothing
    is checkpointed, and so no failed sync is passed over.
    """
    connection = _connect(path, "ro")
    connection.execute("PRAGMA cache_size = -8192")
    return connection


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,  # it is opened by one thread, then used by another alone
        cached_statements=_CACHED_STATEMENTS,
    )
    # Damaged text is to be seen in its row, and not to make all the others unreadable.
    connection.text_factory = partial(str, encoding="utf-8", errors="replace")
    connection.execute("PRAGMA trusted_schema = OFF")
    return connection
