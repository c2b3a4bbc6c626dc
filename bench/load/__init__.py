"""Load generators: each a process of its own, so that its core can be told from the server's."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping

from bench.compare import Sample
from bench.processes import LOAD_CORES, Server, run


def ask_lines(
    server: Server,
    *,
    connections: int,
    seconds: float,
    depth: int = 1,
    line: str = "hello",
    newlines: int = 1,
) -> Sample:
    """Ask a server by lines for so long: the rate of its answers, and its CPU an answer.

    Arguments:
        server: what is asked, at its port; the CPU is that of all its processes.
        connections: how many, all busy all the time.
        seconds: how long, after a moment of warming up.
        depth: requests at a time on each connection.
        line: what is asked, without its end.
        newlines: how many an answer has.
    """
    numbers = {
        "--port": server.port, "--pid": server.pid, "--connections": connections,
        "--depth": depth, "--seconds": seconds, "--line": line,
        "--newlines": newlines,
    }  # fmt: skip
    return _sample("lines", _words(numbers), seconds)


def open_lines(server: Server, *, connections: int, seconds: float) -> Sample:
    """Open connections for so long, ask one line on each, and close it: connections a second.

    Arguments:
        server: what is asked, at its port; the CPU is that of all its processes.
        connections: how many are under way at the same time.
        seconds: how long, after a moment of warming up.
    """
    numbers = {
        "--port": server.port, "--pid": server.pid, "--connections": connections,
        "--seconds": seconds,
    }  # fmt: skip
    return _sample("opens", _words(numbers), seconds)


def fetch_files(server: Server, *, connections: int, seconds: float) -> Sample:
    """Fetch a file from an FTP server for so long: see `ask_lines`."""
    return _sample(
        "ftp", [str(it) for it in (server.port, server.pid, connections, seconds)], seconds
    )


def _words(options: Mapping[str, object]) -> list[str]:
    return [str(word) for pair in options.items() for word in pair]


def _sample(module: str, words: list[str], seconds: float) -> Sample:
    command = [sys.executable, "-m", f"bench.load.{module}", *words]
    return Sample(**json.loads(run(command, cores=LOAD_CORES, timeout=seconds + 30)))
