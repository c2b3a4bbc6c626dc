"""Mail in by Postfix' smtp-source and out to its smtp-sink, and when the last one has left."""

from __future__ import annotations

import contextlib
import os
import resource
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.compare import Sample
from bench.peers.postfix import find
from bench.processes import ALL_CORES, LOAD_CORES, BenchError, Server, free_port, run, until

SESSIONS = 20
TIMEOUT = 120.0


def why_not() -> str | None:
    """Why mail can't be sent here, or None."""
    missing = [name for name in ("smtp-source", "smtp-sink") if find(name) is None]
    return f"{' and '.join(missing)} not installed (Debian: postfix)" if missing else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mails:
    """What is sent.

    Arguments:
        count: how many.
        size: bytes of each body.
        keep: whether a session goes on with the next mail, or each has a session of its own.
        to: the recipient.
        sessions: how many at a time.
    """

    count: int
    size: int
    keep: bool = True
    to: str = "to@example.com"
    sessions: int = SESSIONS

    def send(self, port: int, cores: frozenset[int]) -> None:
        """Hand all of them over, on 20 sessions at a time."""
        source = find("smtp-source")
        if source is None:
            raise BenchError("smtp-source is not installed")
        argv = [
            source, *(["-d"] if self.keep else []),
            "-s", str(self.sessions), "-m", str(self.count), "-l", str(self.size),
            "-M", "client.example.org", "-f", "from@example.org", "-t", self.to,
            f"127.0.0.1:{port}",
        ]  # fmt: skip
        run(argv, cores=cores, timeout=TIMEOUT)


class Sink:
    """smtp-sink, which throws away what it gets, and counts it.

    Arguments:
        server: its process.
        log: what it prints: its counters, anew at each change.
    """

    def __init__(self, server: Server, log: Path) -> None:
        self.port = int(server.port or 0)
        self._log = log

    def count(self) -> int:
        """Mails so far."""
        with self._log.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - 200))
            *_, last = (b"mesg=0 " + log.read().rpartition(b"\r")[0]).split(b"mesg=")
        return int(last.split()[0])


@contextlib.contextmanager
def sink(folder: Path, *options: str) -> Iterator[Sink]:
    """A running smtp-sink.

    Arguments:
        folder: for its log.
        options: more of its own, such as ``-w 5`` for seconds of delay.
    """
    program = find("smtp-sink")
    if program is None:
        raise BenchError("smtp-sink is not installed")
    port = free_port()
    log = folder / f"sink-{port}.log"
    user = ["-u", "nobody"] if os.geteuid() == 0 else []
    argv = [program, *user, *options, "-c", "-m", "1000", f"127.0.0.1:{port}", "1000"]
    with Server(argv, port=port, log=log, cores=ALL_CORES) as server:
        yield Sink(server, log)


def relay(server: Server, sink: Sink, mails: Mails) -> Sample:
    """From the first mail in until the last one is out. All share the same two cores."""
    expected = sink.count() + mails.count
    cpu, start = server.cpu(), time.monotonic()
    mails.send(int(server.port or 0), ALL_CORES)
    until(lambda: sink.count() >= expected, TIMEOUT, f"{mails.count} mails to leave", 0.002)
    elapsed = time.monotonic() - start
    # What is tidied behind the last mail belongs to it as well.
    settle(server)
    return Sample(rate=mails.count / elapsed, cpu=(server.cpu() - cpu) / mails.count)


def accept(server: Server, mails: Mails) -> Sample:
    """Until the last mail has its 250; the server on one core, the load on the other."""
    cpu, load, start = server.cpu(), _load_cpu(), time.monotonic()
    mails.send(int(server.port or 0), LOAD_CORES)
    elapsed = time.monotonic() - start
    settle(server)
    return Sample(
        rate=mails.count / elapsed,
        cpu=(server.cpu() - cpu) / mails.count,
        saturated=_load_cpu() - load > 0.95 * elapsed,
    )


def settle(server: Server, quiet: float = 0.2) -> None:
    """Wait until a server has nothing left to do: two readings of its CPU alike."""
    last = -1.0

    def is_quiet() -> bool:
        nonlocal last
        before, last = last, server.cpu()
        return last - before < 0.02

    until(is_quiet, 20, f"{server.argv[0]} to be quiet", quiet)


def _load_cpu() -> float:
    """Seconds of CPU of the load generators that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
