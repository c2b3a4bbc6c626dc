"""Thousands of slow clients of one service leave the others alone (S9)."""

from __future__ import annotations

import contextlib
import resource
import socket
from pathlib import Path

import pytest

from netserve.testing.process import free_port, running, wait_until

COUNT = 5000
BOUND = 2.0
"""Seconds within which another service answers: the bound that SAFETY's sentence asks for."""

CONFIG = """\
services:
  mail:
    protocol: smtp-relay
    listen: tcp:{mail}:interface=127.0.0.1
    hostname: relay.example.org
    refuse_early_talk: false
    limits: {{connections: 6000, connections_per_address: 6000}}
    routes: [{{deliver: {{discard: true}}}}]
  hello:
    protocol: request-response
    listen: tcp:{hello}:interface=127.0.0.1
    framing: line
    reply: "Hello, client!"
"""


@pytest.fixture
def _descriptors() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = COUNT + 500
    if hard != resource.RLIM_INFINITY and hard < 2 * wanted:
        pytest.skip(f"needs {2 * wanted} descriptors, {hard} are allowed")
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


@pytest.mark.slow
@pytest.mark.usefixtures("_descriptors")
def test_another_service_answers_beside_thousands_of_slow_clients(tmp_path: Path) -> None:
    """S9: each client of the relay says one byte at a time, in the middle of a command."""
    ports = {"mail": free_port(), "hello": free_port()}
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG.format(**ports))
    with running(config) as netserve, contextlib.ExitStack() as stack:
        clients = []
        for _ in range(COUNT):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", ports["mail"]), 10))
            client.sendall(b"E")
            clients.append(client)
        for text in (b"H", b"L", b"O"):
            for client in clients:
                client.sendall(text)
            with socket.create_connection(("127.0.0.1", ports["hello"]), BOUND) as other:
                other.settimeout(BOUND)
                other.sendall(b"x\r\n")
                assert other.recv(100) == b"Hello, client!\r\n"
        for client in (clients[0], clients[-1]):
            client.sendall(b" me\r\n")
            client.settimeout(10)
            wait_until(lambda client=client: b"250 " in client.recv(4096), what="an answer to EHLO")  # type: ignore[misc]  # binds the client
        assert "Traceback" not in netserve.log()
