"""The file of users."""

from __future__ import annotations

import pytest
from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

from netserve.mail.users_file import (
    UsersFileError,
    dummy_hash,
    hash_problem,
    is_hash,
    name_problem,
    parse_users,
    with_user,
)

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
        ("#\n\nme:hunter2", "line 3: not a hash of argon2"),
        ("me:$argon2i$v=19$m=64,t=1,p=1$c2FsdA$aGFzaGhhc2g", "line 1: not a whole hash"),
        (f"me:{HASH}x!", "line 1: not a hash"),
        (f"me:{HASH}\nme:{OTHER}", "line 2: me is there already, on line 1"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(text: str, what: str) -> None:
    """S17: and nothing of a password."""
    with pytest.raises(UsersFileError, match=what) as caught:
        parse_users(text)
    assert "hunter" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (HASH, None),
        (HASH.replace("argon2id", "argon2i"), None),
        ("$argon2id$nonsense", "not a hash of argon2; "),
        (HASH[1:], "not a hash of argon2; "),
        (HASH.replace("$", "$$"), "not a hash of argon2; "),
        (HASH.replace("v=19", "v=20"), "not a hash of argon2; "),
        (HASH.replace("v=19$", ""), "not a hash of argon2; "),
        (f"{HASH}\n", "not a hash of argon2; "),
        (f"{HASH}=", "not a hash of argon2; "),
        (HASH[:-30], "not a whole hash of argon2: "),
        (HASH[:-2], "not a whole hash of argon2: "),
        (HASH.replace("m=64", "m=4"), "not a hash of argon2: its memory m is less"),
        (HASH.replace("m=64", "m=4194304"), "a hash that takes more than m=1048576, "),
        (HASH.replace("t=1", "t=999"), "a hash that takes more than "),
        (HASH.replace("m=64,t=1,p=1", "m=1024,t=1,p=128"), "a hash that takes more than "),
        ("=19=65536,t=3,p=4", "not a hash of argon2; "),  # of a shell that took it for variables
        ("$2y$10$abcdefghijklmnopqrstuv", "a hash of another kind than argon2; "),
        ("$6$salt$hunter2", "a hash of another kind than argon2; "),
        ("$y$j9T$hunter2", "a hash of another kind than argon2; "),
        ("$pbkdf2-sha256$29000$hunter2", "a hash of another kind than argon2; "),
        ("{SSHA}hunter2", "a hash of another kind than argon2; "),
        ("{SHA512-CRYPT}$6$hunter2", "a hash of another kind than argon2; "),
        ("{BLF-CRYPT}hunter2", "a hash of another kind than argon2; "),
        ("{PBKDF2}hunter2", "a hash of another kind than argon2; "),
    ],
)
def test_what_looks_like_a_hash_is_looked_at(text: str, what: str | None) -> None:
    """And nothing of it is in the answer; what is let pass, argon2 can verify."""
    assert is_hash(text)
    problem = hash_problem(text)
    if what is None:
        assert problem is None
        with pytest.raises(VerifyMismatchError):
            PasswordHasher().verify(text, "wrong")
    else:
        assert problem is not None
        assert problem.startswith(what)
        assert "hunter2" not in problem


@pytest.mark.parametrize(
    "password", ["hunter2", "$ecret", "argon2 is my hobby", "$argon", "{curly}", "a$6$b", "$", "{}"]
)
def test_passwords_that_are_not_taken_for_hashes(password: str) -> None:
    assert not is_hash(password)


def test_a_dummy_is_like_most_hashes_and_is_none_of_them() -> None:
    slow = PasswordHasher(time_cost=2, memory_cost=128, parallelism=1).hash("geheim")
    dummy = dummy_hash([HASH, slow, OTHER], slow)
    assert dummy.startswith(HASH[: HASH.index("p=1$") + 4])
    assert len(dummy) == len(HASH)
    assert hash_problem(dummy) is None
    assert dummy_hash([], slow).startswith(slow[: slow.index("p=1$") + 4])
    for password in ("geheim", "secret", ""):
        with pytest.raises(VerifyMismatchError):
            PasswordHasher().verify(dummy, password)


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
