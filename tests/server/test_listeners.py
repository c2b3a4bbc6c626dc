"""What an address becomes before Twisted opens it."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from pathlib import Path

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.protocol import Factory, Protocol

from netserve.config.types import Listen
from netserve.server.listeners import BACKLOG, _description, listen_stream

FOLDER = Path("/srv")


@pytest.mark.parametrize(
    ("written", "opened"),
    [
        ("tcp:7007", f"tcp:7007:backlog={BACKLOG}"),
        ("tcp:7007:backlog=5", "tcp:7007:backlog=5"),
        ("tcp6:7007", f"tcp6:7007:backlog={BACKLOG}"),
        ("unix:a.sock:mode=660", f"unix:/srv/a.sock:mode=660:backlog={BACKLOG}"),
        ("haproxy:tcp:7007", f"haproxy:tcp:7007:backlog={BACKLOG}"),
        ("systemd:domain=INET:index=0", "systemd:domain=INET:index=0"),
    ],
)
def test_addresses_get_a_backlog(written: str, opened: str) -> None:
    assert _description(Listen(written), FOLDER) == opened


@ensureDeferred
async def test_a_burst_of_connections_waits_to_be_accepted() -> None:
    """More than Twisted's 50 connect at once, before the reactor has accepted one."""
    factory = Factory.forProtocol(Protocol)
    listen = Listen("tcp:0:interface=127.0.0.1")
    port = await listen_stream(listen, factory, reactor=reactor, folder=FOLDER)
    try:
        with ExitStack() as stack:
            for _ in range(200):
                # The reactor does not run meanwhile: all of them are in the backlog.
                address = ("127.0.0.1", port.getHost().port)
                stack.enter_context(socket.create_connection(address, 0.5))
    finally:
        await port.stopListening()
