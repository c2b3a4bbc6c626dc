r"""Rules on what a frame is: exact, by its beginning, or by a regular expression; in order.

Regular expressions are RE2's (https://github.com/google/re2/wiki/Syntax), which runs in time
linear in the input for every pattern, and in bounded memory (S18). So it has no look-around and no
references back. They are matched anywhere in the frame, and ``^`` and ``$`` are the frame's ends.

Bytes in, bytes out: a pattern is matched as UTF-8 or Latin-1 without the frame being decoded.
"""

from __future__ import annotations

import os.path
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import re2

from netserve.errors import InvalidValue

__all__ = ["MAX_PATTERN", "Encoding", "Exact", "Matcher", "Pattern", "Prefix", "Rules"]

Encoding: TypeAlias = Literal["utf-8", "latin-1"]

MAX_PATTERN: Final = 2000
"""The most characters of a pattern."""
_MAX_MEMORY: Final = 1 << 20
"""The most bytes of a pattern's program and of its states while it runs."""
_RANGE_BYTES: Final = 32
_ANCHORED: Final = re.compile(r"\^[^*+?{|][^|]*", re.DOTALL)
"""Patterns that match at the start only, beyond doubt: ``^``, not repeated, no alternative."""


class Pattern:
    """A regular expression with bounds.

    Arguments:
        text: in RE2's syntax; ``(?P<name>…)`` names a group.
        encoding: what its characters mean in bytes.

    Raises:
        ValueError: it is not valid, or too large; with RE2's reason.
    """

    __slots__ = ("_compiled", "_groups", "_start", "text")

    def __init__(self, text: str, encoding: Encoding = "utf-8") -> None:
        if len(text) > MAX_PATTERN:
            raise InvalidValue(f"a pattern of more than {MAX_PATTERN} characters")
        options = re2.Options()
        options.max_mem = _MAX_MEMORY
        options.log_errors = False
        if encoding == "latin-1":
            options.encoding = re2.Options.Encoding.LATIN1
        try:
            self._compiled = re2.compile(text.encode(encoding), options)
        except re2.error as error:
            reason = error.args[0]
            reason = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else reason
            # Behind its words RE2 has the piece of the pattern that they are about.
            words = reason.partition(": ")[0]
            raise InvalidValue(
                "not a regular expression of RE2: {reason}",
                otherwise="not a regular expression of RE2: " + words,
                reason=reason,
            ) from None
        except UnicodeEncodeError:
            raise InvalidValue(
                "the pattern has a character that {encoding} has not", encoding=encoding
            ) from None
        self.text = text
        self._groups = {name.decode(): at for name, at in self._compiled.groupindex.items()}
        self._start = self._find_start()

    def _find_start(self) -> bytes:
        """What all that matches begins with, so that to refuse the rest costs nothing.

        All that an anchored pattern matches lies between two texts, in the order of bytes, so
        it begins with what the two have in common.
        """
        if not _ANCHORED.fullmatch(self.text):
            return b""
        try:
            low, high = self._compiled.possiblematchrange(_RANGE_BYTES)
        except re2.error:
            return b""
        start: bytes = os.path.commonprefix([low, high])  # noqa: RUF071 - bytes, not paths
        return start

    @property
    def start(self) -> bytes:
        """What all that it matches begins with; empty where that is not known."""
        return self._start

    @property
    def names(self) -> frozenset[str]:
        """The names of its groups."""
        return frozenset(self._groups)

    def spans(self, data: bytes, group: str | None = None) -> list[tuple[int, int]]:
        """Where it matches: begin and end of each match that is not empty, from left to right.

        Arguments:
            data: where it is looked for.
            group: the name of a group, to be given the places of that part of each match.
        """
        number = self._groups.get(group, 0) if group is not None else 0
        found = (match.span(number) for match in self._compiled.finditer(data))
        return [(start, end) for start, end in found if 0 <= start < end]

    def match(self, data: bytes) -> Mapping[str, bytes] | None:
        """The named groups (empty where one took no part), or None where it does not match."""
        if not data.startswith(self._start):
            return None
        found = self._compiled.search(data)
        if found is None:
            return None
        groups = found.groups()
        return {name: groups[at - 1] or b"" for name, at in self._groups.items()}


@dataclass(frozen=True, slots=True)
class Exact:
    """The frame is these bytes."""

    value: bytes

    @property
    def names(self) -> frozenset[str]:
        """It names nothing."""
        return frozenset()

    def match(self, data: bytes) -> Mapping[str, bytes] | None:
        """An empty mapping, or None where it does not match."""
        return {} if data == self.value else None


@dataclass(frozen=True, slots=True)
class Prefix:
    """The frame begins with these bytes; ``rest`` is what follows them."""

    value: bytes

    @property
    def start(self) -> bytes:
        """What all that it matches begins with."""
        return self.value

    @property
    def names(self) -> frozenset[str]:
        """It names the rest."""
        return frozenset({"rest"})

    def match(self, data: bytes) -> Mapping[str, bytes] | None:
        """The rest, or None where it does not match."""
        if data.startswith(self.value):
            return {"rest": data[len(self.value) :]}
        return None


Matcher: TypeAlias = Exact | Prefix | Pattern


class Rules:
    """Matchers in order: the first that matches wins.

    Exact ones are looked up at once, however many there are; the others are tried in order, and
    only those in front of the exact one that was found.

    Arguments:
        matchers: in order.
    """

    __slots__ = ("_exact", "_others")

    def __init__(self, matchers: Sequence[Matcher]) -> None:
        self._exact: dict[bytes, int] = {}
        self._others: list[tuple[int, Prefix | Pattern]] = []
        for index, matcher in enumerate(matchers):
            if isinstance(matcher, Exact):
                self._exact.setdefault(matcher.value, index)
            else:
                self._others.append((index, matcher))

    @property
    def exact(self) -> Mapping[bytes, int]:
        """The index of the exact matcher for a frame that begins like none of `starts`."""
        return self._exact

    @property
    def starts(self) -> tuple[bytes, ...]:
        """What all begins with that the other matchers may match."""
        return tuple(matcher.start for _, matcher in self._others)

    def find(self, data: bytes) -> tuple[int, Mapping[str, bytes]] | None:
        """The index of the first rule that matches and what it names, or None."""
        exact = self._exact.get(data)
        for index, matcher in self._others:
            if exact is not None and exact < index:
                break
            groups = matcher.match(data)
            if groups is not None:
                return index, groups
        return None if exact is None else (exact, {})
