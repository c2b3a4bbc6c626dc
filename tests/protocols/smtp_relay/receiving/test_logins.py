"""Logins in front of a checker: guesses take nobody else's turn (S23, S24)."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.logger import formatEvent

from netserve.protocols.smtp_relay.receiving.login_memory import Patience
from netserve.protocols.smtp_relay.receiving.logins import TIMEOUT, Logins, TryLater


class Checker:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Deferred[bytes]]] = []

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes]:
        answer: Deferred[bytes] = Deferred()
        self.asked.append((credentials.username.decode(), answer))
        return answer

    def answer(self, *, right: bool = False) -> str:
        """Answer the first that is asked about; gives its user."""
        user, answer = self.asked.pop(0)
        if answer.called:
            return user
        if right:
            answer.callback(user.encode())
        else:
            answer.errback(UnauthorizedLogin())
        return user


class Log:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def warn(self, form: str, **values: Any) -> None:
        self.lines.append(formatEvent({"log_format": form, **values}))


class Fixture:
    def __init__(self, *, places: int = 2, queue: int = 4, exempt: str = "127.0.0.0/8") -> None:
        self.clock, self.checker, self.log = Clock(), Checker(), Log()
        log: Any = self.log
        self.logins = Logins(
            self.checker,
            patience=Patience(pair=3, address=10, longest=60.0),
            exempt=(ipaddress.IPv4Network(exempt),),
            places=places,
            queue=queue,
            reactor=self.clock,
            log=log,
        )
        self.results: list[Any] = []

    def login(self, address: str, user: str) -> Deferred[Any]:
        answer: Deferred[Any] = self.logins.check(address, user, "guess")
        answer.addBoth(lambda result: self.results.append((user, getattr(result, "value", result))))
        return answer

    def fail(self, address: str, user: str) -> None:
        self.login(address, user)
        self.checker.answer()


def test_a_login_in_a_flood_of_guesses_is_next() -> None:
    """S24: sixty connections guess from one address; nobody else waits for more than one turn."""
    fixture = Fixture(places=2)
    for number in range(60):
        fixture.login("192.0.2.1", f"user{number}")
    assert len(fixture.checker.asked) == 1, "an address has a part of the places"
    fixture.login("192.0.2.2", "alice")
    assert [user for user, _ in fixture.checker.asked] == ["user0", "alice"]
    fixture.checker.asked[1][1].callback(b"alice")
    assert fixture.results[-1] == ("alice", "alice")
    busy = [value for _, value in fixture.results if isinstance(value, TryLater)]
    assert len(busy) == 60 - 1 - 4
    assert {error.outcome for error in busy} == {"busy"}
    assert fixture.logins.waiting == 4


def test_guesses_from_many_addresses() -> None:
    """S24: once they have failed, they leave a place to others."""
    fixture = Fixture(places=2)
    for number in range(40):
        fixture.login(f"192.0.2.{number}", "root")
    while fixture.checker.asked:
        fixture.checker.answer()
    for number in range(40):
        fixture.login(f"192.0.2.{number}", "root")
    assert len(fixture.checker.asked) == 1
    fixture.login("198.51.100.1", "alice")
    assert fixture.checker.asked[-1][0] == "alice"


def test_a_guesser_has_to_wait_over_all_connections() -> None:
    """S24: nothing is verified meanwhile, and the log tells it once."""
    fixture = Fixture()
    for _ in range(3):
        fixture.fail("192.0.2.1", "alice")
    fixture.login("192.0.2.1", "Alice")
    error = fixture.results[-1][1]
    assert isinstance(error, TryLater)
    assert (error.wait, error.outcome) == (1, "backoff")
    assert fixture.checker.asked == []
    assert fixture.log.lines == [
        "logins of 192.0.2.1 as alice have to wait 1 s: too many have failed"
    ]
    fixture.clock.advance(1.0)
    fixture.login("192.0.2.1", "alice")
    assert len(fixture.checker.asked) == 1
    assert dict(fixture.logins.outcomes()) == {("refused",): 3, ("backoff",): 1}


def test_what_waits_while_others_fail_is_not_verified() -> None:
    """Sixty guesses that are sent at once are no more than sixty that are sent one by one."""
    fixture = Fixture(places=1, queue=60)
    for _ in range(60):
        fixture.login("192.0.2.1", "alice")
    for _ in range(3):
        fixture.checker.answer()
    assert fixture.checker.asked == []
    outcomes = dict(fixture.logins.outcomes())
    assert outcomes == {("refused",): 3, ("backoff",): 57}


def test_a_known_user_behind_the_guessers_router() -> None:
    fixture = Fixture()
    fixture.login("192.0.2.1", "alice")
    fixture.checker.answer(right=True)
    for number in range(10):
        fixture.fail("192.0.2.1", f"user{number}")
    fixture.login("192.0.2.1", "bob")
    assert isinstance(fixture.results[-1][1], TryLater)
    fixture.login("192.0.2.1", "alice")
    fixture.checker.answer(right=True)
    assert fixture.results[-1] == ("alice", "alice")


@pytest.mark.parametrize("address", ["127.0.0.1", ""])
def test_programs_on_this_machine_share_an_address(address: str) -> None:
    fixture = Fixture()
    for number in range(100):
        fixture.fail(address, f"user{number}")
    fixture.login(address, "alice")
    fixture.checker.answer(right=True)
    assert fixture.results[-1] == ("alice", "alice")


def test_who_leaves_gives_up_the_turn() -> None:
    fixture = Fixture(places=1)
    first, second = fixture.login("192.0.2.1", "a"), fixture.login("192.0.2.2", "b")
    second.cancel()
    assert fixture.logins.waiting == 0
    assert isinstance(fixture.results[-1][1], CancelledError)
    first.cancel()
    fixture.login("192.0.2.3", "c")
    assert [user for user, _ in fixture.checker.asked] == ["a", "c"]
    assert dict(fixture.logins.outcomes()) == {}


def test_a_guesser_who_does_not_wait_for_the_answer_has_failed() -> None:
    fixture = Fixture()
    for _ in range(3):
        fixture.login("192.0.2.1", "alice").cancel()
    fixture.login("192.0.2.1", "alice")
    assert isinstance(fixture.results[-1][1], TryLater)


def test_a_checker_that_never_answers_keeps_no_place() -> None:
    fixture = Fixture(places=1)
    fixture.login("192.0.2.1", "a")
    fixture.login("192.0.2.2", "b")
    fixture.clock.advance(TIMEOUT)
    assert isinstance(fixture.results[0][1], Exception)
    assert [user for user, _ in fixture.checker.asked] == ["a", "b"]
    assert dict(fixture.logins.outcomes()) == {("failed",): 1}


def test_a_checker_that_breaks_keeps_no_place() -> None:
    fixture = Fixture(places=1)

    def broken(_: object) -> Deferred[bytes]:
        raise ZeroDivisionError

    fixture.checker.requestAvatarId = broken  # type: ignore[method-assign]
    for number in range(3):
        fixture.login("192.0.2.1", f"user{number}")
    assert [type(value) for _, value in fixture.results] == [ZeroDivisionError] * 3


def test_tokens_that_nobody_has() -> None:
    """Not even the right one counts until the wait is over; one that was used from there does."""
    fixture = Fixture()
    assert fixture.logins.check_token("192.0.2.1", "app") == "app"
    for _ in range(10):
        with pytest.raises(UnauthorizedLogin):
            fixture.logins.check_token("192.0.2.1", None)
    for name in (None, "other"):
        with pytest.raises(TryLater) as caught:
            fixture.logins.check_token("192.0.2.1", name)
        assert caught.value.wait == 1
    assert fixture.logins.check_token("192.0.2.1", "app") == "app"
    assert fixture.logins.check_token("192.0.2.2", "other") == "other"
    fixture.clock.advance(1.0)
    assert fixture.logins.check_token("192.0.2.1", "other") == "other"
    assert fixture.log.lines == [
        "logins of 192.0.2.1 as a token have to wait 1 s: too many have failed"
    ]
