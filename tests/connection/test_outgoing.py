"""Taps on the connections that netserve opens: mail to servers, hooks, the HTTP bridge."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
import trustme
from twisted.internet import reactor as _reactor
from twisted.logger import LogLevel, globalLogPublisher

from netserve.connection import Connection, Tap, Tracker
from netserve.connection import Taps as ProcessTaps
from netserve.http.h1 import make_field
from netserve.http.upstream import Pool, PoolOptions
from netserve.http.upstream.origin import Origin
from netserve.http.upstream.tls import UpstreamTLS
from netserve.protocols.http_bridge import plugin as bridge
from netserve.protocols.smtp_relay import plugin as smtp
from netserve.protocols.smtp_relay.delivery.smtp.targets import Target
from netserve.testing.hosting import RunningService, exchange, serve
from netserve.testing.mail import TEXT, in_thread, send
from netserve.testing.queue import until
from tests.connection.scripted import Scripted, http_server, mail_server
from tests.connection.taps import Failing, Remembering, Taps
from tests.http.upstream.peers import LOOPBACK, Receiver

reactor: Any = _reactor
SECURITY = ("plain", "starttls", "tls")


@pytest.fixture
def authority(tmp_path: Path) -> trustme.CA:
    made = trustme.CA()
    made.cert_pem.write_to_path(tmp_path / "ca.pem")
    return made


@pytest.fixture
def tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


def outgoing(taps: Taps) -> list[Remembering]:
    return [tap for tap in taps.opened if tap.connection.outgoing]


async def relayed(folder: Path, port: int, security: str, mails: int, open_tap: Any) -> Any:
    """Deliver mails to a server; gives the service, which runs."""
    verified = {"tls": "verify", "ca": str(folder / "ca.pem")}
    way = {
        "smarthost": f"127.0.0.1:{port}",
        **({"tls": "none"} if security == "plain" else verified),
    }
    service = await serve(smtp, state=folder, hostname="me.test", routes=({"deliver": way},))
    if open_tap is not None:
        service.process.taps.switch_on("test", open_tap)
    for count in range(mails):
        await in_thread(lambda: send(service.port))
        await delivered(service, count + 1)
    return service


async def delivered(service: RunningService, count: int) -> None:
    def is_done() -> bool:
        assert service.outbox is not None
        return sum(service.outbox.outcomes("test").values()) >= count

    await until(is_done, reactor=reactor)


@pytest.mark.parametrize("tapped", [True, False], ids=["tap", "no tap"])
@pytest.mark.parametrize("security", SECURITY)
@pytest_twisted.ensureDeferred
async def test_mail_to_a_server(
    security: str,
    tapped: bool,
    tmp_path: Path,
    tls: ssl.SSLContext,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A server with TLS from the first byte is known by its port, 465.
    monkeypatch.setattr(Target, "tls_from_start", security == "tls")
    script = mail_server(starttls=security == "starttls", tls_first=security == "tls")
    taps = Taps()
    with Scripted(script, tls) as server:
        service = await relayed(tmp_path, server.port, security, 2, taps if tapped else None)
        await service.stop()
    assert len(server.talks) == 1
    (talk,) = server.talks
    assert TEXT.replace(b"\r\n.", b"\r\n..") in talk.received
    if tapped:
        (tap,) = outgoing(taps)
        assert tap.all("sent") == talk.received
        assert tap.all("received") == talk.sent
        await until(lambda: len(tap.reasons) == 1, reactor=reactor)
        record = tap.connection
        assert (record.service, record.tls) == ("test", security == "tls")
        assert (record.peer.host, record.peer.port) == ("127.0.0.1", server.port)
        assert record.local.port
    assert service.metrics.errors == {}


async def asked(folder: Path, url: str, open_tap: Any, count: int = 1) -> Any:
    service = await serve(
        bridge, state=folder, request={"url": url, "ca": str(folder / "ca.pem")},
        allow_upstreams=("127.0.0.1",),
    )  # fmt: skip
    if open_tap is not None:
        service.process.taps.switch_on("test", open_tap)
    for number in range(count):
        assert await exchange(service.port, b"ask\n") == b"answer %d\r\n" % (number + 1)
    return service


@pytest.mark.parametrize("tapped", [True, False], ids=["tap", "no tap"])
@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest_twisted.ensureDeferred
async def test_the_http_bridge(
    scheme: str, tapped: bool, tmp_path: Path, tls: ssl.SSLContext
) -> None:
    taps = Taps()
    with Scripted(http_server(tls_first=scheme == "https"), tls) as server:
        url = f"{scheme}://127.0.0.1:{server.port}/{{request}}"
        service = await asked(tmp_path, url, taps if tapped else None, 2)
        await service.stop()
    (talk,) = server.talks
    assert talk.received.count(b"GET /ask HTTP/1.1\r\n") == 2
    if tapped:
        (tap,) = outgoing(taps)
        assert tap.all("sent") == talk.received
        assert tap.all("received") == talk.sent
        await until(lambda: len(tap.reasons) == 1, reactor=reactor)
        record = tap.connection
        assert (record.service, record.tls) == ("test", scheme == "https")
        assert (record.peer.host, record.peer.port) == ("127.0.0.1", server.port)
        assert len(taps.opened) == 3, "two clients, one upstream"
    assert not service.metrics.errors


@pytest.mark.parametrize("tapped", [True, False], ids=["tap", "no tap"])
@pytest_twisted.ensureDeferred
async def test_mail_to_a_hook(tapped: bool, tmp_path: Path) -> None:
    taps = Taps()
    with Scripted(http_server()) as server:
        hook = {"url": f"http://127.0.0.1:{server.port}/in", "allow_upstreams": ("127.0.0.1",)}
        service = await serve(
            smtp, state=tmp_path, hostname="me.test", routes=({"deliver": {"http": hook}},)
        )
        if tapped:
            service.process.taps.switch_on("test", taps)
        await in_thread(lambda: send(service.port))
        await delivered(service, 1)
        await service.stop()
    (talk,) = server.talks
    assert talk.received.startswith(b"POST /in HTTP/1.1\r\n")
    assert talk.received.endswith(TEXT)
    if tapped:
        (tap,) = outgoing(taps)
        assert (tap.all("sent"), tap.all("received")) == (talk.received, talk.sent)


@pytest.mark.parametrize("tapped", [True, False], ids=["tap", "no tap"])
@pytest.mark.parametrize("secure", [False, True])
@pytest_twisted.ensureDeferred
async def test_the_pool_of_our_own_http(
    secure: bool, tapped: bool, tmp_path: Path, tls: ssl.SSLContext
) -> None:
    taps, process_taps = Taps(), ProcessTaps()
    if tapped:
        process_taps.switch_on("web", taps)
    with Scripted(http_server(tls_first=secure), tls) as server:
        pool = Pool(
            reactor=reactor, log=None,  # type: ignore[arg-type]
            options=PoolOptions(guard=LOOPBACK), tracker=Tracker("web", process_taps),
        )  # fmt: skip
        trusting = UpstreamTLS(ca=tmp_path / "ca.pem") if secure else None
        share = pool.upstream(Origin(host="127.0.0.1", port=server.port, tls=trusting))
        for number in (1, 2):
            receiver = Receiver()
            share.send(b"GET", b"/", [make_field(b"Host", b"a")], receiver, body=b"")
            assert (await receiver.done).body == b"answer %d" % number
        pool.close()
        await until(lambda: pool.connections == 0, reactor=reactor)
    (talk,) = server.talks
    assert talk.received == b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 2
    if tapped:
        (tap,) = taps.opened
        assert (tap.all("sent"), tap.all("received")) == (talk.received, talk.sent)
        await until(lambda: len(tap.reasons) == 1, reactor=reactor)
        assert (tap.connection.tls, tap.connection.outgoing) == (secure, True)


# ---- Taps that misbehave.


@pytest.mark.parametrize("at", ["received", "sent", "ended"])
@pytest_twisted.ensureDeferred
async def test_mail_goes_out_when_the_tap_fails(at: str, tmp_path: Path) -> None:
    opened: list[Failing] = []

    def failing(connection: Connection) -> Tap | None:
        if not connection.outgoing:
            return None
        opened.append(Failing(connection, at, after=2 if at != "ended" else 0))
        return opened[-1]

    with Scripted(mail_server()) as server:
        service = await relayed(tmp_path, server.port, "plain", 2, failing)
        await service.stop()
    assert server.talks[0].received.count(b"\r\n.\r\n") == 2
    await until(lambda: opened[0].has_failed, reactor=reactor)
    assert opened[0].calls_after == 0
    assert service.metrics.errors == {"tap": 1}


@pytest.mark.parametrize("at", ["received", "sent", "ended"])
@pytest_twisted.ensureDeferred
async def test_the_bridge_goes_on_when_the_tap_fails(at: str, tmp_path: Path) -> None:
    opened: list[Failing] = []

    def failing(connection: Connection) -> Tap | None:
        if not connection.outgoing:
            return None
        opened.append(Failing(connection, at))
        return opened[-1]

    (tmp_path / "ca.pem").write_bytes(trustme.CA().cert_pem.bytes())
    with Scripted(http_server()) as server:
        url = f"http://127.0.0.1:{server.port}/{{request}}"
        service = await asked(tmp_path, url, failing, 2)
        await service.stop()
    await until(lambda: service.metrics.errors["tap"] == 1, reactor=reactor)
    assert opened[0].has_failed
    assert opened[0].calls_after == 0
    assert len(server.talks) == 1


# ---- The log.


@pytest.fixture
def debug_events() -> Iterator[list[Any]]:
    found: list[Any] = []

    def observe(event: Any) -> None:
        if event.get("log_level") is LogLevel.debug:
            found.append(event)

    globalLogPublisher.addObserver(observe)
    yield found
    globalLogPublisher.removeObserver(observe)


@pytest_twisted.ensureDeferred
async def test_each_has_an_id_in_the_log(tmp_path: Path, debug_events: list[Any]) -> None:
    (tmp_path / "ca.pem").write_bytes(trustme.CA().cert_pem.bytes())
    taps = Taps()
    with Scripted(http_server()) as server:
        url = f"http://127.0.0.1:{server.port}/{{request}}"
        service = await asked(tmp_path, url, taps)
        await service.stop()
    (line,) = [one for one in debug_events if "connected to" in str(one.get("log_format"))]
    assert line["peer"] == f"127.0.0.1:{server.port}"
    (tap,) = outgoing(taps)
    assert line["connection_id"] == tap.connection.id
