"""What arrives at aiosmtpd from a relay that signs, rewrites, converts and logs in by OAuth2."""

from __future__ import annotations

import contextlib
import email
import errno
import json
import smtplib
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import dkim
import pytest
import pytest_twisted
import trustme
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.logger import formatEvent, globalLogPublisher

from netserve.config.types import Secret
from netserve.mail.dkim.keys import load_key, make_key
from netserve.protocols.smtp_relay import plugin
from netserve.protocols.smtp_relay.delivery.login.token_file import TokenFile
from netserve.protocols.smtp_relay.delivery.smtp.connection import ServerConnection
from netserve.testing.hosting import RunningService, serve
from netserve.testing.provider import Provider, TokenEndpoint
from netserve.testing.queue import until

reactor: Any = _reactor
pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH:UserWarning")

PEM = {kind: make_key(kind) for kind in ("rsa", "ed25519")}
RECORDS = {kind: load_key(pem).record.encode() for kind, pem in PEM.items()}
SMALL = b"From: Ada <ada@example.org>\r\nTo: r@example.net\r\nSubject: hi\r\n\r\n.Hello  you \r\n"
LARGE = SMALL + b"a line with a few words, and a dot behind it\r\n.\r\n" * 5000
WIDE = (
    b"From: Ada <ada@example.org>\r\nMIME-Version: 1.0\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
)
ME = "me@example.org"


class Relay:
    """A relay that runs, and what it logged."""

    def __init__(self, service: RunningService, logged: list[dict[str, Any]]) -> None:
        self.service = service
        self.logged = logged

    async def send(
        self, content: bytes, *, sender: str = "ada@example.org", to: str = "r@example.net",
        options: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        def work() -> None:
            with smtplib.SMTP("127.0.0.1", self.service.port, timeout=20) as client:
                client.ehlo()
                client.sendmail(sender, [to], content, mail_options=options)

        await deferToThreadPool(reactor, reactor.getThreadPool(), work)

    def log(self) -> str:
        return "\n".join(formatEvent(entry) for entry in self.logged)


@asynccontextmanager
async def relay(folder: Path, **deliver: Any) -> AsyncIterator[Relay]:
    logged: list[dict[str, Any]] = []
    globalLogPublisher.addObserver(logged.append)
    retry = {"first": "100ms", "longest": "200ms"}
    service = await serve(plugin, state=folder, routes=({"deliver": deliver},), retry=retry)
    try:
        yield Relay(service, logged)
    finally:
        await service.stop()
        globalLogPublisher.removeObserver(logged.append)


@pytest.fixture
def provider() -> Iterator[Callable[..., Provider]]:
    with contextlib.ExitStack() as running:
        yield lambda **options: running.enter_context(Provider(**options))


@pytest.fixture
def endpoint() -> Iterator[TokenEndpoint]:
    with TokenEndpoint() as running:
        yield running


def to(provider: Provider, **options: Any) -> dict[str, Any]:
    return {"smarthost": f"127.0.0.1:{provider.port}", "tls": "none", **options}


async def arrived(taken: list[Any], count: int = 1) -> None:
    await until(lambda: len(taken) >= count, reactor=reactor)


def verified(content: bytes) -> list[bool]:
    def record(name: bytes, timeout: float = 5) -> bytes:
        return RECORDS[name.partition(b".")[0].decode()]

    count = content.count(b"DKIM-Signature:")
    return [dkim.DKIM(content).verify(at, dnsfunc=record) for at in range(count)]


# DKIM.

BOTH = (
    {"domain": "example.org", "selector": "rsa", "key": PEM["rsa"]},
    {"domain": "example.org", "selector": "ed25519", "key": PEM["ed25519"],
     "canonicalization": "simple/simple", "identity": "@mx.example.org", "expires": "7d"},
)  # fmt: skip


@pytest.mark.parametrize("content", [SMALL, LARGE, WIDE + "ü\r\n".encode() * 50_000])
@pytest_twisted.ensureDeferred
async def test_signatures_are_right_where_the_message_arrives(
    content: bytes, provider: Any, tmp_path: Path
) -> None:
    hop = provider()
    async with relay(tmp_path, **to(hop, dkim=BOTH)) as sender:
        await sender.send(content, options=("BODY=8BITMIME",))
        await arrived(hop.taken)
        (taken,) = hop.taken
        assert verified(taken.content) == [True, True]
        assert taken.content.endswith(content)
        assert f"SIZE={len(taken.content)}" in taken.options


@pytest_twisted.ensureDeferred
async def test_only_the_domains_that_have_a_key_are_signed_for(
    provider: Any, tmp_path: Path
) -> None:
    hop = provider()
    keys = {"example.org": PEM["ed25519"], "example.com": PEM["ed25519"]}
    async with relay(tmp_path, **to(hop, dkim={"selector": "ed25519", "keys": keys})) as sender:
        for count, domain in enumerate((b"example.org", b"mail.example.com", b"example.net"), 1):
            await sender.send(SMALL.replace(b"example.org", domain))
            await arrived(hop.taken, count)
        signed = [taken.content.partition(b" d=")[2].partition(b";")[0] for taken in hop.taken]
        assert signed[:2] == [b"example.org", b"example.com"]
        assert [verified(taken.content) for taken in hop.taken] == [[True], [True], []]
        assert hop.taken[2].content.startswith(b"Received: ")


@pytest_twisted.ensureDeferred
async def test_a_short_key_is_told(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = rsa.generate_private_key(65537, 1024)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    options = {"domain": "example.org", "selector": "s", "key": pem}
    async with relay(tmp_path, smarthost="127.0.0.1:1", dkim=options) as sender:
        assert "the DKIM key s of example.org has 1024 bits; 2048 are recommended" in sender.log()


# Rewriting.


@pytest.mark.parametrize("content", [SMALL, LARGE], ids=["small", "large"])
@pytest_twisted.ensureDeferred
async def test_a_provider_that_takes_its_own_addresses_only(
    content: bytes, provider: Any, tmp_path: Path
) -> None:
    hop = provider(senders=[ME])
    rewrite = {"sender": ME, "from": ME}
    async with relay(tmp_path, **to(hop, rewrite=rewrite, dkim=BOTH)) as sender:
        await sender.send(content)
        await arrived(hop.taken)
        (taken,) = hop.taken
        assert taken.sender == ME
        assert f"SIZE={len(taken.content)}" in taken.options
        message = email.message_from_bytes(taken.content)
        assert message.get_all("From") == ["Ada <me@example.org>"]
        assert message.get_all("Reply-To") == ["Ada <ada@example.org>"]
        assert verified(taken.content) == [True, True]
        assert taken.content.endswith(content.partition(b"\r\nTo:")[2])


@pytest_twisted.ensureDeferred
async def test_only_the_envelope(provider: Any, tmp_path: Path) -> None:
    hop = provider()
    async with relay(tmp_path, **to(hop, rewrite={"sender": ME})) as sender:
        for count, content in enumerate((SMALL, LARGE), 1):
            await sender.send(content)
            await arrived(hop.taken, count)
        assert [taken.sender for taken in hop.taken] == [ME, ME]
        assert [taken.content.endswith(content) for taken, content in
                zip(hop.taken, (SMALL, LARGE), strict=True)] == [True, True]  # fmt: skip


# Lines that are too long.


@pytest.mark.parametrize("extension", [None, "8BITMIME"])
@pytest.mark.parametrize("repeated", [1, 100], ids=["small", "large"])
@pytest_twisted.ensureDeferred
async def test_long_lines_arrive_in_short_ones(
    extension: str | None, repeated: int, provider: Any, tmp_path: Path
) -> None:
    """S28: accepted, never sent on above 998 octets, and signed as they are sent."""
    hop = provider(lacks=[extension] if extension else [])
    lines = b"x" * 1500 + b"\r\n" + b"y " * 1500 + b"\r\n" + b"z" * 3000 + b"\r\n"
    content = (
        b"From: ada@example.org\r\nTo: " + b"r@example.net, " * 300 + b"r@example.net\r\n"
        b"Subject: " + b"x" * 3000 + b"\r\n\r\n" + lines * repeated
    )  # fmt: skip
    async with relay(tmp_path, **to(hop, dkim=BOTH)) as sender:
        await sender.send(content)
        await arrived(hop.taken)
        (taken,) = hop.taken
    assert max(map(len, taken.content.split(b"\r\n"))) <= 998
    assert f"SIZE={len(taken.content)}" in taken.options
    assert verified(taken.content) == [True, True]
    message = email.message_from_bytes(taken.content)
    body = message.get_payload(decode=True)
    assert isinstance(body, bytes)
    assert body.replace(b"\r\n", b"\n") == (lines * repeated).replace(b"\r\n", b"\n")
    assert "".join(message["Subject"].split()) == "x" * 3000


@pytest_twisted.ensureDeferred
async def test_a_message_without_an_author_is_not_signed_but_told(
    provider: Any, tmp_path: Path
) -> None:
    """RFC 6376, 5.4."""
    hop = provider()
    async with relay(tmp_path, **to(hop, dkim=BOTH)) as sender:
        for count, header in enumerate((b"", b"From: Scanner\r\n"), 1):
            await sender.send(header + b"Subject: x\r\n\r\nHello\r\n")
            await arrived(hop.taken, count)
        assert b"DKIM-Signature" not in b"".join(taken.content for taken in hop.taken)
        assert "not signed by DKIM: it has no From field" in sender.log()
        assert "not signed by DKIM: its From field has no address" in sender.log()


# Servers that take less.


@pytest.mark.parametrize("size", [1, 50_000], ids=["small", "large"])
@pytest.mark.parametrize("signing", [None, BOTH], ids=["unsigned", "signed"])
@pytest_twisted.ensureDeferred
async def test_8_bit_mail_for_a_server_without_8bitmime(
    size: int, signing: Any, provider: Any, tmp_path: Path
) -> None:
    hop = provider(lacks=["8BITMIME"])
    text = "grüße = alles\r\n" * size
    async with relay(tmp_path, **to(hop, dkim=signing)) as sender:
        await sender.send(WIDE + text.encode(), options=("BODY=8BITMIME",))
        await arrived(hop.taken)
        (taken,) = hop.taken
        assert taken.content.isascii()
        assert not any(option.startswith("BODY=") for option in taken.options)
        assert f"SIZE={len(taken.content)}" in taken.options
        message = email.message_from_bytes(taken.content)
        assert message["Content-Transfer-Encoding"] == "quoted-printable"
        assert message.get_payload(decode=True) == text.encode()
        assert verified(taken.content) == ([] if signing is None else [True, True])


@pytest.mark.parametrize("size", [1, 50_000], ids=["small", "large"])
@pytest_twisted.ensureDeferred
async def test_8_bit_mail_that_can_not_be_converted_comes_back(
    size: int, provider: Any, tmp_path: Path
) -> None:
    hop = provider(lacks=["8BITMIME"])
    content = b"DKIM-Signature: v=1; d=example.org; b=x\r\n" + WIDE + b"\xc3\xa4\r\n" * size
    async with relay(tmp_path, **to(hop)) as sender:
        await sender.send(content, options=("BODY=8BITMIME",))
        await arrived(hop.taken)  # it is the bounce, which has no 8-bit bytes
        (bounce,) = hop.taken
        assert bounce.sender == "<>"
        assert b"Status: 5.6.3" in bounce.content
        assert b"it is signed by DKIM, which would be broken" in bounce.content


@pytest_twisted.ensureDeferred
async def test_internationalised_addresses_for_a_server_without_smtputf8(
    provider: Any, tmp_path: Path
) -> None:
    hop = provider(lacks=["SMTPUTF8"])
    async with relay(tmp_path, **to(hop)) as sender:
        await sender.send(SMALL, to="r@bücher.example", options=("SMTPUTF8",))
        await arrived(hop.taken)
        assert hop.taken[0].recipients == ["r@xn--bcher-kva.example"]
        assert "SMTPUTF8" not in hop.taken[0].options
        await sender.send(SMALL, to="ü@example.net", options=("SMTPUTF8",))
        await arrived(hop.taken, 2)
        assert b"5.6.7" in hop.taken[1].content


# A connection that goes away, and messages that can't be read, while something is prepared.


def pool_of(sender: Relay) -> Any:
    courier = sender.service.hosted_service.hosted.stop.__self__  # type: ignore[union-attr]
    (pool,) = courier._channels.values()
    return pool


@pytest_twisted.ensureDeferred
async def test_a_connection_that_is_cut_while_a_message_is_prepared(
    provider: Any, tmp_path: Path
) -> None:
    hop = provider()
    async with relay(tmp_path, **to(hop, dkim=BOTH, connections=1)) as sender:
        await sender.send(SMALL)
        await arrived(hop.taken)
        (connection,) = pool_of(sender)._connections
        cuts = []

        def cut_once() -> None:
            if connection._preparing is None and not cuts:
                reactor.callLater(0, cut_once)
            elif not cuts:
                cuts.append(1)
                connection.transport.abortConnection()

        cut_once()
        await sender.send(LARGE)
        await arrived(hop.taken, 2)
        assert cuts
        assert len(hop.sessions) == 2
        assert verified(hop.taken[1].content) == [True, True]


@pytest_twisted.ensureDeferred
async def test_stopping_while_a_message_is_prepared(
    provider: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: Deferred[None] = Deferred()
    prepare = ServerConnection._prepare

    def prepare_and_tell(connection: ServerConnection, *arguments: Any) -> None:
        prepare(connection, *arguments)
        assert connection._preparing is not None
        begun.callback(None)

    monkeypatch.setattr(ServerConnection, "_prepare", prepare_and_tell)
    hop = provider()
    async with relay(tmp_path, **to(hop, dkim=BOTH, idle="1ms")) as sender:
        await sender.send(LARGE)
        await begun
    assert "Traceback" not in sender.log()


# OAuth2.


def oauth2(endpoint: TokenEndpoint, **options: Any) -> dict[str, Any]:
    values = {
        "token_url": endpoint.url,
        "client_id": "the-client",
        "client_secret": "hunter-secret",
        "refresh_token": "refresh-0",
        "scope": "mail.send",
    }
    return {"user": ME, "oauth2": values | options, "in_clear": True}


@pytest.mark.parametrize("mechanism", ["XOAUTH2", "OAUTHBEARER"])
@pytest_twisted.ensureDeferred
async def test_a_token_is_fetched_once_and_used_again(
    mechanism: str, provider: Any, endpoint: TokenEndpoint, tmp_path: Path
) -> None:
    hop = provider(tokens=endpoint.tokens, mechanisms=[mechanism])
    async with relay(tmp_path, **to(hop, login=oauth2(endpoint), uses=1)) as sender:
        for _ in range(3):
            await sender.send(SMALL)
        await arrived(hop.taken, 3)
        assert {taken.user for taken in hop.taken} == {ME}
        assert len(hop.sessions) == 3
        assert endpoint.requests == [
            {
                "grant_type": "refresh_token",
                "client_id": "the-client",
                "client_secret": "hunter-secret",
                "refresh_token": "refresh-0",
                "scope": "mail.send",
            }
        ]
        assert not (tmp_path / "oauth2").exists()


@pytest.mark.parametrize("length", [20, 600])  # aiosmtpd reads lines of 1001 bytes
@pytest_twisted.ensureDeferred
async def test_a_token_over_verified_tls(length: int, provider: Any, tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(tls)
    with TokenEndpoint(prefix="a" * length) as endpoint:
        hop = provider(
            tokens=endpoint.tokens,
            mechanisms=["OAUTHBEARER"],
            tls_context=tls,
            require_starttls=True,
        )
        login = oauth2(endpoint)
        del login["in_clear"]
        options = {"smarthost": f"localhost:{hop.port}", "ca": "ca.pem", "login": login}
        async with relay(tmp_path, **options, rewrite={"sender": ME}) as sender:
            await sender.send(SMALL)
            await arrived(hop.taken)
            assert (hop.taken[0].user, hop.taken[0].sender) == (ME, ME)


@pytest_twisted.ensureDeferred
async def test_many_sessions_at_once_ask_once(
    provider: Any, endpoint: TokenEndpoint, tmp_path: Path
) -> None:
    hop = provider(tokens=endpoint.tokens, mechanisms=["XOAUTH2"])
    async with relay(tmp_path, **to(hop, login=oauth2(endpoint))) as sender:
        for _ in range(5):
            await sender.send(SMALL)
        await arrived(hop.taken, 5)
        assert len(endpoint.requests) == 1


@pytest_twisted.ensureDeferred
async def test_a_token_that_has_gone_stale_is_replaced(
    provider: Any, endpoint: TokenEndpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server's 535 leads to one further request, and the message is not put off."""
    monkeypatch.setattr("netserve.protocols.smtp_relay.delivery.login.tokens.FRESH", 0.0)
    hop = provider(tokens=endpoint.tokens, mechanisms=["XOAUTH2"])
    async with relay(tmp_path, **to(hop, login=oauth2(endpoint), uses=1)) as sender:
        await sender.send(SMALL)
        await arrived(hop.taken)
        endpoint.tokens.clear()  # it is revoked
        await sender.send(SMALL)
        await arrived(hop.taken, 2)
        assert (len(endpoint.requests), hop.refusals) == (2, 1)
        assert "is refused, asking for another" in sender.log()


@pytest_twisted.ensureDeferred
async def test_a_new_token_that_is_refused_is_not_replaced_again(
    provider: Any, endpoint: TokenEndpoint, tmp_path: Path
) -> None:
    hop = provider(tokens=(), mechanisms=["XOAUTH2"])
    async with relay(tmp_path, **to(hop, login=oauth2(endpoint))) as sender:
        await sender.send(SMALL)
        await until(lambda: hop.refusals >= 3, reactor=reactor)
        assert len(endpoint.requests) == 1
        assert "the server refuses the login: 535 5.7.8" in sender.log()


ECHO = "not hunter-secret\r\nrefresh-0"


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        ((400, {"error": "invalid_grant", "error_description": "late"}), "invalid_grant: late"),
        ((401, {"error": "no_client", "error_description": ECHO}), "no_client: not *** ***"),
        ((500, b"<html>"), "HTTP status 500"),
        ((200, b"[" * 20_000), "HTTP status 200"),
        ((200, {"token_type": "Bearer"}), "no access token that we could use"),
        ((200, {"access_token": "a b"}), "no access token that we could use"),
        ((200, {"access_token": "a", "token_type": "mac"}), "no access token that we could use"),
        ((200, b"x" * 70_000), "larger than 65536 bytes"),
    ],
)  # fmt: skip
@pytest_twisted.ensureDeferred
async def test_an_endpoint_that_fails_defers_the_mail(
    failure: tuple[int, Any], words: str, provider: Any, endpoint: TokenEndpoint, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """S17: the reason is told, and nothing secret with it."""
    monkeypatch.setattr("netserve.protocols.smtp_relay.delivery.login.tokens.FAILURE_HOLDS", 0.0)
    endpoint.failures.append(failure)
    hop = provider(tokens=endpoint.tokens, mechanisms=["XOAUTH2"])
    async with relay(tmp_path, **to(hop, login=oauth2(endpoint))) as sender:
        await sender.send(SMALL)
        await arrived(hop.taken)  # at a later attempt
        log = sender.log()
        assert f"no access token for {ME} from 127.0.0.1:" in log
        assert words in log
        assert "454 4.7.0 no access token: " in log
        assert "hunter-secret" not in log
        assert "refresh-0" not in log


@pytest_twisted.ensureDeferred
async def test_a_failure_holds_for_a_while(
    provider: Any, endpoint: TokenEndpoint, tmp_path: Path
) -> None:
    endpoint.failures += [(500, {})] * 10
    hop = provider(tokens=endpoint.tokens, mechanisms=["XOAUTH2"])
    async with relay(tmp_path, **to(hop, login=oauth2(endpoint))) as sender:
        await sender.send(SMALL)
        await until(lambda: sender.log().count("454 4.7.0") >= 3, reactor=reactor)
        assert len(endpoint.requests) == 1


@pytest_twisted.ensureDeferred
async def test_an_endpoint_that_is_not_there(provider: Any, tmp_path: Path) -> None:
    hop = provider(mechanisms=["XOAUTH2"])
    with TokenEndpoint() as gone:
        login = oauth2(gone)
    async with relay(tmp_path, **to(hop, login=login)) as sender:
        await sender.send(SMALL)
        await until(lambda: "refused the connection" in sender.log(), reactor=reactor)
        assert hop.sessions == set()


@pytest_twisted.ensureDeferred
async def test_an_application_that_logs_in_for_itself(
    provider: Any, endpoint: TokenEndpoint, tmp_path: Path
) -> None:
    hop = provider(tokens=endpoint.tokens, mechanisms=["XOAUTH2"])
    login = oauth2(endpoint)
    del login["oauth2"]["refresh_token"]
    async with relay(tmp_path, **to(hop, login=login)) as sender:
        await sender.send(SMALL)
        await arrived(hop.taken)
        assert endpoint.requests[0]["grant_type"] == "client_credentials"


@pytest_twisted.ensureDeferred
async def test_a_new_refresh_token_survives_a_restart(provider: Any, tmp_path: Path) -> None:
    with TokenEndpoint(rotates=True) as endpoint:
        hop = provider(tokens=endpoint.tokens, mechanisms=["XOAUTH2"])
        for count in range(1, 4):
            async with relay(tmp_path, **to(hop, login=oauth2(endpoint))) as sender:
                await sender.send(SMALL)
                await arrived(hop.taken, count)
        used = [request["refresh_token"] for request in endpoint.requests]
        assert used == ["refresh-0", "refresh-1", "refresh-2"]
        (file,) = (tmp_path / "oauth2").iterdir()
        assert file.stat().st_mode & 0o777 == 0o600
        assert file.parent.stat().st_mode & 0o777 == 0o700
        assert json.loads(file.read_text())["refresh_token"] == "refresh-3"
        # Another one in the config is meant to be used.
        endpoint.refresh_token = "from-the-admin"
        login = oauth2(endpoint, refresh_token="from-the-admin")
        async with relay(tmp_path, **to(hop, login=login)) as sender:
            await sender.send(SMALL)
            await arrived(hop.taken, 4)
        assert endpoint.requests[-1]["refresh_token"] == "from-the-admin"


@pytest_twisted.ensureDeferred
async def test_two_routes_share_a_login(provider: Any, tmp_path: Path) -> None:
    with TokenEndpoint(rotates=True) as endpoint:
        hop = provider(tokens=endpoint.tokens, mechanisms=["XOAUTH2"])
        login = oauth2(endpoint)
        routes = (
            {"match": {"recipient": "*@one.example"}, "deliver": to(hop, login=login, uses=1)},
            {"deliver": to(hop, login=login, uses=2)},
        )
        service = await serve(plugin, state=tmp_path, routes=routes)
        sender = Relay(service, [])
        await sender.send(SMALL, to="r@one.example")
        await sender.send(SMALL, to="r@two.example")
        await arrived(hop.taken, 2)
        await service.stop()
        assert len(endpoint.requests) == 1


@pytest_twisted.ensureDeferred
async def test_a_refresh_token_that_can_not_be_kept(
    provider: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mail goes out, and the log tells what will be missing after a restart."""

    def full(self: TokenFile, token: Secret) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(TokenFile, "save", full)
    with TokenEndpoint(rotates=True, life=0.01) as endpoint:
        hop = provider(tokens=endpoint.tokens, mechanisms=["XOAUTH2"])
        async with relay(tmp_path, **to(hop, login=oauth2(endpoint), uses=1)) as sender:
            for count in (1, 2, 3):
                await sender.send(SMALL)
                await arrived(hop.taken, count)
            assert f"the new refresh token of {ME} cannot be kept in {tmp_path}" in sender.log()
            used = [request["refresh_token"] for request in endpoint.requests]
            assert used[:2] == ["refresh-0", "refresh-1"]
