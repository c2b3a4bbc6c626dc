"""The window of the header Idempotency-Key."""

from __future__ import annotations

from netserve.protocols.smtp_relay.receiving.idempotency import Claim, Window


class Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def claimed(window: Window, key: str, content: bytes = b"x") -> Claim:
    claim = window.claim(("shop", key))
    assert claim is not None
    claim.update(content)
    return claim


def test_what_was_taken_is_known_and_compared() -> None:
    window = Window(Time())
    first = claimed(window, "a")
    assert first.known is None
    assert window.claim(("shop", "a")) is None
    first.taken({"id": "1"})
    again = claimed(window, "a")
    assert again.known is not None
    assert again.known.answer == {"id": "1"}
    assert again.is_the_same
    again.end()
    assert not claimed(window, "a", b"y").is_the_same
    assert claimed(window, "b").known is None


def test_keys_of_others_are_others() -> None:
    """However their names are put together."""
    window = Window(Time())
    assert window.claim(("a", "b c")) is not None
    assert window.claim(("a b", "c")) is not None


def test_what_was_not_taken_may_come_again() -> None:
    window = Window(Time())
    claimed(window, "a").leave()
    assert claimed(window, "a").known is None


def test_what_is_being_committed_is_under_way_when_its_handler_has_left() -> None:
    window = Window(Time())
    claim = claimed(window, "a")
    claim.is_committing = True
    claim.leave()
    assert window.claim(("shop", "a")) is None
    claim.taken({})
    assert window.claim(("shop", "a")) is not None


def test_the_window_is_bounded_in_number_and_time() -> None:
    """S8: the oldest is forgotten first, and everything after a day."""
    time = Time()
    window = Window(time, keys=2, seconds=10.0)
    for key in "abc":
        claimed(window, key).taken({"id": key})
    for key, known in (("a", False), ("b", True), ("c", True)):
        claim = claimed(window, key)
        assert bool(claim.known) is known
        claim.end()
    time.now = 10.5
    assert claimed(window, "c").known is None
