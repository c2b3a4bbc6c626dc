r"""Next hops for tests of delivery: aiosmtpd on loopback, and messages as the queue has them.

::

    box = Box()
    with next_hop(box, port=port):
        ...                              # deliver something there
    assert box.envelopes[0].original_content == b"Subject: x\r\n\r\nHello\r\n"
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP

from netserve.mail.queued import QueuedMessage
from netserve.testing.process import free_port

__all__ = ["TEXT", "Box", "NextHop", "next_hop", "queued"]

TEXT = b"Subject: test\r\n\r\n.hello\r\n..\r\nend\r\n"


def queued(
    text: bytes = TEXT, *, number: int = 1, opens: Callable[[], Any] | None = None, **options: Any
) -> QueuedMessage:
    """A message of the queue.

    Arguments:
        text: its body.
        number: its id is `Q` and this.
        opens: opens the body in place of the text.
        options: other arguments of `QueuedMessage`.
    """
    values: dict[str, Any] = {
        "id": f"Q{number}",
        "number": number,
        "service": "mail",
        "created": 1.0,
        "sender": "s@example.org",
        "size": len(text),
        "tasks": 1,
        "open_body": opens or (lambda: io.BytesIO(text)),
    }
    return QueuedMessage(**(values | options))


class Box:
    """What a next hop took in; recipients that begin with ``no`` it refuses.

    ``later`` has replies that are given in place of the next acceptances.
    """

    def __init__(self) -> None:
        self.envelopes: list[Any] = []
        self.peers: set[Any] = set()
        self.ciphered: list[bool] = []
        self.users: list[Any] = []
        self.later: list[str] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.peers.add(session.peer)
        if self.later:
            return self.later.pop(0)
        self.envelopes.append(envelope)
        self.ciphered.append(session.ssl is not None)
        self.users.append(session.auth_data)
        return "250 2.0.0 taken"

    async def handle_RCPT(
        self, server: Any, session: Any, envelope: Any, address: str, options: Any
    ) -> str:
        if address.startswith("no"):
            return "550 5.1.1 nobody"
        if address.startswith("later") and self.later:
            return self.later.pop(0)
        envelope.rcpt_tos.append(address)
        return "250 OK"


class CuttingController(Controller):
    """aiosmtpd's controller, which cuts its sessions when it stops.

    From Python 3.12 on a server that stops waits for its sessions to end, so for clients that keep
    connections, such as those under test.
    """

    def __init__(self, handler: Any, **options: Any) -> None:
        super().__init__(handler, **options)
        self._sessions: list[SMTP] = []

    def factory(self) -> SMTP:
        """A session."""
        session = SMTP(self.handler, **self.SMTP_kwargs)
        self._sessions.append(session)
        return session

    def stop(self, no_assert: bool = False) -> None:
        """End the server and its sessions."""
        self.loop.call_soon_threadsafe(self._cut)
        super().stop(no_assert)

    def _cut(self) -> None:
        for session in self._sessions:
            transport: Any = session.transport
            if transport is not None:
                transport.abort()


class NextHop(CuttingController):
    """The server; ``excluded`` are mechanisms of AUTH that it does not have."""

    excluded: tuple[str, ...] = ()

    def factory(self) -> SMTP:
        """A session."""
        session = super().factory()
        for mechanism in self.excluded:
            session._auth_methods.pop(mechanism, None)  # noqa: SLF001 - it has no option for that
        return session


@contextlib.contextmanager
def next_hop(
    box: Box,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    excluded: tuple[str, ...] = (),
    **options: Any,
) -> Iterator[int]:
    """Run a next hop until the block is left; gives its port.

    Arguments:
        box: takes what comes.
        host: an address of loopback.
        port: a free one unless given.
        excluded: mechanisms of AUTH that it does not have.
        options: other arguments of aiosmtpd's `Controller`.
    """
    server = NextHop(box, hostname=host, port=port or free_port(), **options)
    server.excluded = excluded
    server.start()
    try:
        yield server.port
    finally:
        server.stop()
