"""Guesses at passwords and tokens, over real sockets and with real hashes (S23, S24)."""

from __future__ import annotations

import smtplib
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
import requests
from argon2 import PasswordHasher
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred

from netserve.protocols.smtp_relay.receiving.auth import AT_ONCE
from netserve.protocols.smtp_relay.receiving.logins import Logins
from netserve.testing.hosting import FREE_PORT, RunningService
from netserve.testing.mail import in_thread, relay
from netserve.testing.queue import until

reactor: Any = _reactor
HASH = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1).hash("geheim")
OPTIONS = {"login_without_tls": True, "limits": {"connections_per_address": 500}}
GUESSERS = 60
GUESSING = "127.0.0.66"
COUNTED = {"rates": {"exempt": "192.0.2.1"}}
"""Loopback addresses count as those of others do."""


def login(port: int, user: str, password: str, *, address: str = "127.0.0.1") -> tuple[int, str]:
    """The code and the text of the reply to one AUTH."""
    credentials = b64encode(f"\0{user}\0{password}".encode()).decode()
    with smtplib.SMTP("127.0.0.1", port, timeout=60, source_address=(address, 0)) as client:
        client.ehlo()
        code, text = client.docmd("AUTH", f"PLAIN {credentials}")
        return code, text.decode()


@contextmanager
def guessing(port: int, user: str) -> Iterator[list[int]]:
    """Guess over many connections, until the block is left; gives the replies so far."""
    codes: list[int] = []
    over = threading.Event()

    def guess(number: int) -> None:
        at = 0
        while not over.wait(0.02):
            at += 1
            with suppress(OSError, smtplib.SMTPException):
                name = user.format(number * 100_000 + at)
                codes.append(login(port, name, f"guess {at}", address=GUESSING)[0])

    threads = [threading.Thread(target=guess, args=(number,)) for number in range(GUESSERS)]
    for thread in threads:
        thread.start()
    try:
        yield codes
    finally:
        over.set()
        for thread in threads:
            thread.join()


def outcome(service: RunningService, name: str) -> float:
    return service.metrics.value("logins", name)


@pytest.mark.parametrize("user", ["alice", "user{}"])
@pytest_twisted.ensureDeferred
async def test_a_good_login_waits_for_a_few_guesses_at_most(
    tmp_path: Path, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S24: whatever number of connections guesses, at one user or at ever new ones."""
    meanwhile: list[int] = []
    check = Logins.check

    def watched(logins: Logins, address: str, name: str, password: str) -> Deferred[str]:
        before = logins.outcomes().get(("refused",), 0)
        answer = check(logins, address, name, password)
        if name == "bob":

            def answered(result: Any) -> Any:
                meanwhile.append(logins.outcomes().get(("refused",), 0) - before)
                return result

            answer.addBoth(answered)
        return answer

    monkeypatch.setattr(Logins, "check", watched)
    users = {"alice": HASH, "bob": HASH}
    async with relay(tmp_path, users=users, **OPTIONS) as service:

        def work() -> list[int]:
            over = threading.Event()
            with guessing(service.port, user) as codes:
                while len(codes) < 2 * GUESSERS:
                    over.wait(0.05)
                return [
                    login(service.port, "bob", "geheim", address="127.0.0.2")[0] for _ in range(5)
                ]

        assert await in_thread(work) == [235] * 5
        # Those that had begun, and one that may have its turn before.
        assert max(meanwhile) <= AT_ONCE + 1
        assert outcome(service, "backoff") + outcome(service, "busy") > 0
        assert outcome(service, "accepted") == 5
        await until(lambda: service.metrics.value("logins_waiting") == 0, reactor=reactor)


@pytest_twisted.ensureDeferred
async def test_guesses_over_many_connections_are_put_off(tmp_path: Path) -> None:
    """S24: with 454, after which no client takes its password for wrong; others are let in."""
    limits = {"failed_logins": 2, "login_wait": "1h"}
    options: dict[str, Any] = {"login_without_tls": True, "limits": limits}
    async with relay(tmp_path, users={"alice": "secret", "bob": "geheim"}, **options) as service:

        def work() -> list[tuple[int, str]]:
            replies = [login(service.port, "alice", "guess") for _ in range(3)]
            replies.append(login(service.port, "alice", "secret"))
            replies.append(login(service.port, "bob", "geheim"))
            replies.append(login(service.port, "alice", "secret", address="127.0.0.2"))
            return replies

        replies = await in_thread(work)
        assert [code for code, _ in replies] == [535, 535, 454, 454, 235, 235]
        assert replies[2][1] == "4.7.0 Too many logins have failed; try again in 1 s"
        assert service.metrics.errors == {"login": 2, "login_later": 2}


@pytest_twisted.ensureDeferred
async def test_an_address_that_tries_many_users_is_put_off(tmp_path: Path) -> None:
    """S24: but not a user who has logged in from there before."""
    limits = {"failed_logins_per_address": 4, "login_wait": "1h"}
    options: dict[str, Any] = {"login_without_tls": True, "limits": limits, **COUNTED}
    async with relay(tmp_path, users={"alice": "secret", "bob": "geheim"}, **options) as service:

        def work() -> list[int]:
            replies = [login(service.port, "alice", "secret")]
            replies += [login(service.port, f"user{number}", "guess") for number in range(5)]
            replies.append(login(service.port, "bob", "geheim"))
            replies.append(login(service.port, "alice", "secret"))
            replies.append(login(service.port, "bob", "geheim", address="127.0.0.2"))
            return [code for code, _ in replies]

        assert await in_thread(work) == [235, 535, 535, 535, 535, 454, 454, 235, 235]


@pytest_twisted.ensureDeferred
async def test_tokens_that_are_guessed_are_put_off(tmp_path: Path) -> None:
    """S24: the same over HTTP: 429, also for a right token, until the wait is over."""
    tokens = {"shop": "a-token-of-the-shop", "other": "a-token-of-another"}
    options: dict[str, Any] = {
        "http": {"listen": FREE_PORT, "tokens": tokens},
        "limits": {"failed_logins_per_address": 3, "login_wait": "1h"},
        **COUNTED,
    }
    async with relay(tmp_path, **options) as service:
        url = f"http://127.0.0.1:{service.addresses[1].port}/messages"
        message = {"from": "a@b.test", "to": "c@d.test", "subject": "x", "text": "x"}

        def post(token: str) -> tuple[int, str | None]:
            headers = {"Authorization": f"Bearer {token}"}
            answer = requests.post(url, json=message, headers=headers, timeout=20)
            return answer.status_code, answer.headers.get("Retry-After")

        def work() -> list[tuple[int, str | None]]:
            words = ["a-token-of-the-shop", *[f"guess-{number}" for number in range(4)]]
            return [post(word) for word in (*words, "a-token-of-another", "a-token-of-the-shop")]

        good, wrong, later = (202, None), (401, None), (429, "1")
        assert await in_thread(work) == [good, wrong, wrong, wrong, later, later, good]
        assert (outcome(service, "refused"), outcome(service, "backoff")) == (3, 2)


@pytest_twisted.ensureDeferred
async def test_a_request_without_a_token_is_no_guess(tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "http": {"listen": FREE_PORT, "tokens": {"shop": "a-token-of-the-shop"}},
        "limits": {"failed_logins_per_address": 1},
        **COUNTED,
    }
    async with relay(tmp_path, **options) as service:
        url = f"http://127.0.0.1:{service.addresses[1].port}/messages"
        codes = await in_thread(
            lambda: [requests.post(url, json={}, timeout=20).status_code for _ in range(5)]
        )
        assert codes == [401] * 5
