"""The interface of a packet file's writer, and the writer for classic pcap."""

from __future__ import annotations

import os
from typing import Protocol

from netserve.packet.recording import RECORD_HEAD, file_header


class Writer(Protocol):
    """Makes records of packets and writes them to a descriptor, many at a time."""

    written: int
    """Bytes so far, including those not flushed yet."""

    def packet(self, seconds: int, nanoseconds: int, size: int, data: memoryview | bytes) -> None:
        """Add a packet; `data` is valid until the next `flush`.

        Arguments:
            seconds: since 1970.
            nanoseconds: of the second.
            size: bytes that the packet had.
            data: the bytes that were kept.
        """

    def flush(self) -> None:
        """Write the packets that were added.

        Raises:
            OSError: it cannot be written.
        """


class PcapWriter:
    """Classic pcap with nanoseconds; see `Writer`.

    Arguments:
        descriptor: of the file.
        link: the type of the link layer.
        snap: the bytes of a packet that are kept.
    """

    def __init__(self, descriptor: int, *, link: int, snap: int) -> None:
        self._descriptor = descriptor
        self._parts: list[memoryview | bytes] = [file_header(link, snap)]
        self.written = len(self._parts[0])

    def packet(self, seconds: int, nanoseconds: int, size: int, data: memoryview | bytes) -> None:
        kept = len(data)
        self._parts.append(RECORD_HEAD.pack(seconds, nanoseconds, kept, size))
        self._parts.append(data)
        self.written += 16 + kept

    def flush(self) -> None:
        if self._parts:
            rest = memoryview(b"".join(self._parts))
            self._parts.clear()
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
