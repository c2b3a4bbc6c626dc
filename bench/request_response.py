"""A line in, a line out: netserve's `request-response` beside a bare line server on uvloop."""

from __future__ import annotations

import sys
from functools import partial

from bench.compare import by_turns
from bench.load import ask_lines
from bench.processes import Server, free_port, scratch
from bench.subject import OURS, netserve
from bench.table import Claim, Row

PEER = "bare uvloop line server"
CONNECTIONS = 100
DEPTHS = (1, 16)

CONFIG = """\
netserve: {{state: ./var}}
services:
  hello:
    protocol: request-response
    listen: tcp:{port}:interface=127.0.0.1
    framing: line
    rules:
      - match: ping
        reply: pong
      - match: {{regex: "^my name is (?P<name>\\\\w+)$"}}
        reply: "Hello, {{name}}!"
    reply: "Hello, client!"
"""


def run(quick: bool) -> list[Row]:
    """The service `hello` of the shipped config, one request at a time and pipelined."""
    turns, seconds = (2, 0.6) if quick else (9, 1.0)
    port, peer_port = free_port(), free_port()
    command = [sys.executable, "-m", "bench.peers.line_uvloop", str(peer_port)]
    rows: list[Row] = []
    with (
        scratch() as folder,
        netserve(folder / "netserve", CONFIG.format(port=port), port) as subject,
        Server(command, port=peer_port, log=folder / "peer.log") as peer,
    ):
        for depth in DEPTHS:
            ask = partial(ask_lines, connections=CONNECTIONS, seconds=seconds, depth=depth)
            taken = by_turns(turns, {OURS: partial(ask, subject), PEER: partial(ask, peer)})
            ours, theirs = taken[OURS], taken[PEER]
            work = f"line request/response, {CONNECTIONS} connections, {depth} at a time on each"
            claims = [
                Claim(value=ours.rate_ratio(theirs), of="the rate of bare uvloop", at_least=0.8),
                # The same promise by CPU, which other work on the machine disturbs less.
                Claim(value=ours.cpu_ratio(theirs), of="the CPU of bare uvloop", at_most=1.25),
            ]
            rows.append(ours.row(work, OURS, claims))
            rows.append(theirs.row(work, PEER))
    return rows
