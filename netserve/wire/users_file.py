"""The file of users: a line ``NAME:HASH`` each, as `netserve passwd` writes it. No I/O.

The hash is argon2id's in its usual form (``$argon2id$v=19$m=…,t=…,p=…$SALT$HASH``). Empty lines,
and those that begin with ``#``, are for people; they are kept.
"""

from __future__ import annotations

import re
from typing import Final

LARGEST: Final = 16 * 1024 * 1024
"""Bytes of a file that is read."""

_HASH: Final = re.compile(
    r"\$argon2id\$v=19\$m=[0-9]{1,8},t=[0-9]{1,4},p=[0-9]{1,3}\$[A-Za-z0-9+/]{8,}\$[A-Za-z0-9+/]{8,}"
)


class UsersFileError(ValueError):
    """A line is not of the file's form.

    Arguments:
        line: counted from 1.
        what: what is wrong with it, and what would be right; nothing of a hash is in it.
    """

    def __init__(self, line: int, what: str) -> None:
        super().__init__(f"line {line}: {what}")
        self.line = line
        self.what = what


def name_problem(name: str) -> str | None:
    """Why a user cannot be called so, or None."""
    if not name or not name.isprintable() or name != name.strip() or len(name) > 255:
        return "a user's name has 1 to 255 printable characters, and no space at its ends"
    if ":" in name or name.startswith("#"):
        return "a user's name has no colon, and no # before it"
    return None


def parse_users(text: str) -> dict[str, str]:
    """The hashes by name.

    Raises:
        UsersFileError: the first line that is wrong.
    """
    users: dict[str, str] = {}
    lines: dict[str, int] = {}
    for number, line in enumerate(text.split("\n"), 1):
        name, colon, kept = line.rstrip("\r").partition(":")
        if not line.strip() or line.startswith("#"):
            continue
        if not colon or not kept:
            raise UsersFileError(number, "not NAME:HASH; `netserve passwd` writes such lines")
        if (problem := name_problem(name)) is not None:
            raise UsersFileError(number, problem)
        if not _HASH.fullmatch(kept):
            raise UsersFileError(number, "not a hash of argon2id; `netserve passwd` makes one")
        if name in users:
            raise UsersFileError(number, f"{name} is there already, on line {lines[name]}")
        users[name], lines[name] = kept, number
    return users


def with_user(text: str, name: str, kept: str | None) -> str:
    """The text with a user's hash, in the old one's place or at the end; None takes it out.

    Raises:
        UsersFileError: the text is not of the file's form.
    """
    is_known = name in parse_users(text)
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    if is_known:
        at = next(n for n, line in enumerate(lines) if line.startswith(f"{name}:"))
        lines[at : at + 1] = [] if kept is None else [f"{name}:{kept}"]
    elif kept is not None:
        lines.append(f"{name}:{kept}")
    return "".join(f"{line}\n" for line in lines)
