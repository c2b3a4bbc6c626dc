"""Load generators: each a process of its own, so that its core can be told from the server's."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping

from bench.compare import Sample
from bench.processes import LOAD_CORES, Server, run


def ask_lines(
    server: Server, *, connections: int, seconds: float, depth: int = 1, line: str = "hello"
) -> Sample:
    """Ask a server by lines for so long: the rate of its answers, and its CPU an answer.

    Arguments:
        server: what is asked, at its port; the CPU is that of all its processes.
        connections: how many, all busy all the time.
        seconds: how long, after a moment of warming up.
        depth: requests at a time on each connection.
        line: what is asked, without its end.
    """
    numbers = {
        "--port": server.port, "--pid": server.pid, "--connections": connections,
        "--depth": depth, "--seconds": seconds, "--line": line,
    }  # fmt: skip
    return _measured("lines", numbers, seconds)


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
    return _measured("opens", numbers, seconds)


def _measured(module: str, options: Mapping[str, object], seconds: float) -> Sample:
    words = [str(word) for pair in options.items() for word in pair]
    printed = run(
        [sys.executable, "-m", f"bench.load.{module}", *words],
        cores=LOAD_CORES,
        timeout=seconds + 30,
    )
    return Sample(**json.loads(printed))
