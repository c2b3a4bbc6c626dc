"""``python -m bench.against REV [WORK …]``: this checkout beside another revision of netserve.

The other revision is installed from git into a virtual environment of its own, with the versions of
all dependencies that this environment has. Both then do the same works by turns, and the table has
the medians of the ratios: this checkout is the better one where the CPU is below 1.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final

from bench import http_bridge, request_response, smtp_relay
from bench.compare import Sample, by_turns
from bench.echo import HERE, compiled
from bench.echo import sample as echo_sample
from bench.load import ask_lines, open_lines
from bench.load.http import ask_http
from bench.load.mail import Mails, accept, relay, sink
from bench.processes import ALL_CORES, BenchError, Server, free_port, scratch
from bench.subject import command, netserve
from bench.table import Claim, Row, render
from bench.versions import heading

ROOT: Final = HERE.parent
HERE_NAME: Final = "this checkout"

ECHO = """\
netserve: {{state: ./var}}
services:
  echo: {{protocol: echo, listen: "tcp:{port}:interface=127.0.0.1"}}
"""
PROXY = """\
netserve: {{state: ./var}}
services:
  proxy:
    protocol: http-bridge
    listen: tcp:{port}:interface=127.0.0.1
    framing: http
    request: {{url: "{url}{{target}}", timeout: 5s}}
    allow_upstreams: [127.0.0.1]
"""

Start = Callable[..., Server]
"""Starts a subject: `netserve` of `bench.subject` but for its folder and program."""
Measure = Callable[[Server], Sample]


class Works:
    """The works by name; each gives the config of a subject and what measures it.

    Arguments:
        folder: for logs and what is compiled.
        stack: ends the peers.
        seconds: of each sample.
    """

    def __init__(self, folder: Path, stack: ExitStack, seconds: float) -> None:
        self._folder = folder
        self._stack = stack
        self._seconds = seconds
        self._upstream: Server | None = None

    def prepare(self, name: str, port: int) -> tuple[str, Measure, frozenset[int] | None]:
        """The config for a port, what measures the subject, and its cores where they differ."""
        made: tuple[str, Measure, frozenset[int] | None] = getattr(self, f"_{name}")(port)
        return made

    def _echo(self, port: int) -> tuple[str, Measure, None]:
        load = compiled("gcc", self._folder / "load", HERE / "load" / "echo.c")
        if load is None:
            raise BenchError("the load is in C: gcc is missing")
        measure = partial(echo_sample, [load], self._seconds)
        return ECHO.format(port=port), lambda server: measure(server, 100, 64), None

    def _lines(self, port: int, depth: int = 1) -> tuple[str, Measure, None]:
        ask = partial(ask_lines, connections=100, seconds=self._seconds, depth=depth)
        return request_response.CONFIG.format(port=port), ask, None

    def _lines16(self, port: int) -> tuple[str, Measure, None]:
        return self._lines(port, 16)

    def _opens(self, port: int) -> tuple[str, Measure, None]:
        ask = partial(open_lines, connections=20, seconds=self._seconds)
        return request_response.CONFIG.format(port=port), ask, None

    def _url(self) -> str:
        if self._upstream is None:
            self._upstream, _ = http_bridge.upstream_server(self._folder)
            self._stack.enter_context(self._upstream)
        return f"http://127.0.0.1:{self._upstream.port}"

    def _bridge(self, port: int) -> tuple[str, Measure, None]:
        ask = partial(ask_lines, connections=50, seconds=self._seconds, line="healthz")
        return http_bridge.CONFIG.format(port=port, url=self._url() + "/"), ask, None

    def _proxy(self, port: int) -> tuple[str, Measure, None]:
        config = PROXY.format(port=port, url=self._url())
        ask = partial(ask_http, connections=50, seconds=self._seconds, sharing=self._upstream)
        return config, ask, None

    def _relay(
        self, port: int, size: int = 4, *, keep: bool = True, count: int = 1500
    ) -> tuple[str, Measure, frozenset[int]]:
        out = self._stack.enter_context(sink(self._folder))
        deliver = f'{{smarthost: ["127.0.0.1:{out.port}"], tls: none}}'
        mails = Mails(count=count, size=size * 1024, keep=keep)
        config = smtp_relay.CONFIG.format(port=port, deliver=deliver)
        return config, lambda server: relay(server, out, mails), ALL_CORES

    def _relay_session(self, port: int) -> tuple[str, Measure, frozenset[int]]:
        return self._relay(port, keep=False)

    def _relay64(self, port: int) -> tuple[str, Measure, frozenset[int]]:
        return self._relay(port, 64, count=500)

    def _accept256(self, port: int) -> tuple[str, Measure, None]:
        config = smtp_relay.CONFIG.format(port=port, deliver="{discard: true}")
        mails = Mails(count=300, size=256 * 1024)
        return config, lambda server: accept(server, mails), None


WORKS: Final = {
    "relay": "relay 4 KiB mail, kept sessions",
    "relay_session": "relay 4 KiB mail, a session a mail",
    "relay64": "relay 64 KiB mail, kept sessions",
    "accept256": "accept 256 KiB mail",
    "opens": "open, one line asked and answered, closed; 20 at a time",
    "lines": "lines, one at a time on 100 connections",
    "lines16": "lines, 16 at a time on 100 connections",
    "echo": "echo, 64 B, 100 connections",
    "bridge": "line -> HTTP -> line, 50 at a time",
    "proxy": "HTTP -> HTTP, 50 connections",
}


def installed(revision: str) -> tuple[str, str]:
    """Install a revision, unless it is already, and give its commit and its `netserve` command.

    Raises:
        BenchError: git does not know it, or it cannot be installed.
    """
    commit = _run("git", "rev-parse", "--short=12", f"{revision}^{{commit}}").strip()
    folder = ROOT / f".venv-against-{commit}"
    program = folder / "bin" / "netserve"
    if not program.exists():
        print(f"installing {commit} into {folder.name} …", file=sys.stderr)
        _run(sys.executable, "-m", "venv", str(folder))
        with scratch() as source:
            archive = subprocess.run(
                ["git", "archive", commit], cwd=ROOT, capture_output=True, check=True
            )
            subprocess.run(["tar", "-x", "-C", source], input=archive.stdout, check=True)
            wanted = source / "versions.txt"
            wanted.write_text(_versions())
            pip = str(folder / "bin" / "pip")
            _run(pip, "install", "-q", "-c", str(wanted), str(source))
    return commit, str(program)


def _versions() -> str:
    """What is installed here, as pip's constraints, without netserve and local files."""
    frozen = _run(sys.executable, "-m", "pip", "freeze", "--exclude-editable")
    return "\n".join(line for line in frozen.splitlines() if re.match(r"[\w.-]+==", line))


def _run(*words: str) -> str:
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(
            f"{Path(words[0]).name} ended with {done.returncode}: {done.stderr[-400:]}"
        )
    return done.stdout


def compared(name: str, programs: dict[str, str], turns: int, seconds: float) -> list[Row]:
    """The rows of one work."""
    measures: dict[str, Callable[[], Sample]] = {}
    with scratch() as folder, ExitStack() as stack:
        works = Works(folder, stack, seconds)
        for number, (subject, program) in enumerate(programs.items()):
            port = free_port()
            config, measure, cores = works.prepare(name, port)
            more = {} if cores is None else {"cores": cores}
            server = netserve(folder / str(number), config, port, program=program, **more)
            measures[subject] = partial(measure, stack.enter_context(server))
        taken = by_turns(turns, measures)
    ours, other = (taken[subject] for subject in programs)
    claims = [
        Claim(value=ours.cpu_ratio(other), of="the CPU of the other"),
        Claim(value=ours.rate_ratio(other), of="the rate of the other"),
    ]
    first, second = programs
    return [ours.row(WORKS[name], first, claims), other.row(WORKS[name], second)]


def main() -> int:
    """Measure, and print the table; 1 when a work's CPU is past the bound that was given."""
    parser = argparse.ArgumentParser(prog="python -m bench.against", description=__doc__)
    parser.add_argument("revision", metavar="REV", help="of git: a tag, a branch, a commit")
    parser.add_argument("works", nargs="*", metavar="WORK", help=f"of {', '.join(WORKS)}")
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=1.0, help="of a sample, where it is timed")
    parser.add_argument(
        "--most", type=float, help="fail where the CPU is more than this many times"
    )
    options = parser.parse_args()
    if unknown := sorted(set(options.works) - set(WORKS)):
        parser.error(f"no such work: {', '.join(unknown)}; there are {', '.join(WORKS)}")
    commit, program = installed(options.revision)
    programs = {HERE_NAME: command(), commit: program}
    rows: list[Row] = []
    for name in options.works or WORKS:
        print(f"{name} …", file=sys.stderr, flush=True)
        try:
            rows += compared(name, programs, options.turns, options.seconds)
        except (BenchError, OSError) as error:
            rows.append(Row(work=WORKS[name], subject=HERE_NAME, failed=str(error)))
    print(f"{heading(quick=False)}\n{render(rows)}")
    if options.most is None:
        return 1 if any(row.failed for row in rows) else 0
    ratios = [row.claims[0].value for row in rows if row.claims]
    return 1 if any(row.failed for row in rows) or max(ratios) > options.most else 0


if __name__ == "__main__":
    sys.exit(main())
