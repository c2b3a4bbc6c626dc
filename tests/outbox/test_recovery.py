"""What a start finds and does: traces of a crash, damage, and what is not a queue at all."""

import os
import random
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.logger import Logger, formatEvent

from netserve.errors import StartError
from netserve.outbox import Outbox, Schedule
from netserve.outbox.ids import decode_id
from netserve.outbox.query import EVERY
from netserve.outbox.sqlite.database import VERSION
from netserve.outbox.sqlite.examine import examine
from netserve.testing.queue import DEFERRED, WALL, Courier, SteeredReactor, opened_queue, put, until
from tests.outbox.earlier import LARGE as LARGE_2
from tests.outbox.earlier import make_earlier, make_version_2, make_version_3

LARGE = b"x" * 100_000


async def filled(folder: Path) -> tuple[str, str]:
    """A closed queue with a small and a large message."""
    async with opened_queue(folder, Courier(DEFERRED), reactor=reactor) as outbox:
        return await put(outbox, "small@x.org"), await put(outbox, "large@x.org", body=LARGE)


def contents(folder: Path) -> dict[Path, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "lock"]
    return {path: path.read_bytes() for path in files}


async def refused(folder: Path) -> str:
    """Why the queue does not open; nothing in the folder is changed by that."""
    before = contents(folder)
    with pytest.raises(StartError) as caught:
        async with opened_queue(folder, Courier(), reactor=reactor):
            pass
    assert contents(folder) == before
    return str(caught.value)


@ensureDeferred
async def test_a_message_without_its_body_is_held_and_alarmed(tmp_path: Path) -> None:
    small, large = await filled(tmp_path)
    (tmp_path / "bodies" / large).unlink()
    events: list[dict[str, object]] = []
    courier = Courier(DEFERRED)
    log = Logger(observer=events.append)
    async with opened_queue(tmp_path, courier, reactor=reactor, log=log) as outbox:
        states = {
            one["id"]: (one["recipients"][0]["state"], one["recipients"][0]["last"])
            for one in (await outbox.verbs.list()).messages
        }
        assert states[small][0] == "queued"
        assert states[large] == ("held", "the body is missing")
    (alarm,) = [event for event in events if event["log_level"].name == "critical"]
    assert formatEvent(alarm) == f"{large} is held: its body is missing"
    assert courier.delivered == [], "their next attempt is not due yet"


@ensureDeferred
async def test_a_damaged_database_is_named_and_left_alone(tmp_path: Path) -> None:
    await filled(tmp_path)
    database = tmp_path / "queue.db"
    database.write_bytes(b"garbage!" * 1000)
    reason = await refused(tmp_path)
    assert str(database) in reason
    assert "file is not a database" in reason


@ensureDeferred
async def test_a_database_with_damaged_pages_is_named(tmp_path: Path) -> None:
    await filled(tmp_path)
    database = tmp_path / "queue.db"
    data = bytearray(database.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    database.write_bytes(data)
    reason = await refused(tmp_path)
    assert str(database) in reason
    assert "malformed" in reason


@ensureDeferred
async def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StartError, match=r"cannot make the queue .*/file/queue"):
        async with opened_queue(tmp_path / "file" / "queue", Courier(), reactor=reactor):
            pass


@ensureDeferred
async def test_the_folder_and_its_files_are_for_their_owner_only(tmp_path: Path) -> None:
    await filled(tmp_path / "queue")
    for path in (tmp_path / "queue").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path


@ensureDeferred
async def test_mail_of_a_service_that_is_gone_waits(tmp_path: Path) -> None:
    small, _ = await filled(tmp_path)
    connection = sqlite3.connect(tmp_path / "queue.db")
    connection.execute("UPDATE message SET service = 'gone'")
    connection.execute("UPDATE recipient SET lane = replace(lane, 'mail ', 'gone '), next_at = 0")
    connection.commit()
    connection.close()
    courier = Courier()
    async with opened_queue(tmp_path, courier, reactor=reactor) as outbox:
        assert await outbox.verbs.flush() == 2
        shown = await outbox.verbs.show(small)
        assert shown["recipients"][0]["attempts"] == 1
        assert courier.delivered == []


def leave_in_log(folder: Path) -> None:
    """Write something that a crash leaves in the write-ahead log."""
    script = (
        "import os, sqlite3, sys; database = sqlite3.connect(sys.argv[1]);"
        "database.execute(\"UPDATE recipient SET last = 'in the log'\"); database.commit();"
        "os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", script, folder / "queue.db"], check=True)
    assert (folder / "queue.db-wal").stat().st_size


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("in_log", [False, True])
@ensureDeferred
async def test_a_queue_of_an_earlier_version_is_upgraded(
    tmp_path: Path, version: int, in_log: bool
) -> None:
    """Version 1 had no quotas, version 2 no checksums and no marker, version 3 no kinds."""
    make_earlier(tmp_path, version)
    if in_log:
        leave_in_log(tmp_path)
    courier = Courier()
    events: list[dict[str, object]] = []
    outbox = Outbox(
        tmp_path,
        reactor=SteeredReactor(reactor),
        log=Logger(observer=events.append),
        random=random.Random(0),
        wall=lambda: WALL + 600,
    )
    for service in ("mail", "other"):
        outbox.attach(service, courier, Schedule(jitter=0))
    await outbox.open()
    try:
        await until(lambda: len(courier.addresses) == 4, reactor=reactor)
        delivered = {address: body for _, some, body in courier.delivered for address in some}
        small = b"Subject: small\r\n\r\nHello\r\n"
        assert delivered == {
            "a@x.org": small,
            "b@x.org": small,
            "c@x.org": small,
            "d@y.org": LARGE_2,
        }

        async def only_the_held_one() -> bool:
            return len((await outbox.verbs.list()).messages) == 1

        await until(only_the_held_one, reactor=reactor)
        (held,) = (await outbox.verbs.list()).messages
        assert held["recipients"][0]["state"] == "held"
        assert await outbox.verbs.release(EVERY) == 1
        await until(lambda: len(courier.addresses) == 5, reactor=reactor)
        assert not [event for event in events if event["log_level"].name != "info"]  # type: ignore[attr-defined]
    finally:
        await outbox.close()
    assert examine(tmp_path).findings == ()
    with closing(sqlite3.connect(tmp_path / "queue.db")) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (VERSION,)
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@ensureDeferred
async def test_an_upgraded_queue_has_the_tables_of_a_new_one(tmp_path: Path) -> None:
    for name, prepare in (("new", lambda _: None), ("old", make_version_2), ("3", make_version_3)):
        prepare(tmp_path / name)
        async with opened_queue(tmp_path / name, Courier(DEFERRED), reactor=reactor):
            pass
    columns = []
    for name in ("new", "old", "3"):
        with closing(sqlite3.connect(tmp_path / name / "queue.db")) as database:
            columns.append(
                database.execute(
                    "SELECT t.name, c.cid, c.name, c.type, c.pk FROM sqlite_schema AS t,"
                    " pragma_table_info(t.name) AS c ORDER BY t.name, c.cid"
                ).fetchall()
            )
    assert columns[0] == columns[1] == columns[2]


DAMAGE = {
    "the body is gone": ("DELETE FROM body WHERE id = :id", "held"),
    "the body has another size": ("UPDATE body SET data = x'00' WHERE id = :id", "held"),
    "the body has another letter": (
        "UPDATE body SET data = CAST(replace(data, 'Hello', 'Jello') AS BLOB) WHERE id = :id",
        "held",
    ),
    "another sender": ("UPDATE message SET sender = 'other@x.org' WHERE id = :id", "held"),
    "another service": ("UPDATE message SET service = 'nail' WHERE id = :id", "held"),
    "another time": ("UPDATE message SET created = created + 1 WHERE id = :id", "held"),
    "another size": ("UPDATE message SET size = size + 1 WHERE id = :id", "held"),
    "another checksum of the body": (
        "UPDATE message SET body_sum = body_sum + 1 WHERE id = :id",
        "held",
    ),
    "no checksum": ("UPDATE message SET sum = NULL WHERE id = :id", "held"),
    "another address": (
        "UPDATE recipient SET address = 'two@x.org' WHERE message = :id",
        "held",
    ),
    "another number": ("UPDATE recipient SET n = 1 WHERE message = :id", "held"),
    "another meta text": ("UPDATE recipient SET meta = 'NOTIFY=NEVER' WHERE message = :id", "held"),
    "another meta text of the message": (
        "UPDATE message SET meta = 'BODY=8BITMIME' WHERE id = :id",
        "held",
    ),
    "another kind": ("UPDATE message SET kind = 'mial' WHERE id = :id", "held"),
    "bytes for the sender": ("UPDATE message SET sender = x'ff' WHERE id = :id", "held"),
    "no UTF-8 for the sender": (
        "UPDATE message SET sender = CAST(x'61ff' AS TEXT) WHERE id = :id",
        "held",
    ),
    "a text for the time": ("UPDATE message SET created = 'then' WHERE id = :id", "held"),
    "an unknown state": ("UPDATE recipient SET state = 77 WHERE message = :id", "held"),
    "a negative state": ("UPDATE recipient SET state = -1 WHERE message = :id", "held"),
    "half a state": ("UPDATE recipient SET state = 0.5 WHERE message = :id", "held"),
    "no state": ("UPDATE recipient SET state = NULL WHERE message = :id", "held"),
    "a text for the state": ("UPDATE recipient SET state = 'queued' WHERE message = :id", "held"),
    "bytes for the state": ("UPDATE recipient SET state = x'00' WHERE message = :id", "held"),
    "bytes for the address": ("UPDATE recipient SET address = x'ff' WHERE message = :id", "held"),
    "no UTF-8 for the address": (
        "UPDATE recipient SET address = CAST(x'61ff' AS TEXT) WHERE message = :id",
        "held",
    ),
    "bytes for the meta text": ("UPDATE recipient SET meta = x'ff' WHERE message = :id", "held"),
    "no message": ("DELETE FROM message WHERE id = :id", ""),
    "no recipients": ("DELETE FROM recipient WHERE message = :id", ""),
}


@pytest.mark.parametrize("what", DAMAGE)
@ensureDeferred
async def test_a_damaged_row_is_held_and_stops_no_other(tmp_path: Path, what: str) -> None:
    """It is alarmed and listed; mail for the same destination goes out."""
    statement, state = DAMAGE[what]
    async with opened_queue(tmp_path, Courier(DEFERRED), reactor=reactor) as outbox:
        damaged = await put(outbox, "one@x.org")
        await put(outbox, "other@x.org")
    damage(tmp_path, statement, id=decode_id(damaged))
    connection = sqlite3.connect(tmp_path / "queue.db")
    connection.execute("UPDATE recipient SET next_at = 0")
    connection.commit()
    connection.close()
    events: list[dict[str, object]] = []
    courier, log = Courier(), Logger(observer=events.append)
    async with opened_queue(tmp_path, courier, reactor=reactor, log=log) as outbox:
        await until(lambda: "other@x.org" in courier.addresses, reactor=reactor)

        async def settled() -> bool:
            messages = (await outbox.verbs.list()).messages
            states = {one["id"]: [r["state"] for r in one["recipients"]] for one in messages}
            return states == {damaged: [state]} or (not state and states in ({}, {damaged: []}))

        await until(settled, reactor=reactor)
        assert outbox.broken is None
    alarms = [formatEvent(event) for event in events if event["log_level"].name == "critical"]
    assert len(alarms) == (state == "held"), alarms
    assert all(str(alarm).startswith(f"{damaged} is held: ") for alarm in alarms)


HINTS = {
    "bytes for the lane": "UPDATE recipient SET lane = x'ff' WHERE message = :id",
    "an empty lane": "UPDATE recipient SET lane = '' WHERE message = :id",
    "a lane of another service": "UPDATE recipient SET lane = 'nail x' WHERE message = :id",
    "a lane that is no UTF-8": (
        "UPDATE recipient SET lane = CAST(x'6d61696c20ff' AS TEXT) WHERE message = :id"
    ),
    "no lane": "UPDATE recipient SET lane = NULL WHERE message = :id",
    "bytes for the time": "UPDATE recipient SET next_at = x'ff' WHERE message = :id",
    "a text for the time": "UPDATE recipient SET next_at = 'then' WHERE message = :id",
    "a time without end": "UPDATE recipient SET next_at = 9e999 WHERE message = :id",
    "no time": "UPDATE recipient SET next_at = NULL WHERE message = :id",
    "bytes for the account of a quota": "INSERT INTO quota VALUES (x'ff', 60, 1e12, 1)",
    "a text for what a quota has used": "INSERT INTO quota VALUES ('a', 60, 1, 'one')",
    "no time of a quota": "INSERT INTO quota VALUES ('a', 60, x'ff', 1)",
}


def damage(folder: Path, statement: str, *, id: int) -> None:  # noqa: A002 - as in the statement
    """Change rows as a disk does, which knows nothing of NOT NULL."""
    with closing(sqlite3.connect(folder / "queue.db", isolation_level=None)) as database:
        rows = database.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'table'")
        tables = rows.fetchall()
        database.execute("PRAGMA writable_schema = ON")
        database.execute("UPDATE sqlite_schema SET sql = replace(sql, 'NOT NULL', '')")
        (version,) = database.execute("PRAGMA schema_version").fetchone()
        database.execute(f"PRAGMA schema_version = {version + 1}")
        database.execute(statement, {"id": id})
        database.executemany(
            "UPDATE sqlite_schema SET sql = ?2 WHERE name = ?1 AND type = 'table'", tables
        )
        database.execute(f"PRAGMA schema_version = {version + 2}")


@pytest.mark.parametrize("what", HINTS)
@ensureDeferred
async def test_a_damaged_lane_or_time_stops_no_mail(tmp_path: Path, what: str) -> None:
    """It says where a recipient is found only, so all goes out after the next start."""
    async with opened_queue(tmp_path, Courier(DEFERRED), reactor=reactor) as outbox:
        damaged = await put(outbox, "one@x.org")
        await put(outbox, "other@x.org")
    damage(tmp_path, HINTS[what], id=decode_id(damaged))
    courier, clock = Courier(), SteeredReactor(reactor)
    async with opened_queue(tmp_path, courier, reactor=clock, wall=WALL + 600) as outbox:
        wanted = {"one@x.org", "other@x.org"}
        await until(lambda: set(courier.addresses) == wanted, reactor=reactor)
        assert outbox.broken is None


FILE_DAMAGE = {
    "a bit": lambda path: overwrite(path, 70_000, b"y"),
    "the first bit": lambda path: overwrite(path, 0, b"y"),
    "the last bit": lambda path: overwrite(path, 99_999, b"y"),
    "a page of zeros": lambda path: overwrite(path, 8192, bytes(4096)),
    "its end": lambda path: os.truncate(path, 99_999),
    "all of it": lambda path: os.truncate(path, 0),
    "a byte too much": lambda path: overwrite(path, 100_000, b"x"),
    "it is gone": lambda path: path.unlink(),
}


def overwrite(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


@pytest.mark.parametrize("what", FILE_DAMAGE)
@ensureDeferred
async def test_a_damaged_body_is_held_and_not_delivered(tmp_path: Path, what: str) -> None:
    """S21: a file that is not as it was written never reaches its end."""
    _, large = await filled(tmp_path)
    FILE_DAMAGE[what](tmp_path / "bodies" / large)
    events: list[dict[str, object]] = []
    courier, log = Courier(), Logger(observer=events.append)
    clock = SteeredReactor(reactor)
    async with opened_queue(tmp_path, courier, reactor=clock, log=log, wall=WALL + 600) as outbox:

        async def held() -> bool:
            (recipient,) = (await outbox.verbs.show(large))["recipients"]
            return bool(recipient["state"] == "held")

        await until(held, reactor=reactor)
        await until(lambda: courier.addresses == ["small@x.org"], reactor=reactor)
    (alarm,) = [event for event in events if event["log_level"].name == "critical"]  # type: ignore[attr-defined]
    assert str(formatEvent(alarm)).startswith(f"{large} is held: ")


@ensureDeferred
async def test_a_body_that_cannot_be_read_is_tried_later(tmp_path: Path) -> None:
    """Its owner is another one, say: that is mended, and no loss."""
    _, large = await filled(tmp_path)
    path = tmp_path / "bodies" / large
    path.unlink()
    path.symlink_to(path)  # every user gets an error of the system
    events: list[dict[str, object]] = []
    courier, log = Courier(), Logger(observer=events.append)
    clock = SteeredReactor(reactor)
    async with opened_queue(tmp_path, courier, reactor=clock, log=log, wall=WALL + 600) as outbox:

        async def tried() -> bool:
            (recipient,) = (await outbox.verbs.show(large))["recipients"]
            return bool(recipient["attempts"] == 2)

        await until(tried, reactor=reactor)
        (recipient,) = (await outbox.verbs.show(large))["recipients"]
        assert recipient["state"] == "queued"
        assert recipient["last"] == "451 4.3.0 the message cannot be read here; see the log"
        path.unlink()
        path.write_bytes(LARGE)
        await outbox.verbs.flush()
        await until(lambda: "large@x.org" in courier.addresses, reactor=reactor)
    (error,) = [event for event in events if event["log_level"].name == "error"]  # type: ignore[attr-defined]
    assert "cannot be read: Too many levels of symbolic links" in str(formatEvent(error))
