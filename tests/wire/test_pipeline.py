"""The pipeline as a machine: its table, and what client and service do to each other."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserve.fairness.shares import Shares
from netserve.testing.machines import chunkings, feed_three_ways
from netserve.wire.framing import Framing, FramingError, LengthPrefix, Line, Netstring
from netserve.wire.pipeline import TRANSITIONS, Pipeline, Signal, State

BROKEN = b"\xff" * 4
"""As a length it is beyond every limit."""
LENGTH = LengthPrefix(4)


class Talk(Pipeline):
    """A pipeline whose service echoes at once, or later."""

    def __init__(
        self, framing: Framing = LENGTH, *, limit: int = 10, memory: int = 1 << 20
    ) -> None:
        super().__init__(framing, size=1000, limit=limit, memory=Shares(memory), address="a")
        self.begun: list[Any] = []

    def feed(self, data: bytes) -> list[Any]:
        """Receive; give the replies, each request answered at once, and changes of the state."""
        self.receive(data)
        return self.go_on()

    def go_on(self) -> list[Any]:
        events: list[Any] = []
        while (event := self.next_event()) is not None:
            if isinstance(event, bytes):
                slot = self.open(len(event))
                assert slot is not None
                self.fill(slot, event)
            else:
                self.append(type(event).__name__.encode())
            while reply := self.take(1):
                events.append(reply)
                self.written()
        if self.settle():
            events.append(self.state)
        return events

    def hold(self, data: bytes) -> list[Any]:
        """Receive; begin what may be begun, and answer nothing. Gives the open places."""
        self.receive(data)
        slots = []
        while (event := self.next_event()) is not None:
            if isinstance(event, bytes):
                slots.append(self.open(len(event)))
            else:
                self.append(b"wrong")
        return slots


def frames(*data: bytes, framing: Framing = LENGTH) -> bytes:
    return b"".join(map(framing.encode, data))


@pytest.mark.parametrize(("state", "signal"), list(product(State, Signal)))
def test_the_table_is_whole(state: State, signal: Signal) -> None:
    """A connection that is over stays so; any other comes to its end, whatever happens first."""
    after = TRANSITIONS.get((state, signal), state)
    if state is State.CLOSED:
        assert after is State.CLOSED
    if signal is Signal.LOSE:
        assert after is State.CLOSED
    order = list(State)
    assert order.index(after) >= order.index(state) or (
        (state, signal, after) == (State.BROKEN, Signal.END, State.ENDED)
    )


@pytest.mark.parametrize("state", [state for state in State if state is not State.OPEN])
def test_every_state_but_open_comes_to_an_end(state: State) -> None:
    for _ in range(2):
        state = TRANSITIONS.get((state, Signal.DONE), state)
        state = TRANSITIONS.get((state, Signal.END), state)
    assert state is State.CLOSED


@pytest.mark.parametrize("framing", [Line(), LENGTH, Netstring()], ids=repr)
def test_fed_three_ways(framing: Framing) -> None:
    data = frames(b"a", b"bb", b"", b"c" * 1000, framing=framing)
    feed_three_ways(
        lambda: Talk(framing),
        data,
        [b"a", b"bb", b"c" * 1000],
        tail=frames(b"dddd", framing=framing)[:3],
    )


def test_a_broken_frame_fed_three_ways() -> None:
    """Replies that are due come first; then the connection lingers, and drops what follows."""
    feed_three_ways(
        Talk,
        frames(b"a", b"b") + BROKEN,
        [b"a", b"b", b"FrameTooLong", State.LINGERING],
        tail=b"x" * 300,
    )


@given(data=st.binary(max_size=60), cuts=st.data())
def test_pieces_do_not_matter(data: bytes, cuts: st.DataObject) -> None:
    sent = frames(b"one", b"two") + data
    whole = Talk()
    wanted = whole.feed(sent)
    pieces = Talk()
    seen = [event for piece in cuts.draw(chunkings(sent)) for event in pieces.feed(piece)]
    assert seen == wanted
    assert pieces.state is whole.state


@given(order=st.permutations(range(5)))
def test_replies_keep_the_order_of_their_requests(order: list[int]) -> None:
    """S13."""
    talk = Talk()
    slots = talk.hold(frames(*[b"%d" % number for number in range(5)]))
    said = b""
    for index in order:
        first = talk.fill(slots[index], b"%d" % index)
        assert first is talk.may_write
        said += talk.take(1000)
        talk.written()
    assert said == b"01234"


def test_no_more_requests_than_the_limit_have_no_reply() -> None:
    talk = Talk(limit=2)
    first, second = talk.hold(frames(b"a", b"b", b"c"))
    assert (talk.may_begin, talk.wants_input, talk.has_work) == (False, False, False)
    assert not talk.fill(second, b"B")
    assert talk.fill(first, b"A")
    assert (talk.take(1000), talk.has_work) == (b"AB", True)
    assert len(talk.hold(b"")) == 1
    assert talk.wants_input


def test_only_the_first_reply_counts() -> None:
    talk = Talk()
    (slot,) = talk.hold(frames(b"a"))
    assert talk.fill(slot, b"in time")
    assert not talk.fill(slot, b"late")
    assert talk.take(1000) == b"in time"


def test_a_request_without_a_reply_makes_room() -> None:
    talk = Talk(limit=1)
    (slot,) = talk.hold(frames(b"a", b"b"))
    assert talk.fill(slot, None)
    assert (talk.take(1000), talk.has_work) == (b"", True)


def test_a_client_that_does_not_read_is_not_written_to() -> None:
    talk = Talk()
    (slot,) = talk.hold(frames(b"a"))
    talk.pause()
    talk.fill(slot, b"A")
    assert talk.hold(frames(b"b")) == []
    assert (talk.take(1000), talk.has_work, talk.wants_input) == (b"", False, False)
    talk.resume()
    assert talk.take(1000) == b"A"


def test_what_is_held_is_counted_until_the_client_has_read_it() -> None:
    """S8, S24: requests under way, replies in their place, and what the client has not read."""
    talk = Talk(memory=20_000)
    memory = talk._holding._shares
    slot, other = talk.hold(frames(b"x" * 900, b"x" * 900))
    talk.fill(slot, b"y" * 8_000)
    held = 900 + 8_000 - 4_096
    assert memory.used == held
    assert talk.take(1000) == b"y" * 8_000
    talk.pause()  # by the write
    talk.written()
    assert memory.used == held
    talk.resume()
    assert memory.used == 0
    talk.fill(other, b"y" * 30_000)
    assert talk.open(1000) is None, "its share is used up"
    talk.lose()
    assert memory.used == 0


END: dict[str, tuple[Callable[[Talk], object], State]] = {
    "the client closes its side": (Talk.end, State.CLOSED),
    "the service stops": (Talk.drain, State.CLOSED),
    "a frame is broken": (lambda talk: talk.hold(BROKEN + b"x" * 300), State.LINGERING),
}


@pytest.mark.parametrize("how", END)
def test_what_was_asked_is_answered_before_the_end(how: str) -> None:
    """S13: and nothing that comes after it."""
    end, state = END[how]
    talk = Talk()
    (slot,) = talk.hold(frames(b"a"))
    end(talk)
    assert talk.hold(frames(b"too late")) == []
    assert not talk.settle()
    talk.fill(slot, b"A")
    said = talk.take(1000)
    assert said == (b"Awrong" if state is State.LINGERING else b"A")
    assert talk.settle()
    assert talk.state is state


def test_a_client_that_closed_before_the_end_is_not_waited_for() -> None:
    talk = Talk(limit=1)
    (slot,) = talk.hold(frames(b"a") + BROKEN + b"x" * 300)
    talk.end()
    talk.fill(slot, b"A")
    talk.take(1000)
    assert talk.hold(b"") == []
    assert talk.take(1000) == b"wrong"
    assert talk.settle()
    assert talk.state is State.CLOSED


@pytest.mark.parametrize("signal", [Pipeline.end, Pipeline.drain], ids=["end", "drain"])
def test_lingering_ends_with_the_client_or_the_service(signal: Callable[[Pipeline], None]) -> None:
    talk = Talk()
    talk.feed(BROKEN)
    assert (talk.state, talk.wants_input) == (State.LINGERING, True)
    signal(talk)
    assert talk.state is State.CLOSED


def test_a_lost_connection_gives_up_its_work() -> None:
    talk = Talk()
    slots = talk.hold(frames(b"a", b"b", b"c"))
    for slot in slots:
        slot.cancel = slots.index
    talk.fill(slots[1], b"B")
    assert len(talk.lose()) == 2
    assert not talk.fill(slots[0], b"A")
    assert (talk.state, talk.has_work, talk.is_idle) == (State.CLOSED, False, False)


@pytest.mark.parametrize(
    ("framing", "data", "kind"),
    [
        (LENGTH, BROKEN, "oversized"),
        (LengthPrefix(2, inclusive=True), b"\0\0", "framing"),
        (Netstring(), b"nonsense", "framing"),
        (Netstring(), b"9999:", "oversized"),
        (Line(), b"x" * 1001 + b"\n", "oversized"),
    ],
)
def test_what_is_wrong_with_a_frame_has_one_name(framing: Framing, data: bytes, kind: str) -> None:
    talk = Talk(framing)
    talk.receive(data)
    event = talk.next_event()
    assert isinstance(event, FramingError)
    assert event.kind == kind
