"""A bare line server on uvloop: the least that answering lines can cost in Python.

The argument is the port. It answers like the service that it stands beside: ``ping`` by ``pong``,
and every other line by ``Hello, client!``.
"""

from __future__ import annotations

import asyncio
import sys

import uvloop


class Lines(asyncio.Protocol):
    """Splits at line ends, writes all answers to what came at once in one go."""

    def __init__(self) -> None:
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._transport.write(b"".join([answer(line) for line in lines]))


def answer(line: bytes) -> bytes:
    return b"pong\r\n" if line.rstrip(b"\r") == b"ping" else b"Hello, client!\r\n"


async def main(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Lines, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
