"""A next hop that flaps: it accepts, defers, stalls, resets and refuses connections by turns."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
import time
from typing import Final, Literal

from tests.soak.record import Record

Mood = Literal["accept", "defer", "stall", "reset", "refuse"]

TOKEN: Final = b"X-Soak: "
"""The field with a mail's token and the digest of its body."""
STALL: Final = 3.0
"""Seconds that a stalled reply takes."""


class Smarthost:
    """An SMTP server on loopback that keeps what it accepts in a record.

    Arguments:
        record: gets the arrivals.
        randomness: chooses the moods.
    """

    def __init__(self, record: Record, randomness: random.Random) -> None:
        self.mood: Mood = "accept"
        self.port = 0
        self._record = record
        self._random = randomness
        self._server: asyncio.Server | None = None
        self._sessions: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        """Listen, on the same port each time."""
        self._server = await asyncio.start_server(self._session, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close the socket and cut the sessions."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        self._record.cuts.append(time.monotonic())
        for writer in list(self._sessions):
            writer.transport.abort()

    async def flap(self) -> None:
        """Change the mood every few seconds until cancelled; accept for half of the time."""
        bad: tuple[Mood, ...] = ("defer", "stall", "reset", "refuse")
        while True:
            await self.change("accept")
            await asyncio.sleep(self._random.uniform(2, 8))
            await self.change(self._random.choice(bad))
            await asyncio.sleep(self._random.uniform(1, 8))

    async def change(self, mood: Mood) -> None:
        """Take on another mood; connections are refused where it is `refuse`."""
        self.mood = mood
        if mood == "refuse":
            await self.stop()
        elif self._server is None:
            await self.start()

    async def _session(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._sessions.add(writer)
        try:
            writer.write(b"220 smarthost.example ESMTP\r\n")
            open_transaction = False
            while line := await reader.readline():
                verb = line[:4].upper().strip()
                if verb in {b"RCPT", b"DATA"} and not open_transaction:
                    writer.write(b"503 5.5.1 MAIL first\r\n")
                elif verb == b"DATA":
                    writer.write(b"354 go on\r\n")
                    await self._answer(writer, await _content(reader))
                    open_transaction = False
                elif verb == b"EHLO":
                    writer.write(b"250-smarthost.example\r\n250-8BITMIME\r\n250 PIPELINING\r\n")
                elif verb == b"QUIT":
                    writer.write(b"221 bye\r\n")
                    break
                elif verb == b"MAIL" and self.mood == "defer":
                    writer.write(b"451 4.3.0 later\r\n")
                else:
                    open_transaction = verb == b"MAIL" or (open_transaction and verb != b"RSET")
                    writer.write(b"250 ok\r\n")
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._sessions.discard(writer)
            with contextlib.suppress(ConnectionError):
                writer.close()

    async def _answer(self, writer: asyncio.StreamWriter, content: bytes) -> None:
        mood = self.mood
        if mood == "reset":
            writer.transport.abort()
            return
        if mood == "defer":
            writer.write(b"452 4.2.2 later\r\n")
            return
        if mood == "stall":
            await asyncio.sleep(STALL)
        if writer.is_closing():
            return
        # It is accepted now, whether or not the reply reaches the client.
        self._keep(content)
        writer.write(b"250 2.0.0 accepted\r\n")

    def _keep(self, content: bytes) -> None:
        header, _, body = content.partition(b"\r\n\r\n")
        line = next((line for line in header.split(b"\r\n") if line.startswith(TOKEN)), None)
        if line is None:
            self._record.damaged.append(f"no token: {content[:200]!r}")
            return
        token, digest = line.removeprefix(TOKEN).decode().split()
        self._record.arrivals[token].append(time.monotonic())
        if hashlib.sha256(body).hexdigest() != digest:
            self._record.damaged.append(token)


async def _content(reader: asyncio.StreamReader) -> bytes:
    """The content after DATA, without its transparency (RFC 5321, 4.5.2)."""
    lines = []
    while (line := await reader.readline()) != b".\r\n":
        if not line.endswith(b"\n"):
            raise asyncio.IncompleteReadError(line, None)
        lines.append(line[1:] if line.startswith(b".") else line)
    return b"".join(lines)
