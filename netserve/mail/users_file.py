"""The file of users: a line ``NAME:HASH`` each, as `netserve passwd` writes it. No I/O.

The hash is argon2's in its usual form: ``$argon2id$v=19$m=…,t=…,p=…$SALT$HASH``. Empty lines, and
those that begin with ``#``, are for people; they are kept.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Final

LARGEST: Final = 16 * 1024 * 1024
"""Bytes of a file that is read."""

MOST_MEMORY: Final = 1024 * 1024
"""KiB that verifying a hash may take; it is done for everybody who says a user's name."""
MOST_PASSES: Final = 100
MOST_LANES: Final = 64

_HASH: Final = re.compile(
    r"\$(?P<kind>argon2id|argon2i|argon2d)\$v=(?:19|16)"
    r"\$m=(?P<memory>[1-9][0-9]{0,8}),t=(?P<passes>[1-9][0-9]{0,8}),p=(?P<lanes>[1-9][0-9]{0,8})"
    r"\$(?P<salt>[A-Za-z0-9+/]+)\$(?P<digest>[A-Za-z0-9+/]+)"
)
_LIKE_ARGON2: Final = re.compile(r"\$*argon2[a-z]*\$|[^\n]*=[0-9]+,t=[0-9]+,p=[0-9]+")
"""Also what a shell, or a file of variables, has left of one after taking its dollar signs."""
_OTHER_HASH: Final = re.compile(
    r"\$(?:[0-9][a-z]?|y|gy|sha1|md5|apr1|scrypt|bcrypt(?:-sha256)?|pbkdf2[a-z0-9-]*)\$.*"
    r"|\{(?:S?SHA[0-9]*|S?MD5|PLAIN|CLEARTEXT|ARGON2[A-Z]*|PBKDF2[A-Z0-9-]*|[A-Z0-9]*-?CRYPT)"
    r"(?:\.[A-Z0-9]+)?\}.*",
    re.DOTALL,
)
"""Hashes of `crypt` and of LDAP, which would otherwise be taken for passwords."""
_SHORTEST_SALT: Final = 8
_SHORTEST_DIGEST: Final = 12


def is_hash(text: str) -> bool:
    """Whether a text is a hash of argon2, or meant to be one, rather than a password."""
    return bool(_LIKE_ARGON2.match(text) or _OTHER_HASH.fullmatch(text))


def hash_problem(text: str) -> str | None:
    """Why a hash could not be verified, or None. Nothing of the hash is in the answer.

    Arguments:
        text: one for which `is_hash` is true, or one that has to be a hash.
    """
    match = _HASH.fullmatch(text)
    if match is None:
        if _OTHER_HASH.fullmatch(text):
            return "a hash of another kind than argon2; `netserve passwd` makes one"
        return "not a hash of argon2; `netserve passwd` makes one"
    memory, passes, lanes = (int(match[name]) for name in ("memory", "passes", "lanes"))
    if memory > MOST_MEMORY or passes > MOST_PASSES or lanes > MOST_LANES:
        return (
            f"a hash that takes more than m={MOST_MEMORY}, t={MOST_PASSES} or p={MOST_LANES} to"
            " verify; `netserve passwd` makes one that takes less"
        )
    if memory < 8 * lanes:  # RFC 9106, section 3.1
        return "not a hash of argon2: its memory m is less than eight times its lanes p"
    if _size(match["salt"]) < _SHORTEST_SALT or _size(match["digest"]) < _SHORTEST_DIGEST:
        return "not a whole hash of argon2: its salt or its end is cut off"
    return None


def _size(encoded: str) -> int:
    """Bytes of base64 without padding; 0 where it is cut off in the middle of a byte."""
    return 0 if len(encoded) % 4 == 1 else len(encoded) * 3 // 4


def dummy_hash(hashes: Iterable[str], default: str) -> str:
    """A hash of a password that nobody has, for names that nobody has.

    It takes as long to verify as most of the hashes, so that nobody can find out who is a user; it
    is none of them, so that nothing about them comes into it.

    Arguments:
        hashes: of the users, all of which pass `hash_problem`.
        default: where there are none.
    """
    forms = Counter(_form(text) for text in (*hashes,) or (default,))
    kind, parameters, salt, digest = max(forms, key=lambda form: (forms[form], form))
    # Every digest that there is belongs to some password, but nobody can find one of zeros.
    return f"{kind}{parameters}{'A' * salt}${'A' * digest}"


def _form(text: str) -> tuple[str, str, int, int]:
    """What the time of verifying depends on."""
    head, salt, digest = text.rsplit("$", 2)
    kind, parameters = head.rsplit("$", 1)
    return f"{kind}$", f"{parameters}$", len(salt), len(digest)


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
        if (problem := hash_problem(kept)) is not None:
            raise UsersFileError(number, problem)
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
