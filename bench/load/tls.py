"""A TLS load: messages to an echo server, or connections that only shake hands.

Arguments: `echo` or `handshake`, port, process id of the server, connections, bytes a message,
seconds. It prints items, seconds, the server's seconds of CPU, and its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import sys
import time
from typing import Any

import uvloop

WARM_UP = 0.3


def cpu_of(pid: int) -> float:
    """A process's seconds of CPU, from its clock (clock_getcpuclockid(3))."""
    return time.clock_gettime(~pid << 3 | 2)


class Asks(asyncio.Protocol):
    """Sends a message, waits for all of it, and again."""

    done = 0

    def __init__(self, size: int) -> None:
        self._message = b"x" * size
        self._awaited = 0

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._ask()

    def _ask(self) -> None:
        self._awaited = len(self._message)
        self._transport.write(self._message)

    def data_received(self, data: bytes) -> None:
        self._awaited -= len(data)
        if not self._awaited:
            Asks.done += 1
            self._ask()


def context() -> ssl.SSLContext:
    """Trusts anybody: the certificate was made a moment ago."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    return made


async def echo(port: int, connections: int, size: int) -> None:
    """Keep so many connections busy."""
    loop = asyncio.get_running_loop()
    trusting = context()
    for _ in range(connections):
        await loop.create_connection(lambda: Asks(size), "127.0.0.1", port, ssl=trusting)


async def shake(port: int) -> None:
    """Connect, shake hands, hang up, and again."""
    loop = asyncio.get_running_loop()
    trusting = context()
    while True:
        transport, _ = await loop.create_connection(
            asyncio.Protocol, "127.0.0.1", port, ssl=trusting
        )
        Asks.done += 1
        transport.abort()


async def main(work: str, port: int, pid: int, connections: int, size: int, seconds: float) -> None:
    """Warm up, count, print."""
    tasks: list[asyncio.Task[None]] = []
    if work == "echo":
        await echo(port, connections, size)
    else:
        tasks = [asyncio.create_task(shake(port)) for _ in range(connections)]
    await asyncio.sleep(WARM_UP)
    begin, cpu, own, done = time.monotonic(), cpu_of(pid), time.process_time(), Asks.done
    await asyncio.sleep(seconds)
    counted, took = Asks.done - done, time.monotonic() - begin
    print(counted, took, cpu_of(pid) - cpu, time.process_time() - own)
    for task in tasks:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


if __name__ == "__main__":
    work, port, pid, connections, size, seconds = sys.argv[1:]
    uvloop.run(main(work, int(port), int(pid), int(connections), int(size), float(seconds)))
