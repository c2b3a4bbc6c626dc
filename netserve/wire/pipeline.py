"""The machine of a connection on which framed requests are pipelined: no I/O.

Frames come in, replies go out in the order of their requests. The outside feeds bytes, begins the
requests that `Pipeline.next_event` gives, and sends what `Pipeline.take` gives::

    pipeline.receive(data)
    while (event := pipeline.next_event()) is not None:
        slot = pipeline.open(len(event))        # None: its address holds too much already
        ...                                     # later: pipeline.fill(slot, reply)
    while data := pipeline.take(65536):
        transport.write(data)
        pipeline.written()
    if pipeline.settle(): ...                   # the state is another one: linger, or close

The pipeline stops giving requests while `limit` of them have no reply, and while the client does
not read its replies (`pause`, `resume`). Input that has been read by then waits unparsed, and
`wants_input` is false until it is used up.

What a connection holds is counted against its address: an incomplete frame, requests that have no
reply yet, and replies that the client has not read.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Final

from netserve.fairness.shares import Holding, Shares
from netserve.wire.frame_input import SMALL, FrameInput
from netserve.wire.framing import Event, Framing

__all__ = ["TRANSITIONS", "Pipeline", "Signal", "Slot", "State"]


class State(Enum):
    """Where a connection is."""

    OPEN = "requests are accepted"
    DRAINING = "the service stops: what has been read is still answered"
    ENDED = "the client sends no more: what it has sent is still answered"
    BROKEN = "a frame was broken: earlier requests are answered, further input is dropped"
    LINGERING = "all replies are written; input is dropped until the client closes"
    CLOSED = "the connection is over"


class Signal(Enum):
    """What moves a connection to another state."""

    DRAIN = "the service stops"
    END = "the client closed its sending side"
    BREAK = "a frame is broken, and the next one cannot be found"
    DONE = "nothing is left to answer or to write"
    LOSE = "the connection is lost"


TRANSITIONS: Final[Mapping[tuple[State, Signal], State]] = {
    (State.OPEN, Signal.DRAIN): State.DRAINING,
    (State.OPEN, Signal.END): State.ENDED,
    (State.OPEN, Signal.BREAK): State.BROKEN,
    (State.DRAINING, Signal.END): State.ENDED,
    (State.DRAINING, Signal.BREAK): State.BROKEN,
    (State.DRAINING, Signal.DONE): State.CLOSED,
    (State.ENDED, Signal.DONE): State.CLOSED,
    (State.BROKEN, Signal.END): State.ENDED,
    (State.BROKEN, Signal.DONE): State.LINGERING,
    (State.LINGERING, Signal.END): State.CLOSED,
    (State.LINGERING, Signal.DRAIN): State.CLOSED,
    **{(state, Signal.LOSE): State.CLOSED for state in State},
}
"""The next state; a pair that is not here changes nothing."""

_OPEN: Final = State.OPEN
_UNFILLED: Final = object()


class Slot:
    """The place of one reply in the order of the replies.

    Arguments:
        size: bytes of the request, which are counted until its reply takes their place.
    """

    __slots__ = ("cancel", "reply", "size")

    cancel: Callable[[], object] | None
    """Gives up the work on the reply; None where there is nothing to give up."""

    def __init__(self, size: int = 0) -> None:
        self.reply: object = _UNFILLED
        self.size = size
        self.cancel = None

    @property
    def is_open(self) -> bool:
        """Whether the reply is still to come."""
        return self.reply is _UNFILLED


class Pipeline:
    """One connection.

    Arguments:
        framing: of the requests.
        size: the most bytes of one.
        limit: the most requests without a reply.
        memory: what all connections may hold, in bytes.
        address: the client's, as `netserve.wire.peer.counting_key` has it.
    """

    __slots__ = ("_holding", "_limit", "_unsent", "frames", "slots", "state", "writable")

    state: State
    frames: FrameInput
    """What has been read and is not begun."""
    slots: deque[Slot]
    """The replies that cannot be written yet, in order."""
    writable: bool
    """Whether the client reads its replies."""

    def __init__(
        self, framing: Framing, *, size: int, limit: int, memory: Shares, address: str
    ) -> None:
        self.state = _OPEN
        self.frames = FrameInput(framing, size, memory, address)
        self.slots = deque()
        self.writable = True
        self._limit = limit
        self._holding = Holding(memory, address, free=SMALL)
        self._unsent = 0

    def signal(self, signal: Signal) -> bool:
        """Move to the next state; says whether it is another one."""
        state = TRANSITIONS.get((self.state, signal), self.state)
        changed, self.state = state is not self.state, state
        return changed

    # What the client does

    def receive(self, data: bytes) -> None:
        """The client has sent something; it is dropped unless requests are accepted."""
        if self.state is _OPEN:
            self.frames.add(data)

    def idle(self) -> None:
        """The client has sent nothing for `Framing.idle_after` seconds."""
        if self.state is _OPEN:
            self.frames.idle()

    def end(self) -> None:
        """The client has closed its sending side."""
        if self.state is _OPEN:
            self.frames.end()
        self.signal(Signal.END)

    def pause(self) -> None:
        """The client does not read its replies: begin and write nothing more for now."""
        self.writable = False

    def resume(self) -> None:
        """The client has read its replies."""
        self.writable = True
        self.written()

    # What the service does

    def drain(self) -> None:
        """The service stops: accept no more requests."""
        self.signal(Signal.DRAIN)

    def lose(self) -> list[Callable[[], object]]:
        """The connection is lost; gives what cancels the work on replies that are still open."""
        self.signal(Signal.LOSE)
        cancels = []
        for slot in self.slots:
            if slot.cancel is not None:
                cancels.append(slot.cancel)
                # The work holds what has come of the reply, and its slot. In this circle it would
                # stay until the garbage collector runs, which counts objects and not their bytes.
                slot.cancel = None
        self.slots.clear()
        self.frames.clear()
        self._holding.close()
        return cancels

    # Requests and replies

    @property
    def may_begin(self) -> bool:
        """Whether there is room for one more request."""
        return self.writable and len(self.slots) < self._limit

    def next_event(self) -> Event | None:
        """The next request, or what is wrong with it; None where there is none, or no room."""
        if not self.writable or len(self.slots) >= self._limit:
            return None
        events = self.frames.events
        if not events and not self.frames.fill():
            return None
        event = events.popleft()
        if not isinstance(event, bytes) and event.fatal:
            self.frames.clear()
            self.signal(Signal.BREAK)
        return event

    def open(self, size: int) -> Slot | None:
        """The place for a reply that is still to come.

        Arguments:
            size: of the request, in bytes.

        Returns:
            None where the client's address holds as much memory as it may.
        """
        if not self._holding.grow(size):
            return None
        slot = Slot(size)
        self.slots.append(slot)
        return slot

    def fill(self, slot: Slot, reply: bytes | None) -> bool:
        """The reply is here; None where none is sent. A second one is ignored.

        Says whether there is something to write, or room for a request, that was not there before.
        """
        if not slot.is_open:
            return False
        slot.reply, slot.cancel = reply, None
        if not self.slots:
            return False  # the connection is lost
        size = len(reply or b"")
        self._holding.add(size - slot.size)
        slot.size = size
        return slot is self.slots[0]

    def append(self, reply: bytes | None) -> None:
        """A reply that was made at once, and has to wait for earlier ones."""
        if reply is not None:
            slot = Slot()
            self.slots.append(slot)
            self.fill(slot, reply)

    @property
    def may_write(self) -> bool:
        """Whether `take` gives anything, or makes room."""
        return self.writable and bool(self.slots) and not self.slots[0].is_open

    def take(self, most: int) -> bytes:
        """Replies to be written now, in order: about `most` bytes, and at least one reply.

        Empty where there are none. `written` has to follow.
        """
        slots = self.slots
        ready: list[bytes] = []
        size = 0
        while self.writable and slots and not slots[0].is_open and size < most:
            slot = slots.popleft()
            if isinstance(slot.reply, bytes):
                ready.append(slot.reply)
                size += slot.size
        self._unsent += size
        return ready[0] if len(ready) == 1 else b"".join(ready)

    def written(self) -> None:
        """Count what was taken no longer, unless the client has stopped reading meanwhile."""
        if self.writable and self._unsent:
            self._holding.add(-self._unsent)
            self._unsent = 0

    # What the outside has to do next

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits, and the next request could be answered at once."""
        return self.state is _OPEN and self.writable and not (self.slots or self.frames)

    @property
    def has_work(self) -> bool:
        """Whether a reply can be written, or a request begun."""
        return self.may_write or (bool(self.frames) and self.may_begin)

    @property
    def wants_input(self) -> bool:
        """Whether to read from the client: not while input waits, or none is accepted."""
        if self.state is _OPEN:
            return not self.frames
        return self.state in _DROPS_INPUT

    @property
    def drops_input(self) -> bool:
        """Whether input is read only for its end."""
        return self.state in _DROPS_INPUT

    def settle(self) -> bool:
        """Go on to the next state where all work is done; says whether that was so."""
        if self.slots or self.frames:
            return False
        return self.signal(Signal.DONE)


_DROPS_INPUT: Final = frozenset({State.BROKEN, State.LINGERING})
