"""A real process on a disk that fails, fills up, or becomes read-only, over SMTP."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from netserve.testing.process import free_port, wait_until
from netserve.testing.programs import missing
from tests.integration.crash.disk import make_image, mounted
from tests.integration.crash.nursery import Nursery, nursery
from tests.integration.crash.site import Hop, Site, contents
from tests.integration.crash.tracing import traced


@pytest.fixture(scope="module")
def forks() -> Iterator[Nursery]:
    with nursery() as made:
        yield made


@pytest.fixture(scope="module")
def hop() -> Iterator[Hop]:
    with Hop().running() as made:
        yield made


@pytest.fixture
def site(tmp_path: Path, forks: Nursery, hop: Hop) -> Site:
    root = tmp_path / "site"
    root.mkdir()
    return Site(root, forks, hop, free_port(), size="100KiB")


@pytest.mark.parametrize(
    ("fault", "size"),
    [("fdatasync:error=EIO:when=2", 500), ("fsync:error=EIO:when=1", 90_000)],
    ids=["the commit", "the folder of large bodies"],
)
def test_a_failed_sync_is_451_and_no_more_mail_is_taken(
    site: Site, tmp_path: Path, fault: str, size: int
) -> None:
    """S2: also when syncs would succeed again; the next start has what got its 250."""
    site.configure()
    with site.running(output=tmp_path / "log") as process:
        assert site.send("kept-1", "later@hop.test").startswith("250")
        site.wait_until_idle()
        trace = tmp_path / "trace"
        with traced(process.pid, trace, inject=fault):
            replies = [site.send(f"bad-{at}", "later@hop.test", size=size) for at in range(3)]
            failed = [reply for reply in replies if not reply.startswith("250")]
            assert failed
            assert all(reply.startswith("451 4.3.0") for reply in failed), replies
            assert replies == sorted(replies), "none is taken behind one that failed"
        behind = trace.read_text().partition("(INJECTED)")[2]
        assert "sync(" not in behind, "no sync is made as if it could succeed"
        assert " critical " in process.log()
        process.stop()
    with site.running(output=tmp_path / "log") as process:
        site.wait_until_idle()
        assert site.send("good-1", "later@hop.test").startswith("250")
        process.stop()
    assert set(site.taken) <= contents(site.root, tmp_path / "scratch").queued


@contextmanager
def small_disk(site: Site) -> Iterator[None]:
    """A disk of one megabyte and fifty files for a relay."""
    if os.geteuid() != 0:
        missing("mounting a small disk needs root")
    options = ["-t", "tmpfs", "-o", "size=1m,nr_inodes=50", "none"]
    if subprocess.run(["mount", *options, site.root], check=False).returncode:
        missing("a small disk can't be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", site.root], check=True)


def test_a_start_on_a_full_disk_says_so_and_loses_nothing(site: Site, tmp_path: Path) -> None:
    """S1, S21: the start is refused; once there is space, all is there."""
    with small_disk(site):
        site.configure()
        with site.running(output=tmp_path / "log") as process:
            assert site.send("kept-1", "later@hop.test", size=90_000).startswith("250")
            process.stop()
        ballast = site.root / "ballast"
        fill(ballast)
        with site.running(output=tmp_path / "full", until="") as process:
            assert process.wait() == 1
            assert "queue.db: the disk is full" in process.log()
        ballast.unlink()
        with site.running(output=tmp_path / "again") as process:
            assert site.send("kept-2", "later@hop.test").startswith("250")
            process.stop()
        assert contents(site.root, tmp_path / "scratch").queued == {"kept-1", "kept-2"}


def test_a_full_disk_is_452_and_is_recovered_from(site: Site, tmp_path: Path) -> None:
    """S3: no space, then no inode, then both again."""
    with small_disk(site):
        site.configure()
        with site.running(output=tmp_path / "log") as process:
            assert site.send("kept-1", "later@hop.test", size=90_000).startswith("250")
            ballast = site.root / "ballast"
            fill(ballast)
            assert site.send("full-1", "later@hop.test").startswith("452 4.3.1")
            ballast.unlink()
            for at in range(60):  # no inode is left for a body in a file
                try:
                    (site.root / f"file-{at}").touch()
                except OSError:
                    break
            reply = site.send("full-2", "later@hop.test", size=90_000)
            assert reply.startswith("452 4.3.1"), reply
            assert site.send("kept-2", "later@hop.test").startswith("250")
            for file_of_none in site.root.glob("file-*"):
                file_of_none.unlink()
            assert site.send("kept-3", "later@hop.test", size=90_000).startswith("250")
            assert process.code is None
            assert " critical " not in process.log()
            process.stop()
        queued = contents(site.root, tmp_path / "scratch").queued
        assert queued == {"kept-1", "kept-2", "kept-3"}


def fill(path: Path) -> None:
    """Fill a disk with one file."""
    with path.open("wb", buffering=0) as file:
        for _ in range(1000):
            try:
                file.write(b"x" * 4096)
            except OSError:
                return
    pytest.fail("the disk did not become full")


def test_a_disk_that_becomes_read_only_is_451(site: Site, tmp_path: Path) -> None:
    """S1, S2: as ext4 makes it after an error; when it is well again, all is there."""
    image = tmp_path / "image"
    make_image(image)
    with mounted(image, site.root) as disk:
        site.configure()
        with site.running(output=tmp_path / "log") as process:
            assert site.send("kept-1", "later@hop.test").startswith("250")
            site.wait_until_idle()
            command = ["mount", "-o", "remount,abort", site.root]
            subprocess.run(command, check=False, capture_output=True)
            try:
                (site.root / "probe").write_text("")
            except OSError:
                pass
            else:
                missing("ext4 can't be made read-only while files are open here")
            for size in (500, 90_000):
                assert site.send("lost-1", "later@hop.test", size=size).startswith("451 4.3.0")
            wait_until(lambda: " critical " in process.log(), what="the alarm")
            process.stop()
        disk.unmount()
        subprocess.run(["e2fsck", "-p", image], check=False, timeout=30, capture_output=True)
        disk.mount()
        site.configure()  # it was not synced
        with site.running(output=tmp_path / "log") as process:
            site.wait_until_idle()
            assert site.send("kept-2", "later@hop.test").startswith("250")
            process.stop()
        assert contents(site.root, tmp_path / "scratch").queued == {"kept-1", "kept-2"}


def test_a_second_process_on_the_same_queue_says_so(site: Site, tmp_path: Path) -> None:
    """It names the first one, which goes on; nothing is touched."""
    site.configure()
    with site.running(output=tmp_path / "log") as first:
        assert site.send("kept-1", "later@hop.test").startswith("250")
        text = (site.root / "config.yaml").read_text().replace(str(site.port), str(free_port()))
        (site.root / "second.yaml").write_text(text)
        second = site.nursery.start(site.root / "second.yaml", tmp_path / "second", until="")
        assert second.wait() == 1
        assert f"is in use by process {first.pid}" in second.log()
        assert site.send("kept-2", "later@hop.test").startswith("250")
        first.stop()
    assert contents(site.root, tmp_path / "scratch").queued == {"kept-1", "kept-2"}
