"""Which keys look as if their value were a secret, so that no error shows it.

A key that the model knows is judged by its type as well; this is for those that it does not
know (``pasword: hunter2``), for plain mappings such as HTTP headers, and for files whose
syntax is so wrong that there is no model to ask.
"""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from functools import lru_cache
from typing import Final

_WORDS: Final = frozenset(
    {"apikey", "authorization", "bearer", "cookie", "credentials", "otp", "pass", "passwd"}
    | {"passwords", "pin", "pw", "pwd", "secrets", "tokens"}
)
_WHOLE: Final = frozenset({"users"})
"""Keys of names with their secrets; not so ``users_file``."""
_NEAR: Final = ("password", "passphrase", "secret", "token", "credential")
_NEAR_ENOUGH: Final = 0.75
_WORD: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")
_KEYS: Final = re.compile(r"[a-z][-_.]?key$", re.IGNORECASE)
_KEY_AND_COLON: Final = re.compile(r"([A-Za-z][\w.-]*)[\"']?\s*[:=]\s?")
_URL_LOGIN: Final = re.compile(r"(?<=://)[^\s/@\"']+(?=@)")


@lru_cache(maxsize=1024)
def looks_secret(key: str) -> bool:
    """Whether a key is like ``password``, ``pasword`` or ``api_key``: its value is not shown."""
    if key in _WHOLE or _KEYS.search(key):
        return True
    return any(
        word in _WORDS or any(_is_near(word, secret) for secret in _NEAR)
        for word in (match.lower() for match in _WORD.findall(key))
    )


def _is_near(word: str, secret: str) -> bool:
    return len(word) > 3 and SequenceMatcher(None, word, secret).ratio() >= _NEAR_ENOUGH


def spans_in_line(line: str, *, whole: bool) -> list[tuple[int, int]]:
    """Where a line shows secrets, judged by nothing but its text.

    Arguments:
        line: a line of a file.
        whole: also what stands behind a key that looks secret, up to the line's end. Where the
            syntax is right the tree tells it better.

    Returns:
        begin and end of each span, in characters.
    """
    spans = [match.span() for match in _URL_LOGIN.finditer(line)]
    if whole:
        spans += [
            (match.end(), len(line))
            for match in _KEY_AND_COLON.finditer(line)
            if looks_secret(match[1])
        ]
    return spans
