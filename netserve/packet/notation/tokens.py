"""The words of an expression: names, numbers, strings, punctuation."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from netserve.packet.notation.nodes import (
    MAX_INTEGER,
    MAX_TEXT,
    Data,
    NotationError,
    has_surrogate,
)

_TOKEN: Final = re.compile(
    r"""
    (?P<space>[ \t\r\n]+)
  | (?P<string>(?P<prefix>[bBrRuU]{0,2})(?P<quoted>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'))
  | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
  | (?P<float>(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+)
  | (?P<integer>0[xX][0-9a-fA-F_]+|0[oO][0-7_]+|0[bB][01_]+|[0-9][0-9_]*)
  | (?P<mark>[()\[\],=/*-])
    """,
    re.VERBOSE,
)
_PREFIXES: Final = frozenset({"", "b", "r", "u", "br", "rb"})
_DIGITS: Final = re.compile(r"[0-9a-zA-Z](?:_?[0-9a-zA-Z])*")
_LONGEST_NUMBER: Final = 160
"""Characters: 128 bits in base 2, with separators."""
_ESCAPE: Final = re.compile(
    r"\\(?:x(?P<hex>[0-9a-fA-F]{2})|u(?P<u>[0-9a-fA-F]{4})|U(?P<U>[0-9a-fA-F]{8})"
    r"|(?P<octal>[0-7]{1,3})|(?P<char>.))",
    re.DOTALL,
)
_CHARACTERS: Final = {
    "\\": "\\", "'": "'", '"': '"', "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r",
    "t": "\t", "v": "\v",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Token:
    """One word.

    Arguments:
        kind: ``name``, ``value``, ``mark`` or ``end``.
        text: as it was written, empty at the end.
        position: of its first character, from 0.
        value: of a number or a string.
    """

    kind: str
    text: str
    position: int
    value: Data | int | float = 0


def tokens(text: str) -> Iterator[Token]:
    """The words of a text, and an end.

    Raises:
        NotationError: there is something that is no word, or the text is too long.
    """
    if len(text) > MAX_TEXT:
        raise NotationError(f"the expression is longer than {MAX_TEXT} characters", MAX_TEXT)
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise NotationError(_no_word(text, at), at)
        kind = match.lastgroup
        if kind == "name":
            yield Token("name", match[0], at)
        elif kind == "mark":
            yield Token("mark", match[0], at)
        elif kind == "integer":
            yield Token("value", match[0], at, _integer(match[0], at))
        elif kind == "float":
            yield Token("value", match[0], at, _float(match[0], at))
        elif kind == "string":
            yield Token("value", match[0], at, _string(match["prefix"], match["quoted"], at))
        at = match.end()
    yield Token("end", "", at)


def _no_word(text: str, at: int) -> str:
    char = text[at]
    if char in "\"'":
        return "a string without its closing quote on the same line"
    return f"{char!r} has no meaning in a packet expression"


def _integer(text: str, at: int) -> int:
    digits = text[2:] if text[1:2].isalpha() else text
    if len(text) > _LONGEST_NUMBER or not _DIGITS.fullmatch(digits.lstrip("_") or "_"):
        raise NotationError("not a number", at)
    if text.startswith("0") and text.strip("0_") and text[1:2] not in "xXoObB":
        raise NotationError("a decimal number does not begin with 0", at)
    try:
        number = int(text, 0)
    except ValueError:
        raise NotationError("not a number", at) from None
    if number >= MAX_INTEGER:
        raise NotationError("an integer has at most 128 bits", at)
    return number


def _float(text: str, at: int) -> float:
    try:
        number = float(text)
    except ValueError:
        raise NotationError("not a number", at) from None
    if not math.isfinite(number):
        raise NotationError("a number that is too large", at)
    return number


def _string(prefix: str, quoted: str, at: int) -> Data:
    """A literal's value, by Python's rules, of which those that Python only warns of are errors."""
    prefix, body = prefix.lower(), quoted[1:-1]
    if prefix not in _PREFIXES:
        raise NotationError(f"a string does not begin with {prefix!r}", at)
    is_bytes = "b" in prefix
    if is_bytes and not body.isascii():
        raise NotationError(r"bytes have ASCII characters only; write others as \x..", at)
    if "r" not in prefix:
        start = at + len(prefix) + 1
        body = _ESCAPE.sub(lambda match: _unescape(match, start, is_bytes=is_bytes), body)
    if is_bytes:
        return body.encode("latin-1")
    if has_surrogate(body):
        raise NotationError("half of a surrogate pair is not a character", at)
    return body


def _unescape(match: re.Match[str], start: int, *, is_bytes: bool) -> str:
    if match["hex"]:
        return chr(int(match["hex"], 16))
    if match["octal"] and int(match["octal"], 8) <= 0xFF:
        return chr(int(match["octal"], 8))
    wide = match["u"] or match["U"]
    if wide and not is_bytes and int(wide, 16) <= 0x10FFFF:
        return chr(int(wide, 16))
    if match["char"] in _CHARACTERS:
        return _CHARACTERS[match["char"]]
    where = start + match.start()
    raise NotationError(f"the escape {match[0]} has no meaning here; write a \\ as \\\\", where)
