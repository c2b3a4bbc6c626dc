"""The line of the file beside a problem: what may be shown of it, and `***` for all else.

A key or a value is shown where its `Span` says so. Between them only the structure is shown:
neither a comment nor the name of an anchor, an alias or an unknown tag.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import Final

from netserve.config.tree import Span
from netserve.errors import HIDDEN

LINE_END: Final = re.compile(r"\r\n|\r|\n")

_WIDTH: Final = 120
_WINDOW: Final = 16 * 1024  # of a very long line, this much around the problem is looked at
_STRUCTURE: Final = frozenset(" \t-?:,[]{}")
"""Characters that stand between values, and say nothing of them."""
_WORDS: Final = frozenset(
    {"allow", "body", "certificate", "checker", "deliver", "deny", "drain", "framing", "group",
     "headers", "host", "http", "json", "key", "limits", "listen", "log", "login", "match",
     "netserve", "object", "password", "port", "protocol", "reply", "request", "role", "routes",
     "rules", "services", "smarthost", "state", "status", "tls", "token", "tokens", "url",
     "user", "users", "users_file"}
)  # fmt: skip
"""Keys that are shown where there is no tree to tell what is a key."""
_BEGINNING: Final = re.compile(r"(\s*(?:- +)*)([a-z_]*)(:?)(\s*)")


class Source:
    """Shows lines of a file.

    Arguments:
        text: all of it.
    """

    __slots__ = ("_spans", "_starts", "_text")

    def __init__(self, text: str) -> None:
        self._text = text
        self._spans: list[Span] = []
        self._starts: list[int] = []

    def span(self, start: int, end: int, *, is_reference: bool = False) -> Span:
        """A key or a scalar of the file, added in the order of the text."""
        made = Span(start, end, is_reference)
        self._spans.append(made)
        self._starts.append(start)
        return made

    def excerpt(self, line: int, index: int, *, has_tree: bool) -> tuple[str, int]:
        """A line as it may be shown, and the place of a character in it, from 1.

        Arguments:
            line: the index of its first character.
            index: of the character.
            has_tree: whether the file's syntax is right, so that the spans tell what is what.
        """
        start = max(line, index - _WINDOW)
        text = LINE_END.split(self._text[start : index + _WINDOW], maxsplit=1)[0]
        pieces = self._pieces(text, start) if has_tree else _outline(text)
        shown, caret, at = "", 0, start
        for length, piece in pieces:
            begin = len(shown)
            if piece == HIDDEN and shown.endswith(HIDDEN):
                begin -= len(HIDDEN)  # two in a row are one
            else:
                shown += piece
            if not caret and index < at + length:
                caret = begin + 1 + (0 if piece == HIDDEN else index - at)
            at += length
        return _clip(shown, caret or len(shown) + 1)

    def _pieces(self, text: str, start: int) -> Iterator[tuple[int, str]]:
        """The parts of a line: how long each is in the file, and what is shown of it."""
        at, end = start, start + len(text)
        first = max(bisect_right(self._starts, start) - 1, 0)
        last = bisect_left(self._starts, end)
        for span in self._spans[first:last]:
            if span.end <= at:
                continue
            yield from self._between(at, span.start)
            at = max(at, span.start)
            length = min(span.end, end) - at
            if length == 0:  # a value that is not there
                continue
            part = self._text[at : at + length]
            if span.is_shown:
                yield length, part
            else:  # the indentation of a further line stays
                indent = length - len(part.lstrip())
                yield indent, part[:indent]
                yield length - indent, HIDDEN
            at += length
        yield from self._between(at, end)

    def _between(self, start: int, end: int) -> Iterator[tuple[int, str]]:
        at = start
        while at < end:
            length = 1
            if self._text[at] == "#":  # a comment, which may have anything in it
                return
            if self._text[at] in _STRUCTURE:
                yield 1, self._text[at]
            else:
                while at + length < end and self._text[at + length] not in _STRUCTURE:
                    length += 1
                yield length, HIDDEN
            at += length


def _outline(text: str) -> Iterator[tuple[int, str]]:
    """What is shown of a line without a tree: where it begins, and a key that is known."""
    match = _BEGINNING.match(text)
    assert match is not None  # noqa: S101 - it matches anything
    head, word, colon, space = match.groups()
    if word in _WORDS:
        head += word + colon + space
    yield len(head), head
    if len(text) > len(head) and text[len(head)] != "#":
        yield len(text) - len(head), HIDDEN


def _clip(text: str, caret: int) -> tuple[str, int]:
    """At most `_WIDTH` characters of a line, around the caret, and nothing that moves a cursor."""
    if caret > _WIDTH - 10:
        cut = caret - _WIDTH // 2
        text, caret = "…" + text[cut + 1 :], caret - cut
    if len(text) > _WIDTH:
        text = text[: _WIDTH - 1] + "…"
    shown = [
        character if character.isprintable() or character == "\t" else "\N{REPLACEMENT CHARACTER}"
        for character in text.rstrip()
    ]
    return "".join(shown), caret
