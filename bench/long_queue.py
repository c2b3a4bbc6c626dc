"""A million messages that wait: start, accept rate beside an empty queue's, pages of the list."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import median

from bench.compare import by_turns
from bench.footprint import is_ready
from bench.load.mail import SESSIONS, Mails, accept, why_not
from bench.processes import Server, free_port, scratch, until
from bench.smtp_relay import CONFIG
from bench.subject import OURS, netserve, or_failed
from bench.table import Claim, Row
from netserve.cli.control import Control
from netserve.testing.queue import fill_queue

COUNT = 1_000_000
EMPTY = "netserve, empty queue"
QUERIES = (
    {},
    {"sender": "s77@example.org"},
    {"recipient": "r77@d77.org"},
    {"domain": "d7.org"},
    {"older": "7000"},
    {"reply": "later"},
)


def run(quick: bool) -> list[Row]:
    """Start, accept and list with a long queue (a tenth of it for a quick look)."""
    return or_failed("a long queue", partial(measured, quick))


def measured(quick: bool) -> Iterator[Row]:
    """One netserve on the long queue, and one on an empty queue beside it."""
    count = COUNT // 10 if quick else COUNT
    work = f"with {count:,} messages in the queue"
    with scratch() as folder:
        fill_queue(folder / "filled", count, now=time.time())
        starts = [started(folder, number) for number in range(1 if quick else 3)]
        start = Claim(value=median(starts), of="to ready", unit=" s", at_most=2)
        yield Row(work=f"start, {work}", subject=OURS, claims=[start])
        with prepared(folder, "full") as full, prepared(folder, "empty") as empty:
            state = folder / "full" / "var"
            pages = [max(paged(state, query) for query in QUERIES) for _ in range(3)]
            page = Claim(
                value=median(pages),
                of="for a page of `queue list`, the slowest filter",
                unit=" s",
                at_most=0.2,
            )
            yield Row(work=f"list, {work}", subject=OURS, claims=[page])
            yield from rates(work, full, empty, quick=quick)


def config(port: int, status: int) -> str:
    """The relay that throws away what it takes, with a status port."""
    text = CONFIG.format(port=port, deliver="{discard: true}")
    return text.replace("./var}", f"./var, status: 'tcp:{status}:interface=127.0.0.1'}}")


def started(folder: Path, number: int) -> float:
    """Seconds from the start of a process on the long queue until it is ready."""
    place, status = folder / f"start{number}", free_port()
    server = netserve(place, config(free_port(), status), None)
    move(folder / "filled", place)
    begin = time.monotonic()
    with server:
        until(lambda: is_ready(server, status), 60, "netserve to be ready", 0.005)
        elapsed = time.monotonic() - begin
    shutil.move(place / "var" / "outbox", folder / "filled")
    return elapsed


def prepared(folder: Path, name: str) -> Server:
    """netserve on the long queue, or on one of its own."""
    port = free_port()
    server = netserve(folder / name, config(port, free_port()), port)
    if name == "full":
        move(folder / "filled", folder / name)
    return server


def move(filled: Path, place: Path) -> None:
    """Put the long queue where a process looks for it."""
    (place / "var").mkdir(mode=0o700)
    shutil.move(filled, place / "var" / "outbox")


def paged(state: Path, query: dict[str, str]) -> float:
    """Seconds for a page, asked for as `netserve queue list` does."""
    begin = time.monotonic()
    Control(state).get("/queue", {**query, "limit": "100"})
    return time.monotonic() - begin


def rates(work: str, full: Server, empty: Server, *, quick: bool) -> Iterator[Row]:
    """The accept rates, by turns."""
    if reason := why_not():
        yield Row(work=f"accept, {work}", subject=OURS, skipped=reason)
        return
    mails = Mails(count=1000 if quick else 3000, size=4096)
    taken = by_turns(
        2 if quick else 5,
        {OURS: partial(accept, full, mails), EMPTY: partial(accept, empty, mails)},
    )
    rate = taken[OURS].rate_ratio(taken[EMPTY])
    claim = Claim(value=rate, of="the rate with an empty queue", at_least=0.8)
    work = f"accept 4 KiB mail, {SESSIONS} at a time, {work}"
    yield taken[OURS].row(work, OURS, [claim])
    yield taken[EMPTY].row(work, EMPTY)
