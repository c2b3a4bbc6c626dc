"""A relay on a free port, and clients of it; what blocks runs beside the reactor, in a thread."""

from __future__ import annotations

import smtplib
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Self

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from netserve.protocols.smtp_relay import plugin
from netserve.testing.hosting import RunningService, serve
from netserve.testing.queue import until

TEXT: Final = b"Subject: test\r\n\r\nHello\r\n.dot\r\n..\r\nend\r\n"
"""A message with dots where they matter."""


@asynccontextmanager
async def relay(folder: Path, **options: Any) -> AsyncIterator[RunningService]:
    """A relay that delivers into a Maildir of the folder."""
    defaults = {"hostname": "mx.test", "routes": ({"deliver": {"maildir": "mail"}},)}
    service = await serve(plugin, state=folder, **(defaults | options))
    try:
        yield service
    finally:
        await service.stop()


def in_thread(work: Callable[[], Any]) -> Deferred[Any]:
    """Let a client that blocks run beside the reactor."""
    return deferToThread(work)


class Raw:
    """A client that sends what it likes, and blocks.

    Arguments:
        port: of 127.0.0.1.
    """

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.file = self.socket.makefile("rb")

    def __enter__(self) -> Self:
        self.replies(1)
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        self.socket.close()

    def send(self, *lines: str) -> Raw:
        """Send lines, all at once."""
        self.socket.sendall("".join(f"{line}\r\n" for line in lines).encode())
        return self

    def replies(self, count: int) -> list[str]:
        """The last lines of so many replies.

        Raises:
            ConnectionError: it ended before.
        """
        lines: list[str] = []
        while len(lines) < count:
            line = self.file.readline().decode()
            if not line:
                raise ConnectionError(f"the connection ended behind {lines}")
            if line[3:4] == " ":
                lines.append(line.rstrip())
        return lines

    def rest(self) -> str:
        """Everything up to the end of the connection."""
        return self.file.read().decode()


async def mails(folder: Path, count: int = 1) -> list[bytes]:
    """What lies in the Maildir, once there is so much; with the line ends that it had before."""
    from twisted.internet import reactor

    new = folder / "mail" / "new"
    await until(lambda: new.is_dir() and len(list(new.iterdir())) >= count, reactor=reactor)
    return [path.read_bytes().replace(b"\n", b"\r\n") for path in sorted(new.iterdir())]


def send(port: int, *, to: str = "user@example.org", text: bytes = TEXT, **options: Any) -> Any:
    """Send a message by smtplib; it blocks."""
    with smtplib.SMTP("127.0.0.1", port, local_hostname="client.test", timeout=10) as client:
        return client.sendmail("sender@example.org", to, text, **options)
