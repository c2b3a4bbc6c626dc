"""The conversations in a large capture: ``netserve decode`` beside tshark."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import median

from bench.compare import Sample, by_turns
from bench.load import packets
from bench.peers import postfix
from bench.processes import SERVER_CORES, BenchError, on_cores, scratch
from bench.subject import OURS, command, or_failed
from bench.table import Claim, Row

SIZE = 1_000_000_000
QUICK = 100_000_000
LISTED = "tshark, list of conversations"
BY_PACKET = "tshark, a line for each packet"


def run(quick: bool) -> list[Row]:
    """A file of 1 GB (a tenth of it for a quick look), decoded by turns."""
    return or_failed("decode a capture", partial(measured, quick))


def measured(quick: bool) -> Iterator[Row]:
    """Rows of netserve, and of tshark if it is installed."""
    size = QUICK if quick else SIZE
    work = f"decode a capture of {size / 1e9:g} GB"
    with scratch() as folder:
        path = folder / "large.pcap"
        count = packets.write(path, size)
        programs = {OURS: [command(), "decode", str(path)]}
        tshark = postfix.find("tshark")
        if tshark:
            programs[LISTED] = [tshark, "-n", "-r", str(path), "-q", "-z", "conv,tcp"]
            programs[BY_PACKET] = [tshark, "-n", "-r", str(path)]
        memory: dict[str, list[float]] = {name: [] for name in programs}
        taken = by_turns(
            1 if quick else 3,
            {
                name: partial(sample, argv, count, memory[name], folder / "output")
                for name, argv in programs.items()
            },
        )
    claims = [Claim(value=max(memory[OURS]), of="at most", unit=" MB", at_most=100)]
    for name in (LISTED, BY_PACKET):
        if name in taken:
            rate = taken[OURS].rate_ratio(taken[name])
            claims.append(Claim(value=rate, of=f"the rate of {name}", at_least=1.0))
            claims.append(Claim(value=taken[OURS].cpu_ratio(taken[name]), of=f"the CPU of {name}"))
    for name, samples in taken.items():
        yield Row(
            work=work, subject=name, rate=samples.rate, cpu=samples.cpu,
            memory=median(memory[name]), claims=claims if name == OURS else (),
        )  # fmt: skip
    if not tshark:
        yield Row(work=work, subject="tshark", skipped="tshark is not installed")


def sample(argv: Sequence[str], count: int, memory: list[float], output: Path) -> Sample:
    """Run a program over the file; items are packets.

    Raises:
        BenchError: it failed.
    """
    start = time.monotonic()
    with on_cores(SERVER_CORES), output.open("wb") as file:
        process = subprocess.Popen(argv, stdout=file, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    elapsed = time.monotonic() - start
    if process.returncode:
        raise BenchError(f"{argv[0]} failed with {process.returncode}")
    memory.append(used.ru_maxrss * _UNIT / 1e6)
    return Sample(rate=count / elapsed, cpu=(used.ru_utime + used.ru_stime) / count)


_UNIT = 1 if sys.platform == "darwin" else 1024
"""Bytes of a unit of ``ru_maxrss`` (getrusage(2))."""
