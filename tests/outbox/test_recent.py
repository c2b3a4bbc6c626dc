"""The memory of the last outcomes."""

from __future__ import annotations

from netserve.outbox.recent import FOLLOWED, LAST, OF_ONE, Ended, Recent


def ended(number: int, outcome: str = "delivered") -> Ended:
    return Ended(number, "a@b.test", outcome, "smtp:x", "250 OK", "x[192.0.2.1]:25", 1.0)


def test_the_last_ones_are_remembered() -> None:
    """S8: so many and no more."""
    recent = Recent()
    for number in range(LAST + 10):
        recent.add(ended(number))
    assert recent.of(LAST + 9) == [ended(LAST + 9)]
    assert recent.of(9) == []


def test_who_is_followed_is_remembered_longer() -> None:
    recent = Recent()
    recent.follow(7)
    recent.add(ended(7, "deferred"))
    for number in range(100, 100 + LAST):
        recent.add(ended(number))
    recent.add(ended(7))
    assert [one.outcome for one in recent.of(7)] == ["deferred", "delivered"]


def test_who_is_asked_about_once_is_followed() -> None:
    recent = Recent()
    recent.add(ended(7, "deferred"))
    assert [one.outcome for one in recent.of(7)] == ["deferred"]
    for number in range(100, 100 + LAST):
        recent.add(ended(number))
    recent.add(ended(7))
    assert [one.outcome for one in recent.of(7)] == ["deferred", "delivered"]


def test_what_is_followed_is_bounded() -> None:
    """S8: in messages, and in outcomes of one."""
    recent = Recent()
    for number in range(FOLLOWED + 1):
        recent.follow(number)
    for number in range(FOLLOWED + 1):
        recent.add(ended(number))
    for _ in range(LAST):
        recent.add(ended(FOLLOWED))
    assert len(recent.of(FOLLOWED)) == OF_ONE
    assert len(recent._followed) == FOLLOWED
    assert recent.of(0) == []


def test_as_json() -> None:
    assert ended(1).as_json() == {
        "recipient": "a@b.test", "outcome": "delivered", "destination": "smtp:x",
        "reply": "250 OK", "remote": "x[192.0.2.1]:25", "at": 1.0,
    }  # fmt: skip
