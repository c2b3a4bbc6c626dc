"""Captures of failures: the last records in memory, and connections that had an error."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final, Protocol

from netserve.capture.model import Flow, Kind, Record
from netserve.capture.recording.tap import cost

__all__ = ["ErrorsOnly", "FlightRecorder"]

MOST_BYTES: Final = 8 << 20
MOST_OF_FLOW: Final = 256 << 10
"""Bytes of a connection that are kept for the case that it has an error."""
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
        "Error records since the last call of `dump`."

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
        """The kept records, of all flows or of one; they stay in memory."""
        self.errors = 0
        return [record for record in self._records if flow is None or record[0] is flow]

    def clear(self) -> None:
        """Forget everything."""
        self._records.clear()
        self._held = 0

    def _forget(self) -> None:
        self._held -= cost(self._records.popleft())
        self.forgotten += 1


class _Sink(Protocol):
    def write(self, records: Iterable[Record]) -> None: ...


class ErrorsOnly:
    """Passes on connections that have an error: their kept records, and all later ones.

    An error is one that the service reports, or a reset. Of other connections nothing is left.

    Arguments:
        sink: where the records go.
        most_bytes: that are kept of all connections.
    """

    def __init__(self, sink: _Sink, most_bytes: int = MOST_BYTES) -> None:
        self._sink = sink
        self._most = most_bytes
        self._kept: dict[int, deque[Record]] = {}
        self._sizes: dict[int, int] = {}
        self._failed: set[int] = set()
        self._held = 0
        self.forgotten = 0
        "Records that were given up for newer ones."

    @property
    def held(self) -> int:
        """About the bytes that are kept."""
        return self._held

    def write(self, records: Iterable[Record]) -> None:
        """Take records."""
        passed: list[Record] = []
        for record in records:
            number, kind = record[0].number, record[2]
            if number not in self._failed:
                self._keep(number, record)
                if kind not in _ERRORS:
                    if kind.is_last:
                        self._release(number)
                    continue
                self._failed.add(number)
                passed += self._release(number)
            else:
                passed.append(record)
            if kind.is_last:
                self._failed.discard(number)
        if passed:
            self._sink.write(passed)

    def _keep(self, number: int, record: Record) -> None:
        self._kept.setdefault(number, deque()).append(record)
        self._count(number, cost(record))
        while self._sizes.get(number, 0) > MOST_OF_FLOW:
            self._forget(number)
        while self._held > self._most:
            self._forget(next(iter(self._kept)))

    def _forget(self, number: int) -> None:
        """Give up the oldest record of a flow."""
        kept = self._kept[number]
        self._count(number, -cost(kept.popleft()))
        self.forgotten += 1
        if not kept:
            del self._kept[number], self._sizes[number]

    def _release(self, number: int) -> list[Record]:
        """Stop keeping a flow; returns its records."""
        found = list(self._kept.pop(number, ()))
        self._held -= self._sizes.pop(number, 0)
        return found

    def _count(self, number: int, size: int) -> None:
        self._sizes[number] = self._sizes.get(number, 0) + size
        self._held += size


_ERRORS: Final = frozenset({Kind.ERROR, Kind.PEER_RESET, Kind.WE_RESET})
