"""A repair loses nothing that can be read, and removes nothing (S21)."""

import os
import random
import shutil
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor

from netserve.errors import StartError
from netserve.outbox.ids import decode_id, encode_id
from netserve.outbox.sqlite.examine import examine
from netserve.outbox.sqlite.lock import LOCK, SpoolLock
from netserve.outbox.sqlite.marker import MARKER, Marker
from netserve.outbox.sqlite.repair import Repair, Wishes, check, locked
from netserve.outbox.sqlite.salvage import salvage
from netserve.testing.queue import DEFERRED, Courier, opened_queue, put
from tests.outbox.damages import (
    DAMAGES,
    LOG,
    TAKEN,
    belonging,
    crash,
    overwrite,
    remove,
    statements,
)
from tests.outbox.driver_bodies import LARGE, SMALL
from tests.outbox.earlier import make_version_2

STAMP = "20260102-030405"


@pytest.fixture(scope="module")
def crashed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return crash(tmp_path_factory.mktemp("crashed"))


@pytest.fixture
def folder(crashed: Path, tmp_path: Path) -> Path:
    return belonging(shutil.copytree(crashed, tmp_path / "queue"))


def repaired(folder: Path, **wishes: bool) -> Repair:
    with locked(folder):
        repair = Repair(folder, Wishes(**wishes), stamp=STAMP)
        assert repair.obstacle() is None
        assert repair.plan()
        report = repair.run()
        assert report.findings == []
    assert examine(folder, seconds=None).findings == ()
    return repair


def bodies(folder: Path) -> Counter[bytes]:
    """All body files, wherever they are by now."""
    places = [folder / "bodies", folder / "quarantine"]
    return Counter(p.read_bytes() for place in places if place.exists() for p in place.iterdir())


async def recipients(folder: Path) -> Counter[str]:
    """The states of all recipients, after a start; those that are queued have whole bodies."""
    async with opened_queue(folder, Courier(DEFERRED), reactor=reactor) as outbox:
        messages = (await outbox.verbs.list(limit=1000)).messages
        for message in messages:
            if message["recipients"][0]["state"] == "queued":
                _, loaded = await outbox.verbs.export(message["id"])
                reader = loaded.body()
                assert reader.read() in (SMALL, LARGE)
                reader.close()
        return Counter(r["state"] for message in messages for r in message["recipients"])


SAVED = {
    "an empty database beside the log": 1.0,
    "no database beside the log": 1.0,
    "a log cut by a half": 0.3,
    "a log cut by a byte": 0.9,
    "a log cut by a page": 0.9,
    "a log with another salt": 1.0,
    "a log with a bad header": 1.0,
    "a log with a bad page": 0.8,
    "an index less": 1.0,
    "no marker": 1.0,
    "an empty marker": 1.0,
    "a marker of noise": 1.0,
    "a marker with another count": 1.0,
    "a marker with another id": 1.0,
    "a foreign journal": 1.0,
    "no row of the queue": 1.0,
    "no folder of bodies": 0.45,
    "another folder of bodies": 0.45,
}
"""The part of all messages that is queued after the repair, at least; the others may be held."""


@pytest.mark.parametrize("what", DAMAGES)
@ensureDeferred
async def test_a_damaged_folder_is_repaired(folder: Path, what: str) -> None:
    """S21: it opens afterwards; what can be read is there, all else is put aside."""
    DAMAGES[what][0](folder)
    before = bodies(folder)
    if what == "a later version":
        with locked(folder):
            repair = Repair(folder, Wishes(), stamp=STAMP)
            assert repair.obstacle() == "that cannot be repaired here"
        return
    repair = repaired(folder)
    assert bodies(folder) == before
    states = await recipients(folder)
    assert states["queued"] >= SAVED.get(what, 0) * TAKEN
    assert bodies(folder) == before, "the start has removed nothing either"


@ensureDeferred
async def test_a_copy_is_adopted_only_where_that_is_said(crashed: Path, tmp_path: Path) -> None:
    """S21: nothing but the operator knows whether the original is gone."""
    copy = shutil.copytree(crashed, tmp_path / "copy")
    with locked(copy):
        obstacle = Repair(copy, Wishes(), stamp=STAMP).obstacle()
    assert obstacle is not None
    assert "--adopt" in obstacle
    repaired(copy, adopt=True)
    assert await recipients(copy) == Counter(queued=TAKEN)


@ensureDeferred
async def test_inode_numbers_need_not_be_compared(crashed: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(crashed, tmp_path / "copy")
    repaired(copy, adopt=True, anywhere=True)
    assert await recipients(copy) == Counter(queued=TAKEN), "a start keeps it so"
    again = shutil.copytree(copy, tmp_path / "again")
    assert await recipients(again) == Counter(queued=TAKEN)


@ensureDeferred
async def test_all_messages_are_held_where_that_is_asked_for(folder: Path) -> None:
    repaired(folder, hold=True)
    assert await recipients(folder) == Counter(held=TAKEN)


@ensureDeferred
async def test_a_sound_queue_is_left_as_it_is(folder: Path) -> None:
    repair = repaired(folder)
    assert repair.done == []
    assert await recipients(folder) == Counter(queued=TAKEN)


@ensureDeferred
async def test_an_older_copy_is_told_from_a_repaired_queue_too(folder: Path) -> None:
    """S21: what is repaired has had more transactions than there ever were."""
    old = (folder / "queue.db").read_bytes()
    marker = Marker.read(folder / MARKER)
    remove(LOG)(folder)
    repaired(folder)
    now = Marker.read(folder / MARKER)
    assert marker is not None
    assert now is not None
    assert now.commits > marker.commits
    (folder / "queue.db").write_bytes(old)
    assert [finding.kind for finding in examine(folder).findings] == ["older"]


def test_a_repair_that_was_ended_can_be_made_again(folder: Path) -> None:
    """S21: a half made database of the first one is in the way."""
    (folder / "queue.db.new").write_bytes(b"half")
    (folder / "queue.db.new-wal").write_bytes(b"half")
    DAMAGES["a bad page"][0](folder)
    repaired(folder)


@ensureDeferred
async def test_what_is_damaged_is_held_by_a_repair(tmp_path: Path) -> None:
    async with opened_queue(tmp_path, Courier(DEFERRED), reactor=reactor) as outbox:
        ids = [await put(outbox, "a@x.org", body=SMALL) for _ in range(3)]
        large = await put(outbox, "b@x.org", body=LARGE)
        gone = await put(outbox, "c@x.org", body=LARGE)
    number = decode_id(ids[1])
    statements(f"UPDATE message SET sender = 'x' WHERE id = {number}")(tmp_path)
    overwrite(f"bodies/{large}", 1000, b"damage")(tmp_path)
    (tmp_path / "bodies" / gone).unlink()
    (tmp_path / "bodies" / encode_id(7)).write_bytes(b"")
    with locked(tmp_path, to_look=True):
        report = check(tmp_path)
    assert not report.sound
    assert report.findings == []
    assert {encode_id(damage.number) for damage in report.damages} == {ids[1], large, gone}
    assert report.counts["unknown"] == 1
    assert report.as_json()["messages"] == 5
    repair = repaired(tmp_path)
    assert repair.done == [
        "moved 1 bodies without a message to the quarantine",
        "held 3 messages that are damaged or lack their body",
    ]
    assert await recipients(tmp_path) == Counter(queued=2, held=3)
    with locked(tmp_path, to_look=True):
        assert check(tmp_path).counts["quarantine"] == 1


def test_the_queue_of_an_earlier_version_is_checked_as_far_as_it_goes(tmp_path: Path) -> None:
    make_version_2(tmp_path)
    with locked(tmp_path, to_look=True):
        report = check(tmp_path)
    assert report.sound
    assert report.notes[0].startswith("the tables are of version 2: the next start upgrades them")
    repaired(tmp_path)


def test_a_queue_in_use_is_neither_checked_nor_repaired_behind_its_back(folder: Path) -> None:
    lock = SpoolLock(folder / LOCK)
    lock.acquire()
    for to_look in (True, False):
        with (
            pytest.raises(StartError, match=f"in use by process {os.getpid()}$"),
            locked(folder, to_look=to_look),
        ):
            pass
    lock.release()
    with pytest.raises(StartError, match="there is no queue"), locked(folder / "nothing"):
        pass


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with 200 messages, the first 40 of which have several recipients."""
    return tmp_path_factory.mktemp("long")


async def fill(folder: Path) -> None:
    if (folder / "queue.db").exists():
        return
    async with opened_queue(folder, Courier(DEFERRED), reactor=reactor) as outbox:
        for number in range(200):
            to = [f"{n}.{number}@x.org" for n in range(5 if number < 40 else 1)]
            await put(outbox, *to, sender=f"s{number}@x.org", body=b"%d\r\n" % number * 50)


@pytest.mark.parametrize("seed", range(20))
@ensureDeferred
async def test_no_page_costs_more_than_what_is_on_it(long: Path, tmp_path: Path, seed: int) -> None:
    """S21: one to three pages are noise; nothing that is damaged is sent, and little is lost."""
    await fill(long)
    folder = belonging(shutil.copytree(long, tmp_path / "queue"))
    choice = random.Random(seed)
    pages = (folder / "queue.db").stat().st_size // 4096
    damaged = choice.sample(range(1, pages), choice.randint(1, 3))  # not the first: see below
    for page in damaged:
        overwrite("queue.db", page * 4096, choice.randbytes(4096))(folder)
    assert [finding.kind for finding in examine(folder).findings] == ["damaged"]
    repaired(folder)
    known = 0
    async with opened_queue(folder, Courier(DEFERRED), reactor=reactor) as outbox:
        for message in (await outbox.verbs.list(limit=1000)).messages:
            if message["recipients"][0]["state"] != "queued":
                known += 1
                continue
            _, loaded = await outbox.verbs.export(message["id"])
            reader = loaded.body()
            number = int(message["sender"][1:].partition("@")[0])
            assert reader.read() == b"%d\r\n" % number * 50
            known += 1
    assert known >= 200 - 10 * len(damaged), damaged


@ensureDeferred
async def test_a_database_without_its_first_page_is_put_aside(long: Path, tmp_path: Path) -> None:
    """It has the tables' names and places: nothing can be read without it."""
    await fill(long)
    folder = belonging(shutil.copytree(long, tmp_path / "queue"))
    noise = random.Random(0).randbytes(4096)
    overwrite("queue.db", 0, noise)(folder)
    repaired(folder)
    assert (folder / f"aside-{STAMP}" / "queue.db").read_bytes().startswith(noise)
    with closing(sqlite3.connect(folder / "queue.db")) as database:
        assert database.execute("SELECT count(*) FROM message").fetchone() == (0,)


@ensureDeferred
async def test_a_salvage_copies_all_of_a_sound_database(long: Path, tmp_path: Path) -> None:
    await fill(long)
    copied = salvage(long / "queue.db", tmp_path / "new.db")
    assert copied == Counter(message=200, body=200, recipient=360, attempt=360)


def test_two_repairs_within_a_second_put_two_databases_aside(folder: Path) -> None:
    """What the first one has put aside is not written over."""
    for name in (f"aside-{STAMP}", f"aside-{STAMP}.1", f"aside-{STAMP}.2"):
        database = (folder / "queue.db").read_bytes()[:3000] + name.encode()
        (folder / "queue.db").write_bytes(database)
        repaired(folder)
        assert (folder / name / "queue.db").read_bytes() == database
