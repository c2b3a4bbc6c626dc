"""Packets into a file that tcpdump and Wireshark open.

The one place that knows the format: classic pcap with nanoseconds
(draft-ietf-opsawg-pcap, magic 0xa1b23c4d).
"""

from __future__ import annotations

import os
import struct
import sys
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

LINK_ETHERNET: Final = 1
LINK_RAW: Final = 101
_MAGIC: Final = 0xA1B23C4D
_LONGEST: Final = 262_144
RECORD_HEAD: Final = struct.Struct("=IIII")
"""The header of a record: seconds, nanoseconds, kept bytes, original bytes."""


def file_header(link: int, snap: int = _LONGEST) -> bytes:
    """The first bytes of a file.

    Arguments:
        link: the type of the link layer, `LINK_ETHERNET` or `LINK_RAW`.
        snap: the most bytes of a packet that are kept.
    """
    return struct.pack("=IHHiIII", _MAGIC, 2, 4, 0, 0, snap, link)


def create(path: Path) -> IO[bytes]:
    """A new file for its owner alone, or standard output for ``-``.

    Raises:
        OSError: there is one already, or it cannot be made.
    """
    if str(path) == "-":
        return os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.fdopen(os.open(path, flags, 0o600), "wb", buffering=0)


class Recording:
    """A file that packets are added to.

    Arguments:
        file: open for writing; closed with the recording.
        link: see `file_header`.
    """

    def __init__(self, file: IO[bytes], link: int) -> None:
        self._file = file
        file.write(file_header(link))

    def packet(self, nanoseconds: int, data: bytes) -> None:
        """Add a packet, with its time since 1970."""
        time = divmod(nanoseconds, 1_000_000_000)
        self._file.write(RECORD_HEAD.pack(*time, len(data), len(data)) + data)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()


def open_recording(path: Path, *, layer: int) -> Recording:
    """A recording of frames (layer 2) or IP packets (layer 3).

    Raises:
        OSError: see `create`.
    """
    return Recording(create(path), LINK_ETHERNET if layer == 2 else LINK_RAW)
