"""The flight recorder: the last records in memory, to be written when something has gone wrong."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final

from netserve.capture.model import Flow, Kind, Record
from netserve.capture.recording.tap import cost

__all__ = ["FlightRecorder"]

MOST_BYTES: Final = 8 << 20
MOST_SECONDS: Final = 300


class FlightRecorder:
    """Keeps the last records, bounded by bytes and by age.

    Arguments:
        most_bytes: that are kept.
        most_seconds: how long a record is kept, by the clock of the records.
    """

    def __init__(self, most_bytes: int = MOST_BYTES, most_seconds: float = MOST_SECONDS) -> None:
        self._most = most_bytes
        self._age = int(most_seconds * 1_000_000_000)
        self._records: deque[Record] = deque()
        self._held = 0
        self.forgotten = 0
        "Records that were given up for newer ones."
        self.errors = 0
        "Records of errors that have come since `dump` was called last."

    @property
    def held(self) -> int:
        """About the bytes that are kept."""
        return self._held

    def write(self, records: Iterable[Record]) -> None:
        """Keep records, and give up the oldest where that is too many."""
        for record in records:
            self._records.append(record)
            self._held += cost(record)
            self.errors += record[2] is Kind.ERROR
            while self._held > self._most:
                self._forget()
        if self._records:
            oldest = self._records[-1][1] - self._age
            while self._records[0][1] < oldest:
                self._forget()

    def dump(self, flow: Flow | None = None) -> list[Record]:
        """What is kept, of all flows or of one; it stays kept."""
        self.errors = 0
        return [record for record in self._records if flow is None or record[0] is flow]

    def clear(self) -> None:
        """Forget everything."""
        self._records.clear()
        self._held = 0

    def _forget(self) -> None:
        self._held -= cost(self._records.popleft())
        self.forgotten += 1
