"""The clients of a soak. Each loops until it is cancelled, and checks every answer.

A client that fails reconnects after a moment; the record decides whether a kill explains it.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import random
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from tests.soak.product import TOKEN, Ports
from tests.soak.record import Record

PATIENCE: Final = 20.0
"""Seconds after which a request has failed."""
PAUSE: Final = 0.2
"""Seconds before a client that failed tries again."""

Turn = Callable[[], Awaitable[None]]
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class WrongAnswerError(Exception):
    """An answer that is not the right one."""


class Clients:
    """The clients of one soak.

    Arguments:
        ports: of the services.
        record: gets what they see.
        randomness: chooses sizes and words.
        rate: mails a second of each mail client.
    """

    def __init__(
        self, ports: Ports, record: Record, randomness: random.Random, *, rate: float
    ) -> None:
        self._ports = ports
        self._record = record
        self._random = randomness
        self._pause = 1 / rate
        self._numbers = itertools.count()

    def all(self) -> list[Awaitable[None]]:
        """The loops, to be run until the end of the load."""
        each = [
            self._echo, self._datagrams, self._lines, self._framed, self._proxied, self._smtp,
            self._posted,
        ]  # fmt: skip
        return [client() for client in each for _ in range(3)]

    async def _exchange(self, name: str, request: Awaitable[int]) -> None:
        begin = time.monotonic()
        try:
            async with asyncio.timeout(PATIENCE):
                count = await request
        except (OSError, EOFError, TimeoutError, WrongAnswerError) as error:
            self._record.failed(name, begin, time.monotonic(), f"{type(error).__name__}: {error}")
            raise
        self._record.answered[name] += count

    async def _repeat(
        self, name: str, port: int, request: Callable[[Streams], Awaitable[int]]
    ) -> None:
        """Ask again and again on one connection, and on a new one after a failure."""
        while True:
            try:
                async with self._connected(name, port) as streams:
                    for _ in range(self._random.randint(1, 200)):
                        await self._exchange(name, request(streams))
                        await asyncio.sleep(0)
            except (OSError, EOFError, TimeoutError, WrongAnswerError):
                await asyncio.sleep(PAUSE)

    @asynccontextmanager
    async def _connected(self, name: str, port: int) -> AsyncIterator[Streams]:
        begin = time.monotonic()
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
        except OSError as error:
            self._record.failed(name, begin, time.monotonic(), f"connect: {error}")
            raise
        try:
            yield reader, writer
        finally:
            writer.close()

    async def _echo(self) -> None:
        async def request(streams: Streams) -> int:
            reader, writer = streams
            data = self._random.randbytes(self._random.choice((1, 64, 5_000, 200_000)))
            writer.write(data)
            if await reader.readexactly(len(data)) != data:
                raise WrongAnswerError("other bytes came back")
            return 1

        await self._repeat("echo", self._ports.echo, request)

    async def _datagrams(self) -> None:
        """UDP may lose a datagram on a busy machine, so that three tries are one request."""
        loop = asyncio.get_running_loop()
        while True:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.setblocking(False)
                client.connect(("127.0.0.1", self._ports.echo))

                async def request(client: socket.socket = client) -> int:
                    data = b"%d" % next(self._numbers)
                    for _ in range(3):
                        await loop.sock_sendall(client, data)
                        try:
                            async with asyncio.timeout(3):
                                while await loop.sock_recv(client, 100) != data:
                                    pass
                        except TimeoutError:
                            continue
                        return 1
                    raise WrongAnswerError("no datagram came back")

                try:
                    for _ in range(100):
                        await self._exchange("echo over UDP", request())
                        await asyncio.sleep(0.01)
                except (OSError, TimeoutError, WrongAnswerError):
                    await asyncio.sleep(PAUSE)

    async def _lines(self) -> None:
        async def request(streams: Streams) -> int:
            reader, writer = streams
            names = [f"n{next(self._numbers)}" for _ in range(self._random.randint(1, 16))]
            writer.write(b"".join(f"my name is {name}\r\n".encode() for name in names))
            for name in names:
                _expect(await reader.readline(), f"Hello, {name}!\r\n".encode())
            return len(names)

        await self._repeat("lines", self._ports.hello, request)

    async def _framed(self) -> None:
        async def request(streams: Streams) -> int:
            reader, writer = streams
            writer.write(b"healthz\r\n")
            _expect(await reader.readline(), b"200 ok\r\n")
            return 1

        await self._repeat("bridge, framed", self._ports.web, request)

    async def _proxied(self) -> None:
        async def request(streams: Streams) -> int:
            reader, writer = streams
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            status, body = await _http_answer(reader)
            if (status, body.strip()) != (200, b"ok"):
                raise WrongAnswerError(f"{status} {body[:100]!r}")
            return 1

        await self._repeat("bridge, HTTP", self._ports.proxy, request)

    def _mail(self) -> tuple[str, bytes]:
        """A mail with a token and the digest of its body, in CRLF lines."""
        token = f"t{next(self._numbers)}"
        lines = self._random.choice((1, 20, 60, 3_000))
        word = self._random.choice((b"hello", b".leading dot", b".", b"x" * 900))
        body = b"".join(b"%s %d\r\n" % (word, number) for number in range(lines))
        if word == b".":
            body = b".\r\n" * lines
        digest = hashlib.sha256(body).hexdigest()
        header = (
            f"From: from@example.org\r\nTo: to@example.net\r\nSubject: {token}\r\n"
            f"Date: Thu, 01 Jan 2026 00:00:00 +0000\r\nMessage-ID: <{token}@soak.example>\r\n"
            f"X-Soak: {token} {digest}\r\n\r\n"
        )
        return token, header.encode() + body

    async def _smtp(self) -> None:
        async def request(streams: Streams) -> int:
            reader, writer = streams
            token, content = self._mail()
            writer.write(b"MAIL FROM:<from@example.org>\r\nRCPT TO:<to@example.net>\r\nDATA\r\n")
            await _reply(reader, 250)
            await _reply(reader, 250)
            await _reply(reader, 354)
            stuffed = content.replace(b"\r\n.", b"\r\n..")
            writer.write(stuffed + b".\r\n")
            await _reply(reader, 250)
            self._record.acknowledged[token] = time.monotonic()
            return 1

        while True:
            try:
                async with self._connected("mail, SMTP", self._ports.mail) as streams:
                    await self._exchange("mail, SMTP", _greeting(streams))
                    for _ in range(self._random.randint(1, 20)):
                        await self._exchange("mail, SMTP", request(streams))
                        await asyncio.sleep(self._pause)
            except (OSError, EOFError, TimeoutError, WrongAnswerError):
                await asyncio.sleep(PAUSE)

    async def _posted(self) -> None:
        async def request(streams: Streams) -> int:
            reader, writer = streams
            token, content = self._mail()
            target = "/messages?from=from@example.org&to=to@example.net"
            writer.write(
                f"POST {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\n"
                f"Content-Type: message/rfc822\r\nContent-Length: {len(content)}\r\n\r\n".encode()
                + content
            )
            status, body = await _http_answer(reader)
            if status != 202:
                raise WrongAnswerError(f"{status} {body[:200]!r}")
            self._record.acknowledged[token] = time.monotonic()
            await asyncio.sleep(self._pause)
            return 1

        await self._repeat("mail, HTTP", self._ports.post, request)


def _expect(got: bytes, wanted: bytes) -> None:
    if not got:
        raise EOFError("the connection was closed")
    if got != wanted:
        raise WrongAnswerError(f"{got[:100]!r} in place of {wanted!r}")


async def _greeting(streams: Streams) -> int:
    reader, writer = streams
    await _reply(reader, 220)
    writer.write(b"EHLO client.example\r\n")
    await _reply(reader, 250)
    return 1


async def _reply(reader: asyncio.StreamReader, code: int) -> None:
    """Read one reply of SMTP, of one line or several."""
    while True:
        line = await reader.readline()
        if not line:
            raise EOFError("the connection was closed")
        if int(line[:3]) != code:
            raise WrongAnswerError(line.decode(errors="replace").strip())
        if line[3:4] != b"-":
            return


async def _http_answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Read one answer of HTTP/1.1 that has a Content-Length or is chunked."""
    head = await reader.readuntil(b"\r\n\r\n")
    fields = head.lower()
    status = int(head.split(b" ", 2)[1])
    if b"\r\ntransfer-encoding: chunked" in fields:
        body = b""
        while size := int((await reader.readline()).split(b";")[0], 16):
            body += await reader.readexactly(size)
            await reader.readline()
        await reader.readline()
        return status, body
    _, _, rest = fields.partition(b"\r\ncontent-length:")
    return status, await reader.readexactly(int(rest.split(b"\r\n")[0] or b"0"))
