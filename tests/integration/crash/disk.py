"""A disk that loses its power: ext4 in a file, with what was not synced gone when it comes back.

``kill -9`` keeps the page cache, so it says nothing about syncs. Ext4 has an ioctl that shuts the
file system down without writing anything more, as a power loss would. Nothing is written back by
itself meanwhile (``commit=600``), and nothing is flushed out of kindness (``noauto_da_alloc``).
"""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from netserve.testing.process import wait_until
from netserve.testing.programs import missing, require_program

_SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN
_WITHOUT_FLUSHING = struct.pack("I", 2)
_OPTIONS = "loop,commit=600,noauto_da_alloc,errors=remount-ro"


def make_image(image: Path, *, megabytes: int = 32) -> None:
    """Make an empty file system in a file."""
    if os.geteuid() != 0:
        missing("mounting a disk needs root")
    with image.open("wb") as file:
        file.truncate(megabytes << 20)
    options = ["-q", "-F", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0"]
    subprocess.run([require_program("mkfs.ext4"), *options, image], check=True, timeout=30)


def copy_image(image: Path, target: Path) -> None:
    """Copy it, holes as holes."""
    subprocess.run(["cp", "--sparse=always", image, target], check=True, timeout=30)


class Disk:
    """A mounted image.

    Arguments:
        image: the file.
        folder: where it is mounted.
    """

    def __init__(self, image: Path, folder: Path) -> None:
        self._image = image
        self.folder = folder
        self._mounted = False

    def mount(self) -> None:
        """Mount it, which brings its journal to its end."""
        command = ["mount", "-o", _OPTIONS, self._image, self.folder]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        if done.returncode:
            missing(f"an image can't be mounted here: {done.stderr.strip()}")
        self._mounted = True

    def unmount(self) -> None:
        """Unmount it; harmless when it is not mounted."""
        if self._mounted:
            self._mounted = False
            wait_until(self._unmounted, what=f"{self.folder} to be let go")

    def _unmounted(self) -> bool:
        # A child of another thread may have our files open until it is what it is to become.
        done = subprocess.run(
            ["umount", self.folder], capture_output=True, text=True, timeout=30, check=False
        )
        assert done.returncode == 0 or "busy" in done.stderr, done.stderr
        return done.returncode == 0

    def lose_power(self) -> None:
        """Lose all that was not synced. Who has files open on it must be dead by then."""
        folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(folder, _SHUTDOWN, _WITHOUT_FLUSHING)
        finally:
            os.close(folder)
        self.unmount()
        self.mount()


@contextmanager
def mounted(image: Path, folder: Path) -> Iterator[Disk]:
    """A disk with this image, unmounted behind the block."""
    folder.mkdir(parents=True, exist_ok=True)
    disk = Disk(image, folder)
    disk.mount()
    try:
        yield disk
    finally:
        disk.unmount()
        shutil.rmtree(folder, ignore_errors=True)
