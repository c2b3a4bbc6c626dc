"""The helpers for machines' tests find the faults they are for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserve.testing import chunkings, cut, feed_all, feed_three_ways, join_bytes


class Lines:
    """A right machine: lines, whatever the pieces."""

    def __init__(self) -> None:
        self.held = b""

    def feed(self, data: bytes) -> list[bytes]:
        *lines, self.held = (self.held + data).split(b"\n")
        return lines


class Forgetful(Lines):
    """A wrong one: what is behind the last line of a piece is lost."""

    def feed(self, data: bytes) -> list[bytes]:
        lines = super().feed(data)
        self.held = b""
        return lines


class Greedy(Lines):
    """A wrong one: takes the beginning of the next line for a line."""

    def feed(self, data: bytes) -> list[bytes]:
        lines = super().feed(data)
        if lines and self.held:
            lines.append(self.held)
            self.held = b""
        return lines


def test_a_right_machine_passes() -> None:
    machine = feed_three_ways(Lines, b"one\ntwo\n", [b"one", b"two"], tail=b"th")
    assert machine.held == b""


def test_wrong_events_are_found() -> None:
    with pytest.raises(AssertionError, match="fed whole"):
        feed_three_ways(Lines, b"one\n", [b"two"])


def test_a_machine_that_forgets_is_found() -> None:
    with pytest.raises(AssertionError, match="fed byte by byte"):
        feed_three_ways(Forgetful, b"one\n", [b"one"])


def test_a_machine_that_takes_the_tail_is_found() -> None:
    with pytest.raises(AssertionError, match="fed with a tail"):
        feed_three_ways(Greedy, b"one\n", [b"one"], tail=b"th")


def test_the_tail_can_have_events_of_its_own() -> None:
    feed_three_ways(Lines, b"one\n", [b"one"], tail=b"two\nth", then=[b"two"])


def test_a_machine_with_another_method_and_streaming_events() -> None:
    class Through:
        def receive(self, data: bytes) -> list[bytes] | None:
            return [data] if data != b"-" else None

    feed_three_ways(
        Through,
        b"a-b",
        [b"a-b"],
        feed=lambda machine, data: machine.receive(data),
        normalise=lambda events: [b"a-b"] if b"".join(events) in {b"a-b", b"ab"} else events,
    )


def test_join_bytes() -> None:
    assert join_bytes([b"a", b"b", 1, b"c", b"d"]) == [b"ab", 1, b"cd"]


def test_cut() -> None:
    assert cut(b"abcd", [3, 1, 1, 0, 9]) == [b"a", b"bc", b"d"]
    assert cut(b"", [1]) == []


@given(data=st.binary(max_size=30), draw=st.data())
def test_pieces_make_the_whole(data: bytes, draw: st.DataObject) -> None:
    pieces = draw.draw(chunkings(data))
    assert b"".join(pieces) == data
    assert all(pieces)
    assert feed_all(Lines(), pieces) == feed_all(Lines(), [data])
