"""The file that a log goes to: whole records or none of them, opened again when it was moved."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from netserve.errors import StartError


class LogFile:
    """Appends to a file.

    Arguments:
        path: of the file. A missing one is made, with the mode that the process's umask leaves.

    Raises:
        StartError: it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise StartError(f"cannot open the log {path}: {reason}") from error

    def write(self, text: str) -> None:
        """Append all of a text, or nothing.

        Raises:
            OSError: there is no space, or the disk fails.
        """
        left = data = memoryview(text.encode())
        try:
            while left:
                left = left[os.write(self._file, left) :]
        except OSError:
            if len(left) < len(data):
                with suppress(OSError):  # a pipe keeps what it has
                    size = os.fstat(self._file).st_size
                    os.ftruncate(self._file, size - (len(data) - len(left)))
            raise

    def flush(self) -> None:
        """Nothing is held back."""

    def reopen(self) -> None:
        """Go on in a file of the same name, with the same mode if it has to be made.

        Raises:
            OSError: it cannot be opened; the log goes on in the file that it was in.
        """
        flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
        mode = stat.S_IMODE(os.fstat(self._file).st_mode)
        try:
            new = os.open(self._path, flags | os.O_CREAT | os.O_EXCL, mode)
        except FileExistsError:  # logrotate has made it
            new = os.open(self._path, flags)
        else:
            os.fchmod(new, mode)  # whatever the umask is
        # The number of the descriptor stays: other threads may be writing just now.
        os.dup2(new, self._file, inheritable=False)
        os.close(new)

    def close(self) -> None:
        """Let the file go."""
        os.close(self._file)
