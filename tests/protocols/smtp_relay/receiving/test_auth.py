"""Logins against the users of the file."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from argon2 import PasswordHasher
from twisted.cred.credentials import UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, gatherResults

from netserve.config.types import Secret
from netserve.errors import OptionError
from netserve.mail.users_file import LARGEST
from netserve.protocols.smtp_relay.receiving.auth import (
    AT_ONCE,
    UsersChecker,
    UsersFile,
    listed_users,
)
from netserve.testing.queue import until

HASH = PasswordHasher(time_cost=1, memory_cost=64).hash("geheim", salt=bytes(16))
USERS = {"plain": Secret("secret"), "hashed": Secret(HASH), "ümlaut": Secret("pässword")}


@pytest.mark.parametrize(
    ("user", "password"), [("plain", "secret"), ("hashed", "geheim"), ("ümlaut", "pässword")]
)
@pytest_twisted.ensureDeferred
async def test_the_right_password(user: str, password: str) -> None:
    checker: Any = UsersChecker(lambda: listed_users(USERS), reactor=reactor)
    credentials = UsernamePassword(user.encode(), password.encode())
    assert await checker.requestAvatarId(credentials) == user.encode()


@pytest.mark.parametrize(
    ("user", "password"),
    [
        ("plain", "Secret"),
        ("plain", ""),
        ("hashed", "secret"),
        ("hashed", HASH),
        ("nobody", "nobody"),
        ("", ""),
    ],
)
@pytest_twisted.ensureDeferred
async def test_the_wrong_one(user: str, password: str) -> None:
    """Nor is there a password for a user who does not exist."""
    checker: Any = UsersChecker(lambda: listed_users(USERS), reactor=reactor)
    with pytest.raises(UnauthorizedLogin):
        await checker.requestAvatarId(UsernamePassword(user.encode(), password.encode()))


@pytest.mark.parametrize("user", ["plain", "nobody"])
@pytest_twisted.ensureDeferred
async def test_a_refusal_takes_as_long_as_for_a_user_with_a_hash(user: str) -> None:
    """S7: who is a user is not to be found out; another one's password is no help all the same."""
    verified: list[str] = []

    class Watched(PasswordHasher):
        def verify(self, hash: Any, password: Any) -> Any:  # noqa: A002 - its name there
            verified.append(hash)
            return super().verify(hash, password)

    checker: Any = UsersChecker(lambda: listed_users(USERS), reactor=reactor)
    checker._hasher = Watched()
    with pytest.raises(UnauthorizedLogin):
        await checker.requestAvatarId(UsernamePassword(user.encode(), b"geheim"))
    (dummy,) = verified
    assert dummy != HASH
    assert dummy.startswith(HASH[: HASH.index("p=") + 3])


@pytest_twisted.ensureDeferred
async def test_few_passwords_are_verified_at_a_time() -> None:
    """S8: what a login costs is bounded, however many are tried at once."""
    running, most = 0, 0

    class Slow:
        def verify(self, kept: str, password: bytes) -> None:
            nonlocal running, most
            with lock:
                running += 1
                most = max(most, running)
            gate.wait(10)
            with lock:
                running -= 1

    lock, gate = threading.Lock(), threading.Event()
    checker: Any = UsersChecker(lambda: {"me": HASH}, reactor=reactor)
    checker._hasher = Slow()
    logins = [checker.requestAvatarId(UsernamePassword(b"me", b"x")) for _ in range(12)]
    await until(lambda: running == AT_ONCE, reactor=reactor)
    gate.set()
    assert await gatherResults(logins) == [b"me"] * 12
    assert most == AT_ONCE


@pytest_twisted.ensureDeferred
async def test_who_leaves_gives_up_the_turn_but_no_thread_that_runs() -> None:
    """S8: what waits is bounded by connections, and what runs by `AT_ONCE` all the same."""
    running, most, verified = 0, 0, 0

    class Slow:
        def verify(self, kept: str, password: bytes) -> None:
            nonlocal running, most, verified
            with lock:
                running += 1
                verified += 1
                most = max(most, running)
            gate.wait(10)
            with lock:
                running -= 1

    lock, gate = threading.Lock(), threading.Event()
    checker: Any = UsersChecker(lambda: {"me": HASH}, reactor=reactor)
    checker._hasher = Slow()
    login = UsernamePassword(b"me", b"x")
    first = [checker.requestAvatarId(login) for _ in range(AT_ONCE)]
    await until(lambda: running == AT_ONCE, reactor=reactor)
    waiting = [checker.requestAvatarId(login) for _ in range(10)]
    for gone in (*first, *waiting):
        gone.addErrback(lambda failure: failure.trap(CancelledError))
        gone.cancel()
    assert await gatherResults([*first, *waiting]) == [CancelledError] * (AT_ONCE + 10)
    last = checker.requestAvatarId(login)
    gate.set()
    assert await last == b"me"
    assert (most, verified) == (AT_ONCE, AT_ONCE + 1)


class Log:
    """What was logged."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def info(self, what: str, **values: Any) -> None:
        self.lines.append(what.format(**values))

    error = info


def users_file(path: Path) -> tuple[UsersFile, Log]:
    log: Any = Log()
    return UsersFile(path, log=log, post=lambda call, *a, **k: call(*a, **k)), log


def test_a_file_is_read_again_when_it_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "users"
    path.write_text(f"me:{HASH}\n")
    file, log = users_file(path)
    assert list(file.users()) == ["me"]
    path.write_text(f"me:{HASH}\nyou:{HASH}\n")
    assert list(file.users()) == ["me", "you"]
    assert list(file.users()) == ["me", "you"]
    assert log.lines == [f"the users of {path} have changed: 2 now"]


def test_a_change_that_is_wrong_changes_nothing(tmp_path: Path) -> None:
    """As in S20: it leaves the old ones, is told once, with its line, and can be mended."""
    path = tmp_path / "users"
    path.write_text(f"me:{HASH}\n")
    file, log = users_file(path)
    path.write_text(f"me:{HASH}\nyou:hunter2\n")
    for _ in range(3):
        assert list(file.users()) == ["me"]
    path.unlink()
    for _ in range(3):
        assert list(file.users()) == ["me"]
    path.write_bytes(b"\xff\n")
    assert list(file.users()) == ["me"]
    path.write_text(f"you:{HASH}\n")
    assert list(file.users()) == ["you"]
    wrong = "the users stay as they were: "
    assert [line.removeprefix(wrong).removeprefix(str(path)) for line in log.lines] == [
        ":2: not a hash of argon2; `netserve passwd` makes one",
        ": no such file or directory; `netserve passwd` makes one",
        ":1: not UTF-8",
        f"the users of {path} have changed: 1 now",
    ]


def test_a_file_that_is_too_large_stops_the_start(tmp_path: Path) -> None:
    """S8."""
    path = tmp_path / "users"
    with path.open("wb") as made:
        made.truncate(LARGEST + 1)
    with pytest.raises(OptionError, match="too large"):
        users_file(path)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (None, "no such file or directory; `netserve passwd` makes one"),
        ("me\n", "users:1: not NAME:HASH"),
        ("# x\nme:hunter2\n", "users:2: not a hash"),
    ],
)
def test_a_file_that_is_wrong_stops_the_start(tmp_path: Path, text: str | None, what: str) -> None:
    path = tmp_path / "users"
    if text is not None:
        path.write_text(text)
    with pytest.raises(OptionError, match=what) as caught:
        users_file(path)
    assert caught.value.option == ("users_file",)
    assert "hunter" not in str(caught.value)
