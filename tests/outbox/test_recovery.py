"""What a start finds and does: traces of a crash, damage, and what is not a queue at all."""

import sqlite3
from pathlib import Path

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.logger import Logger, formatEvent

from netserve.errors import StartError
from netserve.outbox.database import VERSION
from netserve.outbox.ids import decode_id, encode_id
from netserve.testing.queue import DEFERRED, WALL, Courier, SteeredReactor, opened_queue, put, until

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
async def test_a_body_without_a_message_is_removed(tmp_path: Path) -> None:
    _, large = await filled(tmp_path)
    bodies = tmp_path / "bodies"
    for number in (5, 2**54):
        (bodies / encode_id(number)).write_bytes(b"orphan")
    (bodies / f"{encode_id(9)}.tmp").write_bytes(b"half")
    (bodies / "README").write_bytes(b"not ours")
    async with opened_queue(tmp_path, Courier(DEFERRED), reactor=reactor):
        assert {path.name for path in bodies.iterdir()} == {large, "README"}


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
async def test_a_lost_database_does_not_cost_the_bodies(tmp_path: Path) -> None:
    await filled(tmp_path)
    (tmp_path / "queue.db").unlink()
    assert "is gone, but bodies of its messages are in" in await refused(tmp_path)


@ensureDeferred
async def test_a_database_of_another_program_is_refused(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "queue.db")
    connection.execute("CREATE TABLE message(x)")
    connection.close()
    (tmp_path / "bodies").mkdir()
    assert "is not the database of a netserve queue" in await refused(tmp_path)


@ensureDeferred
async def test_tables_of_another_version_are_refused(tmp_path: Path) -> None:
    await filled(tmp_path)
    connection = sqlite3.connect(tmp_path / "queue.db")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    assert f"has version 99 of the tables, this netserve needs {VERSION}" in await refused(tmp_path)


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


@ensureDeferred
async def test_a_queue_of_an_earlier_version_is_upgraded(tmp_path: Path) -> None:
    """Version 1 had no quotas; its mail is delivered by this one."""
    async with opened_queue(tmp_path, Courier(DEFERRED), reactor=SteeredReactor(reactor)) as outbox:
        message = await put(outbox, "a@example.org")
    connection = sqlite3.connect(tmp_path / "queue.db")
    connection.executescript("DROP TABLE quota; PRAGMA user_version = 1")
    connection.close()
    courier = Courier()
    async with opened_queue(
        tmp_path, courier, reactor=SteeredReactor(reactor), wall=WALL + 600
    ) as outbox:
        await until(lambda: courier.delivered, reactor=reactor)
    assert courier.delivered[0][0] == message
    connection = sqlite3.connect(tmp_path / "queue.db")
    assert connection.execute("PRAGMA user_version").fetchone() == (VERSION,)
    assert not connection.execute("SELECT * FROM quota").fetchall()
    connection.close()


DAMAGE = {
    "the body is gone": ("DELETE FROM body WHERE id = :id", "held"),
    "the body has another size": ("UPDATE body SET data = x'00' WHERE id = :id", "held"),
    "bytes for the sender": ("UPDATE message SET sender = x'ff' WHERE id = :id", "held"),
    "no UTF-8 for the sender": (
        "UPDATE message SET sender = CAST(x'61ff' AS TEXT) WHERE id = :id",
        "held",
    ),
    "a text for the time": ("UPDATE message SET created = 'then' WHERE id = :id", "held"),
    "an unknown state": ("UPDATE recipient SET state = 77 WHERE message = :id", "damaged"),
    "bytes for the address": ("UPDATE recipient SET address = x'ff' WHERE message = :id", "held"),
    "no UTF-8 for the address": (
        "UPDATE recipient SET address = CAST(x'61ff' AS TEXT) WHERE message = :id",
        "held",
    ),
    "bytes for notify": ("UPDATE recipient SET notify = x'ff' WHERE message = :id", "held"),
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
    connection = sqlite3.connect(tmp_path / "queue.db")
    connection.execute(statement, {"id": decode_id(damaged)})
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
    assert len(alarms) == (state == "held")
    assert all(str(alarm).startswith(f"{damaged} is held: ") for alarm in alarms)
