"""From the queue, through redaction, to whatever keeps the records. No threads, no timers.

Whoever owns a `Pump` calls `turn` now and then, from one thread, and `finish` at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from netserve.capture.model import Flow, Kind, Record
from netserve.capture.recording.patterns import PatternRedactor
from netserve.capture.recording.redaction import HEADERS, Redactor
from netserve.capture.recording.tap import Recorder
from netserve.wire.pattern import Pattern

__all__ = ["Pump", "RecordSink", "Redaction"]

HOLD: Final = 5.0
"""Seconds for which a line may be incomplete before it is written as it is."""
MOST_DATAGRAM_FLOWS: Final = 4096


class RecordSink(Protocol):
    """The destination of records, such as an `Archive` or a `FlightRecorder`."""

    def write(self, records: Iterable[Record]) -> None:
        """Keep records; must not raise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Redaction:
    """The settings of redaction.

    Arguments:
        logins: whether logins and the values of `headers` are.
        headers: names of header fields.
        patterns: of the user.
    """

    logins: bool = True
    headers: Collection[str] = HEADERS
    patterns: Sequence[Pattern] = ()

    def __str__(self) -> str:
        """For the comment of a file; without the patterns, which may contain secrets."""
        parts = [f"logins and {', '.join(self.headers)}"] if self.logins else []
        parts += [f"{len(self.patterns)} patterns"] if self.patterns else []
        return f"redacted: {' and '.join(parts)}" if parts else "nothing is redacted"


class _Flow:
    """How the records of one flow are masked."""

    __slots__ = ("patterns", "redactor")

    def __init__(self, flow: Flow, redaction: Redaction, *, joined: bool) -> None:
        self.redactor = (
            Redactor(flow, redaction.headers, joined=joined) if redaction.logins else None
        )
        self.patterns = PatternRedactor(flow, redaction.patterns) if redaction.patterns else None


class Pump:
    """Moves records from a recorder to a sink.

    Arguments:
        recorder: the queue.
        sink: where they go.
        redaction: how they are masked on the way.
        clock: nanoseconds since 1970, as the records have it.
    """

    def __init__(
        self, recorder: Recorder, sink: RecordSink, redaction: Redaction, clock: Callable[[], int]
    ) -> None:
        self._recorder = recorder
        self._sink = sink
        self._redaction = redaction
        self._clock = clock
        self._flows: dict[int, _Flow] = {}
        self._datagrams: dict[int, _Flow] = {}
        "Those that have no end; each datagram is masked by itself, so none of them is missed."

    def turn(self, most: int = 1000) -> int:
        """Move at most `most` records; returns how many were moved."""
        records = self._recorder.take(most)
        ready: list[Record] = []
        for record in records:
            ready += self._masked(record)
        if self._redaction.patterns:
            ready += self._overdue()
        if ready:
            self._sink.write(ready)
        return len(records)

    def finish(self) -> None:
        """Move all that is left, complete or not."""
        while self.turn():
            pass
        left = [
            record
            for each in self._flows.values()
            if each.patterns is not None
            for record in each.patterns.release()
        ]
        if left:
            self._sink.write(left)

    def _masked(self, record: Record) -> list[Record]:
        flow, time, kind, value = record
        flows = self._flows if flow.transport.is_stream else self._datagrams
        state = flows.get(flow.number)
        if state is None:
            if len(self._datagrams) >= MOST_DATAGRAM_FLOWS:
                self._datagrams.clear()
            state = _Flow(flow, self._redaction, joined=kind is not Kind.OPENED)
            flows[flow.number] = state
        if state.redactor is not None and isinstance(value, bytes):
            masked = state.redactor.redact(kind, value)
            if masked is not value:
                record = (flow, time, kind, masked)
        found = [record] if state.patterns is None else state.patterns.feed(record)
        if value is None and kind.is_last:
            flows.pop(flow.number, None)
        return found

    def _overdue(self) -> list[Record]:
        """Records that have waited too long for the end of their line."""
        oldest = self._clock() - int(HOLD * 1_000_000_000)
        return [
            record
            for each in self._flows.values()
            if each.patterns is not None
            and (since := each.patterns.since) is not None
            and since < oldest
            for record in each.patterns.release()
        ]
