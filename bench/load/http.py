"""wrk as the load of HTTP servers, with the server's CPU beside its count."""

from __future__ import annotations

import re
import resource
import shutil
import time

from bench.compare import Sample
from bench.processes import LOAD_CORES, BenchError, Load, Server, run


def find() -> str | None:
    """The path of wrk, or None."""
    return shutil.which("wrk")


def ask_http(
    server: Server,
    *,
    connections: int,
    seconds: float,
    path: str = "/",
    sharing: Server | None = None,
) -> Sample:
    """Ask a server over HTTP for so long: the rate of its answers, and its CPU an answer.

    Arguments:
        server: what is asked, at its port; the CPU is that of all its processes.
        connections: how many, all busy all the time.
        seconds: how long, after a moment of warming up; wrk takes whole ones.
        path: what is asked for.
        sharing: a server on the load's core, whose CPU counts as the load's.

    Raises:
        BenchError: wrk is not there, or an answer was not 2xx or did not come.
    """
    wrk = find()
    if wrk is None:
        raise BenchError("wrk is not installed")
    url = f"http://127.0.0.1:{server.port}{path}"
    command = [wrk, "-t1", f"-c{connections}", url]
    run([*command, "-d1s"], cores=LOAD_CORES, timeout=30)
    cpu, load, start = server.cpu(), _load(sharing), time.monotonic()
    printed = run(
        [*command, f"-d{max(1, round(seconds))}s"], cores=LOAD_CORES, timeout=seconds + 30
    )
    elapsed = time.monotonic() - start
    count = re.search(r"^\s*(\d+) requests in ([\d.]+)s", printed, re.MULTILINE)
    if count is None or "Non-2xx" in printed or "Socket errors" in printed:
        raise BenchError(f"wrk: {' '.join(printed.split())[:200]}")
    answers = int(count[1])
    return Sample(
        rate=answers / float(count[2]),
        cpu=(server.cpu() - cpu) / answers,
        saturated=_load(sharing) - load > Load.FULL * elapsed,
    )


def _load(sharing: Server | None) -> float:
    """CPU seconds of what runs on the load's core."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    ours = used.ru_utime + used.ru_stime
    return ours + (sharing.cpu() if sharing is not None else 0.0)
