"""The work of ``netserve decode``; its options are in `netserve.cli.decode`."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import ip_address
from typing import Any, Final

import click

from netserve.capture.decode.detect import PROTOCOLS
from netserve.capture.decode.engine import Engine
from netserve.capture.decode.report import Options, Report
from netserve.capture.reading.errors import CaptureFileError
from netserve.capture.reading.opening import opened

_COLLECT_AFTER: Final = 100_000
"""New objects after which Python looks for cycles."""


def run(file: str, *, readings: Sequence[str], everything: bool, **options: Any) -> None:
    """Decode a file.

    Arguments:
        file: its path, or ``-``.
        readings: ``PORT=NAME``: a protocol by the server's port.
        everything: whether all items are printed.
        options: of `Options`.

    Raises:
        ClickException: an option or the file is wrong.
    """
    if everything:
        options["items"] = None
    for name in options["protocols"]:
        _check(name in PROTOCOLS, "--protocol", f"{name} is none of {', '.join(PROTOCOLS)}")
    ports = dict(_reading(each, PROTOCOLS) for each in readings)
    options["addresses"] = [_address(each) for each in options["addresses"]]
    try:
        _run(file, Options(**options), ports)
    except CaptureFileError as error:
        raise click.ClickException(f"{_shown(file)}: {error}") from None
    except BrokenPipeError:
        # The reader of the pipe has closed it. Flushing the rest at exit must not fail.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        raise click.ClickException(f"{_shown(file)}: {error.strerror or error}") from None


def _run(file: str, options: Options, ports: dict[int, str]) -> None:
    """Read the whole file; conversations before an error are printed, too."""
    with opened(file) as capture:
        # There are many small objects to look through, and next to none of them form cycles.
        gc.freeze()
        gc.set_threshold(_COLLECT_AFTER)
        output = sys.stdout

        def write(text: str) -> None:
            output.write(f"{text}\n")
            if options.live:
                output.flush()

        report = Report(options, write, capture.info.names)
        engine = Engine(report, ports)
        try:
            engine.take(capture.packets())
        except KeyboardInterrupt:
            capture.info.notes.append("interrupted")
        finally:
            with suppress(BrokenPipeError):
                engine.finish()
                info = capture.info
                notes = [*info.notes]
                notes += [f"the capture lost {info.dropped:,} packets"] if info.dropped else []
                about = {"notes": notes, "format": info.format, "application": info.application}
                report.summary(engine.totals, engine.fragments, about)
                output.flush()


def _reading(text: str, known: Sequence[str]) -> tuple[int, str]:
    port, equals, name = text.partition("=")
    is_port = port.isascii() and port.isdigit() and int(port) < 65536
    _check(is_port and equals == "=", "--as", f"{text} is not PORT=NAME")
    _check(name in known, "--as", f"{name} is none of {', '.join(known)}")
    return int(port), name


def _address(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError:
        raise click.BadParameter(f"{text} is no IP address", param_hint="--address") from None


def _check(ok: bool, option: str, problem: str) -> None:
    if not ok:
        raise click.BadParameter(problem, param_hint=option)


def _shown(file: str) -> str:
    return "standard input" if file == "-" else file
