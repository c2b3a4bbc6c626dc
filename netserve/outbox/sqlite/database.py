"""The database, and how a connection to it is opened; its tables are in schema.py.

One connection writes and checkpoints, and nobody but its thread uses it: SQLite 3.7.0 to 3.51.2
can lose a commit when two connections write and checkpoint at once. A second one only reads.

Checkpoints are not left to SQLite, which passes over their errors: see commit.py.
"""

from __future__ import annotations

import os
import sqlite3
import struct
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Final, Literal, NamedTuple

from netserve.durable import sync_folder
from netserve.errors import StartError
from netserve.outbox.sqlite import checksums, schema
from netserve.outbox.sqlite.errors import why_not_opened

APPLICATION: Final = 0x6E736F62
"""Stands in the file's header, so that another program's database is not taken for ours."""
VERSION: Final = schema.NEWEST
"""The version of the tables."""
NEVER: Final = 0
"""The count of commits of a database that has never held mail."""
_CACHED_STATEMENTS: Final = 256

COUNT: Final = "UPDATE spool SET commits = ?"
"""Stands at the end of each transaction, and says how many there were with it."""
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
_FINISHED: Final = "INSERT OR IGNORE INTO finished SELECT OLD.id WHERE OLD.in_file"
_TRIGGER: Final = (
    "CREATE TEMP TRIGGER message_deleted AFTER DELETE ON main.message BEGIN"
    f" {'; '.join((*BELONGING, _FINISHED))}; END;"
)


class DatabaseFile(NamedTuple):
    """A database file as its first bytes show it.

    Arguments:
        kind: ``empty`` also where it has no tables; ``damaged`` where it is no database.
        version: of the tables, as of the last checkpoint; 0 where it is not ours.
    """

    kind: Literal["missing", "empty", "foreign", "damaged", "ours"]
    version: int = 0


def read_header(path: Path) -> DatabaseFile:
    """Look at a file before SQLite does, which might repair or change it.

    Raises:
        OSError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            header = file.read(100)
    except FileNotFoundError:
        return DatabaseFile("missing")
    if not header:
        return DatabaseFile("empty")
    if len(header) < 100 or not header.startswith(b"SQLite format 3\0"):
        return DatabaseFile("damaged")
    version, application = struct.unpack_from(">I4xI", header, 60)
    if application == APPLICATION:
        return DatabaseFile("ours", version)
    if application:
        return DatabaseFile("foreign")
    try:
        with closing(open_unchanged(path)) as connection:
            (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except sqlite3.DatabaseError:
        return DatabaseFile("damaged")
    return DatabaseFile("foreign" if tables else "empty")


def open_writer(path: Path) -> sqlite3.Connection:
    """Open the one connection that writes; a new database is made where there is none.

    Raises:
        StartError: it is damaged, another program's, or a newer netserve's; it is left as it is.
    """
    try:
        found = read_header(path)
        if found.kind not in {"missing", "empty", "ours"} or found.version > VERSION:
            raise StartError(f"{path} is not the database of a queue of this netserve")
        if found.kind == "missing":
            # SQLite would make it by the umask, for everybody to read.
            os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection = _connect(path, "mode=rw")
        try:
            if found.kind != "ours" or not _has_tables(connection):
                _create(connection, path, VERSION)
            _upgrade(connection)
            connection.executescript(_SETTINGS + _TRIGGER)
            # Making the trigger leaves a lock until the next statement; a checkpoint would fail.
            connection.execute("SELECT commits FROM spool").fetchall()
        except BaseException:
            connection.close()
            raise
    except (sqlite3.Error, OSError) as error:
        why = why_not_opened(error, path.parent)
        raise StartError(f"cannot open the queue's database {path}: {why}") from error
    return connection


def _has_tables(connection: sqlite3.Connection) -> bool:
    """Whether the tables are there; where their making was cut off, SQLite has undone it."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    return bool(application == APPLICATION)


def _create(connection: sqlite3.Connection, path: Path, version: int) -> None:
    """Make the tables in an empty file."""
    connection.executescript(
        f"PRAGMA synchronous = FULL; BEGIN EXCLUSIVE; {schema.tables_of(version)}"
        f"PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {version}; COMMIT;"
    )
    sync_folder(path.parent)


def make_tables(path: Path, version: int) -> None:
    """Make a database with the tables of a version, or of version 3 for an earlier one.

    Raises:
        sqlite3.Error, OSError: it cannot be made.
    """
    os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
    with closing(open_new(path)) as connection:
        _create(connection, path, max(version, 3))
        connection.execute("PRAGMA journal_mode = WAL")


def open_new(path: Path) -> sqlite3.Connection:
    """Open a database that `make_tables` has made, as it is."""
    return _connect(path, "mode=rw")


def _upgrade(connection: sqlite3.Connection) -> None:
    """Bring the tables of an earlier version up to this one, all at once or not at all."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version < VERSION:
        checksums.add_functions(connection)
        connection.executescript(
            f"PRAGMA synchronous = FULL; BEGIN EXCLUSIVE; {schema.steps_from(version)}"
            f"PRAGMA user_version = {VERSION}; COMMIT;"
        )


def missing_from(connection: sqlite3.Connection) -> list[str]:
    """The tables and indexes of its version that a database lacks, by name."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    there = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}
    return [name for name in schema.names_of(version) if name not in there]


def checkpointed_commits(path: Path) -> int | None:
    """The count of commits in the file itself, without its write-ahead log.

    None where it cannot be read: a crash may have ended a checkpoint half-way, and the upgrade that
    has made the table may be in the log still.
    """
    with closing(_connect(path, "mode=ro&immutable=1")) as connection:
        try:
            row = connection.execute("SELECT commits FROM spool").fetchone()
        except sqlite3.DatabaseError:
            return None
        return row[0] if row else None


def open_unchanged(path: Path) -> sqlite3.Connection:
    """Open a database to look at it, so that nothing of it is changed.

    Where there is a write-ahead log SQLite makes its index anew, which holds no data.
    """
    log = path.with_name(f"{path.name}-wal")
    has_log = log.exists() and log.stat().st_size > 0
    return _connect(path, "mode=ro" if has_log else "mode=ro&immutable=1")


def open_reader(path: Path) -> sqlite3.Connection:
    """Open a connection that reads what was committed, beside the one that writes.

    It must be closed after the writer's where that one's last sync has failed: then nothing
    is checkpointed, and so no failed sync is passed over.
    """
    connection = _connect(path, "mode=ro")
    connection.execute("PRAGMA cache_size = -8192")
    return connection


def _connect(path: Path, options: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?{options}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,  # it is opened by one thread, then used by another alone
        cached_statements=_CACHED_STATEMENTS,
    )
    # Damaged text is to be seen in its row, and not to make all the others unreadable.
    connection.text_factory = partial(str, encoding="utf-8", errors="replace")
    connection.execute("PRAGMA trusted_schema = OFF")
    return connection
