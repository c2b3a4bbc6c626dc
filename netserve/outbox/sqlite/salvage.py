"""Copies what can be read of a damaged database into a new one.

A damaged page costs the rows that it holds. Those around it are read: a table is walked through by
its key, and where the walk fails it begins again behind the smallest key from which it succeeds.
What an index still knows of a lost row is used to make a row anew, which is held then.

A write-ahead log with a damaged page is worse to SQLite: it takes nothing of what follows. Here all
pages of the log are taken, whatever their checksums; the rows in them have checksums of their own.
"""

from __future__ import annotations

import shutil
import sqlite3
import struct
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final
from zlib import crc32

from netserve.outbox.ids import encode_id
from netserve.outbox.model import State
from netserve.outbox.sqlite.bodies import StoredBodies
from netserve.outbox.sqlite.checksums import message_sum, recipient_sum
from netserve.outbox.sqlite.database import (
    NEVER,
    VERSION,
    checkpointed_commits,
    make_tables,
    open_new,
    open_unchanged,
    open_writer,
    read_header,
)
from netserve.outbox.sqlite.find import LAST
from netserve.outbox.sqlite.rows import (
    MESSAGE_COLUMNS,
    MESSAGE_WIDTH,
    RECIPIENT_COLUMNS,
    RECIPIENT_WIDTH,
)

_TABLES: Final = {
    "message": ("id",),
    "body": ("id",),
    "recipient": ("message", "n"),
    "attempt": ("message", "n", "number"),
    "quota": ("account", "seconds", "start"),
    "finished": ("id",),
}
"""The tables with their keys."""
NO_SENDER: Final = "its row in the database was damaged; its sender is not known"
NO_ROW: Final = "its row in the database was damaged"
NO_ADDRESS: Final = "the rows of its recipients are lost; its header may name them"
_KIND: Final = "mail"
_META: Final = "BODY=8BITMIME"
"""What a lost row is taken for: most items are mail, and nothing may be changed in this one."""
_LOG_HEADER: Final = struct.Struct(">IIIIIIII")
_FRAME_HEADER: Final = struct.Struct(">IIIIII")


def salvage(old: Path, new: Path) -> Counter[str]:
    """Copy what can be read; says how many rows of each table, and of the page errors.

    Arguments:
        old: the database, which is only read.
        new: a database that is made here.

    Raises:
        StartError: the new one cannot be made.
        sqlite3.Error: it cannot be written.
    """
    copied: Counter[str] = Counter()
    make_tables(new, _version_of(old))
    with closing(open_new(new)) as target:
        _transfer(old, target, copied, _copy)
    with closing(open_writer(new)) as target:  # upgraded, where it has the tables of a version
        if copied["errors"]:
            _transfer(old, target, copied, _recipients_by_index)
        target.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return copied


def _version_of(path: Path) -> int:
    """The version of a database's tables; the newest where that cannot be read."""
    try:
        with closing(open_unchanged(path)) as source:
            (version,) = source.execute("PRAGMA user_version").fetchone()
    except sqlite3.DatabaseError:
        version = read_header(path).version
    return version if 0 < version < VERSION else VERSION


_Transfer = Callable[[sqlite3.Connection, sqlite3.Connection, Counter[str]], None]


def _transfer(
    old: Path, target: sqlite3.Connection, copied: Counter[str], transfer: _Transfer
) -> None:
    """Copy something in one transaction; it is synced as a whole at the end."""
    target.execute("PRAGMA synchronous = OFF")
    target.execute("BEGIN")
    try:
        with closing(open_unchanged(old)) as source:
            source.execute("PRAGMA writable_schema = ON")  # else a file that was cut is refused
            transfer(source, target, copied)
    except sqlite3.DatabaseError:  # not even its tables are known
        copied["errors"] += 1
    target.execute("COMMIT")
    target.execute("PRAGMA synchronous = FULL")


def _copy(source: sqlite3.Connection, target: sqlite3.Connection, copied: Counter[str]) -> None:
    there = {name for (name,) in source.execute("SELECT name FROM sqlite_schema")}
    for table, key in _TABLES.items():
        if table not in there:
            continue
        names = [name for _, name, *_ in source.execute(f"PRAGMA table_info({table})")]
        if not set(key) <= set(names):
            continue  # of an earlier version: quotas, which soon no longer count
        known = {name for _, name, *_ in target.execute(f"PRAGMA table_info({table})")}
        columns = [*key, *(name for name in names if name in known and name not in key)]
        marks = ",".join("?" * len(columns))
        into = f"INSERT OR IGNORE INTO {table}({', '.join(columns)}) VALUES ({marks})"  # noqa: S608 - of constants
        for row in _rows(source, table, columns, key, copied):
            with suppress(sqlite3.IntegrityError):  # a null where none may be
                copied[table] += target.execute(into, row).rowcount
    with suppress(sqlite3.DatabaseError):
        row = source.execute("SELECT id, commits FROM spool").fetchone()
        if row is not None:
            target.execute("UPDATE spool SET id = ?, commits = ?", row)


def _rows(
    source: sqlite3.Connection,
    table: str,
    columns: Sequence[str],
    key: Sequence[str],
    copied: Counter[str],
) -> Iterator[Sequence[Any]]:
    """All rows of a table that can be read, in the order of its key."""
    width = len(key)
    select = f"SELECT {', '.join(columns)} FROM {table}"  # noqa: S608 - of constants
    order = f" ORDER BY {', '.join(key)}"
    behind = f" WHERE ({', '.join(key)}) > ({', '.join('?' * width)})"
    place: tuple[Any, ...] | None = None
    statement = f"{select}{order}"
    while True:
        try:
            for row in source.execute(statement, place or ()):
                place = tuple(row[:width])
                yield row
        except sqlite3.DatabaseError:
            copied["errors"] += 1
        else:
            return
        if isinstance(place and place[0], str):
            return  # of quotas: what is lost is little
        statement = f"{select}{behind}{order}"
        begin = _next_readable(source, f"{statement} LIMIT 1", place[0] if place else -1, width)
        if begin is None:
            return
        place = (begin, *[-1] * (width - 1))


def _next_readable(
    source: sqlite3.Connection, statement: str, after: int, width: int
) -> int | None:
    """The smallest number behind which a table can be read again, or None."""

    def is_readable(number: int) -> bool:
        try:
            source.execute(statement, (number, *[-1] * (width - 1))).fetchone()
        except sqlite3.DatabaseError:
            return False
        return True

    low, step = after, 1
    while not is_readable(low + step):
        low, step = low + step, step * 2
        if low > LAST:
            return None
    high = low + step
    while high - low > 1:
        middle = (low + high) // 2
        if is_readable(middle):
            high = middle
        else:
            low = middle
    return high


def _recipients_by_index(
    source: sqlite3.Connection, target: sqlite3.Connection, copied: Counter[str]
) -> None:
    """Make recipients anew of which only the index by addresses is left."""
    lost = []
    with suppress(sqlite3.DatabaseError):
        for address, number, n in source.execute(
            "SELECT address, message, n FROM recipient INDEXED BY recipient_address"
        ):
            found = target.execute(
                "SELECT 1 FROM recipient WHERE message = ? AND n = ?", (number, n)
            ).fetchone()
            if found is None and isinstance(address, str):
                lost.append((number, n, address))
    insert_recipients(target, lost)
    copied["recipient"] += len(lost)


def insert_recipients(
    connection: sqlite3.Connection, lost: Iterable[tuple[int, int, str]], why: str = NO_ROW
) -> None:
    """Insert recipients of which only the address is known; they are held."""
    marks = ",".join("?" * RECIPIENT_WIDTH)
    for number, n, address in lost:
        row = connection.execute("SELECT service FROM message WHERE id = ?", (number,)).fetchone()
        connection.execute(
            f"INSERT INTO recipient({RECIPIENT_COLUMNS}) VALUES ({marks})",  # noqa: S608 - of constants
            (
                number, n, State.HELD.value, f"{row[0] if row else '(unknown)'} (unrouted)",
                number / 1e6, 0, 0, address, address.rpartition("@")[2].lower(), "", why,
                recipient_sum(number, n, address, ""),
            ),
        )  # fmt: skip


def insert_unknown_recipients(connection: sqlite3.Connection) -> int:
    """Give a held recipient without an address to each message that has none at all.

    So it is seen among the held ones; where it is released, its sender gets a bounce.
    """
    lost = connection.execute(
        "SELECT id, 0, '' FROM message"
        " WHERE NOT EXISTS (SELECT 1 FROM recipient WHERE message = message.id)"
    ).fetchall()
    insert_recipients(connection, lost, NO_ADDRESS)
    return len(lost)


def insert_messages(
    connection: sqlite3.Connection, bodies: StoredBodies, senders: dict[int, str]
) -> int:
    """Make rows for messages of which only the recipients are left, and hold these.

    Arguments:
        connection: writes.
        bodies: where body files are.
        senders: by message, where they are known.
    """
    lost = connection.execute(
        "SELECT message, count(*), min(lane) FROM recipient"
        " WHERE NOT EXISTS (SELECT 1 FROM message WHERE id = recipient.message) GROUP BY message"
    ).fetchall()
    marks = ",".join("?" * MESSAGE_WIDTH)
    for number, recipients, lane in lost:
        sender = senders.get(number)
        size, body_sum, in_file = _body_of(connection, bodies, number)
        row = (
            number, lane.partition(" ")[0], _KIND, number / 1e6, 0.0, sender or "", _META, "", "",
            "", size, recipients, in_file, body_sum,
        )  # fmt: skip
        connection.execute(
            f"INSERT INTO message({MESSAGE_COLUMNS}) VALUES ({marks})",  # noqa: S608 - of constants
            (*row, message_sum(row)),
        )
        connection.execute(
            "UPDATE recipient SET state = 1, last = ? WHERE message = ? AND state < 2",
            (NO_SENDER if sender is None else NO_ROW, number),
        )
    return len(lost)


def _body_of(
    connection: sqlite3.Connection, bodies: StoredBodies, number: int
) -> tuple[int, int, int]:
    """Size and checksum of a body as it is now, and whether it is a file."""
    row = connection.execute("SELECT data FROM body WHERE id = ?", (number,)).fetchone()
    if row is not None and isinstance(row[0], bytes):
        return len(row[0]), crc32(row[0]), 0
    path = bodies.path / encode_id(number)
    try:
        with path.open("rb") as file:
            total, size = 0, 0
            while chunk := file.read(1 << 20):
                total, size = crc32(chunk, total), size + len(chunk)
    except OSError:
        return 0, 0, 0
    return size, total, 1


def known_senders(path: Path) -> dict[int, str]:
    """The senders of messages as the index by senders has them."""
    found: dict[int, str] = {}
    statement = "SELECT id, sender FROM message INDEXED BY message_sender"
    with suppress(sqlite3.DatabaseError), closing(open_unchanged(path)) as source:
        found.update(row for row in source.execute(statement) if isinstance(row[1], str))
    return found


def with_log(database: Path, log: Path, target: Path) -> int:
    """Copy a database together with all pages of a write-ahead log, of which SQLite takes a part.

    Pages behind the last one that ends a transaction are left out.

    Arguments:
        database: as it is without a log.
        log: the log.
        target: the copy.

    Returns:
        The count of commits in the copy; NEVER where nothing can be read.

    Raises:
        OSError: it cannot be made.
    """
    size = _page_size(database)
    frames = list(_frames(log.read_bytes(), size))
    ends = [at for at, (_, pages, _) in enumerate(frames) if pages]
    shutil.copyfile(database, target)
    if not ends:
        return NEVER
    with target.open("r+b") as file:
        for page, _, data in frames[: ends[-1] + 1]:
            file.seek((page - 1) * size)
            file.write(data)
        file.truncate(frames[ends[-1]][1] * size)
    return checkpointed_commits(target) or NEVER


def _page_size(database: Path) -> int:
    with database.open("rb") as file:
        size = int.from_bytes(file.read(18)[16:], "big")
    return 65536 if size == 1 else size


def _frames(log: bytes, size: int) -> Iterator[tuple[int, int, bytes]]:
    """The pages of a log: their number, the size of the database where a transaction ends, data.

    Its header may be lost; the salt that most frames have is taken to be the log's.
    """
    step = _FRAME_HEADER.size + size
    starts = range(_LOG_HEADER.size, len(log) - step + 1, step)
    heads = [_FRAME_HEADER.unpack_from(log, start) for start in starts]
    salts = Counter(head[2:4] for head in heads if head[0])
    if not salts:
        return
    salt = _LOG_HEADER.unpack_from(log)[4:6]
    if salt not in salts:
        ((salt, _),) = salts.most_common(1)
    for start, head in zip(starts, heads, strict=True):
        if head[2:4] == salt and head[0]:
            at = start + _FRAME_HEADER.size
            yield head[0], head[1], log[at : at + size]
