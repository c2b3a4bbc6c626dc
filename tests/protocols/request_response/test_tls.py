"""Request-response under TLS, as a client of the standard library sees it."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
import trustme
from twisted.internet.threads import deferToThread

from netserve.protocols.request_response import plugin
from netserve.testing.hosting import serve


@pytest.fixture
def tls(tmp_path: Path) -> tuple[dict[str, str], ssl.SSLContext]:
    """The service's option, and the context of a client that trusts it."""
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "certificate.pem")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return {
        "certificate": str(tmp_path / "certificate.pem"),
        "key": str(tmp_path / "key.pem"),
    }, context


def ask(port: int, context: ssl.SSLContext, data: bytes) -> bytes:
    """Send, and read to an end that TLS itself has told."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="localhost", suppress_ragged_eofs=False) as sock,
    ):
        sock.sendall(data)
        said = b""
        while piece := sock.recv(65536):
            said += piece
        return said


@pytest_twisted.ensureDeferred
async def test_a_broken_stream_gets_its_reply_and_its_end(tls: Any) -> None:
    """The reply is not cut off: TLS's own end follows it."""
    option, context = tls
    service = await serve(plugin, tls=option, framing="netstring", reply="<{request}>")
    try:
        said = await deferToThread(ask, service.port, context, b"1:a,0:,nonsense" + b"x" * 50_000)
        assert said == b"3:<a>,2:<>,5:error,"
    finally:
        await service.stop()
