"""``netserve decode``: the conversations in a capture file, by protocol."""

from __future__ import annotations

import gc
import os
import sys
from contextlib import suppress
from typing import Any

import click

_COLLECT_AFTER = 100_000


@click.command()
@click.argument("file", type=click.Path(allow_dash=True, path_type=str))
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a line.")
@click.option("--live", is_flag=True, help="Print each item when it is said, not by conversation.")
@click.option("--items", type=click.IntRange(0), default=100, show_default=True,
              help="Of a conversation at most; 0 prints one line for each.")  # fmt: skip
@click.option("--all", "everything", is_flag=True, help="Print all items.")
@click.option("--protocol", "protocols", multiple=True, metavar="NAME",
              help="Print only conversations of it: smtp, http, dns, mllp, tls, lines or hex.")  # fmt: skip
@click.option("--address", "addresses", multiple=True, metavar="IP",
              help="Print only conversations of this address.")  # fmt: skip
@click.option("--port", "ports", multiple=True, type=click.IntRange(0, 65535), metavar="PORT",
              help="Print only conversations of this port.")  # fmt: skip
@click.option("--conversation", "numbers", multiple=True, type=click.IntRange(1),
              metavar="NUMBER", help="Print only this one.")  # fmt: skip
@click.option("--as", "readings", multiple=True, metavar="PORT=NAME",
              help="Read what a server says on PORT as this protocol.")  # fmt: skip
def decode(file: str, *, readings: tuple[str, ...], everything: bool, **options: Any) -> None:
    """Show the conversations in FILE, a pcap or pcapng capture of any tool; - is standard input.

    The file may be compressed by gzip or zstd. Logins of SMTP are shown as ***; protocols that
    are not known are printed as they are.
    """
    from netserve.capture.decode.detect import PROTOCOLS
    from netserve.capture.decode.report import Options
    from netserve.capture.reading.errors import CaptureFileError

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
        # Who reads has seen enough. What is left in the buffer must not fail at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        raise click.ClickException(f"{_shown(file)}: {error.strerror or error}") from None


def _run(file: str, options: Any, ports: dict[int, str]) -> None:
    """Read the file from end to end; what was understood before an error is printed too."""
    from netserve.capture.decode.engine import Engine
    from netserve.capture.decode.report import Report
    from netserve.capture.reading.opening import opened

    with opened(file) as capture:
        # There are many small objects to look through, and next to none of them form cycles.
        gc.freeze()
        gc.set_threshold(_COLLECT_AFTER)
        output = sys.stdout
        report = Report(options, lambda text: output.write(f"{text}\n"), capture.info.names)
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


def _reading(text: str, known: tuple[str, ...]) -> tuple[int, str]:
    port, equals, name = text.partition("=")
    is_port = port.isascii() and port.isdigit() and int(port) < 65536
    _check(is_port and equals == "=", "--as", f"{text} is not PORT=NAME")
    _check(name in known, "--as", f"{name} is none of {', '.join(known)}")
    return int(port), name


def _address(text: str) -> str:
    from ipaddress import ip_address

    try:
        return str(ip_address(text))
    except ValueError:
        raise click.BadParameter(f"{text} is no IP address", param_hint="--address") from None


def _check(ok: bool, option: str, problem: str) -> None:
    if not ok:
        raise click.BadParameter(problem, param_hint=option)


def _shown(file: str) -> str:
    return "standard input" if file == "-" else file
