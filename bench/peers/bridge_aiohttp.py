"""A bridge by hand, line to HTTP to line, on aiohttp and uvloop: what such a thing can cost.

The arguments are the port and the upstream's URL, to which each line is appended.
"""

from __future__ import annotations

import asyncio
import sys

import aiohttp
import uvloop


class Bridge(asyncio.Protocol):
    """One task a line; the lines of a connection are answered in order, one after another."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url
        self._rest = b""
        self._last: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._last = asyncio.create_task(self._ask(line.rstrip(b"\r").decode(), self._last))

    async def _ask(self, line: str, before: asyncio.Task[None] | None) -> None:
        async with self._session.get(self._url + line) as response:
            body = await response.read()
        if before is not None and not before.done():
            await before
        self._transport.write(b"%d %b\r\n" % (response.status, body))


async def main(port: int, url: str) -> None:
    connector = aiohttp.TCPConnector(limit=100)
    timeout = aiohttp.ClientTimeout(total=5)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        server = await asyncio.get_running_loop().create_server(
            lambda: Bridge(session, url), "127.0.0.1", port
        )
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), sys.argv[2]))
