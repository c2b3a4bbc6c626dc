"""A file's text and tree: what stands where, and the problems found in it.

Problems are noted while the file is read and judged, and rendered at the end: only then it is
known which values are secret, and must not be seen on a source line.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

from netserve.config.scalars import Scalar
from netserve.config.secrets import looks_secret, spans_in_line
from netserve.errors import Problem

Way: TypeAlias = tuple[str | int, ...]
"""The keys and indexes from the root of the file to a value."""

MAX_PROBLEMS: Final = 100
"""Problems that are shown; the last one tells how many more there are."""

_MASK: Final = "***"
_MAX_STEPS: Final = 12  # of a way in a message
_WIDTH: Final = 120
_WINDOW: Final = 16 * 1024  # of a very long line, this much before and behind the problem is read
_LINE_END: Final = re.compile(r"\r\n|\r|\n")
_POINTER: Final = re.compile(r"(?P<way>[a-z]\w*(?:\.\w+|\[\d{1,6}\])*): ", re.ASCII)
_STEP: Final = re.compile(r"\w+|\[\d+\]", re.ASCII)
_PLAIN_KEY: Final = re.compile(r"[^\s.\[\]\"'\\]{1,80}")


@dataclass(slots=True)
class Node:
    """A value in the file.

    Arguments:
        start: index of its first character in the text.
        end: index behind its last one.
        value: a scalar; entries in the file's order; or items. An alias shares its node.
        weight: how many nodes it is when aliases are written out.
        height: how deep the nesting below it goes; 0 for a scalar.
    """

    start: int
    end: int
    value: Scalar | dict[str, Entry] | tuple[Node, ...]
    weight: int = 1
    height: int = 0

    def plain(self) -> Any:
        """The data: dicts, tuples, scalars."""
        if isinstance(self.value, dict):
            return {key: entry.node.plain() for key, entry in self.value.items()}
        if isinstance(self.value, tuple):
            return tuple(item.plain() for item in self.value)
        return self.value


@dataclass(frozen=True, slots=True)
class Entry:
    """A key of a mapping, from `start` on, and its value."""

    start: int
    node: Node


@dataclass(frozen=True, slots=True)
class _Finding:
    index: int
    way: Way
    what: str


@dataclass(slots=True)
class Document:
    """One file.

    Arguments:
        file: its name as the user gave it.
        text: all of it.
        root: its tree, once it is composed.
        broken: whether its syntax is wrong, so that the tree cannot tell what is secret.
        from_tags: the values that `!env` and its like gave; no message may have them in it.
    """

    file: str
    text: str
    root: Node | None = None
    broken: bool = False
    from_tags: set[str] = field(default_factory=set)
    _visible: set[tuple[int, int]] = field(default_factory=set)
    _findings: list[_Finding] = field(default_factory=list)
    _hidden: set[tuple[int, int]] = field(default_factory=set)
    _lines: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self._lines = [0, *(match.end() for match in _LINE_END.finditer(self.text))]

    def position(self, index: int) -> tuple[int, int]:
        """Line and column, counted from 1, of a character of the text."""
        line = bisect_right(self._lines, index)
        return line, index - self._lines[line - 1] + 1

    def report(self, way: Way, what: str, on: Literal["value", "key"] = "value") -> None:
        """Note a problem of a value, or of a key.

        Arguments:
            way: to the value; where the file lacks it, the nearest one above is pointed at.
            what: what is wrong, and what would be right.
            on: what the caret points at.
        """
        self.report_at(self._index(way, on), way, what)

    def report_at(self, index: int, way: Way, what: str) -> None:
        """Note a problem at a character of the text."""
        finding = _Finding(index, self.known(way), _in_one_line(what))
        if finding not in self._findings[-MAX_PROBLEMS:]:
            self._findings.append(finding)

    def has_problem_at(self, way: Way) -> bool:
        """Whether a problem was noted for exactly this value."""
        return any(finding.way == way for finding in self._findings)

    def has_problem_below(self, way: Way) -> bool:
        """Whether a problem was noted for something inside of this value."""
        return any(
            len(finding.way) > len(way) and finding.way[: len(way)] == way
            for finding in self._findings
        )

    def end_of_excerpts(self) -> int:
        """Where the text ends of which something is shown beside a problem."""
        return max((finding.index for finding in self._findings), default=0) + _WIDTH

    def pointed(self, way: Way, what: str) -> tuple[Way, str]:
        """The way that a sentence about a section points to, and the sentence without it.

        What looks at several options together says about one of them ``request.url: …``.

        Arguments:
            way: to the section.
            what: the sentence; it stays where it is where the file has nothing there.
        """
        match = _POINTER.match(what)
        if match is None:
            return way, what
        steps = [
            int(step[1:-1]) if step.startswith("[") else step
            for step in _STEP.findall(match["way"])
        ]
        further = (*way, *steps)
        if len(self._steps(further)) != len(further) + 1:
            return way, what
        return further, what[match.end() :]

    def hide(self, way: Way) -> None:
        """Never show this value on a source line."""
        *_, (_, node) = self._steps(way)
        self.hide_text(node.start, node.end)

    def hide_text(self, start: int, end: int) -> None:
        """Never show this part of the text on a source line."""
        if end > start and (start, end) not in self._visible:
            self._hidden.add((start, end))

    def show_tag(self, start: int, end: int) -> None:
        """A value of this span is no secret itself: it tells only where the secret comes from."""
        self._visible.add((start, end))

    def hide_by_keys(self, node: Node | None = None) -> None:
        """Hide every value whose key looks like one of a secret.

        Arguments:
            node: in which; the whole tree, unless one is given that is left out of it.
        """
        for key, entry in _entries(node or self.root):
            if looks_secret(key) and not isinstance(entry.node.value, dict):
                self.hide_text(entry.node.start, entry.node.end)

    def problem(self, way: Way, what: str) -> Problem:
        """A problem of a value, as `report` would note it; see `pointed`, too."""
        way, what = self.pointed(way, what)
        index = self._index(way, "value")
        return self._render(_Finding(index, self.known(way), _in_one_line(what)))

    def problems(self) -> tuple[Problem, ...]:
        """All that was noted, in the order of the file."""
        findings = sorted(self._findings, key=lambda finding: finding.index)
        shown = [self._render(finding) for finding in findings[:MAX_PROBLEMS]]
        if len(findings) > MAX_PROBLEMS:
            more = len(findings) - MAX_PROBLEMS
            shown.append(Problem(self.file, 0, 0, "", f"and {more} more problems"))
        return tuple(shown)

    def line_of(self, way: Way) -> int:
        """The line of a value, counted from 1."""
        return self.position(self._index(way, "value"))[0]

    def _steps(self, way: Way) -> list[tuple[int | None, Node]]:
        """The nodes along a way as far as the file has them, each with the index of its key."""
        if self.root is None:
            return [(None, Node(0, 0, None))]
        steps: list[tuple[int | None, Node]] = [(None, self.root)]
        for step in way:
            value = steps[-1][1].value
            if isinstance(value, dict) and isinstance(step, str) and step in value:
                steps.append((value[step].start, value[step].node))
            elif isinstance(value, tuple) and isinstance(step, int) and step < len(value):
                steps.append((None, value[step]))
            else:
                break
        return steps

    def known(self, way: Way) -> Way:
        """The way without an index at its end into what is no list (one instead of many)."""
        if self.root is not None and way and isinstance(way[-1], int):
            *_, (_, node) = self._steps(way[:-1])
            if not isinstance(node.value, tuple):
                return way[:-1]
        return way

    def _index(self, way: Way, on: Literal["value", "key"]) -> int:
        if self.root is None:
            return 0
        key, node = self._steps(way)[-1]
        if key is None:
            return node.start
        same_line = self.position(key)[0] == self.position(node.start)[0]
        return node.start if on == "value" and same_line and node.end > node.start else key

    def _render(self, finding: _Finding) -> Problem:
        line, column = self.position(finding.index)
        source, caret = self._excerpt(line, finding.index)
        return Problem(
            file=self.file,
            line=line,
            column=column,
            path=dotted(finding.way),
            what=finding.what,
            source=source,
            caret=caret,
        )

    def _excerpt(self, line: int, index: int) -> tuple[str, int]:
        """A line as it may be shown, and the place of a character in it, from 1."""
        start = max(self._lines[line - 1], index - _WINDOW)
        text = _LINE_END.split(self.text[start : index + _WINDOW], maxsplit=1)[0]
        hidden = [(begin - start, end - start) for begin, end in self._hidden]
        hidden += spans_in_line(text, whole=self.broken)
        shown, caret, done = "", 0, 0
        target = index - start
        for begin, end in sorted(span for span in hidden if span[0] < len(text) and span[1] > 0):
            begin = max(begin, len(text) - len(text.lstrip()))  # noqa: PLW2901 - indentation stays
            if end <= done or begin >= len(text):
                continue
            if begin >= done:
                if done <= target < begin:
                    caret = len(shown) + target - done + 1
                shown += text[done:begin]
                if target in range(begin, end):
                    caret = len(shown) + 1
                shown += _MASK
            done = end
        caret = caret or len(shown) + max(target - done, 0) + 1
        shown += text[done:]
        shown, caret = _clip(shown, caret)
        return _printable(shown), caret


def dotted(way: Way) -> str:
    """A way as it is written in errors: ``services.mail.routes[0].deliver``."""
    text = ""
    for step in way[:_MAX_STEPS]:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            key = step if _PLAIN_KEY.fullmatch(step) and step.isprintable() else quoted(step)
            text += f".{key}" if text else key
    return text if len(way) <= _MAX_STEPS else f"{text}…"


def quoted(text: str) -> str:
    """A text from the file in double quotes, on one line, and not too long."""
    text = text if len(text) <= 80 else f"{text[:79]}…"
    text = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{_in_one_line(text)}"'


def _in_one_line(text: str) -> str:
    """A text with everything escaped that would move a terminal's cursor."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def _entries(node: Node | None) -> Iterator[tuple[str, Entry]]:
    seen: set[int] = set()
    nodes = [] if node is None else [node]
    while nodes:
        node = nodes.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node.value, dict):
            yield from node.value.items()
            nodes += [entry.node for entry in node.value.values()]
        elif isinstance(node.value, tuple):
            nodes += node.value


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() or c == "\t" else "\N{REPLACEMENT CHARACTER}" for c in text)


def _clip(text: str, caret: int) -> tuple[str, int]:
    """At most `_WIDTH` characters of a line, around the caret."""
    if caret > _WIDTH - 10:
        cut = caret - _WIDTH // 2
        text, caret = "…" + text[cut + 1 :], caret - cut
    if len(text) > _WIDTH:
        text = text[: _WIDTH - 1] + "…"
    return text.rstrip(), caret
