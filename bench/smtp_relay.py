"""Mail: netserve's `smtp-relay` beside Postfix as a relay, and beside aiosmtpd taking big mail."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from bench.compare import Sample, by_turns
from bench.load.mail import SESSIONS, Mails, accept, relay, sink, why_not
from bench.peers import postfix
from bench.processes import ALL_CORES, Server, free_port, scratch
from bench.subject import OURS, netserve, or_failed
from bench.table import Claim, Row

SYNCED, IN_MEMORY = "aiosmtpd, synced to files", "aiosmtpd, in memory"

CONFIG = """\
netserve: {{state: ./var}}
services:
  mail:
    protocol: smtp-relay
    listen: tcp:{port}:interface=127.0.0.1
    hostname: relay.example.org
    relay_for: [127.0.0.0/8]
    limits: {{message_size: 25MiB}}
    routes:
      - deliver: {deliver}
"""

ROUTED = """\
netserve: {{state: ./var}}
services:
  mail:
    protocol: smtp-relay
    listen: tcp:{port}:interface=127.0.0.1
    hostname: relay.example.org
    relay_for: [127.0.0.0/8]
    routes:
      - match: {{recipient: "*@slow.example"}}
        deliver: {{smarthost: "127.0.0.1:{slow}", tls: none}}
      - match: {{recipient: "*@dead.example"}}
        deliver: {{smarthost: "127.0.0.1:{dead}", tls: none}}
      - deliver: {{smarthost: "127.0.0.1:{out}", tls: none}}
"""


def run(quick: bool) -> list[Row]:
    """Relayed end to end; beside slow and dead destinations; big mail taken; memory for it."""
    if reason := why_not():
        return [Row(work="mail", subject=OURS, skipped=reason)]
    return [
        *or_failed("relay mail", partial(relayed, quick)),
        *or_failed("relay beside slow destinations", partial(beside_slow_ones, quick)),
        *or_failed("accept 256 KiB mail", partial(accepted, quick)),
        *or_failed("accept 50 MiB mail", partial(huge, quick)),
    ]


def relayed(quick: bool) -> list[Row]:
    """Mails in and out, both durable, both free to use the same two cores."""
    turns = 1 if quick else 9
    rows: list[Row] = []
    no_postfix = postfix.why_not()
    with scratch() as folder, ExitStack() as stack:
        out = stack.enter_context(sink(folder))
        deliver = f'{{smarthost: ["127.0.0.1:{out.port}"], tls: none}}'
        port = free_port()
        config = CONFIG.format(port=port, deliver=deliver)
        subject = netserve(folder / "netserve", config, port, cores=ALL_CORES)
        servers = {OURS: (stack.enter_context(subject), 800 if quick else 2000)}
        if no_postfix is None:
            peer = postfix.relay(folder / "postfix", free_port(), out.port)
            servers["Postfix"] = (stack.enter_context(peer), 300 if quick else 1000)
        for size, keep, least in ((4, True, 4), (4, False, 4), (64, True, 3)):
            sessions = "kept sessions" if keep else "a session a mail"
            work = f"relay {size} KiB mail, {SESSIONS} at a time, durable, {sessions}"
            measures: dict[str, Callable[[], Sample]] = {
                name: partial(relay, server, out, Mails(count=count, size=size * 1024, keep=keep))
                for name, (server, count) in servers.items()
            }
            rows += told(work, turns, measures, {"Postfix": least})
            if no_postfix:
                rows.append(Row(work=work, subject="Postfix", skipped=no_postfix))
    return rows


def beside_slow_ones(quick: bool) -> list[Row]:
    """One netserve relays to a destination that is well; in the other, mail for a slow one and for
    one that is down waits too.
    """
    turns, waiting = (2, 300) if quick else (6, 1000)
    alone = "netserve, without them"
    work = f"relay 4 KiB mail beside a slow and a dead destination with {waiting:,} mails each"
    with scratch() as folder, ExitStack() as stack:
        out = stack.enter_context(sink(folder))
        slow = stack.enter_context(sink(folder, "-w", "10"))
        measures: dict[str, Callable[[], Sample]] = {}
        for name, place in ((OURS, "beside"), (alone, "alone")):
            port = free_port()
            config = ROUTED.format(port=port, out=out.port, slow=slow.port, dead=free_port())
            server = netserve(folder / place, config, port, cores=ALL_CORES)
            stack.enter_context(server)
            if name == OURS:
                for domain in ("slow.example", "dead.example"):
                    mails = Mails(count=waiting, size=4096, to=f"to@{domain}")
                    mails.send(port, ALL_CORES)
            mails = Mails(count=800 if quick else 2000, size=4096)
            measures[name] = partial(relay, server, out, mails)
        taken = by_turns(turns, measures)
    ratio = taken[OURS].rate_ratio(taken[alone])
    claim = Claim(value=ratio, of="the rate without them", at_least=0.9)
    return [taken[OURS].row(work, OURS, [claim]), taken[alone].row(work, alone)]


def huge(quick: bool) -> list[Row]:
    """Many mails of 50 MiB at once, and how much memory that has taken at the most."""
    count = 20 if quick else 100
    work = f"accept {count} mails of 50 MiB at once"
    with scratch() as folder:
        port = free_port()
        config = CONFIG.format(port=port, deliver="{discard: true}").replace("25MiB", "64MiB")
        with netserve(folder / "netserve", config, port) as server:
            mails = Mails(count=count, size=50 * 1024 * 1024, sessions=count)
            taken = accept(server, mails)
            peak = server.peak_memory()
    claim = Claim(value=peak * 1e6 / 2**20, of="at the most", unit=" MiB", at_most=150)
    return [Row(work=work, subject=OURS, rate=taken.rate, memory=peak, claims=[claim])]


def accepted(quick: bool) -> list[Row]:
    """256 KiB mails until the last 250; netserve throws them away afterwards, by its queue."""
    turns = 1 if quick else 7
    size = 256 * 1024
    work = f"accept 256 KiB mail, {SESSIONS} at a time, kept sessions"
    missing = importlib.util.find_spec("aiosmtpd") is None
    with scratch() as folder, ExitStack() as stack:
        port = free_port()
        config = CONFIG.format(port=port, deliver="{discard: true}")
        subject = stack.enter_context(netserve(folder / "netserve", config, port))
        mails = Mails(count=200 if quick else 400, size=size)
        measures: dict[str, Callable[[], Sample]] = {OURS: partial(accept, subject, mails)}
        fewer = Mails(count=40 if quick else 100, size=size)
        for name in () if missing else (SYNCED, IN_MEMORY):
            server = stack.enter_context(aiosmtpd(folder, name))
            measures[name] = partial(accept, server, fewer)
        rows = told(work, turns, measures, {SYNCED: 10, IN_MEMORY: None})
    if missing:
        rows.append(Row(work=work, subject="aiosmtpd", skipped="aiosmtpd is not installed"))
    return rows


def told(
    work: str,
    turns: int,
    measures: dict[str, Callable[[], Sample]],
    least: dict[str, float | None],
) -> list[Row]:
    """The rows of one work: ours with what is claimed beside each peer, then the peers."""
    taken = by_turns(turns, measures)
    ours = taken[OURS]
    claims = []
    for name, bound in least.items():
        if peer := taken.get(name):
            rate, cpu = ours.rate_ratio(peer), ours.cpu_ratio(peer)
            claims.append(Claim(value=rate, of=f"the rate of {name}", at_least=bound))
            claims.append(Claim(value=cpu, of=f"the CPU of {name}"))
    return [taken[name].row(work, name, claims if name == OURS else ()) for name in measures]


def aiosmtpd(folder: Path, name: str) -> Server:
    """The peer that keeps its mail as its name says."""
    port = free_port()
    place = folder / "aiosmtpd"
    place.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "bench.peers.smtp_aiosmtpd", str(port)]
    command.append(str(place) if name == SYNCED else "-")
    log = folder / ("synced.log" if name == SYNCED else "memory.log")
    return Server(command, port=port, log=log)
