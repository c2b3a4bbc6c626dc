"""Memory and start: the shipped config until it is ready, idle, and with idle connections."""

from __future__ import annotations

import contextlib
import re
import resource
import socket
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import median

from bench.processes import BenchError, Server, free_port, is_open, scratch, until
from bench.subject import OURS, netserve, or_failed
from bench.table import Claim, Row

SHIPPED = Path(__file__).parent.parent / "config.yaml"

IDLE_CONFIG = """\
netserve: {{state: ./var}}
services:
  echo:
    protocol: echo
    listen: tcp:{echo}:interface=127.0.0.1
    limits: {{connections: 10000, connections_per_address: 10000}}
  hello:
    protocol: request-response
    listen: tcp:{hello}:interface=127.0.0.1
    framing: line
    reply: "Hello, client!"
    limits: {{connections: 10000, connections_per_address: 10000}}
  mail:
    protocol: smtp-relay
    listen: tcp:{mail}:interface=127.0.0.1
    hostname: relay.example.org
    relay_for: [127.0.0.0/8]
    limits: {{connections: 10000, connections_per_address: 10000}}
    routes: [{{deliver: {{discard: true}}}}]
"""


def run(quick: bool) -> list[Row]:
    """Start and memory of the shipped config, then memory by connection, service by service."""
    with scratch() as folder:
        return [
            *or_failed("shipped config", partial(shipped, folder, starts=3 if quick else 7)),
            *or_failed("idle connections", partial(idle, folder, 2000)),
        ]


def shipped(folder: Path, starts: int) -> list[Row]:
    """The shipped config on free ports: from the start of the process until it is ready."""
    seconds, cpu, megabytes = [], [], []
    for number in range(starts + 1):
        config, ports, status = on_free_ports(SHIPPED.read_text())
        start = time.monotonic()
        # The port is waited for by `is_ready`: the status port says when all services can serve.
        with netserve(folder / f"shipped{number}", config, None) as server:
            until(lambda at=status: is_ready(server, at), 20, "netserve to be ready", 0.005)
            elapsed = time.monotonic() - start
            until(lambda at=ports: all(map(is_open, at)), 5, "all ports to be open")
            if number:  # the first one may have to compile
                seconds.append(elapsed)
                cpu.append(server.cpu())
                megabytes.append(server.memory())
    ready = Claim(value=median(seconds), of="to ready", unit=" s", at_most=0.6)
    worked = Claim(value=median(cpu), of="of CPU until then", unit=" s")
    memory = Claim(value=median(megabytes), of="idle", unit=" MB", at_most=60)
    return [
        Row(work="start, shipped config", subject=OURS, claims=[ready, worked]),
        Row(work="memory, shipped config", subject=OURS, memory=memory.value, claims=[memory]),
    ]


def on_free_ports(config: str) -> tuple[str, list[int], int]:
    """A config with each of its local ports replaced by a free one.

    Returns:
        The config, the TCP ports that it listens on, and the status port.
    """
    listened = set(re.findall(r"\b(?:tcp|udp):(\d+)", config))
    ports = {port: free_port() for port in sorted(listened)}
    status = re.search(r"^ *status: *tcp:(\d+)", config, re.MULTILINE)
    tcp = set(re.findall(r"\btcp:(\d+)", config))
    replaced = re.sub(
        r"\b(tcp:|udp:|127\.0\.0\.1:)(\d+)",
        lambda match: match[1] + str(ports.get(match[2], match[2])),
        config,
    )
    if status is None:
        raise ValueError("the shipped config has no status port")
    return replaced, [ports[port] for port in sorted(tcp)], ports[status[1]]


def is_ready(server: Server, port: int) -> bool:
    """Whether the status port says that all services can serve."""
    server.check()
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as client:
        client.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        return client.recv(4096).startswith(b"HTTP/1.1 200")
    return False


def idle(folder: Path, count: int) -> Iterator[Row]:
    """So many idle connections to each service; each of them has been answered once."""
    asked = {"echo": b"x\r\n", "hello": b"x\r\n", "mail": b"EHLO client.example.org\r\n"}
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(count, most // 4)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    for name, question in asked.items():
        # A process for each: memory that one service gave back would be the next one's.
        ports = {service: free_port() for service in asked}
        with netserve(
            folder / f"idle-{name}", IDLE_CONFIG.format(**ports), ports["mail"]
        ) as server:
            yield idle_row(server, name, ports[name], question, count)


def idle_row(server: Server, name: str, port: int, question: bytes, count: int) -> Row:
    """Memory of a service's connections, beyond what the first few of them brought along."""
    with contextlib.ExitStack() as stack:
        open_connections(stack, port, question, 50)
        before = server.memory()
        clients = open_connections(stack, port, question, count)
        if lost := sum(map(is_closed, clients)):
            raise BenchError(f"{name}: {lost} of {count} idle connections were closed")
        after = server.memory()
    each = Claim(
        value=(after - before) * 1e6 / 1024 / count, of="an idle connection", unit=" KiB", at_most=8
    )
    work = f"memory, {count} idle connections to {name}"
    return Row(work=work, subject=OURS, memory=after, claims=[each])


def open_connections(
    stack: contextlib.ExitStack, port: int, question: bytes, count: int
) -> list[socket.socket]:
    """Open them one after another; each has asked once, and got some of an answer."""
    clients = []
    for _ in range(count):
        client = stack.enter_context(socket.create_connection(("127.0.0.1", port), 10))
        client.sendall(question)
        client.recv(4096)
        clients.append(client)
    return clients


def is_closed(client: socket.socket) -> bool:
    """Whether the other side has closed it; what else came is thrown away."""
    client.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while client.recv(4096):
            pass
        return True
    return False
