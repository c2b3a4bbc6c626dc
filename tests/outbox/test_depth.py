"""The count of what is queued: in the background, and right in the end."""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from netserve.outbox.depth import Depth


def test_what_changes_during_a_count_is_counted_after_it() -> None:
    clock = Clock()
    counts: list[Deferred[Any]] = []

    def read() -> Deferred[Any]:
        counts.append(Deferred())
        return counts[-1]

    depth = Depth(clock, read)
    depth.changed()
    depth.changed()
    clock.advance(1)
    depth.changed()
    counts[0].callback((1, 0, 0))
    assert (depth.queued, depth.held) == (1, 0)
    clock.advance(1)
    counts[1].callback((0, 0, 0))
    clock.advance(100)
    assert (depth.queued, len(counts)) == (0, 2)
    depth.changed()
    depth.stop()
    assert not clock.getDelayedCalls()
