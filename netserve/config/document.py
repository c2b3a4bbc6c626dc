"""A file's text and tree: what stands where, and the problems found in it.

Problems are noted while the file is read and judged, and rendered at the end: only then it is
known what may be shown beside them. That is decided by structure (`netserve.config.disclosure`):
a part of the text is shown where it is known that no secret can stand there, and not otherwise.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Final, Literal

from netserve.config.excerpt import LINE_END, Source
from netserve.config.secrets import HARMLESS
from netserve.config.tree import Node, Way
from netserve.errors import InvalidValue, Problem

MAX_PROBLEMS: Final = 100
"""Problems that are shown; the last one tells how many more there are."""

_MAX_STEPS: Final = 12  # of a way in a message
_POINTER: Final = re.compile(r"(?P<way>[a-z]\w*(?:\.\w+|\[\d{1,6}\])*): ", re.ASCII)
_STEP: Final = re.compile(r"\w+|\[\d+\]", re.ASCII)
_PLAIN_KEY: Final = re.compile(r"[^\s.\[\]\"'\\]{1,80}")
_NOT_SHOWN: Final = "a value that does not fit; why is not shown, as a secret may stand here"


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
        source: shows lines of it.
    """

    file: str
    text: str = field(repr=False)
    root: Node | None = field(default=None, repr=False)
    source: Source = field(init=False, repr=False)
    _findings: list[_Finding] = field(default_factory=list, repr=False)
    _lines: list[int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.source = Source(self.text)
        self._lines = [0, *(match.end() for match in LINE_END.finditer(self.text))]

    def position(self, index: int) -> tuple[int, int]:
        """Line and column, counted from 1, of a character of the text."""
        line = bisect_right(self._lines, index)
        return line, index - self._lines[line - 1] + 1

    def report(
        self, way: Way, what: str | InvalidValue, on: Literal["value", "key"] = "value"
    ) -> None:
        """Note a problem of a value, or of a key.

        Arguments:
            way: to the value; where the file lacks it, the nearest one above is pointed at.
            what: what is wrong, and what would be right; of a text, all is shown.
            on: what the caret points at.
        """
        text = self.told(way, what) if isinstance(what, InvalidValue) else what
        self.report_at(self._index(way, on), way, text)

    def report_at(self, index: int, way: Way, what: str) -> None:
        """Note a problem at a character of the text."""
        finding = _Finding(index, self.known(way), _in_one_line(what))
        if finding not in self._findings[-MAX_PROBLEMS:]:
            self._findings.append(finding)

    def has_problem_at(self, way: Way) -> bool:
        """Whether a problem was noted for exactly this value."""
        known = self.known(way)
        return any(finding.way == known for finding in self._findings)

    def has_problem_below(self, way: Way) -> bool:
        """Whether a problem was noted for something inside of this value."""
        return any(
            len(finding.way) > len(way) and finding.way[: len(way)] == way
            for finding in self._findings
        )

    def shows(self, way: Way) -> bool:
        """Whether a message may repeat a scalar."""
        return self._steps(way)[-1][1].is_shown

    def is_tagged(self, way: Way) -> bool:
        """Whether a value comes from elsewhere, by `!env` and its like."""
        return self._steps(way)[-1][1].is_tagged

    def told(self, way: Way, error: ValueError) -> str:
        """What is said of an error about a value.

        Arguments:
            way: to the value that was looked at; where the file lacks it, the section that it
                would be in counts.
            error: an `InvalidValue` keeps apart what it repeats of the file. Any other one may
                have anything in its text, which is shown only where no secret can stand.
        """
        *_, (_, node) = self._steps(way)
        nodes = list(node.below())
        scalars = [each for each in nodes if not isinstance(each.value, (dict, tuple))]
        if all(each.is_shown for each in scalars):
            return error.what if isinstance(error, InvalidValue) else str(error)
        if not isinstance(error, InvalidValue):
            return _NOT_SHOWN
        if node.span is not None:
            return error.told(lambda _: False)
        # Of a section, whole values may be repeated, and the names in it.
        known = {str(each.value) for each in scalars if each.is_shown}
        for each in nodes:
            if isinstance(each.value, dict):
                known.update(key for key, entry in each.value.items() if entry.span.is_shown)
        secret = {str(each.value) for each in scalars if not each.is_shown}
        return error.told(
            lambda value: (
                str(value) not in secret and (isinstance(value, HARMLESS) or str(value) in known)
            )
        )

    def pointed(self, way: Way, error: str | ValueError) -> tuple[Way, str]:
        """The way that an error about a section points to, and what is said of it.

        What looks at several options together says about one of them ``request.url: …``, or has
        the way to it (`InvalidValue.at`).

        Arguments:
            way: to the section.
            error: what it says stays whole where the file has nothing there.
        """
        if isinstance(error, InvalidValue):
            further = self._reaching((*way, *error.at))
            told = self.told(further, error)
        else:
            further = way
            told = error if isinstance(error, str) else self.told(way, error)
        match = _POINTER.match(told)
        if match is None:
            return further, told
        steps = [
            int(step[1:-1]) if step.startswith("[") else step
            for step in _STEP.findall(match["way"])
        ]
        named = (*further, *steps)
        if len(self._steps(named)) != len(named) + 1:
            return further, told
        if isinstance(error, ValueError):
            told = self.told(named, error)
        return named, told.removeprefix(match[0])

    def _reaching(self, way: Way) -> Way:
        """The way as far as the file has something there."""
        return way[: len(self._steps(way)) - 1]

    def problem(self, way: Way, what: str | ValueError) -> Problem:
        """A problem of a value, as `report` would note it; see `pointed`, too."""
        pointed, told = self.pointed(way, what)
        if isinstance(what, InvalidValue) and pointed == self._reaching((*way, *what.at)):
            pointed = (*way, *what.at)  # also where the file leaves it to a default
        index = self._index(pointed, "value")
        return self._render(_Finding(index, self.known(pointed), _in_one_line(told)))

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

    def path(self, way: Way) -> str:
        """A way as it is written in errors, as far as its keys may be shown."""
        node, steps = self.root, list[str | int]()
        for step in self.known(way):
            entries = node.value if node is not None else None
            if isinstance(entries, dict) and isinstance(step, str) and step in entries:
                if not entries[step].span.is_shown:
                    break
                node = entries[step].node
            elif isinstance(entries, tuple) and isinstance(step, int) and step < len(entries):
                node = entries[step]
            elif step == "" or self.root is None:
                break
            else:
                node = None  # not in the file: the name of an option
            steps.append(step)
        return dotted(tuple(steps))

    def _steps(self, way: Way) -> list[tuple[int | None, Node]]:
        """The nodes along a way as far as the file has them, each with the index of its key."""
        if self.root is None:
            return [(None, Node(0, 0, None))]
        steps: list[tuple[int | None, Node]] = [(None, self.root)]
        for step in way:
            value = steps[-1][1].value
            if isinstance(value, dict) and isinstance(step, str) and step in value:
                steps.append((value[step].span.start, value[step].node))
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
        start = self._lines[line - 1]
        source, caret = self.source.excerpt(start, finding.index, has_tree=self.root is not None)
        return Problem(
            file=self.file,
            line=line,
            column=column,
            path=self.path(finding.way),
            what=finding.what,
            source=source,
            caret=caret,
        )


def dotted(way: Way) -> str:
    """A way as it is written in errors: ``services.mail.routes[0].deliver``."""
    text = ""
    for step in way[:_MAX_STEPS]:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            key = step if _PLAIN_KEY.fullmatch(step) and step.isprintable() else _quoted(step)
            text += f".{key}" if text else key
    return text if len(way) <= _MAX_STEPS else f"{text}…"


def _quoted(text: str) -> str:
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
