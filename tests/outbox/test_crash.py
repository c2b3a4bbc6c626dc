"""Crashes and failing disks, made by strace in a process of its own (see driver.py)."""

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor

from netserve.errors import StartError
from netserve.mail.envelope import Envelope, Recipient
from netserve.mail.queued import submission
from netserve.outbox import Outbox, OutOfSpace
from netserve.testing.programs import missing, require_program
from netserve.testing.queue import DEFERRED, Courier, opened_queue, put

DRIVER = Path(__file__).with_name("driver.py")
COUNT = 2
TAKEN = COUNT + 3


class Run:
    """One run of the driver, with a fault.

    Arguments:
        folder: for the queue and the deliveries; used again by the next run.
        fault: strace's ``inject`` expression; none where it is empty.
        outcome: of the deliveries.
    """

    def __init__(
        self,
        folder: Path,
        fault: str = "",
        outcome: str = "delivered",
        *,
        queue: Path | None = None,
    ) -> None:
        self.queue = queue or folder / "queue"
        self.spooled = folder / "spooled"
        self.trace = folder / "trace"
        command = [sys.executable, str(DRIVER), str(self.queue), str(self.spooled), outcome]
        if fault:
            calls = fault.partition(":")[0]
            calls = "fsync,fdatasync" if "sync" in calls else calls
            strace = require_program("strace")
            options = ["-f", "-y", "-o", str(self.trace)]  # --seccomp-bpf miscounts `when`
            injection = ["-e", f"trace={calls}", "-e", f"inject={fault}"]
            command = [strace, *options, *injection, *command]
        done = subprocess.run(
            [*command, str(COUNT)], capture_output=True, text=True, timeout=60, check=False
        )
        self.code = done.returncode
        self.errors = done.stderr
        words = [line.split() for line in done.stdout.splitlines()]
        self.taken = {word[1] for word in words if word[0] == "taken"}
        self.answers = [word[0] for word in words if word[0] != "open"]
        self.refusals = {word[1] for word in words if word[0] == "refused"}

    def delivered(self) -> Counter[str]:
        """How often each message was delivered."""
        lines = self.spooled.read_text().split("\n")[:-1] if self.spooled.exists() else []
        assert not [line for line in lines if not line.endswith(" whole")]
        return Counter(line.split()[0] for line in lines)


async def queued(folder: Path) -> set[str]:
    """What a later process finds in the queue; its bodies are read as well."""
    async with opened_queue(folder / "queue", Courier(DEFERRED), reactor=reactor) as outbox:
        messages = (await outbox.verbs.list()).messages
        for message in messages:
            assert message["recipients"][0]["state"] == "queued"
            _, loaded = await outbox.verbs.export(message["id"])
            reader = loaded.body()
            assert len(reader.read()) == loaded.size
            reader.close()
        bodies = {path.name for path in (folder / "queue" / "bodies").iterdir()}
        large = {message["id"] for message in messages if message["size"] > 65536}
        assert bodies == large, "no file without a row, no row without a file"
        return {message["id"] for message in messages}


async def prepare(folder: Path) -> None:
    """Make an empty queue, so that the driver's faults fall on its mail, not on its tables."""
    async with opened_queue(folder / "queue", Courier(), reactor=reactor):
        pass


@pytest.mark.slow
@pytest.mark.parametrize("outcome", ["deferred", "delivered"])
@pytest.mark.parametrize("call", ["fdatasync", "fsync", "linkat", "unlinkat"])
@ensureDeferred
async def test_killed_at_every_sync_nothing_taken_is_lost(
    tmp_path: Path, call: str, outcome: str
) -> None:
    """S1: killed at each fsync, fdatasync, link and unlink, what got its answer is still there."""
    points = 0
    for when in range(1, 40):
        folder = tmp_path / str(when)
        folder.mkdir()
        await prepare(folder)
        run = Run(folder, f"{call}:signal=KILL:when={when}", outcome)
        there, delivered = await queued(folder), run.delivered()
        if outcome == "delivered":
            assert run.taken <= there | set(delivered)
        else:
            assert run.taken <= there
        if run.code == 0:
            assert len(run.taken) == TAKEN
            break
        points += 1
        assert run.code in {-9, 137}, run.errors
    else:
        pytest.fail("it never came to its end")
    assert points >= {"fdatasync": 5, "fsync": 2, "linkat": 3, "unlinkat": 1}[call] or (
        call == "unlinkat" and outcome == "deferred"
    )


@pytest.mark.slow
@ensureDeferred
async def test_killed_while_it_is_made_a_queue_can_be_made_again(tmp_path: Path) -> None:
    """S1: killed at each sync of the first start, the second start finds a whole queue."""
    for when in range(1, 40):
        folder = tmp_path / str(when)
        folder.mkdir()
        run = Run(folder, f"fdatasync:signal=KILL:when={when}", "deferred")
        assert run.taken <= await queued(folder)
        if run.code == 0:
            break
    assert when > 5


@ensureDeferred
async def test_after_a_crash_the_rest_is_delivered_and_at_most_the_last_twice(
    tmp_path: Path,
) -> None:
    """S1: a process that is killed again and again delivers everything that it took."""
    taken: set[str] = set()
    await prepare(tmp_path)
    for when in (4, 6, 5, 7):
        taken |= Run(tmp_path, f"fdatasync:signal=KILL:when={when}").taken
    last = Run(tmp_path)
    assert last.code == 0, last.errors
    delivered = last.delivered()
    assert taken | last.taken <= set(delivered)
    assert max(delivered.values()) <= 5
    assert await queued(tmp_path) == set()


@pytest.mark.parametrize(
    ("call", "when"), [("fdatasync", 1), ("fdatasync", 3), ("fdatasync", 4), ("fsync", 1)]
)
@ensureDeferred
async def test_after_a_failed_sync_no_mail_is_taken(tmp_path: Path, call: str, when: int) -> None:
    """S2: a failed sync answers 451, is not made again, and nothing is taken after it."""
    await prepare(tmp_path)
    run = Run(tmp_path, f"{call}:error=EIO:when={when}", "deferred")
    assert run.code == 0, run.errors
    assert run.refusals == {"StorageFailed"}
    assert set(run.answers[run.answers.index("refused") :]) == {"refused"}
    behind = run.trace.read_text().partition("INJECTED")[2]
    assert re.findall(r"f(?:data)?sync\(", behind) == [], "no sync after the one that failed"
    assert run.taken <= await queued(tmp_path)


@ensureDeferred
async def test_a_write_that_finds_the_disk_full_answers_452_and_life_goes_on(
    tmp_path: Path,
) -> None:
    """S3: no space at some writes of the database; later ones succeed."""
    await prepare(tmp_path)
    run = Run(tmp_path, "pwrite64:error=ENOSPC:when=24..25", "deferred")
    assert run.code == 0, run.errors
    assert run.refusals == {"OutOfSpace"}
    assert "taken" in run.answers  # which write it is depends on how commits are grouped
    assert run.taken == await queued(tmp_path)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one megabyte."""
    if os.geteuid() != 0:
        missing("mounting a small disk needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", disk]
    if subprocess.run(mount, check=False).returncode != 0:
        missing("a small disk cannot be mounted here")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


@ensureDeferred
async def test_a_full_disk_answers_452_and_recovers_by_itself(small_disk: Path) -> None:
    """S3: a disk of one megabyte is filled, emptied, and used again, by one process."""
    disk = small_disk
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(300_000))
    taken = []
    async with opened_queue(disk / "queue", Courier(DEFERRED), reactor=reactor) as outbox:
        for body in (b"x" * 20_000, b"y" * 100_000):
            taken += await take_until_full(outbox, body)
        assert taken
        assert outbox.broken is None
        assert {one["id"] for one in (await outbox.verbs.list()).messages} == set(taken)
        ballast.unlink()
        taken.append(await take(outbox, b"z" * 100_000))
        taken.append(await take(outbox, b"z" * 1000))
    assert await queued(disk) == set(taken)


async def take_until_full(outbox: Outbox, body: bytes) -> list[str]:
    """Put messages in until there is no space, and give their ids."""
    taken = []
    for _ in range(60):
        try:
            taken.append(await take(outbox, body))
        except OutOfSpace:
            return taken
    pytest.fail("the disk did not become full")


async def take(outbox: Outbox, body: bytes) -> str:
    incoming = outbox.incoming()
    try:
        incoming.write(body)
        envelope = Envelope(sender="", recipients=(Recipient("a@example.com"),))
        return await incoming.commit("mail", submission(envelope))
    finally:
        incoming.abort()


@pytest.fixture
def busy(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has the queue open."""
    process = subprocess.Popen(
        [sys.executable, DRIVER, tmp_path / "queue", tmp_path / "spooled", "deferred", "100000"],
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith(b"open")
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


@ensureDeferred
async def test_a_second_process_says_so_and_does_not_start(
    tmp_path: Path, busy: subprocess.Popen[bytes]
) -> None:
    queue = tmp_path / "queue"
    with pytest.raises(StartError, match=rf"{queue} is in use by process {busy.pid}$"):
        async with opened_queue(queue, Courier(), reactor=reactor):
            pass
    busy.kill()
    busy.wait()
    async with opened_queue(queue, Courier(DEFERRED), reactor=reactor) as outbox:
        await put(outbox, "a@example.com")
