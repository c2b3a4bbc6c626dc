"""Logins against the users of the file."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted
from argon2 import PasswordHasher
from twisted.cred.credentials import UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet import reactor

from netserve.config.types import Secret
from netserve.protocols.smtp_relay.receiving.auth import UsersChecker

HASH = PasswordHasher(time_cost=1, memory_cost=64).hash("geheim")
USERS = {"plain": Secret("secret"), "hashed": Secret(HASH), "ümlaut": Secret("pässword")}


@pytest.mark.parametrize(
    ("user", "password"), [("plain", "secret"), ("hashed", "geheim"), ("ümlaut", "pässword")]
)
@pytest_twisted.ensureDeferred
async def test_the_right_password(user: str, password: str) -> None:
    checker: Any = UsersChecker(USERS, reactor=reactor)
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
    checker: Any = UsersChecker(USERS, reactor=reactor)
    with pytest.raises(UnauthorizedLogin):
        await checker.requestAvatarId(UsernamePassword(user.encode(), password.encode()))


def test_a_hash_that_is_none_is_refused_at_the_start() -> None:
    with pytest.raises(ValueError, match="the hash of the user me is none of argon2"):
        UsersChecker({"me": Secret("$argon2id$nonsense")}, reactor=reactor)
