"""A real process is killed, and the power is lost, at each point where something becomes durable.

Each story lets the relay do one thing. It is told once with nothing but strace watching: that gives
the points. Then it is told once for each of them, on a fresh copy of the same disk, and strace
kills the process as it enters that system call. What the page cache has then is what a ``kill -9``
leaves; what the disk has after a power loss comes next. On both the relay is started again.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

import pytest

from netserve.outbox.ids import encode_id
from netserve.testing.process import free_port
from netserve.testing.programs import require_program
from tests.integration.crash.disk import copy_image, make_image, mounted
from tests.integration.crash.nursery import Nursery, nursery
from tests.integration.crash.site import (
    Contents,
    Hop,
    Site,
    contents,
    hop_delivered,
    take_for_the_original,
)
from tests.integration.crash.tracing import Step, steps, traced

PAGE = Path(__file__).parents[3] / "docs" / "crash-safety.md"
BEFORE = ("kept-1", "kept-2", "old-1", "old-2")
TAKEN_BEFORE = {"empty": (), "used": BEFORE, "crashed": (*BEFORE, "kept-3")}
"""What was taken before a story, by its disk: messages that wait, and two in Maildirs."""


@dataclass(frozen=True)
class Story:
    """What the relay does.

    Arguments:
        tell: does it, through the site's client.
        begins: the disk that it begins with, as a field of `Disks`.
        from_start: it is watched from its first moment, not only when it is ready.
        checkpoint: bytes of the WAL after which it is written back.
        warm: it has taken a message before it is watched, so that its log is not new.
        stops: it is asked to end behind the story, and watched in that too.
    """

    tell: Callable[[Site], None]
    begins: str = "used"
    from_start: bool = False
    checkpoint: int = 0
    stops: bool = False
    warm: bool = False


def _small(site: Site) -> None:
    """A small message into a Maildir that is not there yet."""
    site.send("small-1", "new@box.test")
    site.wait_for("delivered to <new@box.test>")


def _large(site: Site) -> None:
    """A large message into a Maildir."""
    site.send("large-1", "old@box.test", size=100_000)
    site.wait_for("delivered to <old@box.test>")


def _onward(site: Site) -> None:
    """A small and a large message to the next server."""
    site.send("onward-1", "ok@hop.test")
    site.send("onward-2", "ok@hop.test", size=100_000)
    site.wait_for("delivered to <ok@hop.test>")


def _bounced(site: Site) -> None:
    """A message that the next server refuses; its bounce goes into a Maildir."""
    site.send("bounced-1", "no@hop.test")
    site.wait_for("delivered to <bounced-1@box.test>")


def _put_off(site: Site) -> None:
    """A message that the next server puts off."""
    site.send("later-1", "later@hop.test")
    site.wait_for("later@hop.test>")


def _checkpoint(site: Site) -> None:
    """Messages that wait, until the WAL is written back."""
    for number in range(1, 4):
        site.send(f"wal-{number}", "later@hop.test", size=50_000)


def _start(site: Site) -> None:
    """A start, and one message."""
    site.wait_for("ready: ")
    site.send("first-1", "old@box.test")
    site.wait_for("delivered to <old@box.test>")


STORIES = {
    "small": Story(_small),
    "first Maildir": Story(_small, "empty", warm=True),
    "large": Story(_large),
    "onward": Story(_onward),
    "bounced": Story(_bounced),
    "put off": Story(_put_off, stops=True),
    "checkpoint": Story(_checkpoint, checkpoint=100_000),
    "first start": Story(_start, "empty", from_start=True),
    "start after a crash": Story(_start, "crashed", from_start=True),
}


@dataclass(frozen=True)
class Disks:
    """Images that stories begin with."""

    empty: Path
    used: Path
    crashed: Path


@dataclass(frozen=True)
class Stage:
    """What all runs share."""

    nursery: Nursery
    hop: Hop
    disks: Disks
    folder: Path
    port: int

    def site(self, root: Path) -> Site:
        """A relay in a folder."""
        return Site(root, self.nursery, self.hop, self.port)


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sequence[Stage]]:
    """Two, since most of the time goes into waiting for disks."""
    require_program("strace")
    with ExitStack() as stack:
        made = []
        for _ in range(2):
            folder = tmp_path_factory.mktemp("points")
            disks = Disks(*(folder / f"{name}.img" for name in ("empty", "used", "crashed")))
            make_image(disks.empty)
            hop, forks = stack.enter_context(Hop().running()), stack.enter_context(nursery())
            made.append(Stage(forks, hop, disks, folder, free_port()))
            _prepare(made[-1])
        yield made


def _prepare(stage: Stage) -> None:
    """The disk of a relay that was stopped, and that of one that was killed."""
    disks, log = stage.disks, stage.folder / "log"
    with mounted(disks.empty, stage.folder / "empty") as disk:
        stage.site(disk.folder).configure()
    copy_image(disks.empty, disks.used)
    with mounted(disks.used, stage.folder / "used") as disk:
        site = stage.site(disk.folder)
        with site.running(output=log) as process:
            site.send("kept-1", "later@hop.test")
            site.send("kept-2", "later@hop.test", size=100_000)
            site.send("old-1", "old@box.test")
            site.send("old-2", "bounced-1@box.test")
            site.wait_for("delivered to <old@box.test>")
            site.wait_for("delivered to <bounced-1@box.test>")
            site.wait_until_idle()
            process.stop()
    copy_image(disks.used, disks.crashed)
    with mounted(disks.crashed, stage.folder / "crashed") as disk:
        site = stage.site(disk.folder)
        bodies = disk.folder / "var" / "outbox" / "bodies"
        with site.running(output=log):
            site.send("kept-3", "later@hop.test")
            site.wait_until_idle()
        (bodies / encode_id(5)).write_bytes(b"an orphan")
        (bodies / f"{encode_id(6)}.tmp").write_bytes(b"half of something")
    assert site.taken == ["kept-3"]


def _tell(
    stage: Stage, root: Path, story: Story, trace: Path, inject: str = "", path: str = ""
) -> Site:
    """Tell a story, with a fault or without; the relay does not run behind it."""
    site = stage.site(root)
    log = trace.with_suffix(".log")
    until = "" if story.from_start else "ready: "
    with site.running(
        output=log, until=until, waits=story.from_start, checkpoint=story.checkpoint
    ) as process:
        if story.warm:
            site.send("onward-0", "ok@hop.test")
            site.wait_until_idle()
        with traced(process.pid, trace, inject=inject, path=path):
            if story.from_start:
                process.go()
            story.tell(site)
            if process.code is None and not story.stops:
                site.wait_until_idle()
            elif process.code is None:
                process.stop()
        if "+++ killed by SIGKILL" in trace.read_text():
            process.wait()
        assert process.code in {None, 0, -9 if inject else 0}, process.log()
        site.killed = process.code == -9
    return site


def _told(stage: Stage, story: Story, folder: Path) -> list[Step]:
    """What was seen when the story was told without a fault."""
    trace = folder / "reference"
    image = folder / "reference.img"
    copy_image(getattr(stage.disks, story.begins), image)
    with mounted(image, folder / "disk") as disk:
        _tell(stage, disk.folder, story, trace)
        return [step for step in steps(trace, disk.folder) if not step.failed]


def _every_point(
    stage: Stage, stories: Iterable[str], folder: Path
) -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:
    """Tell stories, and stop them at every point: all points that were seen, and that were hit."""
    seen: set[tuple[str, str]] = set()
    hit: set[tuple[str, str]] = set()
    for name in stories:
        story = STORIES[name]
        here = folder / name.replace(" ", "-")
        here.mkdir()
        told = _told(stage, story, here)
        seen |= {step.point for step in told}
        # strace counts by thread: of two calls with the same number the first one is hit.
        ways = {(step.call, step.number): step for step in reversed(told)}
        for number, step in enumerate(ways.values()):
            fault = f"{step.call}:signal=KILL:when={step.number}"
            hit |= _lose(stage, story, fault, here / str(number))
        for number, step in enumerate(told):
            if step.point not in hit and "NAME" not in step.path and "ID" not in step.path:
                fault = f"{step.call}:signal=KILL:when={step.number_there}"
                hit |= _lose(stage, story, fault, here / f"path{number}", step.path)
    return seen, hit


@pytest.mark.slow
def test_at_every_point_nothing_that_got_its_250_is_lost(
    stages: Sequence[Stage], tmp_path: Path
) -> None:
    """S1: killed, and without power, at each fsync, fdatasync, link, unlink, mkdir and commit."""
    seen: set[tuple[str, str]] = set()
    hit: set[tuple[str, str]] = set()
    with ThreadPoolExecutor(len(stages)) as pool:
        parts = [list(STORIES)[at :: len(stages)] for at in range(len(stages))]
        for some_seen, some_hit in pool.map(_every_point, stages, parts, repeat(tmp_path)):
            seen |= some_seen
            hit |= some_hit
    assert hit >= seen, "points that were not hit"
    assert documented() == seen, "the table in docs/crash-safety.md"


def documented() -> set[tuple[str, ...]]:
    """The points of the table in the docs."""
    return set(re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", PAGE.read_text(), re.MULTILINE))


def _lose(
    stage: Stage, story: Story, fault: str, folder: Path, path: str = ""
) -> set[tuple[str, str]]:
    """Tell a story with a fault, and hold what is left to the promise; the point that was hit."""
    folder.mkdir()
    image, trace, killed = folder / "img", folder / "trace", folder / "killed"
    copy_image(getattr(stage.disks, story.begins), image)
    taken_before = len(stage.hop.taken)
    with mounted(image, folder / "disk") as disk:
        on_path = str(disk.folder / path) if path else ""
        site = _tell(stage, disk.folder, story, trace, fault, on_path.removesuffix("/."))
        passed_on = hop_delivered(stage.hop.taken[taken_before:])
        taken = [*TAKEN_BEFORE[story.begins], *site.taken]
        subprocess.run(["cp", "-a", disk.folder, killed], check=True, timeout=30)
        take_for_the_original(killed / "var" / "outbox")
        _check(stage, killed, taken, passed_on)
        disk.lose_power()
        _check(stage, disk.folder, taken, passed_on)
        hit = [step.point for step in steps(trace, disk.folder) if _is_at(step, fault, path)]
    shutil.rmtree(folder)
    return set(hit) if site.killed else set()


def _is_at(step: Step, fault: str, path: str) -> bool:
    number = step.number_there if path else step.number
    return fault == f"{step.call}:signal=KILL:when={number}"


_COMPLAINT = r" (?:warn|error|critical) (?!.*bodies without a message were moved to )"
"""A line of the log that no crash explains."""


def _check(stage: Stage, root: Path, taken: list[str], passed_on: Counter[str]) -> None:
    """All that was taken is there; after a restart that which was queued has gone out once more, at
    most.
    """
    scratch = stage.folder / "scratch"
    there = contents(root, scratch)
    _nothing_lost(taken, there, passed_on)
    site = stage.site(root)
    already = len(stage.hop.taken)
    with site.running(output=stage.folder / "restarted") as process:
        site.wait_until_idle()
        process.stop()
        assert not re.findall(_COMPLAINT, process.log()), process.log()
    after = contents(root, scratch)
    passed_on_after = passed_on + hop_delivered(stage.hop.taken[already:])
    _nothing_lost(taken, after, passed_on_after)
    assert all(name.startswith(("kept", "later", "wal")) for name in after.queued)
    before = there.delivered + passed_on
    for name, times in (after.delivered + passed_on_after).items():
        assert times <= before[name] + (name in there.queued), f"{name} was delivered again"
        assert times <= 2, f"{name} was delivered {times} times"


def _nothing_lost(taken: list[str], there: Contents, passed_on: Counter[str]) -> None:
    lost = set(taken) - there.queued - set(there.delivered) - set(passed_on)
    assert not lost, f"lost: {lost}"
