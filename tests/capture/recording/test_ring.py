"""S18: files of a capture stay in their folder, are private, and have a quota; a full disk."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from netserve.capture.model import Kind
from netserve.capture.reading.opening import opened
from netserve.capture.recording import ring as module
from netserve.capture.recording.archive import Archive
from netserve.capture.recording.ring import Ring, RingLimits, check_name
from netserve.capture.recording.scribe import Scribe
from netserve.testing.programs import missing
from tests.capture.traffic import BEGAN, SMTP, flow, records
from tests.capture.wireshark import wrong


class Time:
    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


def ring(folder: Path, time: Time | None = None, prefix: str = "mail", **limits: float) -> Ring:
    time = time or Time()
    wanted = RingLimits(**{"keep_free": 0, **limits})  # type: ignore[arg-type]
    return Ring(folder, prefix, wanted, seconds=time, monotonic=time)


def archive(made: Ring) -> Archive:
    return Archive(Scribe(application="netserve 0.0"), made, lambda: BEGAN)


@pytest.mark.parametrize(
    "name",
    ["..", ".", "", "a/b", "/etc/passwd", "../x", "a\0b", "-rf", ".hidden", "a b", "a\nb", "\u00e4",
     "x" * 101, "a\\b", "~", "a\x1b[2J"],
)  # fmt: skip
def test_names_that_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="is not a file name for a capture"):
        check_name(name)
    with pytest.raises(ValueError, match="is not a file name for a capture"):
        ring(tmp_path / "captures", prefix=name)
    assert list(tmp_path.iterdir()) == []


def test_files_and_folder_are_private(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        made = ring(tmp_path / "a" / "captures")
        assert made.next_file(b"head")
    finally:
        os.umask(before)
    folder = tmp_path / "a" / "captures"
    assert made.names == ["mail-20231114T221320Z-000001.pcapng"]
    assert stat.S_IMODE((folder / made.names[0]).stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert (folder / made.names[0]).read_bytes() == b"head"


def test_links_are_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "link").symlink_to(outside)
    with pytest.raises(OSError) as caught:  # noqa: PT011 - its number is looked at
        ring(tmp_path / "link")
    assert caught.value.errno in {errno.ELOOP, errno.ENOTDIR}
    folder = tmp_path / "captures"
    folder.mkdir()
    target = tmp_path / "precious"
    target.write_bytes(b"precious")
    # Someone has put a link where the next file is to be, and one with a name of the ring.
    (folder / "mail-20231114T221320Z-000001.pcapng").symlink_to(target)
    made = ring(folder, files=1)
    assert made.names == []
    assert not made.next_file(b"head")
    assert made.problem == "File exists"
    assert target.read_bytes() == b"precious"


def test_the_folder_may_be_moved_and_replaced_meanwhile(tmp_path: Path) -> None:
    folder = tmp_path / "captures"
    made = ring(folder)
    folder.rename(tmp_path / "moved")
    (tmp_path / "elsewhere").mkdir()
    folder.symlink_to(tmp_path / "elsewhere")
    assert made.next_file(b"head")
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert len(list((tmp_path / "moved").iterdir())) == 1


def test_number_and_quota(tmp_path: Path) -> None:
    made = ring(tmp_path, files=3)
    for number in range(10):
        assert made.next_file(b"%d" % number)
    assert [path.read_bytes() for path in sorted(tmp_path.iterdir())] == [b"7", b"8", b"9"]
    made.close()
    limited = ring(tmp_path, files=100, file_size=100, quota=350)
    for _ in range(10):
        assert limited.next_file(b"x" * 100)
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 350
    assert len(limited.names) == 3


def test_files_of_an_earlier_run_count_and_others_are_left_alone(tmp_path: Path) -> None:
    first = ring(tmp_path, files=5)
    for _ in range(4):
        assert first.next_file(b"old")
    first.close()
    others = [
        "notes.txt",
        "web-20231114T221320Z-000001.pcapng",
        "mail-x.pcapng",
        "mailer-20231114T221320Z-000001.pcapng",
    ]
    for name in others:
        (tmp_path / name).write_bytes(b"x" * 10_000)
    again = ring(tmp_path, files=2)
    assert len(again.names) == 4  # nothing is removed before something is written
    assert again.next_file(b"new")
    assert len(again.names) == 2
    assert again.names[-1].endswith("-000005.pcapng")
    assert {path.name for path in tmp_path.iterdir()} == {*others, *again.names}


def test_files_are_changed_by_size_and_by_time(tmp_path: Path) -> None:
    time = Time()
    made = ring(tmp_path, time, file_size=1000, file_seconds=60)
    assert made.is_full()
    made.next_file(b"")
    assert not made.is_full(1000)
    assert made.is_full(1001)
    made.write(b"x" * 500)
    assert made.is_full(501)
    time.now += 60
    assert made.is_full()


def test_an_archive_over_many_files(tmp_path: Path) -> None:
    made = ring(tmp_path, file_size=100_000)
    target = archive(made)
    for number in range(1, 6):
        target.write(records(flow(number, "ipv4", port=25), SMTP))
    target.close()
    paths = sorted(tmp_path.iterdir())
    assert len(paths) > 5
    packets = 0
    for path in paths:
        assert path.stat().st_size <= 300_000  # a record is not divided
        with opened(str(path)) as capture:
            packets += len(list(capture.packets()))
            assert capture.info.notes == []
    whole = tmp_path / "whole"
    whole.write_bytes(b"".join(path.read_bytes() for path in paths))
    assert wrong(whole) == ""
    assert packets == len(list(_packets(whole)))


def _packets(path: Path) -> Iterator[object]:
    with opened(str(path)) as capture:
        yield from capture.packets()


def test_a_write_that_fails_halfway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written before stays whole, what was lost is counted, and it goes on afterwards."""
    time = Time()
    made = ring(tmp_path, time)
    target = archive(made)
    every = list(records(flow(1, "ipv4", port=25), SMTP))
    target.write(every[:4])
    real, budget = os.write, [300]

    def write(file: int, data: bytes) -> int:
        if budget[0] <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        count = real(file, data[: budget[0]])
        budget[0] -= count
        return count

    monkeypatch.setattr(module.os, "write", write)
    target.write(every[4:8])
    assert target.lost == 4
    assert made.problem == "No space left on device"
    assert made.is_paused()
    target.write(every[8:9])  # not even tried
    assert (target.lost, made.failures) == (5, 1)
    monkeypatch.setattr(module.os, "write", real)
    time.now += 10
    target.write(every[9:])
    target.close()
    (path,) = tmp_path.iterdir()
    with opened(str(path)) as capture:
        packets = list(capture.packets())
        assert capture.info.dropped == 5
    assert any(
        "service service25" in comment for packet in packets[4:] for comment in packet.comments
    )
    assert packets[-1].data


def test_a_disk_that_is_full(tmp_path: Path) -> None:
    """A real one of one megabyte: nothing is raised, files stay readable, and it recovers."""
    if os.geteuid() != 0:
        missing("a file system of its own needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        missing("tmpfs cannot be mounted here")
    try:
        time, made = Time(), None
        made = ring(disk / "captures", time, file_size=10 << 20)
        target = archive(made)
        which = flow(1, "ipv4", port=7)
        data = [(which, BEGAN, Kind.OPENED, None)] + [
            (which, BEGAN, Kind.RECEIVED, bytes(50_000))
        ] * 40
        for record in data:
            target.write([record])  # type: ignore[list-item]
        assert made.problem == "No space left on device"
        assert target.lost > 10
        before = len(list(_packets(disk / "captures" / made.names[0])))
        assert before > 5
        (disk / "captures" / made.names[0]).rename(disk / "captures" / "saved")
        os.truncate(disk / "captures" / "saved", 0)
        time.now += 10
        made.close_file()
        target.write([(which, BEGAN, Kind.RECEIVED, b"again")])
        target.close()
        found = list(_packets(disk / "captures" / made.names[-1]))
        assert found[0].data.endswith(b"again")  # type: ignore[attr-defined]
    finally:
        if made is not None:
            made.close()
        subprocess.run(["umount", str(disk)], check=True)


def test_room_is_left_to_others(tmp_path: Path) -> None:
    made = ring(tmp_path, keep_free=1 << 60)
    target = archive(made)
    target.write(records(flow(1, "ipv4", port=25), SMTP))
    target.close()
    assert made.problem == "the disk has only the room that is kept free"
    assert target.lost == len(SMTP)
    assert list(tmp_path.iterdir()) == []


def test_descriptors_are_closed(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        made = ring(tmp_path)
        made.next_file(b"x")
        made.next_file(b"y")
        made.close()
        made.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
