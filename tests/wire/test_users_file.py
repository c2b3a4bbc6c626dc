"""The file of users."""

from __future__ import annotations

import pytest
from argon2 import PasswordHasher

from netserve.wire.users_file import UsersFileError, name_problem, parse_users, with_user

HASH = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash("geheim", salt=bytes(16))
OTHER = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash("secret", salt=bytes(16))


def test_users_and_what_stands_between_them() -> None:
    text = f"# people\n\nme:{HASH}\r\njürgen m.:{OTHER}\n   \n"
    assert parse_users(text) == {"me": HASH, "jürgen m.": OTHER}
    assert parse_users("") == {}


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (f"me:{HASH}\nyou", "line 2: not NAME:HASH"),
        ("me:", "line 1: not NAME:HASH"),
        (f":{HASH}", "line 1: a user's name"),
        (f" me:{HASH}", "line 1: a user's name"),
        (f"m\x1be:{HASH}", "line 1: a user's name"),
        ("#\n\nme:hunter2", "line 3: not a hash of argon2id"),
        ("me:$argon2i$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2g", "line 1: not a hash"),
        (f"me:{HASH}x!", "line 1: not a hash"),
        (f"me:{HASH}\nme:{OTHER}", "line 2: me is there already, on line 1"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(text: str, what: str) -> None:
    """S17: and nothing of a password."""
    with pytest.raises(UsersFileError, match=what) as caught:
        parse_users(text)
    assert "hunter" not in str(caught.value)


def test_changes_leave_the_rest_as_it_is() -> None:
    text = f"# people\nme:{HASH}\n\nyou:{HASH}"
    assert with_user(text, "me", OTHER) == f"# people\nme:{OTHER}\n\nyou:{HASH}\n"
    assert with_user(text, "new", OTHER) == f"# people\nme:{HASH}\n\nyou:{HASH}\nnew:{OTHER}\n"
    assert with_user(text, "me", None) == f"# people\n\nyou:{HASH}\n"
    assert with_user("", "me", HASH) == f"me:{HASH}\n"
    assert with_user("", "me", None) == ""
    with pytest.raises(UsersFileError):
        with_user("nonsense", "me", HASH)


@pytest.mark.parametrize("name", ["", " a", "a ", "a:b", "#a", "a\n", "a\0b", "x" * 256])
def test_names_that_cannot_be(name: str) -> None:
    assert name_problem(name)
