"""Line to HTTP to line: netserve's `http-bridge` beside bridges by hand on three HTTP clients."""

from __future__ import annotations

import importlib.util
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from bench.compare import Samples, by_turns
from bench.load import ask_lines
from bench.peers import nginx
from bench.processes import LOAD_CORES, Server, free_port, scratch
from bench.subject import OURS, netserve
from bench.table import Claim, Row

PEERS = {"aiohttp": "aiohttp on uvloop", "treq": "treq", "requests": "requests, threads"}
CONNECTIONS = 50

CONFIG = """\
netserve: {{state: ./var}}
services:
  web:
    protocol: http-bridge
    listen: tcp:{port}:interface=127.0.0.1
    framing: line
    request: {{method: GET, url: "{url}{{request}}", timeout: 5s}}
    response: "{{status}} {{body}}"
    allow_upstreams: [127.0.0.1]
"""


def run(quick: bool) -> list[Row]:
    """50 lines at a time, each of them a GET to one upstream that shares the load's core."""
    turns, seconds = (1, 0.8) if quick else (9, 1.0)
    missing = [module for module in PEERS if importlib.util.find_spec(module) is None]
    with scratch() as folder, ExitStack() as stack:
        upstream, upstream_name = upstream_server(folder)
        url = f"http://127.0.0.1:{stack.enter_context(upstream).port}/"
        port = free_port()
        config = CONFIG.format(port=port, url=url)
        servers = {OURS: stack.enter_context(netserve(folder / "netserve", config, port))}
        for module in PEERS:
            if module not in missing:
                servers[module] = stack.enter_context(peer(folder, module, url))
        ask = partial(ask_lines, connections=CONNECTIONS, seconds=seconds, line="healthz")
        taken = by_turns(turns, {name: partial(ask, it) for name, it in servers.items()})
    work = f"line -> HTTP -> line, {CONNECTIONS} at a time, upstream {upstream_name}"
    rows = [taken[OURS].row(work, OURS, claims(taken))]
    rows += [taken[module].row(work, PEERS[module]) for module in PEERS if module in taken]
    rows += [Row(work=work, subject=PEERS[it], skipped=f"{it} is not installed") for it in missing]
    return rows


def claims(taken: dict[str, Samples]) -> list[Claim]:
    """What is promised beside each of the peers that were measured."""
    ours, found = taken[OURS], []
    if peer := taken.get("aiohttp"):
        found.append(Claim(value=ours.cpu_ratio(peer), of="the CPU of aiohttp", at_most=1.2))
    if peer := taken.get("treq"):
        found.append(Claim(value=ours.rate_ratio(peer), of="the rate of treq", at_least=3))
        found.append(Claim(value=ours.cpu_ratio(peer), of="the CPU of treq"))
    if peer := taken.get("requests"):
        found.append(Claim(value=ours.rate_ratio(peer), of="the rate of requests"))
    return found


def upstream_server(folder: Path) -> tuple[Server, str]:
    """nginx, or where it is not installed a small server of our own; and which."""
    port, log = free_port(), folder / "upstream.log"
    if program := nginx.find():
        command = nginx.command(program, folder / "nginx", port)
        return Server(command, port=port, log=log, cores=LOAD_CORES), "nginx"
    command = [sys.executable, "-m", "bench.peers.upstream_uvloop", str(port)]
    return Server(command, port=port, log=log, cores=LOAD_CORES), "a bare uvloop server"


def peer(folder: Path, module: str, url: str) -> Server:
    """A bridge of bench/peers."""
    port = free_port()
    command = [sys.executable, "-m", f"bench.peers.bridge_{module}", str(port), url]
    return Server(command, port=port, log=folder / f"{module}.log")
