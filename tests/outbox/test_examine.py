"""A folder that has lost mail, or would send it twice, is not opened (S21)."""

import os
import shutil
import sqlite3
import struct
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.logger import Logger, formatEvent

from netserve.errors import StartError
from netserve.outbox.ids import encode_id
from netserve.outbox.sqlite import marker as marker_module
from netserve.outbox.sqlite.database import open_writer
from netserve.outbox.sqlite.examine import examine
from netserve.outbox.sqlite.marker import MARKER, Marker
from netserve.testing.programs import missing
from netserve.testing.queue import DEFERRED, Courier, opened_queue, put
from tests.outbox.damages import DAMAGES, LOG, TAKEN, belonging, crash


@pytest.fixture(scope="module")
def crashed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A queue whose process was killed after it had taken mail, small and large."""
    return crash(tmp_path_factory.mktemp("crashed"))


@pytest.fixture
def folder(crashed: Path, tmp_path: Path) -> Path:
    """A copy of it, which knows that it is where it belongs."""
    return belonging(shutil.copytree(crashed, tmp_path / "queue"))


def kinds(folder: Path) -> list[str]:
    return [finding.kind for finding in examine(folder).findings]


def contents(folder: Path) -> dict[Path, bytes]:
    """All files but the lock, and the index of the log, which holds no data."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {p: p.read_bytes() for p in files if p.name not in {"lock", "queue.db-shm"}}


async def open_fails(folder: Path) -> str:
    """See that the queue does not open, and that nothing in it is changed; gives the reason."""
    before = contents(folder)
    with pytest.raises(StartError) as caught:
        async with opened_queue(folder, Courier(), reactor=reactor):
            pass
    assert contents(folder) == before
    return str(caught.value)


@pytest.mark.parametrize("what", DAMAGES)
@ensureDeferred
async def test_a_folder_that_has_lost_mail_is_not_opened(folder: Path, what: str) -> None:
    """S21: it is told what is missing, and nothing in the folder is changed."""
    damage, kind, text = DAMAGES[what]
    damage(folder)
    reason = await open_fails(folder)
    assert text in reason
    assert reason.startswith(f"the queue {folder} is not opened, and nothing in it was changed: ")
    assert "`netserve queue repair`" in reason
    assert kinds(folder) == [kind]


@ensureDeferred
async def test_a_queue_that_was_killed_opens(folder: Path) -> None:
    """S1: the folder that the others damage is sound; its mail is there."""
    assert examine(folder).findings == ()
    async with opened_queue(folder, Courier(DEFERRED), reactor=reactor) as outbox:
        messages = (await outbox.verbs.list()).messages
        assert len(messages) >= TAKEN
        assert {one["recipients"][0]["state"] for one in messages} == {"queued"}


@pytest.mark.parametrize("later", [1, 5])
@pytest.mark.parametrize("with_log", [False, True])
@ensureDeferred
async def test_an_older_copy_of_the_database_is_not_opened(
    tmp_path: Path, later: int, with_log: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S21: a backup that was put in the place of the database, with and without the log of now."""
    monkeypatch.setattr("netserve.outbox.sqlite.commit.CHECKPOINT", 1)
    async with opened_queue(tmp_path, Courier(DEFERRED), reactor=reactor) as outbox:
        await put(outbox, "a@x.org")
    backup = (tmp_path / "queue.db").read_bytes()
    async with opened_queue(tmp_path, Courier(DEFERRED), reactor=reactor) as outbox:
        for number in range(later):
            await put(outbox, f"{number}@x.org")
        log = (tmp_path / LOG).read_bytes()
    (tmp_path / "queue.db").write_bytes(backup)
    if with_log:
        (tmp_path / LOG).write_bytes(log)
    assert "older" in await open_fails(tmp_path)
    assert kinds(tmp_path) == ["older"]


@ensureDeferred
async def test_an_older_log_is_not_written_into_the_database(tmp_path: Path) -> None:
    """S21: SQLite would take it for the last one."""
    async with opened_queue(tmp_path, Courier(DEFERRED), reactor=reactor) as outbox:
        await put(outbox, "a@x.org")
        log = (tmp_path / LOG).read_bytes()
        for number in range(5):
            await put(outbox, f"{number}@x.org")
    (tmp_path / LOG).write_bytes(log)
    await open_fails(tmp_path)
    assert kinds(tmp_path) == ["older"]


@ensureDeferred
async def test_a_copy_of_a_queue_is_not_opened(crashed: Path, tmp_path: Path) -> None:
    """S21: two of them would send everything twice."""
    copy = shutil.copytree(crashed, tmp_path / "copy")
    reason = await open_fails(copy)
    assert "seems to be a copy of a queue, since its files are not those that" in reason
    assert kinds(copy) == ["copied"]


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (("queue.db",), ["marker"]),
        (("queue.db", "marker"), ["older", "copied"]),
        (("queue.db", "queue.db-wal"), ["marker", "bodies"]),
        (("queue.db", "queue.db-wal", "marker"), ["bodies", "copied"]),
        (("bodies",), ["lost"]),
        (("bodies", "marker"), ["lost", "copied"]),
        (("marker",), ["lost", "copied"]),
    ],
)
@ensureDeferred
async def test_a_part_of_a_queue_is_not_opened(
    crashed: Path, tmp_path: Path, part: tuple[str, ...], expected: list[str]
) -> None:
    """S21: a copy that has not come to its end."""
    for name in part:
        source, target = crashed / name, tmp_path / "queue" / name
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            target.parent.mkdir(exist_ok=True)
            shutil.copy(source, target)
    await open_fails(tmp_path / "queue")
    assert kinds(tmp_path / "queue") == expected


@ensureDeferred
async def test_a_queue_of_another_machine_is_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S21: an image of a disk keeps its inode numbers."""
    async with opened_queue(tmp_path, Courier(DEFERRED), reactor=reactor) as outbox:
        await put(outbox, "a@x.org")
    monkeypatch.setattr(marker_module, "machine_id", lambda: "0" * 32)
    assert "it was made on another machine" in await open_fails(tmp_path)
    monkeypatch.setattr(marker_module, "machine_id", lambda: "")
    async with opened_queue(tmp_path, Courier(DEFERRED), reactor=reactor) as outbox:
        assert len((await outbox.verbs.list()).messages) == 1, (
            "a machine without an id says nothing"
        )


@ensureDeferred
async def test_a_queue_that_was_moved_or_given_away_opens(tmp_path: Path) -> None:
    async with opened_queue(tmp_path / "old", Courier(DEFERRED), reactor=reactor) as outbox:
        await put(outbox, "a@x.org", body=bytes(100_000))
    (tmp_path / "old").rename(tmp_path / "new")
    (tmp_path / "new" / "queue.db").chmod(0o640)
    (tmp_path / "new" / "lock").unlink()
    async with opened_queue(tmp_path / "new", Courier(DEFERRED), reactor=reactor) as outbox:
        assert len((await outbox.verbs.list()).messages) == 1


@pytest.mark.parametrize("prepared", ["nothing", "folder", "empty database", "unfinished"])
@ensureDeferred
async def test_a_new_folder_is_a_new_queue(tmp_path: Path, prepared: str) -> None:
    queue = tmp_path / "queue"
    if prepared != "nothing":
        (queue / "bodies").mkdir(parents=True)
    if prepared == "empty database":
        (queue / "queue.db").touch()
    elif prepared == "unfinished":  # a crash before there was a marker
        open_writer(queue / "queue.db").close()
    async with opened_queue(queue, Courier(DEFERRED), reactor=reactor) as outbox:
        await put(outbox, "a@x.org")
    marker = Marker.read(queue / MARKER)
    assert marker is not None
    assert marker.commits > 0
    assert examine(queue).findings == ()


@contextmanager
def as_nobody() -> Iterator[None]:
    """Be a user who owns nothing."""
    if os.geteuid() != 0:
        missing("becoming another user needs root")
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("name", ["queue.db", LOG, "queue.db-shm", "marker", "lock", "bodies", "."])
def test_files_of_another_user_are_told_with_their_owner(folder: Path, name: str) -> None:
    """S21: after a run as root, say; SQLite's own errors would name no file."""
    for path in (*folder.rglob("*"), *folder.parents, folder):
        if path.is_relative_to(folder):
            os.chown(path, 65534, 65534)
        elif path.owner() == "root" and path.stat().st_mode & 0o077 == 0:
            path.chmod(0o711)
    os.chown(folder / name, 0, 0)
    (folder / name).chmod(0o700)
    with as_nobody():
        found = examine(folder).findings
    assert found
    assert {finding.kind for finding in found} == {"access"}
    assert "belongs to root; netserve runs as nobody" in found[0].what


def test_a_full_disk_is_told(crashed: Path, tmp_path: Path) -> None:
    """S3: SQLite makes the index of its log, and finds no space; that is no damage."""
    if os.geteuid() != 0:
        missing("mounting a disk needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "none", disk]
    if subprocess.run(mount, check=False).returncode:
        missing("a disk cannot be mounted here")
    try:
        queue = belonging(shutil.copytree(crashed, disk / "queue"))
        (queue / "queue.db-shm").unlink()
        with suppress(OSError), (disk / "ballast").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        (finding,) = examine(queue).findings
        assert finding == ("access", f"cannot open {queue / 'queue.db'}: the disk is full")
        (disk / "ballast").unlink()
        assert examine(queue).findings == ()
    finally:
        subprocess.run(["umount", disk], check=True)


@ensureDeferred
async def test_a_database_that_another_program_has_locked_is_not_damaged(folder: Path) -> None:
    """Somebody looks at it with SQLite's shell, say."""
    with closing(sqlite3.connect(folder / "queue.db", isolation_level=None)) as database:
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        database.execute("BEGIN EXCLUSIVE")
        (finding,) = examine(folder).findings
        assert finding == ("access", f"cannot open {folder / 'queue.db'}: database is locked")


def test_a_read_only_disk_is_told(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        missing("mounting a disk needs root")
    queue = tmp_path / "queue"
    queue.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "none", queue], check=False).returncode:
        missing("a disk cannot be mounted here")
    try:
        (finding,) = examine(queue).findings
    finally:
        subprocess.run(["umount", queue], check=True)
    assert finding.kind == "access"
    assert finding.what == f"cannot write to {queue}, whose file system is read-only"


def test_the_time_for_the_pages_is_bounded(folder: Path) -> None:
    """S21: a queue that is too large to look at all of it starts all the same."""
    examined = examine(folder, seconds=0.0)
    assert examined.findings == ()
    assert examine(folder, seconds=None).complete


@ensureDeferred
async def test_a_body_without_a_message_goes_to_quarantine(folder: Path) -> None:
    """S21: it is never removed, and a warning tells of it; half written ones go."""
    names = [encode_id(number) for number in (5, 2**54)]
    for name in names:
        (folder / "bodies" / name).write_bytes(name.encode())
    (folder / "bodies" / f"{encode_id(9)}.tmp").write_bytes(b"half")
    before = {path.name for path in (folder / "bodies").iterdir()}
    for count in (1, 2):
        events: list[dict[str, object]] = []
        log = Logger(observer=events.append)
        async with opened_queue(folder, Courier(DEFERRED), reactor=reactor, log=log):
            pass
        (warning,) = [event for event in events if event["log_level"].name == "warn"]  # type: ignore[attr-defined]
        assert str(formatEvent(warning)).startswith(
            f"{3 - count} bodies without a message were moved to {folder / 'quarantine'};"
        )
        if count == 1:
            assert {path.name for path in (folder / "quarantine").iterdir()} == set(names)
            (folder / "bodies" / names[0]).write_bytes(b"again")
    kept = {path.name: path.read_bytes() for path in (folder / "quarantine").iterdir()}
    assert kept == {
        names[0]: names[0].encode(), f"{names[0]}.1": b"again", names[1]: names[1].encode()
    }  # fmt: skip
    assert {path.name for path in (folder / "bodies").iterdir()} == before - {
        *names, f"{encode_id(9)}.tmp"
    }  # fmt: skip


@ensureDeferred
async def test_a_body_that_a_crash_has_kept_from_being_removed_is_removed(tmp_path: Path) -> None:
    """Its message is finished, and the database says so; that is no body without a message."""
    async with opened_queue(tmp_path, Courier(), reactor=reactor) as outbox:
        message = await put(outbox, "a@x.org", body=bytes(100_000))
        number = outbox._parts.ids.last  # type: ignore[union-attr]

        def finished(connection: sqlite3.Connection, _: list[int]) -> None:
            connection.execute("INSERT OR IGNORE INTO finished VALUES (?)", (number,))

        await outbox._parts.storage._write(finished)  # type: ignore[union-attr]
    (tmp_path / "bodies" / message).write_bytes(b"left")
    async with opened_queue(tmp_path, Courier(), reactor=reactor):
        assert list((tmp_path / "bodies").iterdir()) == []
        assert not (tmp_path / "quarantine").exists()
    with closing(sqlite3.connect(tmp_path / "queue.db")) as database:
        assert database.execute("SELECT count(*) FROM finished").fetchone() == (0,)


@ensureDeferred
async def test_bodies_that_cannot_be_moved_stay_and_are_told(folder: Path) -> None:
    """S21: a file is where the quarantine should be."""
    (folder / "quarantine").write_text("")
    orphan = folder / "bodies" / encode_id(5)
    orphan.write_bytes(b"orphan")
    events: list[dict[str, object]] = []
    log = Logger(observer=events.append)
    async with opened_queue(folder, Courier(DEFERRED), reactor=reactor, log=log):
        pass
    assert orphan.read_bytes() == b"orphan"
    (error,) = [event for event in events if event["log_level"].name == "error"]  # type: ignore[attr-defined]
    assert "bodies without a message stay in" in str(formatEvent(error))


def test_the_count_in_the_marker_never_passes_that_of_the_database(crashed: Path) -> None:
    marker = Marker.read(crashed / MARKER)
    examined = examine(crashed)
    assert marker is not None
    assert marker.commits <= examined.commits <= marker.commits + 1
    assert marker.spool == examined.spool


def test_the_header_of_the_log_is_as_the_tests_take_it_to_be(crashed: Path) -> None:
    header = (crashed / LOG).read_bytes()[:12]
    assert struct.unpack(">III", header)[2] == 4096
