"""Asks by lines over many connections, so many at a time on each, and counts the answers.

Prints one JSON object: ``rate`` (answers a second), ``cpu`` (seconds of the server's CPU an
answer), ``saturated`` (whether this process wanted all of its core). The measured time begins
after a moment of warming up, with all connections busy.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time

import uvloop

from bench.processes import Load, cpu_seconds

WARM_UP = 0.3


class Asker(asyncio.Protocol):
    """Sends a batch of lines, and the next one when the last answer of it is here."""

    newlines = 0  # that have come on this connection

    def __init__(self, batch: bytes, newlines: int, lost: asyncio.Future[None]) -> None:
        self._batch = batch
        self._newlines = newlines  # of the answers to a batch
        self._open = newlines
        self._lost = lost

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._write = transport.write
        self._write(self._batch)

    def data_received(self, data: bytes) -> None:
        newlines = data.count(b"\n")
        self.newlines += newlines
        self._open -= newlines
        if self._open == 0:
            self._open = self._newlines
            self._write(self._batch)

    def connection_lost(self, error: Exception | None) -> None:
        if not self._lost.done():
            self._lost.set_exception(error or ConnectionError("the server closed a connection"))


async def main(options: argparse.Namespace) -> None:
    loop = asyncio.get_running_loop()
    lost = loop.create_future()
    batch = (options.line.encode() + b"\r\n") * options.depth
    askers = []
    for _ in range(options.connections):
        _, asker = await loop.create_connection(
            lambda: Asker(batch, options.newlines * options.depth, lost), "127.0.0.1", options.port
        )
        askers.append(asker)

    async def wait(seconds: float) -> None:
        done, _ = await asyncio.wait({lost}, timeout=seconds)
        for future in done:
            future.result()

    def answers() -> int:
        return sum(asker.newlines for asker in askers) // options.newlines

    await wait(WARM_UP)
    load, count, cpu, start = Load(), answers(), cpu_seconds(options.pid), time.monotonic()
    await wait(options.seconds)
    elapsed, cpu, count = (
        time.monotonic() - start, cpu_seconds(options.pid) - cpu, answers() - count
    )  # fmt: skip
    saturated = load.saturated()
    lost.cancel()
    if not count:
        raise SystemExit("no answer came")
    print(json.dumps({"rate": count / elapsed, "cpu": cpu / count, "saturated": saturated}))


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--pid", type=int, required=True, help="the server's process")
    parser.add_argument("--connections", type=int, required=True)
    parser.add_argument("--depth", type=int, default=1, help="requests at a time on each")
    parser.add_argument("--line", default="hello")
    parser.add_argument("--newlines", type=int, default=1, help="newlines of an answer")
    parser.add_argument("--seconds", type=float, default=1.0)
    return parser.parse_args()


if __name__ == "__main__":
    uvloop.run(main(options()))
