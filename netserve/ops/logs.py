"""Logs: one line a record, as text or as JSON.

What peers send may stand in a record, so that every control character in it is escaped: no
record can look like two, or move a terminal's cursor.

While the reactor runs, the records of one of its turns are written together at the turn's end;
a warning or worse, or one of another thread, is written at once with all before it. So a process
that is killed by force can lose what it told of the turn it was in, and nothing older.
"""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, TextIO

from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent
from twisted.python.failure import Failure
from zope.interface import implementer

from netserve.ops.log_file import LogFile

# C0 with ESC, CR and LF; DEL and C1; the two separators that JSON's readers in JavaScript and
# Python's splitlines take for line ends; the marks that turn the direction of text.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]|[\ud800-\udfff]")
_CALL: Final = re.compile(r"\{[^{}]*\(")
LONGEST: Final = 16 * 1024
"""Characters of a record's text, and of a field's; a traceback comes beside them."""
_BUFFERED: Final = 64 * 1024
"""Characters of records that wait at the most for the end of the reactor's turn."""
_URGENT: Final = frozenset({LogLevel.warn, LogLevel.error, LogLevel.critical})
_NOT_FIELDS = frozenset({"format", "message", "isError", "log_legacy", "log_logger", "log_source"})


def shortened(text: str) -> str:
    """The text, or what it begins with and how much is left out: peers' texts may be long."""
    if len(text) <= LONGEST:
        return text
    return f"{text[:LONGEST]}... ({len(text) - LONGEST} more characters)"


def escape(text: str) -> str:
    """The text with control characters as Python would write them in a string."""
    if text.isprintable():  # most are, and this is the faster way to know
        return text
    return _CONTROLS.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def _traceback(event: LogEvent) -> str:
    failure = event.get("log_failure")
    if not isinstance(failure, Failure):
        return ""
    # Frames only, without the values of variables, which may be secrets.
    return failure.getTraceback(elideFrameworkCode=True, detail="default")


@lru_cache(maxsize=1024)
def _is_plain(form: str) -> bool:
    """Whether Python's own formatting does for a format what Twisted's, which can call, does."""
    return _CALL.search(form) is None


def _message(event: LogEvent) -> str:
    try:
        form = event.get("log_format")
        if type(form) is str and _is_plain(form):
            return form.format_map(event)
        return formatEvent(event)
    except Exception:
        return f"a record that could not be formatted: {event.get('log_format')!r}"


def _origin(event: LogEvent) -> str:
    namespace = str(event.get("log_namespace") or event.get("log_system") or "-")
    return namespace.removeprefix("netserve.service.")


def _source(event: LogEvent) -> str:
    """The origin, with the id of the connection that the record is about."""
    connection = event.get("connection_id")
    return f"{_origin(event)} {connection}" if connection else _origin(event)


@lru_cache(maxsize=2)
def _second(moment: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment))


def _time(event: LogEvent) -> str:
    seconds, thousandths = divmod(int(event["log_time"] * 1000), 1000)
    return f"{_second(seconds)}.{thousandths:03d}Z"


def text_line(event: LogEvent) -> str:
    """``2026-01-31T12:00:00.000Z info [mail] what happened``, without the line's end.

    A record of a connection has its id in the brackets: ``[mail 7h2kq9dm]``.
    """
    level = event.get("log_level") or LogLevel.info
    text = shortened(_message(event))
    if details := _traceback(event):
        text = f"{text}: {details.rstrip()}" if text else details.rstrip()
    return escape(f"{_time(event)} {level.name} [{_source(event)}] {text}")


def json_line(event: LogEvent) -> str:
    """The record as one JSON object, with the fields that were logged beside the text."""
    level = event.get("log_level") or LogLevel.info
    record: dict[str, Any] = {
        "time": _time(event),
        "level": level.name,
        "origin": _origin(event),
        "message": shortened(_message(event)),
    }
    if details := _traceback(event):
        record["traceback"] = details
    for name, value in event.items():
        if name in record or name in _NOT_FIELDS or name.startswith("log_"):
            continue
        if name != "connection_id" or value:
            is_plain = isinstance(value, (int, float, bool))
            record[name] = value if is_plain else shortened(str(value))
    return json.dumps(record, ensure_ascii=True)


class Levels:
    """Which records are kept: a level for all, and one of its own for each service.

    Twisted's own records about sockets opened and closed are kept at ``debug`` only.

    Arguments:
        default: for everything without a level of its own.
        services: level by service name.
    """

    def __init__(self, default: str, services: Mapping[str, str]) -> None:
        self.change(default, services)

    def change(self, default: str, services: Mapping[str, str]) -> None:
        """Keep other records from now on.

        Arguments:
            default: for everything without a level of its own.
            services: level by service name.
        """
        self._default = LogLevel.lookupByName(default)
        self._services = {
            f"netserve.service.{name}": LogLevel.lookupByName(level)
            for name, level in services.items()
        }
        self._known: dict[tuple[str, LogLevel], bool] = {}

    def keeps(self, event: LogEvent) -> bool:
        """Whether the record is written."""
        key = (str(event.get("log_namespace", "")), event.get("log_level") or LogLevel.info)
        kept = self._known.get(key)
        if kept is None:
            # The namespaces are those of modules and services, so this stays small.
            kept = self._known[key] = self._decide(*key)
        return kept

    def _decide(self, namespace: str, level: LogLevel) -> bool:
        least = self._services.get(namespace, self._default)
        ours = namespace == "netserve" or namespace.startswith("netserve.")
        if not ours and least > LogLevel.debug:
            least = max(least, LogLevel.warn)
        return bool(level >= least)


@implementer(ILogObserver)
class LineObserver:
    """Writes each record as one line.

    Arguments:
        out: where to.
        form: `text` or `json`.
        keeps: tells which records are written; all of them without it.
        reactor: at the end of whose turns lines are written; without it each is at once.
    """

    def __init__(
        self,
        out: TextIO | LogFile,
        form: str,
        *,
        keeps: Callable[[LogEvent], bool] | None = None,
        reactor: Any = None,
    ) -> None:
        self._out = out
        self._line = json_line if form == "json" else text_line
        self._keeps = keeps
        self._reactor = reactor
        self._lock = threading.Lock()
        self._lines: list[str] = []
        self._size = 0
        self._lost = 0
        self._why_lost = ""

    def __call__(self, event: LogEvent) -> None:
        if self._keeps is not None and not self._keeps(event):
            return
        line = self._line(event)
        with self._lock:
            self._lines.append(line)
            self._size += len(line)
            waits = self._may_wait(event)
            if waits and len(self._lines) == 1:
                self._reactor.loop.call_soon(self.flush)
        if not waits:
            self.flush()

    def _may_wait(self, event: LogEvent) -> bool:
        return (
            self._reactor is not None
            and self._reactor.running
            and event.get("log_level") not in _URGENT
            and self._size < _BUFFERED
            and threading.get_ident() == threading.main_thread().ident
        )

    def flush(self) -> None:
        """Write what waits."""
        with self._lock:
            if not self._lines:
                return
            count = len(self._lines)
            if self._lost:
                self._lines.insert(0, self._line(_lost(self._lost, self._why_lost)))
            self._lines.append("")
            text = "\n".join(self._lines)
            self._lines.clear()
            self._size = 0
            try:
                self._out.write(text)
                self._out.flush()
            except (OSError, ValueError) as error:
                # A log that is full or closed must not stop what it tells of.
                self._lost += count
                self._why_lost = str(getattr(error, "strerror", None) or error).lower()
            else:
                self._lost = 0


def _lost(count: int, why: str) -> LogEvent:
    return {
        "log_time": time.time(),
        "log_level": LogLevel.warn,
        "log_namespace": "netserve.log",
        "log_format": "{count} records are missing here: {why}",
        "count": count,
        "why": why,
    }


def make_observer(
    *, path: str, form: str, levels: Levels, reactor: Any = None
) -> tuple[LineObserver, LogFile | None]:
    """The observer for a process.

    Arguments:
        path: the log file; ``-`` or an empty string for standard output.
        form: `text` or `json`.
        levels: which records are kept.
        reactor: see `LineObserver`.

    Returns:
        The observer, and the file, which the caller reopens when it was moved away.

    Raises:
        StartError: the file cannot be opened.
    """
    file = None if path in {"", "-"} else LogFile(Path(path))
    out: TextIO | LogFile = sys.stdout if file is None else file
    return LineObserver(out, form, keeps=levels.keeps, reactor=reactor), file
