"""Connections that are opened, asked one line, answered, and closed: so many at the same time.

Prints one JSON object: ``rate`` (connections a second), ``cpu`` (seconds of the server's CPU a
connection), ``saturated`` (whether this process wanted all of its core).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time

import uvloop

from bench.processes import Load, cpu_seconds

WARM_UP = 0.3


class Caller(asyncio.Protocol):
    """Opens a connection, asks once, and goes on with the next when the server has closed it."""

    def __init__(self, opens: Opens) -> None:
        self._opens = opens

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.write(b"hello\r\n")  # type: ignore[attr-defined]
        transport.write_eof()  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self._opens.answers += data.count(b"\n")

    def connection_lost(self, error: Exception | None) -> None:
        self._opens.closed()


class Opens:
    """Keeps a number of connections under way.

    Arguments:
        port: of the server on 127.0.0.1.
    """

    def __init__(self, port: int) -> None:
        self.answers = 0
        self._port = port
        self._tasks: set[asyncio.Task[None]] = set()
        self._going = True

    def open(self) -> None:
        """Begin one connection."""
        task = asyncio.ensure_future(self._connect())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: Caller(self), "127.0.0.1", self._port)

    def closed(self) -> None:
        """One has ended; the next begins."""
        if self._going:
            self.open()

    def stop(self) -> None:
        """Begin no more."""
        self._going = False


async def main(options: argparse.Namespace) -> None:
    """Run the load, and print what it measured."""
    opens = Opens(options.port)
    for _ in range(options.connections):
        opens.open()
    await asyncio.sleep(WARM_UP)
    load, count = Load(), opens.answers
    cpu, start = cpu_seconds(options.pid), time.monotonic()
    await asyncio.sleep(options.seconds)
    elapsed, cpu = time.monotonic() - start, cpu_seconds(options.pid) - cpu
    count, saturated = opens.answers - count, load.saturated()
    opens.stop()
    if not count:
        raise SystemExit("no answer came")
    print(json.dumps({"rate": count / elapsed, "cpu": cpu / count, "saturated": saturated}))


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--pid", type=int, required=True, help="the server's process")
    parser.add_argument("--connections", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=1.0)
    return parser.parse_args()


if __name__ == "__main__":
    uvloop.run(main(arguments()))
