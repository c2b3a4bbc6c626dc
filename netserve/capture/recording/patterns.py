"""Masks the matches of a user's patterns in streams.

A match may lie across pieces of a stream, so records wait until their line is complete, and all
later records of their flow wait with them, which keeps the order. Waiting is bounded by `WINDOW`
bytes of a line, by `MOST_WAITING` bytes of a flow, and by the time after which `release` is called;
a match that is not complete by then is masked from the byte on at which the pattern matches.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from netserve.capture.model import Flow, Kind, Record
from netserve.capture.recording.redaction import MASKED
from netserve.wire.pattern import Pattern

__all__ = ["PatternRedactor"]

WINDOW: Final = 16 << 10
"""Bytes of a line in which a match is looked for at a time."""
OVERLAP: Final = 4 << 10
"""Bytes of a line that are searched again together with the following ones: the longest match."""
MOST_WAITING: Final = 256 << 10
"""Bytes that may wait of one flow."""
SECRET: Final = "secret"  # noqa: S105 - the name of a group
"""The group of a pattern that is masked; without it the whole match is."""


class _Waiting:
    """A record that waits: its bytes may still be masked from `open` on."""

    __slots__ = ("data", "open", "record")

    def __init__(self, record: Record, data: bytearray | None) -> None:
        self.record = record
        self.data = data
        self.open = 0 if data is not None else -1

    def done(self) -> Record:
        if self.data is None:
            return self.record
        flow, time, kind, _ = self.record
        return flow, time, kind, bytes(self.data)

    @property
    def is_open(self) -> bool:
        return self.data is not None and self.open < len(self.data)


class _Line:
    """The line at hand of one direction."""

    __slots__ = ("bytes", "open", "settled")

    def __init__(self) -> None:
        self.bytes = bytearray()
        "As it came, from its beginning or from as far back as is needed."
        self.settled = 0
        "Bytes of it that have been decided about."
        self.open: deque[_Waiting] = deque()
        "The records that have the rest of it."


class PatternRedactor:
    """Masks matches in the records of one flow.

    Arguments:
        flow: it; of datagrams each one is looked at by itself.
        patterns: a group named ``secret`` is masked, or the whole match where there is none.
    """

    def __init__(self, flow: Flow, patterns: Sequence[Pattern]) -> None:
        self._patterns = [(each, SECRET if SECRET in each.names else None) for each in patterns]
        self._is_stream = flow.transport.is_stream
        self._lines = {Kind.RECEIVED: _Line(), Kind.SENT: _Line()}
        self._waiting: deque[_Waiting] = deque()
        self._size = 0

    @property
    def since(self) -> int | None:
        """The time of the oldest record that waits."""
        return self._waiting[0].record[1] if self._waiting else None

    def feed(self, record: Record) -> list[Record]:
        """Take a record; returns those that are ready, in their order."""
        kind, value = record[2], record[3]
        if not isinstance(value, bytes) or kind not in self._lines:
            return self._feed_other(record)
        if not self._is_stream:
            data = bytearray(value)
            for start, end in self._spans(value):
                data[start:end] = data[start:end].translate(MASKED)
            return [(*record[:3], bytes(data))]
        self._take(kind, record, value)
        if self._size > MOST_WAITING:
            self._settle_all()
        return self._ready()

    def release(self) -> list[Record]:
        """All that waits, though its lines are not complete."""
        self._settle_all()
        return self._ready()

    def _feed_other(self, record: Record) -> list[Record]:
        if record[2].is_last:
            return [*self.release(), record]
        lost = {Kind.LOST_RECEIVED: Kind.RECEIVED, Kind.LOST_SENT: Kind.SENT}.get(record[2])
        if lost is not None:  # the line is broken
            self._settle(self._lines[lost], len(self._lines[lost].bytes))
            self._forget(self._lines[lost])
        self._waiting.append(_Waiting(record, None))
        return self._ready()

    def _take(self, kind: Kind, record: Record, value: bytes) -> None:
        line = self._lines[kind]
        waiting = _Waiting(record, bytearray(value))
        self._waiting.append(waiting)
        self._size += len(value)
        line.open.append(waiting)
        start = 0
        while start < len(value):
            end = value.find(b"\n", start) + 1
            piece = value[start : end or start + WINDOW - len(line.bytes)]
            piece = piece[: max(1, WINDOW - len(line.bytes))]
            line.bytes += piece
            start += len(piece)
            if piece.endswith(b"\n"):
                self._settle(line, len(line.bytes))
                self._forget(line)
            elif len(line.bytes) >= WINDOW:
                self._settle(line, len(line.bytes))
                del line.bytes[:-OVERLAP]
                line.settled = len(line.bytes)

    def _forget(self, line: _Line) -> None:
        line.bytes.clear()
        line.settled = 0

    def _settle_all(self) -> None:
        for line in self._lines.values():
            self._settle(line, len(line.bytes))

    def _settle(self, line: _Line, end: int) -> None:
        """Search the line as far as it has arrived, and mask its matches."""
        count = end - line.settled
        if count <= 0:
            return
        first = line.settled
        masks = [
            (max(start - first, 0), stop - first)
            for start, stop in self._spans(bytes(line.bytes))
            if stop > first
        ]
        line.settled = end
        at = 0
        while count:
            waiting = line.open[0]
            data = waiting.data
            assert data is not None  # noqa: S101 - only records with data are in there
            size = min(count, len(data) - waiting.open)
            for start, stop in masks:
                begin = waiting.open + max(start - at, 0)
                finish = waiting.open + min(stop - at, size)
                if begin < finish:
                    data[begin:finish] = data[begin:finish].translate(MASKED)
            waiting.open += size
            at += size
            count -= size
            if not waiting.is_open:
                line.open.popleft()

    def _spans(self, data: bytes) -> list[tuple[int, int]]:
        return [span for each, group in self._patterns for span in each.spans(data, group)]

    def _ready(self) -> list[Record]:
        found = []
        while self._waiting and not self._waiting[0].is_open:
            waiting = self._waiting.popleft()
            self._size -= len(waiting.data or b"")
            found.append(waiting.done())
        return found
