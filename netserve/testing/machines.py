r"""Helpers for the tests of sans-IO machines: bytes in, events out.

A machine's events must not depend on how the network cut its input into pieces. `feed_three_ways`
holds a machine to that on one input, `chunkings` (for hypothesis) on all the ways to cut it::

    def test_two_lines() -> None:
        feed_three_ways(lambda: Lines(limit=80), b"one\ntwo\n", [b"one", b"two"], tail=b"th")

    @given(data=st.binary(), cuts=st.data())
    def test_pieces_do_not_matter(data: bytes, cuts: st.DataObject) -> None:
        pieces = cuts.draw(chunkings(data))
        assert feed_all(Lines(limit=80), pieces) == feed_all(Lines(limit=80), [data])

A machine is anything with a method ``feed(data)`` that gives events; another method is named by
``feed=``. Events that may come in more pieces than one, such as parts of a body, are made
comparable by ``normalise=``; `join_bytes` is one such function.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

__all__ = ["chunkings", "cut", "feed_all", "feed_three_ways", "join_bytes"]

M = TypeVar("M")
E = TypeVar("E")

Feed = Callable[[Any, bytes], Iterable[Any] | None]
Normalise = Callable[[list[Any]], list[Any]]


def _feed(machine: Any, data: bytes) -> Iterable[Any] | None:
    events: Iterable[Any] | None = machine.feed(data)
    return events


def feed_all(machine: Any, pieces: Iterable[bytes], *, feed: Feed = _feed) -> list[Any]:
    """Feed the pieces to the machine one after the other, and give all of its events.

    Arguments:
        machine: is fed, and changed by it.
        pieces: the input, in order.
        feed: ``feed(machine, data)`` gives the events, or None for no event.
    """
    events: list[Any] = []
    for piece in pieces:
        events.extend(feed(machine, piece) or ())
    return events


def cut(data: bytes, at: Iterable[int]) -> list[bytes]:
    """The data in pieces, cut at the given offsets; no piece is empty."""
    offsets = [0, *sorted(offset for offset in set(at) if 0 < offset < len(data)), len(data)]
    pieces = [data[a:b] for a, b in itertools.pairwise(offsets)]
    return [piece for piece in pieces if piece]


def feed_three_ways(
    make_machine: Callable[[], M],
    data: bytes,
    expect: Sequence[Any],
    *,
    tail: bytes = b"",
    then: Sequence[Any] = (),
    feed: Feed = _feed,
    normalise: Normalise = list,
) -> M:
    """Assert that the machine gives the same events for an input whole, byte by byte, and whole
    with a piece of the next input behind it.

    Arguments:
        make_machine: makes a fresh machine; called for each way.
        data: the input.
        expect: the events for it.
        tail: the beginning of what could follow; empty: the third way is cut once at every
            offset instead, so that there are always three.
        then: the events that the tail adds; none, if it is the beginning only.
        feed: ``feed(machine, data)`` gives the events, or None for no event.
        normalise: makes lists of events comparable, such as `join_bytes`.

    Returns:
        The machine that was fed the whole, for further questions.

    Raises:
        AssertionError: the events differ; the text names the way.
    """

    def check(way: str, machine: Any, pieces: list[bytes], wanted: Sequence[Any]) -> None:
        seen, right = normalise(feed_all(machine, pieces, feed=feed)), normalise(list(wanted))
        assert seen == right, f"fed {way}: {seen!r}\n  instead of {right!r}"  # noqa: S101 - a test

    whole = make_machine()
    check("whole", whole, [data], expect)
    check("byte by byte", make_machine(), cut(data, range(len(data))), expect)
    if tail:
        check("with a tail", make_machine(), [data + tail], [*expect, *then])
    else:
        for offset in range(1, len(data)):
            check(f"cut at {offset}", make_machine(), cut(data, [offset]), expect)
    return whole


def join_bytes(events: list[Any]) -> list[Any]:
    """The events with neighbouring bytes joined: for machines that pass a stream through."""
    joined: list[Any] = []
    for event in events:
        if isinstance(event, bytes) and joined and isinstance(joined[-1], bytes):
            joined[-1] += event
        else:
            joined.append(event)
    return joined


def chunkings(data: bytes, *, cuts: int = 8) -> SearchStrategy[list[bytes]]:
    """A hypothesis strategy for the ways to cut the data into pieces.

    Arguments:
        data: what is cut.
        cuts: the most cuts; byte by byte is among the ways in any case.
    """
    from hypothesis import strategies as st  # noqa: PLC0415 - hypothesis is in the extra `test`

    if len(data) < 2:
        return st.just([data] if data else [])
    offsets = st.sets(st.integers(1, len(data) - 1), max_size=cuts)
    every = st.just(set(range(1, len(data))))
    return st.one_of(offsets, every).map(lambda at: cut(data, at))
