"""Where in a file a secret may stand, judged by types and by names.

Errors show a value only where no secret can be. That is told by the types of the options
(`holds_no_secret`), and as a second opinion by their names: a plugin may have an option `pin` that
is a number.
"""

from __future__ import annotations

import ipaddress
import re
from difflib import SequenceMatcher
from functools import lru_cache
from pathlib import PurePath
from typing import Any, Final

from pydantic import BaseModel

from netserve.config.listen import Listen
from netserve.config.shapes import Shape, fields
from netserve.config.values import Rate, Secret, Shown

HARMLESS: Final = (
    bool, int, float, type(None), PurePath, Listen, Rate, ipaddress.IPv4Network,
    ipaddress.IPv6Network,
)  # fmt: skip
"""Types whose values are no secrets."""

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


_judged: Final[dict[type[BaseModel], bool]] = {}


def holds_no_secret(shape: Shape) -> bool:
    """Whether nothing that this type takes can be a secret, nor anything in it."""
    return all(map(_is_harmless, shape.leaves))


def _is_harmless(leaf: Shape) -> bool:
    if any(isinstance(item, Shown) for item in leaf.metadata) or leaf.choices:
        return True
    if leaf.model:
        return _has_no_secret(leaf.model)
    if leaf.item:
        return holds_no_secret(leaf.item)
    if leaf.value and leaf.key:
        return holds_no_secret(leaf.key) and holds_no_secret(leaf.value)
    base: Any = leaf.base
    return isinstance(base, type) and issubclass(base, HARMLESS)


def _has_no_secret(model: type[BaseModel]) -> bool:
    if model not in _judged:
        _judged[model] = True  # while its options are looked at, among which it may be itself
        _judged[model] = all(
            holds_no_secret(Shape.of_field(field)) and not looks_secret(name)
            for name, field in fields(model)
        )
    return _judged[model]


def shows_in_repr(model: type[BaseModel], name: str | None, value: object) -> bool:
    """Whether a section's repr may show the value of an option."""
    field = model.model_fields.get(name or "")
    if field is None or value is None or _hides_itself(value):
        return True
    return holds_no_secret(Shape.of_field(field)) and not looks_secret(field.alias or name or "")


def _hides_itself(value: object) -> bool:
    if isinstance(value, tuple):
        return all(map(_hides_itself, value))
    return isinstance(value, (BaseModel, Secret))


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
