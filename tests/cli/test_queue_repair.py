"""``netserve queue check`` and ``repair``, run as commands, with and without a process (S21)."""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from netserve.ops.control import ControlSocket
from netserve.outbox import Outbox
from netserve.outbox.ids import decode_id
from netserve.testing.programs import missing
from netserve.testing.queue import DEFERRED, Courier, opened_queue, put
from netserve.testing.turns import share_of_turns
from tests.cli.test_queue import MAIN, run

BODY = b"Subject: a test\r\n\r\nHello\r\n"
LARGE = BODY + bytes(100_000)


@asynccontextmanager
async def running(state: Path) -> AsyncIterator[Outbox]:
    """A queue behind a control socket."""
    async with opened_queue(state / "outbox", Courier(DEFERRED), reactor=reactor) as outbox:
        control = ControlSocket(state / "control", turns=share_of_turns(), log=Logger())
        control.add_queue(outbox)
        await control.start()
        try:
            yield outbox
        finally:
            await control.stop()


async def filled(state: Path) -> list[str]:
    """Two small messages and a large one, of a process that has ended."""
    async with opened_queue(state / "outbox", Courier(DEFERRED), reactor=reactor) as outbox:
        bodies = (BODY, LARGE, BODY)
        return [await put(outbox, f"{n}@x.org", body=body) for n, body in enumerate(bodies)]


def damage_row(state: Path, message: str) -> None:
    with closing(sqlite3.connect(state / "outbox" / "queue.db")) as database:
        database.execute("UPDATE message SET sender = 'x' WHERE id = ?", (decode_id(message),))
        database.commit()


def damage_body(state: Path, message: str) -> None:
    with (state / "outbox" / "bodies" / message).open("r+b") as file:
        file.write(b"damage")


async def asked(state: Path, *arguments: str, answer: str = "") -> CompletedProcess[str]:
    return await deferToThread(run, state, *arguments, answer=answer)


@ensureDeferred
async def test_a_sound_queue_is_sound_with_and_without_its_process(tmp_path: Path) -> None:
    await filled(tmp_path)
    said = "sound: 3 messages, 3 recipients queued, 0 held\n"
    for command in ("check", "repair"):
        done = await asked(tmp_path, command)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == ("nothing was to be repaired\n" if command == "repair" else "") + said
    async with running(tmp_path):
        done = await asked(tmp_path, "check")
        assert (done.returncode, done.stdout, done.stderr) == (0, said, "")
        done = await asked(tmp_path, "repair")
        assert (done.returncode, done.stdout, done.stderr) == (0, f"held now: 0\n{said}", "")


@ensureDeferred
async def test_damage_is_told_with_and_without_its_process(tmp_path: Path) -> None:
    ids = await filled(tmp_path)
    damage_row(tmp_path, ids[0])
    damage_body(tmp_path, ids[1])
    done = await asked(tmp_path, "check")
    assert done.returncode == 1
    alone = done.stdout
    assert f"damaged: {ids[0]}: its row in the database is damaged\n" in alone
    assert f"damaged: {ids[1]}: its body is damaged: " in alone
    assert alone.endswith("NOT SOUND: 3 messages, 3 recipients queued, 0 held\n")
    async with running(tmp_path):
        done = await asked(tmp_path, "check")
        assert (done.returncode, done.stdout) == (1, alone)
        done = await asked(tmp_path, "check", "--json")
        found = json.loads(done.stdout)
        assert [one["id"] for one in found["damaged"]] == ids[:2]
        assert found["sound"] is False


@ensureDeferred
async def test_a_running_process_holds_what_is_damaged(tmp_path: Path) -> None:
    ids = await filled(tmp_path)
    damage_row(tmp_path, ids[0])
    async with running(tmp_path) as outbox:
        damage_body(tmp_path, ids[1])
        done = await asked(tmp_path, "repair")
        assert done.returncode == 0
        assert done.stdout.startswith("held now: 2\n")
        messages = (await outbox.verbs.list()).messages
        states = {one["id"]: one["recipients"][0] for one in messages}
        assert states[ids[0]]["state"] == "held"
        assert states[ids[0]]["last"] == "its row in the database is damaged"
        assert states[ids[1]]["state"] == "held"
        assert states[ids[2]]["state"] == "queued"
        assert (await asked(tmp_path, "repair")).stdout.startswith("held now: 0\n")
        done = await asked(tmp_path, "repair", "--hold")
        assert "the rest can only be repaired while the process does not run\n" in done.stdout


@ensureDeferred
async def test_a_lost_database_is_repaired_after_a_question(tmp_path: Path) -> None:
    """S21: nothing is done before the answer, and nothing is removed after it."""
    ids = await filled(tmp_path)
    queue = tmp_path / "outbox"
    (queue / "queue.db").write_bytes(b"")
    done = await asked(tmp_path, "check")
    assert done.returncode == 1
    assert "wrong: the database " in done.stdout
    done = await asked(tmp_path, "repair", answer="n\n")
    assert done.returncode == 1
    assert "found: the database " in done.stderr
    assert f"to do: put the database aside in {queue / 'aside-'}" in done.stderr
    assert (queue / "queue.db").read_bytes() == b""
    done = await asked(tmp_path, "repair", answer="y\n")
    assert done.returncode == 0, done.stderr
    assert "done: moved 1 bodies without a message to the quarantine\n" in done.stdout
    assert (queue / "quarantine" / ids[1]).read_bytes() == LARGE
    (aside,) = queue.glob("aside-*")
    assert (aside / "queue.db").exists()
    async with running(tmp_path) as outbox:
        assert (await outbox.verbs.list()).messages == []


@ensureDeferred
async def test_a_copy_is_not_repaired_but_adopted(tmp_path: Path) -> None:
    await filled(tmp_path / "old")
    await deferToThread(os.system, f"cp -r {tmp_path / 'old'} {tmp_path / 'new'}")
    done = await asked(tmp_path / "new", "repair", "--yes")
    assert done.returncode == 1
    assert "seems to be a copy of a queue" in done.stderr
    assert "say so with --adopt" in done.stderr
    done = await asked(tmp_path / "new", "repair", "--yes", "--adopt", "--hold", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["done"] == ["held 3 recipients", "wrote the marker anew"]
    assert found["held"] == 3


@ensureDeferred
async def test_a_folder_without_a_queue_is_told(tmp_path: Path) -> None:
    for command in ("check", "repair"):
        done = await asked(tmp_path, command)
        assert done.returncode == 1
        assert done.stderr == f"Error: there is no queue {tmp_path / 'outbox'}\n"


@ensureDeferred
async def test_a_queue_in_use_without_a_control_socket_is_told(tmp_path: Path) -> None:
    async with opened_queue(tmp_path / "outbox", Courier(), reactor=reactor):
        for command in ("check", "repair"):
            done = await asked(tmp_path, command)
            assert done.returncode == 1
            assert f"is in use by process {os.getpid()}" in done.stderr


def give_to_nobody(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        os.chown(path, 65534, 65534)
    for path in folder.parents:
        if path.stat().st_mode & 0o001 == 0:
            path.chmod(path.stat().st_mode | 0o011)


def owners(folder: Path) -> set[int]:
    return {path.stat().st_uid for path in folder.rglob("*")}


@ensureDeferred
async def test_root_makes_nothing_that_the_owner_cannot_use(tmp_path: Path) -> None:
    """S21: a repair by root of another user's queue."""
    if os.geteuid() != 0:
        missing("becoming another user needs root")
    await filled(tmp_path)
    give_to_nobody(tmp_path)
    (tmp_path / "outbox" / "queue.db").write_bytes(b"")
    done = await asked(tmp_path, "repair", "--yes")
    assert done.returncode == 0, done.stderr
    assert owners(tmp_path / "outbox") == {65534}


@pytest.mark.parametrize("command", ["check", "repair"])
def test_the_help_tells_what_is_done(command: str, tmp_path: Path) -> None:
    done = run(tmp_path, command, "--help")
    assert done.returncode == 0
    assert "nothing is" in done.stdout


@pytest.mark.parametrize("room", [0, 4096, 40_960])
@pytest.mark.parametrize("what", ["sound", "no marker", "a cut database"])
@ensureDeferred
async def test_a_repair_that_finds_no_room_says_so_and_removes_nothing(
    tmp_path: Path, what: str, room: int
) -> None:
    """No traceback; with room a second repair does all of it."""
    await filled(tmp_path)
    queue = tmp_path / "outbox"
    if what == "no marker":
        (queue / "marker").unlink()
    elif what == "a cut database":
        os.truncate(queue / "queue.db", (queue / "queue.db").stat().st_size // 2 & -4096)
    bodies = {path.read_bytes() for path in (queue / "bodies").iterdir()}
    command = f'ulimit -f {room // 1024}; exec "$@"'  # the system refuses to write more
    done = await deferToThread(
        subprocess.run,
        [
            *("bash", "-c", command, "-", sys.executable, "-c", MAIN),
            *("queue", "repair", "--yes", "--state", str(tmp_path)),
        ],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    if done.returncode:
        assert done.stderr.startswith("Error: ")
    left = {p.read_bytes() for p in queue.rglob("*") if p.parent.name in {"bodies", "quarantine"}}
    assert left == bodies
    done = await asked(tmp_path, "repair", "--yes")
    assert done.returncode == 0, done.stderr
