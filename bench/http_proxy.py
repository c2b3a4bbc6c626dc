"""HTTP through a proxy, and a line over HTTP and back, on netserve's own HTTP/1.1.

The subjects are small programs made of the drivers (`peers/proxy_netserve.py`,
`peers/bridge_netserve.py`): what the HTTP itself costs, without the service around it.
"""

from __future__ import annotations

import importlib.util
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from bench.compare import Samples, by_turns
from bench.http_bridge import CONNECTIONS, upstream_server
from bench.load import ask_lines
from bench.load.http import ask_http, find
from bench.peers import nginx
from bench.processes import Server, free_port, scratch
from bench.table import Claim, Row

OURS = "netserve's HTTP/1.1"
AIOHTTP = "plain proxy on aiohttp"
NGINX = "nginx"
BRIDGE = "aiohttp on uvloop"


def run(quick: bool) -> list[Row]:
    """Both works, with one upstream that shares the load's core."""
    turns, seconds = (1, 1.0) if quick else (9, 2.0)
    with scratch() as folder, ExitStack() as stack:
        server, name = upstream_server(folder)
        upstream = stack.enter_context(server)
        rows = proxies(folder, stack, upstream, name, turns, seconds)
        return rows + lines(folder, stack, upstream, name, turns, seconds)


def proxies(
    folder: Path, stack: ExitStack, upstream: Server, name: str, turns: int, seconds: float
) -> list[Row]:
    """HTTP -> HTTP."""
    work = f"HTTP -> HTTP, {CONNECTIONS} connections, upstream {name}"
    if find() is None:
        return [Row(work=work, subject=OURS, skipped="wrk is not installed")]
    assert upstream.port is not None
    servers = {OURS: stack.enter_context(program(folder, "proxy_netserve", upstream.port))}
    skipped = []
    if importlib.util.find_spec("aiohttp") is not None:
        servers[AIOHTTP] = stack.enter_context(program(folder, "proxy_aiohttp", upstream.port))
    if nginx_program := nginx.find():
        port = free_port()
        command = nginx.command(nginx_program, folder / "nginx-proxy", port, upstream=upstream.port)
        peer = Server(command, port=port, log=folder / "nginx-proxy.log")
        servers[NGINX] = stack.enter_context(peer)
    else:
        skipped.append(Row(work=work, subject=NGINX, skipped="nginx is not installed"))
    ask = partial(ask_http, connections=CONNECTIONS, seconds=seconds, sharing=upstream)
    taken = by_turns(turns, {it: partial(ask, server) for it, server in servers.items()})
    ours, claims = taken[OURS], []
    if peer_samples := taken.get(AIOHTTP):
        claims.append(
            Claim(value=ours.cpu_ratio(peer_samples), of=f"the CPU of {AIOHTTP}", at_most=0.5)
        )
    if peer_samples := taken.get(NGINX):
        claims.append(
            Claim(value=ours.rate_ratio(peer_samples), of=f"the rate of {NGINX}", at_least=0.25)
        )
        # The same promise by CPU, which other work on the machine disturbs less.
        claims.append(
            Claim(value=ours.cpu_ratio(peer_samples), of=f"the CPU of {NGINX}", at_most=4)
        )
    rows = [ours.row(work, OURS, claims)]
    rows += [samples.row(work, it) for it, samples in taken.items() if it != OURS]
    return rows + skipped


def lines(
    folder: Path, stack: ExitStack, upstream: Server, name: str, turns: int, seconds: float
) -> list[Row]:
    """Line -> HTTP -> line."""
    work = f"line -> HTTP -> line, {CONNECTIONS} at a time, upstream {name}"
    assert upstream.port is not None
    servers = {OURS: stack.enter_context(program(folder, "bridge_netserve", upstream.port))}
    if importlib.util.find_spec("aiohttp") is not None:
        port, url = free_port(), f"http://127.0.0.1:{upstream.port}/"
        command = [sys.executable, "-m", "bench.peers.bridge_aiohttp", str(port), url]
        peer = Server(command, port=port, log=folder / "bridge_aiohttp.log")
        servers[BRIDGE] = stack.enter_context(peer)
    ask = partial(ask_lines, connections=CONNECTIONS, seconds=seconds, line="healthz")
    taken = by_turns(turns, {it: partial(ask, server) for it, server in servers.items()})
    ours: Samples = taken[OURS]
    claims = []
    if peer_samples := taken.get(BRIDGE):
        claims.append(
            Claim(value=ours.cpu_ratio(peer_samples), of=f"the CPU of {BRIDGE}", at_most=0.8)
        )
    rows = [ours.row(work, OURS, claims)]
    return rows + [samples.row(work, it) for it, samples in taken.items() if it != OURS]


def program(folder: Path, module: str, upstream: int) -> Server:
    """One of bench/peers, before this upstream."""
    port = free_port()
    command = [sys.executable, "-m", f"bench.peers.{module}", str(port), str(upstream)]
    return Server(command, port=port, log=folder / f"{module}.log")
