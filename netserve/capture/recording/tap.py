"""Taps on connections, and the bounded queue between them and whatever writes a file.

A tap is called for each read and write of a captured service, so it does next to nothing: it puts
a reference to the bytes into the queue. It never waits and never raises. Bytes that do not fit
into the queue are counted, and appear as a gap in the capture.

One thread may add while another one takes: neither needs a lock, as each counter has one writer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from netserve.capture.model import Flow, Kind, Record

__all__ = ["CaptureTap", "Recorder"]

QUEUE_BYTES: Final = 16 << 20
"""Bytes that wait to be written, by default."""
SHARE: Final = 4
"""A flow may have this fraction of the queue, so that a busy one leaves room for others."""
RECORD_COST: Final = 200
"""The approximate memory of a record, besides its bytes."""
RESERVED: Final = 2 * RECORD_COST
"""Room reserved for each flow, so that its end and its losses are always recorded."""
MAX_NOTE: Final = 1000
"""Characters of a note."""


class Recorder:
    """The queue of one capture.

    Arguments:
        most_bytes: that wait at most, the records themselves included.
    """

    def __init__(self, most_bytes: int = QUEUE_BYTES) -> None:
        self.most = max(most_bytes, 4 * SHARE * RESERVED)
        "Bytes that wait at most."
        self._records: deque[Record] = deque()
        self.added = 0
        "Bytes added since the start; changed only by the adding side."
        self.taken = 0
        "Bytes taken since the start; changed only by the taking side."
        self._reserved = 0
        self.refused_flows = 0
        "Connections that are not captured at all, as there was no room when they began."
        self.dropped = 0
        "Reads and writes that there was no room for."
        self.dropped_bytes = 0
        "Bytes of these."
        self.failures = 0
        "Faults within the capture, each of which ended a tap."
        self.closed = False
        "Set to stop the capture: taps remain attached, and record nothing more."

    @property
    def waiting(self) -> int:
        """About the bytes that wait."""
        return self.added - self.taken

    def has_room(self, size: int) -> bool:
        """Whether `size` more bytes fit."""
        return not self.closed and self.added - self.taken + self._reserved + size <= self.most

    def reserve(self, size: int) -> None:
        """Reserve room, or release it by a negative size."""
        self._reserved += size

    def add(self, record: Record) -> None:
        """Add a record; the caller has asked `has_room` first, or has reserved room."""
        self.added += cost(record)
        self._records.append(record)

    def take(self, most: int = 1000) -> list[Record]:
        """The next records, at most `most`."""
        found: list[Record] = []
        pop = self._records.popleft
        with suppress(IndexError):
            while len(found) < most:
                found.append(pop())
        self.taken += sum(map(cost, found))
        return found


def cost(record: Record) -> int:
    """The approximate memory of a record in a queue."""
    value = record[3]
    return RECORD_COST + len(value) if isinstance(value, bytes | str) else RECORD_COST


class CaptureTap:
    """Records a flow, as a tap of `netserve.connection`.

    Arguments:
        flow: the connection.
        recorder: where its records go.
        clock: nanoseconds since 1970, not running backwards.
        joined: whether the connection was open before, so that its beginning was not seen.
        kind_of_end: which end a reason stands for; `Kind.ENDED` for an orderly one.
    """

    __slots__ = (
        "_boundary", "_clock", "_earlier", "_kind_of_end", "_later", "_lost", "_over", "_recorder",
        "_share", "flow",
    )  # fmt: skip

    def __init__(
        self, flow: Flow, recorder: Recorder, clock: Callable[[], int], *, joined: bool = False,
        kind_of_end: Callable[[object], Kind] = lambda _: Kind.ENDED,
    ) -> None:  # fmt: skip
        self.flow = flow
        self._recorder = recorder
        self._clock = clock
        self._kind_of_end = kind_of_end
        self._share = recorder.most // SHARE
        self._lost: dict[Kind, tuple[int, int]] = {}
        "Reads and writes that were dropped and are not recorded as such yet."
        self._earlier = self._later = 0
        "Bytes that it added before `_boundary`, and after it."
        self._boundary = recorder.added
        self._over = not recorder.has_room(RESERVED + RECORD_COST)
        if self._over:
            recorder.refused_flows += 1
            return
        recorder.reserve(RESERVED)
        if not joined and flow.transport.is_stream:
            self._event(Kind.OPENED, None)

    def received(self, data: bytes) -> None:
        """Bytes from the peer."""
        self._data(Kind.RECEIVED, data)

    def sent(self, data: bytes) -> None:
        """Bytes to the peer."""
        self._data(Kind.SENT, data)

    def half_closed(self, *, by_peer: bool) -> None:
        """One side has said that it sends no more."""
        self._event(Kind.PEER_CLOSED if by_peer else Kind.WE_CLOSED, None)

    def note(self, text: str) -> None:
        """A text for the next packet, such as the trace id of a new request."""
        self._event(Kind.NOTE, text[:MAX_NOTE])

    def failed(self, text: str) -> None:
        """The service met an error on this connection."""
        self._event(Kind.ERROR, text[:MAX_NOTE])

    def ended(self, reason: object = None) -> None:
        """The connection is over."""
        if self._over:
            return
        self._over = True
        recorder = self._recorder
        recorder.reserve(-RESERVED)
        try:
            time = self._clock()
            self._record_losses(time)
            recorder.add((self.flow, time, self._kind_of_end(reason), None))
        except Exception:
            recorder.failures += 1

    def _data(self, kind: Kind, data: bytes) -> None:
        """Record bytes, if there is room for them."""
        if self._over:
            return
        recorder = self._recorder
        try:
            size = len(data)
            needed = size + RECORD_COST
            if not recorder.has_room(needed + RECORD_COST * bool(self._lost)) or (
                self._earlier + self._later + needed > self._share
                and self._waiting() + needed > self._share
            ):
                count, lost = self._lost.get(kind, (0, 0))
                self._lost[kind] = (count + 1, lost + size)
                recorder.dropped += 1
                recorder.dropped_bytes += size
                return
            time = self._clock()
            if self._lost:
                self._record_losses(time)
            self._later += needed
            # A buffer that the transport uses again has to be copied; bytes are as they are.
            recorder.add((self.flow, time, kind, bytes(data)))
        except Exception:
            self._break_off()

    def _event(self, kind: Kind, value: str | None) -> None:
        if self._over or not self._recorder.has_room(RECORD_COST + MAX_NOTE):
            return
        try:
            self._recorder.add((self.flow, self._clock(), kind, value))
        except Exception:
            self._break_off()

    def _record_losses(self, time: int) -> None:
        for kind, lost in self._lost.items():
            loss = Kind.LOST_RECEIVED if kind is Kind.RECEIVED else Kind.LOST_SENT
            self._recorder.add((self.flow, time, loss, lost))
        self._lost.clear()

    def _waiting(self) -> int:
        """An upper bound of the bytes of this flow that wait in the queue."""
        for _ in range(2):
            if self._recorder.taken >= self._boundary:
                self._earlier, self._later = self._later, 0
                self._boundary = self._recorder.added
        return self._earlier + self._later

    def _break_off(self) -> None:
        """After an internal error: record nothing more of this connection."""
        self._over = True
        self._recorder.failures += 1
        self._recorder.reserve(-RESERVED)
