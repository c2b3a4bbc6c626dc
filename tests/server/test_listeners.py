"""What an address becomes before Twisted opens it."""

from __future__ import annotations

import os
import socket
import ssl
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
import trustme
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import maybeDeferred
from twisted.internet.protocol import DatagramProtocol, Factory, Protocol
from twisted.internet.threads import deferToThread

from netserve.config.listen import Listen
from netserve.errors import StartError
from netserve.plugin import Hosted
from netserve.server.listeners import BACKLOG, _description, listen_datagram, listen_stream
from netserve.testing.hosting import serve
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
        (
            r"unix:a\=b.sock:mode=660",
            rf"unix:address=/srv/a\=b.sock:mode=660:backlog={BACKLOG}:lockfile=0",
        ),
        ("haproxy:tcp:7007", f"haproxy:tcp:port=7007:backlog={BACKLOG}"),
        (
            "haproxy:unix:a.sock:mode=600",
            f"haproxy:unix:address=/srv/a.sock:mode=600:backlog={BACKLOG}:lockfile=0",
        ),
        ("ssl:443:privateKey=a.pem:certKey=b.pem", f"tcp:port=443:backlog={BACKLOG}"),
        ("systemd:domain=INET:index=0", "systemd:domain=INET:index=0"),
        ("onion:80:x=y", "onion:80:x=y"),
    ],
)
def test_addresses_get_a_backlog_and_paths_of_the_folder(written: str, opened: str) -> None:
    assert _description(Listen(written), FOLDER) == opened


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
def test_a_socket_without_a_mode_follows_the_umask(umask: int) -> None:
    """S29."""
    before = os.umask(umask)
    try:
        opened = _description(Listen("unix:a.sock"), FOLDER)
        assert os.umask(umask) == umask, "it is as it was"
    finally:
        os.umask(before)
    assert f":mode={0o666 & ~umask:o}:" in opened


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("tcp:0:interface=203.0.113.5", "this machine does not have that address"),
        ("unix:missing/a.sock", "the folder does not exist"),
        ("unixgram:missing/a.sock", "the folder does not exist"),
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


UNIX = ("unix:a.sock", "haproxy:unix:a.sock", "unix:a.sock:lockfile=1")


@pytest.mark.parametrize("description", UNIX)
@pytest.mark.parametrize("lock", [None, "1", "4194304", "nonsense"])
@ensureDeferred
async def test_a_socket_that_a_process_left_behind(
    description: str, lock: str | None, tmp_path: Path
) -> None:
    """The next start replaces it, whatever process has the number of the one that ended."""
    path = tmp_path / "a.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(os.fspath(path))
    if lock is not None:
        (tmp_path / "a.sock.lock").symlink_to(lock)
    factory = Factory.forProtocol(Protocol)
    port = await listen_stream(Listen(description), factory, reactor=reactor, folder=tmp_path)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(os.fspath(path))
    await port.stopListening()
    assert not path.exists()


@pytest.mark.parametrize("description", UNIX)
@pytest.mark.parametrize("full", [False, True])
@ensureDeferred
async def test_a_socket_that_is_in_use_stays(description: str, full: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    with ExitStack() as stack:
        other = stack.enter_context(socket.socket(socket.AF_UNIX))
        other.bind(os.fspath(path))
        other.listen(0)
        for _ in range(3 if full else 0):
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            with suppress(BlockingIOError):
                client.connect(os.fspath(path))
        with pytest.raises(StartError, match=r"a\.sock.*: address in use"):
            await listen_stream(Listen(description), Factory(), reactor=reactor, folder=tmp_path)
        assert path.is_socket()


@pytest.mark.parametrize("description", UNIX)
@ensureDeferred
async def test_a_file_that_is_no_socket_stays(description: str, tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    path.write_text("mine")
    with pytest.raises(StartError, match="address in use"):
        await listen_stream(Listen(description), Factory(), reactor=reactor, folder=tmp_path)
    assert path.read_text() == "mine"


@pytest.mark.parametrize("description", [*UNIX, "unixgram:a.sock"])
@ensureDeferred
async def test_a_socket_whose_file_is_gone_is_closed_all_the_same(
    description: str, tmp_path: Path
) -> None:
    """As where its folder is cleaned up, or only root may write to it."""
    factory, stopped = Factory.forProtocol(Protocol), []
    factory.stopFactory = lambda: stopped.append(True)  # type: ignore[method-assign]
    listen = Listen(description)
    if listen.is_datagram:
        port = listen_datagrams(listen, DatagramProtocol(), reactor=reactor, folder=tmp_path)
        stopped.append(True)
    else:
        port = await listen_stream(listen, factory, reactor=reactor, folder=tmp_path)
    (tmp_path / "a.sock").unlink()
    await maybeDeferred(port.stopListening)
    assert stopped == [True]


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


@pytest.mark.parametrize("kind", ["ssl", "haproxy:ssl"])
@ensureDeferred
async def test_ssl_addresses_have_our_tls(kind: str, tmp_path: Path) -> None:
    """S19: Twisted's own would also speak P-521, X448 and ciphers that the profile lacks."""
    issued = trustme.CA().issue_cert("localhost")
    issued.private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    hosted = Hosted(stream=Factory.forProtocol(Protocol))
    service = await serve(hosted, state=tmp_path, listen=f"{kind}:0:interface=127.0.0.1")
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    header = b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n" if kind != "ssl" else b""
    agreed = []
    for ciphers, curve in (("DEFAULT", "prime256v1"), ("DHE", "prime256v1"), ("ALL", "secp521r1")):
        context.set_ciphers(ciphers)
        context.set_ecdh_curve(curve)
        try:
            agreed.append(await deferToThread(_cipher, context, service.port, header))
        except ssl.SSLError:
            agreed.append(None)
    await service.stop(drain=0.1)
    assert agreed[0].startswith("ECDHE-")
    assert agreed[1:] == [None, None]


def _cipher(context: ssl.SSLContext, port: int, header: bytes) -> str:
    with socket.create_connection(("127.0.0.1", port), 10) as raw:
        raw.sendall(header)
        with context.wrap_socket(raw) as tls:
            agreed = tls.cipher()
            assert agreed is not None
            return agreed[0]


@ensureDeferred
async def test_a_key_of_ssl_that_is_not_there(tmp_path: Path) -> None:
    hosted = Hosted(stream=Factory.forProtocol(Protocol))
    with pytest.raises(
        RuntimeError, match=r"cannot listen on ssl:0:privateKey=key.pem: "
    ) as caught:
        await serve(hosted, state=tmp_path, listen="ssl:0:privateKey=key.pem")
    assert str(caught.value).endswith("/key.pem: no such file or directory")
