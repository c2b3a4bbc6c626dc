"""Bodies that are too large for the database: one file each, published by its name.

A body is written as it comes into a file without a name (O_TMPFILE; where the file system has
none, into a named one that ends in ``.tmp``). Its life:

==========  =================================================  =======================
state       on disk                                            after a crash
==========  =================================================  =======================
writing     no name, or ``ID.tmp``                             gone, or removed
synced      the same; its data is durable                      gone, or removed
published   ``ID``, durable after `BodyFolder.sync`            to quarantine: no row has it
committed   ``ID``, and a row of the table message has it      kept
finished    ``ID``, and a row of the table finished has it     removed
==========  =================================================  =======================
"""

from __future__ import annotations

import contextlib
import errno
import os
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, Self
from zlib import crc32

from netserve.durable import make_folders
from netserve.outbox.errors import BodyMissing, BodyUnreadable, storage_error
from netserve.outbox.ids import decode_id, encode_id

_NO_TMPFILE: Final = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL})
_TEMPORARY: Final = ".tmp"
QUARANTINE: Final = "quarantine"
"""The folder beside the one of bodies for those of which no row is known. Nothing is removed from
it."""


class StoredBodies:
    """The bodies that are in a folder, to be read.

    Arguments:
        path: of the folder; it may be missing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.quarantine = path.with_name(QUARANTINE)
        """The folder for bodies of which no row is known; it is made when it is needed."""

    def numbers(self) -> array[int]:
        """The numbers of all published bodies, in order; eight bytes each, so a million is fine."""
        found = array("q")
        for name in self._names():
            with contextlib.suppress(ValueError):
                found.append(decode_id(name))
        return array("q", sorted(found))

    def _names(self) -> Iterator[str]:
        with os.scandir(self.path) as entries:
            for entry in entries:
                yield entry.name

    def open(self, number: int, size: int, body_sum: int | None = None) -> StoredBody:
        """Open a body for reading.

        Arguments:
            number: of the message.
            size: that it should have.
            body_sum: its CRC-32, or None to compare the size only.

        Raises:
            BodyMissing: it is not there, or has not the size that it should have.
            BodyUnreadable: the system does not let us read it.
        """
        path = self.path / encode_id(number)
        try:
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise BodyMissing(f"the body {path} is missing") from None
        except OSError as error:
            raise BodyUnreadable(f"the body {path} cannot be read: {error.strerror}") from error
        length = os.fstat(file).st_size
        if length != size:
            os.close(file)
            raise BodyMissing(f"the body {path} has {length} bytes instead of {size}")
        return StoredBody(file, path, size, body_sum)


class BodyFolder(StoredBodies):
    """The folder of body files, open as long as the queue is.

    Arguments:
        path: must exist.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def close(self) -> None:
        """Let the folder go; reading goes on to work."""
        os.close(self._folder)

    def create(self, number: int) -> BodyFile:
        """A new, empty body for a message.

        Raises:
            OutboxError: the system refuses it.
        """
        name = encode_id(number)
        try:
            file = self._create_nameless()
            temporary = None
            if file is None:
                temporary = name + _TEMPORARY
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
                file = os.open(temporary, flags, 0o600, dir_fd=self._folder)
        except OSError as error:
            raise storage_error(error) from error
        return BodyFile(self._folder, file, name, temporary)

    def _create_nameless(self) -> int | None:
        try:
            return os.open(self.path, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        except AttributeError:  # macOS has no O_TMPFILE
            return None
        except OSError as error:
            if error.errno in _NO_TMPFILE:
                return None
            raise

    def sync(self) -> None:
        """Make published names durable."""
        os.fsync(self._folder)

    def remove(self, number: int) -> None:
        """Remove a body; one that is gone already is no error.

        Raises:
            OSError: it stays.
        """
        with contextlib.suppress(FileNotFoundError):
            os.unlink(encode_id(number), dir_fd=self._folder)

    def set_aside(self, numbers: Iterable[int]) -> int:
        """Move bodies to the quarantine, and give their number.

        Raises:
            OSError: the rest stays where it is.
        """
        names = [encode_id(number) for number in numbers]
        if not names:
            return 0
        make_folders(self.quarantine)
        target = os.open(self.quarantine, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for name in names:
                new = free_name(self.quarantine, name).name
                os.rename(name, new, src_dir_fd=self._folder, dst_dir_fd=target)
            os.fsync(target)
        finally:
            os.close(target)
        self.sync()
        return len(names)

    def remove_temporary(self) -> int:
        """Remove what a crash left half written, and say how many there were."""
        names = [name for name in self._names() if name.endswith(_TEMPORARY)]
        for name in names:
            os.unlink(name, dir_fd=self._folder)
        return len(names)


def free_name(folder: Path, name: str) -> Path:
    """A path in a folder that nothing has: the name, or the name with a number."""
    free, count = folder / name, 0
    while free.exists():
        count += 1
        free = folder / f"{name}.{count}"
    return free


class StoredBody:
    """Reads a body file, and compares it with its checksum before the last bytes are given.

    A damaged body therefore never reaches its end, and is not delivered.

    Arguments:
        file: descriptor; it is owned.
        path: its name, for errors.
        size: bytes that it has.
        body_sum: its CRC-32, or None where only its length is looked at.
    """

    __slots__ = ("_body_sum", "_file", "_left", "_path", "_sum")

    def __init__(self, file: int, path: Path, size: int, body_sum: int | None) -> None:
        self._file = file
        self._path = path
        self._left = size
        self._body_sum = body_sum
        self._sum = 0

    def read(self, size: int = -1, /) -> bytes:
        """Up to so many bytes; empty at the end.

        Raises:
            BodyMissing: it is damaged, or has become shorter.
            BodyUnreadable: the system does not let us read it.
        """
        wanted = self._left if size < 0 else min(size, self._left)
        try:
            data = os.read(self._file, wanted)
            while size < 0 and len(data) < wanted and (more := os.read(self._file, wanted)):
                data += more
        except OSError as error:
            raise BodyUnreadable(
                f"the body {self._path} cannot be read: {error.strerror}"
            ) from error
        self._left -= len(data)
        if self._body_sum is not None:
            self._sum = crc32(data, self._sum)
        if wanted and (not data or (size < 0 and self._left)):
            raise BodyMissing(f"the body {self._path} has become shorter")
        if not self._left and self._body_sum not in (None, self._sum):
            raise BodyMissing(f"the body {self._path} is damaged")
        return data

    def close(self) -> None:
        """Let the file go; harmless when called again."""
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


class BodyFile:
    """A body that is being written.

    Arguments:
        folder: descriptor of the folder.
        file: descriptor of the file; it is owned.
        name: the name under which it is published.
        temporary: its name until then, or None where it has none.
    """

    __slots__ = ("_file", "_folder", "_name", "_published", "_temporary")

    def __init__(self, folder: int, file: int, name: str, temporary: str | None) -> None:
        self._folder = folder
        self._file = file
        self._name = name
        self._temporary = temporary
        self._published = False

    def write(self, data: bytes) -> None:
        """Append; the data is in the page cache afterwards.

        Raises:
            OutboxError: the disk is full, or failed.
        """
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._file, view) :]
        except OSError as error:
            raise storage_error(error) from error

    def sync(self) -> None:
        """Make the data durable; called by the writer thread."""
        os.fdatasync(self._file)

    def publish(self) -> None:
        """Give the file its name, which is durable after the folder's `sync`."""
        if self._temporary is None:
            # Without dst_dir_fd Python calls link(), which takes the /proc name for the file.
            os.link(f"/proc/self/fd/{self._file}", self._name, dst_dir_fd=self._folder)
        else:
            folder = self._folder
            os.rename(self._temporary, self._name, src_dir_fd=folder, dst_dir_fd=folder)
        self._published = True

    def close(self) -> None:
        """End the writing and keep what is published."""
        file, self._file = self._file, -1
        if file >= 0:
            with contextlib.suppress(OSError):  # what counts was synced before
                os.close(file)

    def discard(self) -> None:
        """Leave nothing behind; harmless when called again."""
        name = self._name if self._published else self._temporary
        if self._file >= 0 and name is not None:
            with contextlib.suppress(OSError):  # what stays is removed at the next start
                os.unlink(name, dir_fd=self._folder)
        self.close()
