"""Logs: one line a record, as text or as JSON.

What peers send may stand in a record, so that every control character in it is escaped: no
record can look like two, or move a terminal's cursor.
"""

from __future__ import annotations

import datetime
import json
import re
import sys
from typing import Any, TextIO

from twisted.logger import (
    FilteringLogObserver,
    ILogFilterPredicate,
    ILogObserver,
    LogEvent,
    LogLevel,
    PredicateResult,
    formatEvent,
)
from twisted.python.failure import Failure
from twisted.python.logfile import LogFile
from zope.interface import implementer

# C0 with ESC, CR and LF; DEL and C1; the two separators that JSON's readers in JavaScript and
# Python's splitlines take for line ends; the marks that turn the direction of text.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]|[\ud800-\udfff]")
_NOT_FIELDS = frozenset({"format", "message", "isError", "log_legacy", "log_logger", "log_source"})


def escape(text: str) -> str:
    """The text with control characters as Python would write them in a string."""
    return _CONTROLS.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def _traceback(event: LogEvent) -> str:
    failure = event.get("log_failure")
    if not isinstance(failure, Failure):
        return ""
    # Frames only, without the values of variables, which may be secrets.
    return failure.getTraceback(elideFrameworkCode=True, detail="default")


def _message(event: LogEvent) -> str:
    try:
        return formatEvent(event)
    except Exception:
        return f"a record that could not be formatted: {event.get('log_format')!r}"


def _origin(event: LogEvent) -> str:
    namespace = str(event.get("log_namespace") or event.get("log_system") or "-")
    return namespace.removeprefix("netserve.service.")


def _time(event: LogEvent) -> str:
    moment = datetime.datetime.fromtimestamp(event["log_time"], datetime.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def text_line(event: LogEvent) -> str:
    """``2026-01-31T12:00:00.000Z info [mail] what happened``, without the line's end."""
    level = event.get("log_level") or LogLevel.info
    text = _message(event)
    if details := _traceback(event):
        text = f"{text}: {details.rstrip()}" if text else details.rstrip()
    return escape(f"{_time(event)} {level.name} [{_origin(event)}] {text}")


def json_line(event: LogEvent) -> str:
    """The record as one JSON object, with the fields that were logged beside the text."""
    level = event.get("log_level") or LogLevel.info
    record: dict[str, Any] = {
        "time": _time(event),
        "level": level.name,
        "origin": _origin(event),
        "message": _message(event),
    }
    if details := _traceback(event):
        record["traceback"] = details
    for name, value in event.items():
        if name not in record and name not in _NOT_FIELDS and not name.startswith("log_"):
            record[name] = value if isinstance(value, (int, float, bool)) else str(value)
    return json.dumps(record, ensure_ascii=True)


class Levels:
    """Which records are kept: a level for all, and one of its own for each service.

    Twisted's own records about sockets opened and closed are kept at ``debug`` only.

    Arguments:
        default: for everything without a level of its own.
        services: level by service name.
    """

    def __init__(self, default: str, services: dict[str, str]) -> None:
        self._default = LogLevel.lookupByName(default)
        self._services = {
            f"netserve.service.{name}": LogLevel.lookupByName(level)
            for name, level in services.items()
        }

    def keeps(self, event: LogEvent) -> bool:
        """Whether the record is written."""
        level = event.get("log_level") or LogLevel.info
        namespace = str(event.get("log_namespace", ""))
        least = self._services.get(namespace, self._default)
        if not namespace.startswith("netserve") and least > LogLevel.debug:
            least = max(least, LogLevel.warn)
        return bool(level >= least)


@implementer(ILogFilterPredicate)
class _Predicate:
    def __init__(self, levels: Levels) -> None:
        self._levels = levels

    def __call__(self, event: LogEvent) -> Any:
        return PredicateResult.maybe if self._levels.keeps(event) else PredicateResult.no


@implementer(ILogObserver)
class LineObserver:
    """Writes each record as one line.

    Arguments:
        out: where to.
        form: `text` or `json`.
    """

    def __init__(self, out: TextIO | LogFile, form: str) -> None:
        self._out = out
        self._line = json_line if form == "json" else text_line

    def __call__(self, event: LogEvent) -> None:
        line = self._line(event) + "\n"
        try:
            self._out.write(line)
            self._out.flush()
        except (OSError, ValueError):
            # A log that is full or closed must not stop what it tells of.
            return


def make_observer(*, path: str, form: str, levels: Levels) -> tuple[Any, LogFile | None]:
    """The observer for a process.

    Arguments:
        path: the log file; ``-`` or an empty string for standard output.
        form: `text` or `json`.
        levels: which records are kept.

    Returns:
        The observer, and the file, which the caller reopens when it was moved away.
    """
    file = None if path in {"", "-"} else LogFile.fromFullPath(path, rotateLength=None)
    out: TextIO | LogFile = sys.stdout if file is None else file
    writer: Any = LineObserver(out, form)
    kept: Any = _Predicate(levels)
    return FilteringLogObserver(writer, [kept]), file
