"""Packets: crafting through the helper beside a script with Scapy, and listening at a rate.

The sniffer and what it listens to are in a network namespace of their own, for which root is
needed: on the machine's own loopback interface everything else would be counted, too.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import median

from bench.compare import Sample, by_turns
from bench.echo import compiled
from bench.processes import (
    ALL_CORES,
    LOAD_CORES,
    SERVER_CORES,
    BenchError,
    Server,
    free_port,
    on_cores,
    scratch,
    until,
)
from bench.processes import (
    run as run_program,
)
from bench.subject import OURS, command, or_failed
from bench.table import Claim, Row

SCAPY = "a script with Scapy"
WORKS = {
    "one": "craft TCP SYN packets, an expression each",
    "alone": "craft TCP SYN packets, one at a time",
    "range": "craft TCP SYN packets, 1,000 an expression",
}
RATE = 100_000
HERE = Path(__file__).parent


def run(quick: bool) -> list[Row]:
    """Crafting, starting, and listening."""
    if importlib.util.find_spec("scapy") is None:
        return [Row(work="packets", subject=OURS, skipped="Scapy is not installed")]
    rows = []
    for work, words in WORKS.items():
        rows += or_failed(words, partial(craft, work, quick=quick))
    rows += or_failed("the first packet", partial(first_packet, 2 if quick else 5))
    rows += or_failed("sniff into a file", partial(sniff, 2.0 if quick else 10.0))
    return rows


def craft(work: str, *, quick: bool) -> Iterator[Row]:
    """Packets through the helper, and by a script; from the first to the last one."""
    count = 1000 if quick else 5000

    def sample(who: str) -> Sample:
        words = [sys.executable, "-m", "bench.load.crafting", who, work, str(count)]
        # The script has one process, and leaves a core idle.
        return Sample(**json.loads(run_program(words, cores=ALL_CORES, timeout=300)))

    taken = by_turns(
        1 if quick else 5,
        {"netserve": partial(sample, "netserve"), "scapy": partial(sample, "scapy")},
    )
    ours, theirs = taken["netserve"], taken["scapy"]
    claims = [
        Claim(
            value=1 / ours.rate_ratio(theirs),
            of=f"the time of {SCAPY}",
            at_most=None if work == "alone" else 1.3,
        ),
        Claim(value=ours.cpu_ratio(theirs), of=f"the CPU of {SCAPY}"),
    ]
    yield ours.row(WORKS[work], OURS, claims)
    yield theirs.row(WORKS[work], SCAPY)


def first_packet(turns: int) -> Iterator[Row]:
    """The whole of a command: from its start to its end."""
    text = 'IP(dst="127.0.0.1")/TCP(dport=80)/"Hello, server!"'
    scapy = f"from scapy.all import IP, TCP; print(bytes({text}).hex())"
    subjects = {
        OURS: [command(), "packet", "craft", text],
        SCAPY: [sys.executable, "-c", scapy],
    }
    seconds: dict[str, list[float]] = {name: [] for name in subjects}
    for turn in range(turns + 1):
        for name, words in subjects.items():
            began = time.monotonic()
            run_program(words, cores=ALL_CORES, timeout=60)
            if turn:  # the first one may have to compile
                seconds[name].append(time.monotonic() - began)
    for name, taken in seconds.items():
        claim = Claim(value=median(taken), of="from start to end", unit=" s")
        yield Row(work="one packet by a command", subject=name, claims=[claim])


def sniff(seconds: float) -> Iterator[Row]:
    """Listen while so many datagrams a second are sent, with their bytes into a file."""
    work = f"sniff {RATE:,} packets/s of 128 B into a file"
    ip = shutil.which("ip", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if os.geteuid() != 0 or ip is None:
        yield Row(work=work, subject=OURS, skipped="needs root, and the program ip")
        return
    with scratch() as folder:
        flood = compiled("gcc", folder / "flood", HERE / "load" / "flood.c")
        if flood is None:
            yield Row(work=work, subject=OURS, skipped="the load is in C: gcc is missing")
            return
        with namespace(ip) as enter:
            yield listened(work, folder, enter, flood, seconds)


def listened(work: str, folder: Path, enter: list[str], flood: str, seconds: float) -> Row:
    """One run."""
    config, file = folder / "config.yaml", folder / "packets.pcap"
    config.write_text("packet: {interfaces: lo}\n")
    port = free_port()
    argv = [
        *enter, command(), "sniff", "--config", str(config), "-w", str(file), "--json",
        "--max-size", "8GiB", f"udp port {port}",
    ]  # fmt: skip
    log = folder / "output.log"
    with Server(argv, port=None, log=log, cores=SERVER_CORES) as server:
        until(lambda: "begins" in log.read_text(), 20, "the sniffer to listen")
        used = server.cpu()
        words = [*enter, flood, str(port), str(RATE), str(seconds), "86"]
        with on_cores(LOAD_CORES):
            sent, took = run_program(words, cores=LOAD_CORES, timeout=seconds * 10).split()
        # A packet is 16 bytes of record and 128 bytes of frame.
        until(partial(is_written, file, int(sent)), 5, "the file to be written")
        used = server.cpu() - used
        server.stop()
    done = json.loads(log.read_text().splitlines()[-1])["done"]
    rate = int(sent) / float(took)
    if done["captured"] + done["dropped"] != int(sent):
        raise BenchError(f"{sent} were sent, but {done} is told")
    lost = Claim(value=done["dropped"] / int(sent) * 100, of="dropped, and counted", unit=" %",
                 at_most=0.1)  # fmt: skip
    fast = Claim(value=rate / 1000, of="packets/s sent", unit=" k", at_least=RATE / 1000 * 0.95)
    return Row(
        work=work, subject=OURS, rate=done["captured"] / float(took), cpu=used / int(sent) * 1e6,
        claims=[lost, fast],
    )  # fmt: skip


def is_written(file: Path, packets: int) -> bool:
    """Whether the file has all packets, or as many as it will have."""
    size = file.stat().st_size
    time.sleep(0.3)
    return size >= 24 + packets * 144 or size == file.stat().st_size


@contextlib.contextmanager
def namespace(ip: str) -> Iterator[list[str]]:
    """A network namespace, by the words that run a program in it."""
    name = f"bench-{secrets.token_hex(3)}"
    try:
        subprocess.run([ip, "netns", "add", name], check=True, capture_output=True)
        subprocess.run([ip, "-n", name, "link", "set", "lo", "up"], check=True)
    except subprocess.CalledProcessError as error:
        raise BenchError(f"no network namespace: {error.stderr!r}") from None
    try:
        yield [ip, "netns", "exec", name]
    finally:
        subprocess.run([ip, "netns", "delete", name], check=False)
