"""The few error classes, by whose fault the error is.

=================  ======================  =========================================
class              whose fault             what is done with it
=================  ======================  =========================================
ConfigError        the file's author       all of it printed, the start is refused
StartError         the machine's state     printed in one line, the start is refused
PeerError          who talks to us         the protocol's own error reply, one line
UpstreamError      whom we talk to         the configured error reply, one line
PluginError        a plugin's author       told where the file names the plugin
=================  ======================  =========================================

Anything else is a bug of ours: a temporary failure to the peer, the detail in the log.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

HIDDEN: Final = "***"
"""Stands for what is not shown, since it may be a secret."""


class NetserveError(Exception):
    """The base of every error that netserve raises on purpose."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a config file.

    Arguments:
        file: the file's name as the user gave it.
        line: counted from 1; 0 where no line is known.
        column: counted from 1; 0 where no column is known.
        path: the dotted way to the value, such as ``services.mail.limits.size``.
        what: what is wrong, and what would be right.
        source: the line of the file, with secrets masked, or an empty string.
        caret: where in `source` the column is, counted from 1; 0 where they are the same.
            Masking and shortening a line moves it.
    """

    file: str
    line: int
    column: int
    path: str
    what: str
    source: str = ""
    caret: int = 0

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        path = f"{self.path}: " if self.path else ""
        text = f"{where}: {path}{self.what}"
        if self.source:
            caret = self.caret or self.column
            margin = "".join(c if c == "\t" else " " for c in self.source[: caret - 1])
            text += f"\n    {self.source}\n    {margin}^"
        return text


class ConfigError(NetserveError):
    """A config file is wrong; all of its problems at once.

    Arguments:
        problems: in the order of the file; never empty.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class StartError(NetserveError):
    """The machine is not as the file needs it: a port is taken, a certificate missing."""


class InvalidValue(ValueError):
    """A value of the file cannot stand where it stands.

    What it repeats of the file is kept apart from the sentence around it: where a secret may stand,
    an error is told without it. The sentence itself is always a constant.

    Arguments:
        what: what is wrong, and what would be right. With `quoted`, names in braces stand for them,
            as with `str.format`; without, it is told as it is.
        at: the way on from the value that was looked at, to the one that is wrong.
        otherwise: the sentence where not all of `quoted` may be shown; without it the same one,
            with `***` for what is not.
        quoted: what is repeated: whole values of the file, or parts of the value itself. A tuple
            is told as a list.
    """

    def __init__(
        self,
        what: str,
        /,
        *,
        at: tuple[str | int, ...] = (),
        otherwise: str | None = None,
        **quoted: object,
    ) -> None:
        self._what = what
        self._otherwise = otherwise
        self._quoted: dict[str, Any] = quoted
        self.at = at
        where = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in at)
        super().__init__(f"{where[1:]}: {self.what}" if where else self.what)

    @property
    def what(self) -> str:
        """The sentence with all that it repeats, without the way."""
        return self.told(lambda _: True)

    def told(self, shows: Callable[[object], bool]) -> str:
        """The sentence, without what is not shown.

        Arguments:
            shows: whether one of `quoted` may be repeated.
        """
        if not self._quoted:
            return self._what
        hidden = False

        def form(value: object) -> str:
            nonlocal hidden
            if isinstance(value, tuple):
                return ", ".join(map(form, value))
            if shows(value):
                return str(value)
            hidden = True
            return HIDDEN

        told = self._what.format(**{name: form(value) for name, value in self._quoted.items()})
        return self._otherwise if hidden and self._otherwise is not None else told

    def inside(self, way: tuple[str | int, ...]) -> InvalidValue:
        """The same as it is seen from further above."""
        at = (*way, *self.at)
        return InvalidValue(self._what, at=at, otherwise=self._otherwise, **self._quoted)


class OptionError(InvalidValue):
    """An option cannot be put to use, as shows when a plugin builds its service.

    Arguments:
        option: the way to it inside of the service, such as ``("users_file",)``.
        what: as of `InvalidValue`.
        quoted: the same.
    """

    def __init__(self, option: tuple[str | int, ...], what: str, /, **quoted: Any) -> None:
        super().__init__(what, at=option, **quoted)

    @property
    def option(self) -> tuple[str | int, ...]:
        """The way to it inside of the service."""
        return self.at


class PeerError(NetserveError):
    """A peer sent what its protocol does not allow, or more than a limit."""


class UpstreamError(NetserveError):
    """A server that we are a client of is down, slow, or does not make sense."""


class PluginError(NetserveError):
    """A protocol plugin is unknown, cannot be imported, or is none; the text is one line."""


def with_place(error: BaseException) -> str:
    """An error of somebody's code with its class, and the line that it came from."""
    text = f"{type(error).__name__}: {error}".rstrip(": ")
    return f"{text} {_line(error)}".rstrip()


def place_of(error: BaseException) -> str:
    """The same without the error's own text, where a secret may be in that."""
    return f"{type(error).__name__} {_line(error)}".rstrip()


def _line(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f"(in {frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
