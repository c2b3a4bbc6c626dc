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
from collections.abc import Sequence
from dataclasses import dataclass


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


class OptionError(ValueError):
    """An option cannot be put to use, as shows when a plugin builds its service.

    Arguments:
        option: the way to it inside of the service, such as ``("users_file",)``.
        what: what is wrong, and what would be right.
    """

    def __init__(self, option: tuple[str | int, ...], what: str) -> None:
        super().__init__(what)
        self.option = option
        self.what = what


class PeerError(NetserveError):
    """A peer sent what its protocol does not allow, or more than a limit."""


class UpstreamError(NetserveError):
    """A server that we are a client of is down, slow, or does not make sense."""


class PluginError(NetserveError):
    """A protocol plugin is unknown, cannot be imported, or is none; the text is one line."""


def with_place(error: Exception) -> str:
    """An error of somebody's code with its class, and the line that it came from."""
    text = f"{type(error).__name__}: {error}".rstrip(": ")
    if frames := traceback.extract_tb(error.__traceback__):
        text += f" (in {frames[-1].filename}, line {frames[-1].lineno})"
    return text
