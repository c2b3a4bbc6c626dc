"""Logs: one line a record (S16), levels, both forms."""

from __future__ import annotations

import io
import json
import os
import resource
import signal
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest_twisted import ensureDeferred
from twisted.internet import reactor as _reactor
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.logger import Logger, LogLevel, LogPublisher

from netserve.errors import StartError
from netserve.ops.log_file import LogFile
from netserve.ops.logs import (
    LONGEST,
    Levels,
    LineObserver,
    escape,
    json_line,
    make_observer,
    text_line,
)

reactor: Any = _reactor


def logged(form: str, format_text: str, level: str = "info", **fields: Any) -> str:
    out = io.StringIO()
    logger = Logger(
        namespace="netserve.service.mail", observer=LogPublisher(LineObserver(out, form))
    )
    logger.emit(LogLevel.lookupByName(level), format_text, **fields)
    return out.getvalue()


def test_text() -> None:
    line = logged("text", "refused {peer}: {reason}", peer="192.0.2.1", reason="denied")
    assert line.endswith("Z info [mail] refused 192.0.2.1: denied\n")


def test_a_record_of_a_connection_has_its_id() -> None:
    line = logged("text", "closed {peer}", peer="192.0.2.1", connection_id="5cxycwf9")
    assert line.endswith("Z info [mail 5cxycwf9] closed 192.0.2.1\n")
    record = json.loads(logged("json", "closed", connection_id="5cxycwf9"))
    assert (record["origin"], record["connection_id"]) == ("mail", "5cxycwf9")


def test_a_record_of_a_connection_without_an_id_has_none() -> None:
    assert logged("text", "closed", connection_id="").endswith("Z info [mail] closed\n")
    assert "connection_id" not in json.loads(logged("json", "closed", connection_id=""))


def test_json_has_the_fields() -> None:
    record = json.loads(logged("json", "took {size} bytes", size=42))
    assert record["message"] == "took 42 bytes"
    assert record["origin"] == "mail"
    assert record["size"] == 42


@pytest.mark.parametrize("form", ["text", "json"])
@given(text=st.text())
def test_one_line_a_record(form: str, text: str) -> None:
    """S16: whatever a peer has sent, a record is one line, and nothing in it is a control."""
    line = logged(form, "got {text}", text=text)
    assert line.endswith("\n")
    assert len(line.splitlines()) == 1
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in line[:-1])


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_record_is_shortened(form: str) -> None:
    """S8, S16: what a peer has sent takes a bounded part of the log, and of the time."""
    line = logged(form, "got {text}", text="\t" * 10_000_000)
    assert len(line) < 6 * LONGEST * 2
    assert "more characters)" in line
    assert logged(form, "got {text}", text="x" * 1000).count("x") >= 1000


def test_peers_data_is_never_a_format() -> None:
    """S16: braces that a peer sent stay braces."""
    assert "got {peer} {0.__class__}" in logged("text", "got {text}", text="{peer} {0.__class__}")


def test_escapes() -> None:
    assert escape("a\r\nb\x1b[31m\0\x85\u2028\u202e") == (
        "a\\r\\nb\\x1b[31m\\x00\\x85\\u2028\\u202e"
    )
    assert escape("ümlaut 漢字") == "ümlaut 漢字"


def test_a_traceback_is_one_line_without_values() -> None:
    """S17: the values of variables, which may be secrets, are not in a traceback."""
    out = io.StringIO()
    logger = Logger(namespace="netserve", observer=LogPublisher(LineObserver(out, "text")))
    password = "hunter2"
    try:
        raise RuntimeError(len(password))  # noqa: TRY301 - a failure with a frame is wanted
    except RuntimeError:
        logger.failure("a bug")
    line = out.getvalue()
    assert len(line.splitlines()) == 1
    assert "RuntimeError: 7" in line
    assert "hunter2" not in line


def test_levels() -> None:
    levels = Levels("warn", {"mail": "debug"})

    def event(namespace: str, level: str) -> dict[str, Any]:
        return {"log_namespace": namespace, "log_level": LogLevel.lookupByName(level)}

    assert levels.keeps(event("netserve.service.mail", "debug"))
    assert not levels.keeps(event("netserve.service.web", "info"))
    assert levels.keeps(event("netserve.service.web", "error"))
    twisted = event("twisted.internet.protocol.Factory", "info")
    assert not Levels("info", {}).keeps(twisted)
    assert Levels("debug", {}).keeps(twisted)
    # A plugin's own package is not netserve, whatever its name begins with.
    assert not Levels("info", {}).keeps(event("netserve_reverse.ReverseFactory", "info"))


def test_a_full_disk_stops_nothing() -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

    LineObserver(Full(), "text")({"log_time": 0.0, "log_format": "x"})


def test_what_a_full_disk_took_is_told_when_there_is_space() -> None:
    class Small(io.StringIO):
        full = True

        def write(self, text: str) -> int:
            if self.full:
                raise OSError(28, "No space left on device")
            return super().write(text)

    out = Small()
    observer = LineObserver(out, "text")
    logger = Logger(namespace="netserve", observer=LogPublisher(observer))
    logger.info("one")
    logger.info("two")
    out.full = False
    logger.info("three")
    logger.info("four")
    lines = out.getvalue().splitlines()
    assert lines[0].endswith(
        "warn [netserve.log] 2 records are missing here: no space left on device"
    )
    assert [line[-6:] for line in lines[1:]] == [" three", "] four"]


def test_a_log_file_has_no_halves_of_records(tmp_path: Path) -> None:
    """What was written of a record before the disk was full is taken back."""
    path = tmp_path / "log"
    file = LogFile(path)
    file.write("whole\n")
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            file.write("more than fits\n")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_text() == "whole\n"
    file.write("again\n")
    assert path.read_text() == "whole\nagain\n"
    file.close()


def test_a_log_file_that_is_opened_anew_keeps_its_mode(tmp_path: Path) -> None:
    """Whatever the umask is: twistd's, in the background, lets nobody else read a new file."""
    path = tmp_path / "log"
    file = LogFile(path)
    path.chmod(0o640)
    path.rename(tmp_path / "log.1")
    umask = os.umask(0o077)
    try:
        file.reopen()
    finally:
        os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    path.rename(tmp_path / "log.2")
    path.touch(0o600)
    file.reopen()
    file.write("x")
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("x", 0o600)
    file.close()


def test_a_log_file_that_cannot_be_opened_anew_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    file = LogFile(folder / "log")
    folder.rename(tmp_path / "moved")
    with pytest.raises(FileNotFoundError):
        file.reopen()
    file.write("still here")
    assert (tmp_path / "moved" / "log").read_text() == "still here"
    file.close()


def test_a_log_file_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"cannot open the log .*: no such file or directory"):
        LogFile(tmp_path / "none" / "log")


@ensureDeferred
async def test_the_lines_of_a_turn_are_written_at_its_end() -> None:
    """One write for what happens in a turn of the reactor, in order, and a warning at once."""
    writes: list[str] = []

    class Out(io.StringIO):
        def write(self, text: str) -> int:
            writes.append(text)
            return len(text)

    observer = LineObserver(Out(), "text", reactor=reactor)
    logger = Logger(namespace="netserve", observer=LogPublisher(observer))
    logger.info("one")
    logger.info("two")
    assert not writes
    await deferLater(reactor, 0)
    assert [text.count("\n") for text in writes] == [2]
    logger.info("three")
    logger.warn("four")
    assert [line[-5:] for line in writes[1].splitlines()] == ["three", " four"]
    await deferToThread(logger.info, "five")
    assert writes[2].endswith("five\n")
    for _ in range(100):
        logger.info("x" * 1000)
    assert len(writes) == 4
    for _ in range(2):  # the first may come in this turn of the loop
        await deferLater(reactor, 0)
    assert "".join(writes).count("\n") == 105


def test_calls_in_a_format_work_as_twisted_has_them() -> None:
    assert logged("text", "{name()}", name=lambda: "called").endswith("called\n")


def test_a_file_is_appended_to(tmp_path: Path) -> None:
    observer, file = make_observer(
        path=str(tmp_path / "log"), form="text", levels=Levels("info", {})
    )
    assert file is not None
    logger = Logger(namespace="netserve", observer=observer)
    logger.info("one")
    (tmp_path / "log").rename(tmp_path / "log.1")
    file.reopen()
    logger.info("two")
    assert "one" in (tmp_path / "log.1").read_text()
    assert "two" in (tmp_path / "log").read_text()


def test_a_record_that_cannot_be_formatted_is_still_a_line() -> None:
    event = {"log_time": 0.0, "log_format": "{missing", "log_level": LogLevel.info}
    assert "\n" not in text_line(event)
    assert json.loads(json_line(event))
