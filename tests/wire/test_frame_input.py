"""What one connection has sent: the frames that its decoder gives, in slices, within a budget."""

from __future__ import annotations

from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netserve.fairness.shares import Shares
from netserve.testing.machines import chunkings
from netserve.wire import frame_input as module
from netserve.wire.frame_input import SLICE, SMALL, FrameInput, TooMuchHeld
from netserve.wire.framing import (
    Delimiter,
    Event,
    Fixed,
    Framing,
    LengthPrefix,
    Line,
    Netstring,
    UntilIdle,
)

MEBIBYTE = 1 << 20


def frame_input(framing: Framing, *, limit: int = MEBIBYTE, memory: int = MEBIBYTE) -> FrameInput:
    return FrameInput(framing, limit, Shares(memory), "192.0.2.1")


def take_all(frames: FrameInput) -> list[Event]:
    taken: list[Event] = []
    while frames.fill():
        taken.append(frames.events.popleft())
    return taken


@pytest.mark.parametrize(
    "framing",
    [Line(), Delimiter(b"||"), Fixed(7), LengthPrefix(2), Netstring(), UntilIdle()],
    ids=repr,
)
@settings(deadline=None)
@given(data=st.data())
def test_slices_do_not_matter(framing: Framing, data: st.DataObject) -> None:
    """What comes out is what the decoder makes of all of it."""
    some = st.one_of(st.binary(max_size=40), st.sampled_from([b"3:abc,", b"\0\3abc", b"a||b\r\n"]))
    sent = b"".join(data.draw(st.lists(some, max_size=8)))
    decoder = framing.decoder(MEBIBYTE)
    wanted = [*decoder.feed(sent), *decoder.end()]
    frames = frame_input(framing)
    taken: list[Event] = []
    with patch.object(module, "SLICE", data.draw(st.integers(1, 20))):
        for piece in data.draw(chunkings(sent)):
            frames.add(piece)
            if data.draw(st.booleans()):
                taken += take_all(frames)
        frames.end()
        taken += take_all(frames)
    assert taken == wanted
    assert not frames


def test_no_more_is_decoded_than_a_slice() -> None:
    """S8: a million frames that came at once are not a million objects at once."""
    frames = frame_input(Line())
    frames.add(b"\n" * MEBIBYTE)
    assert not frames.events
    count = 0
    while frames.fill():
        assert len(frames.events) <= SLICE
        count += len(frames.events)
        frames.events.clear()
    assert count == MEBIBYTE


def test_a_pause_ends_what_came_before_it_and_not_what_came_after() -> None:
    frames = frame_input(UntilIdle())
    frames.add(b"one")
    frames.idle()
    frames.add(b"two")
    assert take_all(frames) == [b"one"]
    frames.end()
    assert take_all(frames) == [b"two"]


@pytest.mark.parametrize(
    "framing", [Line(), Delimiter(b"||"), LengthPrefix(4), Netstring(), UntilIdle()], ids=repr
)
def test_unfinished_frames_share_a_budget(framing: Framing) -> None:
    """S8, S24: connections of one address hold no more of it than they leave to others."""
    memory = Shares(MEBIBYTE)
    start = {LengthPrefix: (MEBIBYTE).to_bytes(4, "big"), Netstring: b"1000000:"}
    data = start.get(type(framing), b"") + b"x" * 100_000
    held, refused = [], 0
    for _ in range(900):
        frames = FrameInput(framing, MEBIBYTE, memory, "192.0.2.1")
        frames.add(data)
        events = take_all(frames)
        held.append(frames)
        if events:
            assert events == [TooMuchHeld()]
            assert events[0].fatal
            assert len(frames.unfinished) == 0
            refused += 1
    total = sum(len(frames.unfinished) for frames in held)
    assert refused > 800
    assert total <= MEBIBYTE // 2 + 900 * SMALL
    another = FrameInput(framing, MEBIBYTE, memory, "192.0.2.2")
    another.add(data)
    assert take_all(another) == []
    for frames in [*held, another]:
        frames.clear()
    assert memory.used == 0


def test_small_unfinished_frames_are_everybodys() -> None:
    """Where the budget is used up, a request of an ordinary size is taken all the same."""
    memory = Shares(1)
    for number in range(100):
        frames = FrameInput(Line(), MEBIBYTE, memory, f"192.0.2.{number}")
        frames.add(b"x" * SMALL)
        assert take_all(frames) == []
        frames.add(b"\n")
        assert take_all(frames) == [b"x" * SMALL]


def test_frames_before_the_one_that_takes_too_much_are_not_lost() -> None:
    frames = frame_input(Line(), memory=10_000)
    frames.add(b"one\ntwo\n" + b"x" * 20_000)
    assert take_all(frames) == [b"one", b"two", TooMuchHeld()]


def test_a_frame_that_becomes_complete_gives_its_memory_back() -> None:
    memory = Shares(MEBIBYTE)
    frames = FrameInput(Line(), MEBIBYTE, memory, "192.0.2.1")
    for _ in range(50):
        frames.add(b"x" * 400_000)
        assert take_all(frames) == []
        assert memory.used == 400_000 - SMALL
        frames.add(b"\n")
        assert take_all(frames) == [b"x" * 400_000]
        assert memory.used == 0
