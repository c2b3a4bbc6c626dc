"""One spool belongs to one process: a lock that the kernel lets go when the process ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path
from typing import Final, NoReturn

from netserve.errors import StartError

LOCK: Final = "lock"
"""The file in the folder of the queue."""


class SpoolLock:
    """An flock on a file that holds the process id of its owner, for people to read.

    Arguments:
        path: the file; it stays when the lock is let go, since removing it would race.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            StartError: another process has it, or the file cannot be made.
        """
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StartError(f"cannot open {self._path}: {error.strerror}") from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._refuse(file, error)
        with contextlib.suppress(OSError):  # the number is a courtesy; a full disk stops no start
            os.ftruncate(file, 0)
            os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
        self._file = file

    def refuse_if_taken(self) -> None:
        """Say who has the lock, without taking it.

        Raises:
            StartError: another process has it.
        """
        try:
            file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return  # it was never taken, or `acquire` will tell
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            self._refuse(file, error)
        os.close(file)

    def acquire_shared(self) -> None:
        """Take the lock to look only; others may look too. Harmless where it was never made.

        Raises:
            StartError: another process has it, or the file cannot be read.
        """
        try:
            file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        except OSError as error:
            raise StartError(f"cannot open {self._path}: {error.strerror}") from error
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            self._refuse(file, error)
        self._file = file

    def _refuse(self, file: int, error: OSError) -> NoReturn:
        holder = os.read(file, 32).decode("ascii", "replace").strip()
        os.close(file)
        who = f"process {holder}" if holder.isdigit() else "another process"
        raise StartError(f"the queue {self._path.parent} is in use by {who}") from error

    def release(self) -> None:
        """Let the lock go; harmless without it."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
