"""Records into a ring of files."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from netserve.capture.model import Kind, Record
from netserve.capture.recording.ring import Ring
from netserve.capture.recording.scribe import Scribe

__all__ = ["Archive"]

AT_ONCE: Final = 256 << 10
"""Bytes that are collected before they are written."""
TAIL: Final = 4096
"""Bytes that the tail of a file takes up, about."""


class Archive:
    """Writes records as packets into the files of a ring.

    Records that cannot be written are counted, and later packets show the gap.

    Arguments:
        scribe: makes the files' bytes.
        ring: where they go.
        clock: nanoseconds since 1970.
    """

    def __init__(self, scribe: Scribe, ring: Ring, clock: Callable[[], int]) -> None:
        self._scribe = scribe
        self._ring = ring
        self._clock = clock
        self._blocks: list[bytes] = []
        self._size = 0
        self._services: list[str] = []
        "Of the reads and writes among the blocks that are not written yet."
        self.lost = 0
        "Reads and writes that could not be written."

    def write(self, records: Iterable[Record]) -> None:
        """Write records; failures are counted, never raised."""
        for record in records:
            if self._ring.is_full(self._size + TAIL):
                self._flush()
                self._next_file()
            block = self._scribe.write(record)
            if record[2] in {Kind.RECEIVED, Kind.SENT}:
                self._services.append(record[0].service)
            self._blocks.append(block)
            self._size += len(block)
            if self._size >= AT_ONCE:
                self._flush()
        self._flush()

    def close(self) -> None:
        """End the file."""
        self._flush()
        self._ring.write(b"".join(self._blocks) + self._scribe.end(self._clock()))
        self._ring.close()

    def _next_file(self) -> None:
        if self._ring.is_paused():
            return
        if self._ring.name:
            self._ring.write(self._scribe.end(self._clock()))
        self._ring.next_file(self._scribe.begin())
        self._blocks, self._size = [], 0

    def _flush(self) -> None:
        if not self._services and not self._size:
            return
        data, services = b"".join(self._blocks), self._services
        self._blocks, self._services, self._size = [], [], 0
        if self._ring.is_paused() or not self._ring.write(data):
            self.lost += len(services)
            for service in services:
                self._scribe.count_lost(service)
            # The lost blocks may have described interfaces: a new section describes them again.
            self._blocks.append(self._scribe.begin())
