"""What an address becomes before Twisted opens it."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import maybeDeferred
from twisted.internet.protocol import DatagramProtocol, Factory, Protocol

from netserve.config.listen import Listen
from netserve.errors import StartError
from netserve.server.listeners import BACKLOG, _description, listen_datagram, listen_stream
from netserve.testing.turns import share_of_turns

FOLDER = Path("/srv")


def listen_datagrams(*arguments: Any, **options: Any) -> Any:
    turns = share_of_turns()
    return listen_datagram(*arguments, turns=turns, **options)


@pytest.mark.parametrize(
    ("written", "opened"),
    [
        ("tcp:7007", f"tcp:port=7007:backlog={BACKLOG}"),
        ("tcp:7007:127.0.0.1", f"tcp:port=7007:interface=127.0.0.1:backlog={BACKLOG}"),
        ("tcp:7007:backlog=5", "tcp:port=7007:backlog=5"),
        (r"tcp6:7007:interface=\:\:1", rf"tcp6:port=7007:interface=\:\:1:backlog={BACKLOG}"),
        ("tls6:465", f"tcp6:port=465:backlog={BACKLOG}"),
        (r"unix:a\=b.sock:mode=660", rf"unix:address=/srv/a\=b.sock:mode=660:backlog={BACKLOG}"),
        ("haproxy:tcp:7007", f"haproxy:tcp:port=7007:backlog={BACKLOG}"),
        ("haproxy:unix:a.sock", f"haproxy:unix:address=/srv/a.sock:backlog={BACKLOG}"),
        (
            "ssl:443:privateKey=tls/key.pem:certKey=/etc/cert.pem",
            (f"ssl:port=443:privateKey=/srv/tls/key.pem:certKey=/etc/cert.pem:backlog={BACKLOG}"),
        ),
        ("systemd:domain=INET:index=0", "systemd:domain=INET:index=0"),
        ("onion:80:x=y", "onion:80:x=y"),
    ],
)
def test_addresses_get_a_backlog_and_paths_of_the_folder(written: str, opened: str) -> None:
    assert _description(Listen(written), FOLDER) == opened


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("tcp:0:interface=203.0.113.5", "this machine does not have that address"),
        ("unix:missing/a.sock", "the folder does not exist"),
        ("unixgram:missing/a.sock", "the folder does not exist"),
        ("ssl:0:privateKey=key.pem", "/key.pem: no such file or directory"),
        ("systemd:domain=INET:index=7", "systemd has not handed over such a socket"),
        ("systemd:domain=INET:name=http", "systemd has not handed over such a socket"),
    ],
)
@ensureDeferred
async def test_why_an_address_cannot_be_listened_on(
    written: str, reason: str, tmp_path: Path
) -> None:
    listen = Listen(written)
    what: Any = (
        (listen_datagrams, DatagramProtocol()) if listen.is_datagram else (listen_stream, Factory())
    )
    opening = maybeDeferred(what[0], listen, what[1], reactor=reactor, folder=tmp_path)
    with pytest.raises(StartError) as caught:
        await opening
    assert str(caught.value).startswith(f"cannot listen on {written}: ")
    assert reason in str(caught.value)
    assert "Errno" not in str(caught.value)


@ensureDeferred
async def test_the_file_of_a_datagram_socket_goes_with_it(tmp_path: Path) -> None:
    """Also one that was left behind by a process that was killed; one in use stays."""
    listen, path = Listen("unixgram:log.sock"), tmp_path / "log.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as left_behind:
        left_behind.bind(str(path))
        with pytest.raises(StartError, match="address in use"):
            listen_datagrams(listen, DatagramProtocol(), reactor=reactor, folder=tmp_path)
    port = listen_datagrams(listen, DatagramProtocol(), reactor=reactor, folder=tmp_path)
    assert path.is_socket()
    await maybeDeferred(port.stopListening)
    assert not path.exists()
    path.write_text("no socket")
    with pytest.raises(StartError, match="address in use"):
        listen_datagrams(listen, DatagramProtocol(), reactor=reactor, folder=tmp_path)
    assert path.read_text() == "no socket"


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
