"""All lines of the log about a connection have its id, and no other line does."""

from __future__ import annotations

import re
import smtplib
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
import requests
import trustme
from twisted.internet import reactor as _reactor
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import globalLogPublisher

from netserve.ops.logs import text_line
from netserve.plugin import Hosted, connection_id
from netserve.protocols.http_bridge import plugin as http_bridge
from netserve.protocols.request_response import plugin as request_response
from netserve.testing.hosting import FREE_PORT, connect, exchange, serve
from netserve.testing.mail import TEXT, in_thread, relay
from netserve.testing.process import free_port
from netserve.testing.queue import until

reactor: Any = _reactor
USERS = {"me": "secret"}
V1 = b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 25\r\n"


@pytest.fixture
def lines() -> Iterator[list[str]]:
    found: list[str] = []

    def observe(event: Any) -> None:
        found.append(text_line(event))

    globalLogPublisher.addObserver(observe)
    yield found
    globalLogPublisher.removeObserver(observe)


def ids_of(lines: list[str], text: str) -> list[str]:
    """The ids of the lines of the service with a text in them; empty for a line without one."""
    found = [line for line in lines if text in line and " [test" in line]
    assert found, f"no line with {text!r}"
    return [re.search(r"\[test ?([^\]]*)\]", line)[1] for line in found]  # type: ignore[index]


@pytest_twisted.ensureDeferred
async def test_a_session_of_smtp(tmp_path: Path, lines: list[str]) -> None:
    """Through STARTTLS, logins that are verified in a thread, and commits."""
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    (tmp_path / "chain.pem").write_bytes(b"".join(one.bytes() for one in issued.cert_chain_pems))
    (tmp_path / "key.pem").write_bytes(issued.private_key_pem.bytes())
    tls = {"certificate": str(tmp_path / "chain.pem"), "key": str(tmp_path / "key.pem")}
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    async with relay(tmp_path, users=USERS, tls=tls) as service:

        def work() -> None:
            for _ in range(2):
                with smtplib.SMTP("127.0.0.1", service.port, timeout=10) as client:
                    client.starttls(context=trusting)
                    with pytest.raises(smtplib.SMTPAuthenticationError):
                        client.login("me", "wrong")
                    client.login("me", "secret")
                    client.sendmail("a@b.test", "c@d.test", TEXT)
                    client.sendmail("a@b.test", "c@d.test", TEXT)

        await in_thread(work)
    accepted = ids_of(lines, "accepted ")
    first, second = accepted[0], accepted[2]
    assert first
    assert accepted == [first, first, second, second]
    assert first != second
    assert set(ids_of(lines, "refused a login")) == {first, second}
    for count in (1, 2):
        assert any(f"trace {first}-{count}" in line for line in lines if "accepted" in line)
        assert any(f"trace {first}-{count}" in line for line in lines if "delivered to" in line)


@pytest_twisted.ensureDeferred
async def test_a_message_over_http(tmp_path: Path, lines: list[str]) -> None:
    """The trace id in the answer is that of the log, which begins with the connection's id."""
    token = "0123456789abcdef-shop"
    http = {"listen": FREE_PORT, "tokens": {"shop": token}}
    async with relay(tmp_path, http=http) as service:
        address = f"http://127.0.0.1:{service.addresses[1].port}/messages"
        mail = {"from": "a@b.test", "to": "c@d.test", "text": "hello"}

        def work() -> list[Any]:
            with requests.Session() as session:
                session.headers["Authorization"] = f"Bearer {token}"
                taken = [session.post(address, json=mail, timeout=10) for _ in range(2)]
                session.get(address, timeout=10)
            return [answer.json() for answer in taken]

        first, second = await in_thread(work)
    (identity,) = set(ids_of(lines, "accepted "))
    assert identity
    traces = [first["trace"], second["trace"]]
    assert traces == [f"{identity}-1", f"{identity}-2"]
    assert ids_of(lines, "refused a request") == [identity]


@pytest_twisted.ensureDeferred
async def test_a_handler_that_fails_late(tmp_path: Path, lines: list[str]) -> None:
    """The record is written in another turn than the request came in."""
    (tmp_path / "late_handlers.py").write_text(
        "from twisted.internet import reactor\n"
        "from twisted.internet.task import deferLater\n"
        "async def fail(request):\n"
        "    await deferLater(reactor, 0.05)\n"
        "    raise LookupError('it is not there')\n"
    )
    service = await serve(request_response, state=tmp_path, handler="late_handlers:fail")
    await exchange(service.port, b"hello\n")
    assert all(ids_of(lines, "it is not there"))
    await service.stop()


@pytest.mark.parametrize("size", [0, 100_000], ids=["at once", "in a later turn"])
@pytest_twisted.ensureDeferred
async def test_a_broken_frame(lines: list[str], size: int) -> None:
    service = await serve(request_response, framing="netstring", reply="{request}")
    await exchange(service.port, b"1:a," * (size // 4) + b"nonsense")
    assert all(ids_of(lines, "a netstring begins with"))
    await service.stop()


@pytest_twisted.ensureDeferred
async def test_a_framed_bridge_without_its_upstream(lines: list[str]) -> None:
    service = await serve(
        http_bridge,
        request={"url": f"http://127.0.0.1:{free_port()}/{{request}}"},
        allow_upstreams="127.0.0.1",
    )
    await exchange(service.port, b"a\nb\n")
    first, second = ids_of(lines, "no answer for")
    assert first == second != ""
    await service.stop()


class Naming(Protocol):
    """Tells its connection's id."""

    def dataReceived(self, data: bytes) -> None:
        self.transport.write(connection_id(self.transport).encode() + b"\n")


@pytest_twisted.ensureDeferred
async def test_a_protocol_learns_its_id() -> None:
    service = await serve(Hosted(stream=Factory.forProtocol(Naming)))
    said = [await exchange(service.port, b"?") for _ in range(3)]
    assert len(set(said)) == 3
    assert all(re.fullmatch(rb"[0-9a-z]{8}\n", one) for one in said)
    await service.stop()


@pytest_twisted.ensureDeferred
async def test_an_idle_connection(lines: list[str]) -> None:
    service = await serve(
        Hosted(stream=Factory.forProtocol(Naming)), limits={"idle_timeout": "300ms"}
    )
    client = await connect(service.port)
    client.write(b"?")
    said = await client.until(b"\n")
    await client.closed
    assert ids_of(lines, ": idle") == [said.strip().decode()]
    await service.stop()


@pytest_twisted.ensureDeferred
async def test_a_proxy_header_keeps_the_id(lines: list[str]) -> None:
    """Before the header and after it, it is one connection; a broken one has an id as well."""
    service = await serve(
        Hosted(stream=Factory.forProtocol(Naming)), proxy_protocol_from=("127.0.0.0/8",)
    )
    assert re.fullmatch(rb"[0-9a-z]{8}\n", await exchange(service.port, V1 + b"?"))
    client = await connect(service.port)
    client.write(b"no header\r\n")
    await client.closed
    await until(lambda: service.metrics.errors["proxy_header"], reactor=reactor)
    assert all(ids_of(lines, "its PROXY header"))
    await service.stop()
