"""A ring of files in one folder: private, bounded by size, time, number and quota.

Nothing here ever leaves the folder: it is opened once, names have no path in them, and links are
not followed. A full disk stops the writing and nothing else: the files stay readable, losses are
counted, and writing resumes when there is room.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from netserve.durable import make_folders

__all__ = ["Ring", "RingLimits", "check_name"]

RETRY: Final = 5.0
"""Seconds after a failure before writing is tried again."""
SUFFIX: Final = ".pcapng"

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def check_name(name: str) -> str:
    """A file name as a user may give it: a plain one, without any path.

    Raises:
        ValueError: it is not; the message says which names are allowed.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{name!r} is not a file name for a capture; use at most 100 letters, digits, dots,"
            " dashes and underscores, with a letter or digit first"
        )
    return name


@dataclass(frozen=True, slots=True, kw_only=True)
class RingLimits:
    """When a file is full, and how many are kept.

    Arguments:
        file_size: bytes of a file.
        file_seconds: seconds that a file is written to.
        files: that are kept, the one being written included.
        quota: bytes of all files together.
        keep_free: bytes of the disk that are left to others.
    """

    file_size: int = 64 << 20
    file_seconds: float = 3600
    files: int = 16
    quota: int = 512 << 20
    keep_free: int = 256 << 20


class Ring:
    """Writes one file after another, and removes the oldest.

    Arguments:
        folder: it is made, for the owner alone, where it is not there.
        prefix: the beginning of the names of its files; other files are left alone.
        limits: see `RingLimits`.
        seconds: the time since 1970, for names.
        monotonic: seconds that never run backwards.

    Raises:
        OSError: the folder cannot be made or opened, or is a link.
        ValueError: the prefix is no plain name.
    """

    def __init__(
        self, folder: Path, prefix: str, limits: RingLimits, *, seconds: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:  # fmt: skip
        self._prefix = check_name(prefix)
        self._limits = limits
        self._seconds = seconds
        self._monotonic = monotonic
        make_folders(folder)
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        self._folder = os.open(folder, flags)
        self._ours = re.compile(
            rf"{re.escape(prefix)}-\d{{8}}T\d{{6}}Z-(\d{{6,9}}){re.escape(SUFFIX)}"
        )
        self._file = -1
        self._began = 0.0
        self._retry_at = 0.0
        self._names = self._found()
        self._number = max((number for number, _ in self._names), default=0)
        self.name = ""
        "Of the file that is written to."
        self.size = 0
        "Its bytes."
        self.failures = 0
        "Writes that failed."
        self.problem = ""
        "Why the last one failed; empty when writing works."

    @property
    def names(self) -> list[str]:
        """The files of the ring, the oldest first."""
        return [name for _, name in self._names]

    def is_full(self, more: int = 0) -> bool:
        """Whether the next file is due, or `more` bytes do not fit into this one."""
        return (
            self._file < 0
            or self.size + more > self._limits.file_size
            or self._monotonic() - self._began >= self._limits.file_seconds
        )

    def is_paused(self) -> bool:
        """Whether writing failed a moment ago, so that it is not tried now."""
        return bool(self.problem) and self._monotonic() < self._retry_at

    def next_file(self, head: bytes) -> bool:
        """Begin the next file, and remove the oldest; False where that fails.

        Arguments:
            head: its first bytes.
        """
        self.close_file()
        try:
            self._make_room(len(head))
            self._number += 1
            moment = datetime.fromtimestamp(self._seconds(), UTC)
            name = f"{self._prefix}-{moment:%Y%m%dT%H%M%S}Z-{self._number:06d}{SUFFIX}"
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            self._file = os.open(name, flags, 0o600, dir_fd=self._folder)
        except OSError as error:
            self._fail(error)
            return False
        self.name, self.size, self._began = name, 0, self._monotonic()
        if not self.write(head):
            self.close_file()
            with suppress(OSError):
                os.unlink(name, dir_fd=self._folder)
            return False
        self._names.append((self._number, name))
        return True

    def write(self, data: bytes) -> bool:
        """Append to the file, all or nothing; False where that fails."""
        if self._file < 0:
            return False
        try:
            self._check_free(len(data))
            view = memoryview(data)
            while view:
                view = view[os.write(self._file, view) :]
        except OSError as error:
            # A block written in part would make the rest of the file unreadable.
            with suppress(OSError):
                os.ftruncate(self._file, self.size)
                os.lseek(self._file, self.size, os.SEEK_SET)
            self._fail(error)
            return False
        self.size += len(data)
        self.problem = ""
        return True

    def close_file(self) -> None:
        """End the file; the next one is begun by `next_file`."""
        if self._file >= 0:
            with suppress(OSError):
                os.close(self._file)
            self._file = -1
            self.name, self.size = "", 0

    def close(self) -> None:
        """End writing, and let go of the folder."""
        self.close_file()
        if self._folder >= 0:
            os.close(self._folder)
            self._folder = -1

    def _found(self) -> list[tuple[int, str]]:
        """Files of an earlier run: regular ones with names as this ring gives them."""
        found = []
        for name in os.listdir(self._folder):  # noqa: PTH208 - of a descriptor
            match = self._ours.fullmatch(name)
            with suppress(OSError):
                if match and stat.S_ISREG(self._status(name).st_mode):
                    found.append((int(match[1]), name))
        return sorted(found)

    def _status(self, name: str) -> os.stat_result:
        return os.stat(name, dir_fd=self._folder, follow_symlinks=False)

    def _make_room(self, size: int) -> None:
        """Remove the oldest files until another one fits."""
        sizes = []
        for _, name in self._names:
            try:
                sizes.append(self._status(name).st_size)
            except OSError:
                sizes.append(0)
        kept = len(sizes)
        total = sum(sizes)
        most = max(self._limits.quota - max(size, self._limits.file_size), 0)
        removed = 0
        while kept > 0 and (kept >= self._limits.files or total > most):
            with suppress(FileNotFoundError):
                os.unlink(self._names[removed][1], dir_fd=self._folder)
            total -= sizes[removed]
            removed += 1
            kept -= 1
        del self._names[:removed]

    def _check_free(self, size: int) -> None:
        """Keep room on the disk for others, such as the mail queue."""
        if not self._limits.keep_free:
            return
        system = os.fstatvfs(self._file)
        if system.f_bavail * system.f_frsize - size < self._limits.keep_free:
            raise OSError(errno.ENOSPC, "the disk has only the room that is kept free")

    def _fail(self, error: OSError) -> None:
        self.failures += 1
        self.problem = error.strerror or str(error)
        self._retry_at = self._monotonic() + RETRY
