"""S13: replies keep the order of their requests."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from netserve.protocols.request_response.ordered import ReplyQueue


def test_in_order() -> None:
    queue = ReplyQueue()
    first, second, third = queue.open(), queue.open(), queue.open()
    second.fill(b"2")
    assert queue.take() == []
    first.fill(b"1")
    assert queue.take() == [b"1", b"2"]
    assert len(queue) == 1
    third.fill(None)
    assert queue.take() == []
    assert len(queue) == 0


def test_only_the_first_reply_counts() -> None:
    queue = ReplyQueue()
    slot = queue.open()
    slot.fill(b"in time")
    slot.fill(b"late")
    assert queue.take() == [b"in time"]


@given(replies=st.lists(st.one_of(st.none(), st.binary(max_size=2)), max_size=12), draw=st.data())
def test_in_whatever_order_they_are_ready(replies: list[bytes | None], draw: st.DataObject) -> None:
    """S13: and each as soon as all before it are."""
    queue = ReplyQueue()
    slots = [queue.open() for _ in replies]
    sent: list[bytes] = []
    done: set[int] = set()
    for index in draw.draw(st.permutations(range(len(replies)))):
        slots[index].fill(replies[index])
        done.add(index)
        sent += queue.take()
        ready = next((i for i in range(len(replies)) if i not in done), len(replies))
        assert sent == [reply for reply in replies[:ready] if reply is not None]
    assert len(queue) == 0
