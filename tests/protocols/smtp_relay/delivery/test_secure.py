"""DANE and MTA-STS: unbound that validates, servers with STARTTLS, and a server of policies."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
import trustme
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pytest_twisted import blockon, ensureDeferred
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.logger import Logger

from netserve.crossing import from_asyncio
from netserve.http import HttpClients
from netserve.mail.envelope import Outcome
from netserve.mail.mta_sts import MAX_SIZE, Policy
from netserve.mail.queued import QueuedRecipient
from netserve.protocols.smtp_relay.delivery.courier import RouteCourier
from netserve.protocols.smtp_relay.delivery.dns.options import Dns
from netserve.protocols.smtp_relay.delivery.outside import Outside
from netserve.protocols.smtp_relay.delivery.tls import policies
from netserve.protocols.smtp_relay.delivery.tls.policy_file import Kept, load, save
from netserve.protocols.smtp_relay.routes import Route
from netserve.testing.dns import Zone, unbound
from netserve.testing.next_hop import Box, next_hop, queued
from netserve.testing.process import free_port

reactor: Any = _reactor
PORT = free_port()
AUTHORITY = trustme.CA()
STRANGER = trustme.CA()


def certificate_of(pem: trustme.Blob) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem.bytes())


def tlsa(certificate: x509.Certificate, usage: int, selector: int, matching: int) -> str:
    data = certificate.public_bytes(Encoding.DER)
    if selector:
        key = certificate.public_key()
        data = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if matching:
        data = (hashlib.sha256 if matching == 1 else hashlib.sha512)(data).digest()
    return f"TLSA {usage} {selector} {matching} {data.hex()}"


LEAF = AUTHORITY.issue_cert("mx.named.example", "alt.example", "mx.enforce.example", "localhost")
OWN = certificate_of(LEAF.cert_chain_pems[0])
CA = certificate_of(AUTHORITY.cert_pem)
OTHER = certificate_of(STRANGER.cert_pem)


def dane(name: str, *records: str, more: str = "", **options: Any) -> Zone:
    lines = [f"_{PORT}._tcp.mx {record}" for record in records]
    text = "\n".join(["@ MX 1 mx", "mx A 127.0.3.1", *lines, more])
    return Zone(f"{name}.example", text, **{"signed": True, **options})


def sts(name: str, more: str = "", mx: str = "mx A 127.0.3.1") -> Zone:
    policy = f'_mta-sts TXT "v=STSv1; id={name};"\nmta-sts A 127.0.0.1'
    return Zone(f"{name}.example", f"@ MX 1 mx\n{mx}\n{policy}\n{more}", ttl=1)


ZONES = [
    dane("own", tlsa(OWN, 3, 1, 1)),
    dane("own0", tlsa(OWN, 3, 0, 2)),
    dane("wrong", tlsa(OTHER, 3, 1, 1)),
    dane("named", tlsa(CA, 2, 0, 1)),
    dane("unnamed", tlsa(CA, 2, 1, 0)),
    dane("unusable", "TLSA 1 1 1 " + "00" * 32),
    dane("without"),
    dane("unsigned", tlsa(OTHER, 3, 1, 1), signed=False),
    dane("broken", more=f"_{PORT}._tcp.mx CNAME x.bogus.example."),
    Zone("bogus.example", "x A 127.0.0.1", bogus=True),
    Zone(
        "moved.example",
        f"@ MX 1 here\n@ MX 2 there\nhere CNAME mx.own.example.\nthere CNAME mx.unsigned.example.\n"
        f"_{PORT}._tcp.there {tlsa(OTHER, 3, 1, 1)}",
        signed=True,
    ),
    Zone("borrowed.example", "@ MX 1 mx.wrong.example."),
    Zone("lent.example", "@ MX 1 mx.unsigned.example.", signed=True),
    Zone(
        "localhost",
        f"@ A 127.0.0.1\n_{PORT}._tcp {tlsa(OWN, 3, 1, 1)}\n"
        '_mta-sts TXT "v=STSv1; id=localhost;"\nmta-sts A 127.0.0.1',
        signed=True,
    ),
    sts("enforce"),
    sts("stranger"),
    sts("testing"),
    sts("off"),
    sts("missing"),
    sts("web"),
    sts("redirected"),
    sts("big"),
    sts("nothing", mx="mx A 127.0.3.1"),
    sts("unlisted"),
    Zone(
        "both.example",
        f"@ MX 1 mx\nmx A 127.0.3.1\n_{PORT}._tcp.mx {tlsa(OWN, 3, 1, 1)}\n"
        '_mta-sts TXT "v=STSv1; id=both;"\nmta-sts A 127.0.0.1',
        signed=True,
    ),
    Zone(
        "weak.example",
        f"@ MX 1 mx\nmx A 127.0.3.1\n_{PORT}._tcp.mx TLSA 0 0 1 {'00' * 32}\n"
        '_mta-sts TXT "v=STSv1; id=weak;"\nmta-sts A 127.0.0.1',
        signed=True,
    ),
]  # fmt: skip

POLICIES = {
    "enforce": "mode: enforce\nmx: mx.enforce.example\n",
    "stranger": "mode: enforce\nmx: *.stranger.example\n",
    "testing": "mode: testing\nmx: elsewhere.example\n",
    "off": "mode: none\n",
    "unlisted": "mode: enforce\nmx: elsewhere.example\n",
    "both": "mode: enforce\nmx: elsewhere.example\n",
    "weak": "mode: enforce\nmx: elsewhere.example\n",
    "localhost": "mode: enforce\nmx: localhost\n",
    "big": "mode: none\n" + "x: y\n" * MAX_SIZE,
}


class PolicyServer:
    """Serves `POLICIES` over HTTPS, and counts."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.silent = False
        self.port = 0

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        name = request.host.partition(":")[0].removeprefix("mta-sts.").removesuffix(".example")
        self.asked.append(name)
        if self.silent or request.path != "/.well-known/mta-sts.txt" or name == "missing":
            return web.Response(status=404)
        if name == "redirected":
            return web.Response(status=301, headers={"Location": "https://mta-sts.off.example/"})
        if name == "web":
            return web.Response(text="<html>", content_type="text/html")
        return web.Response(text=f"version: STSv1\nmax_age: 1000\n{POLICIES[name]}")

    async def start(self) -> Any:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        names = [f"mta-sts.{zone.name}" for zone in ZONES]
        AUTHORITY.issue_cert(*names).configure_cert(context)
        server = web.Server(self.answer, access_log=None)
        listening = await asyncio.get_running_loop().create_server(
            server, "127.0.0.1", 0, ssl=context
        )
        self.port = listening.sockets[0].getsockname()[1]
        return listening


@pytest.fixture(scope="module")
def name_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with unbound(tmp_path_factory.mktemp("unbound"), ZONES) as server:
        yield server


@pytest.fixture
def policy_server() -> Iterator[PolicyServer]:
    server = PolicyServer()
    # Inside of the loop: outside of it there may be another.
    listening = blockon(deferLater(reactor, 0, lambda: from_asyncio(server.start())))
    yield server
    listening.close()


@pytest.fixture
def ca(tmp_path: Path) -> str:
    AUTHORITY.cert_pem.write_to_path(tmp_path / "ca.pem")
    return str(tmp_path / "ca.pem")


@pytest.fixture
def box() -> Box:
    return Box()


@pytest.fixture
def serve(box: Box, tmp_path: Path) -> Iterator[Callable[..., None]]:
    """Starts the next hop: with STARTTLS and a chain, or in clear."""
    with contextlib.ExitStack() as running:

        def start(
            *, tls: bool = True, leaf: trustme.LeafCert = LEAF, host: str = "127.0.3.1"
        ) -> None:
            options = {}
            if tls:
                chain = tmp_path / "chain.pem"
                pems = [leaf.private_key_pem, *leaf.cert_chain_pems, AUTHORITY.cert_pem]
                chain.write_bytes(b"".join(pem.bytes() for pem in pems))
                options["tls_context"] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                options["tls_context"].load_cert_chain(chain)
            running.enter_context(next_hop(box, host=host, port=PORT, **options))

        yield start


class Relay:
    """A courier with one route, and what it logged."""

    def __init__(
        self, name_servers: Any, way: dict[str, Any], policy_server: PolicyServer, **outside: Any
    ) -> None:
        self.logged: list[dict[str, Any]] = []
        log = Logger(observer=self.logged.append)
        self.http = HttpClients(reactor=reactor, log=log)
        self.courier = RouteCourier(
            [Route.model_validate({"deliver": way})],
            hostname="relay.example",
            reactor=reactor,
            log=log,
            http=self.http,
            wall=outside.pop("wall", time.time),
            outside=Outside(
                dns=Dns.model_validate({"servers": name_servers}),
                random=Random(0),
                policy_port=policy_server.port,
                **outside,
            ),
        )

    async def sent(self, domain: str, number: int = 1) -> Outcome:
        message, who = queued(number=number), QueuedRecipient(0, f"r@{domain}")
        destination = self.courier.destination(message, who)
        outcome: Outcome = (await self.courier.deliver(message, [who], destination))[0]
        return outcome

    async def close(self) -> None:
        await self.courier.close()
        await self.http.close()


@pytest.fixture
def relay(name_server: str, policy_server: PolicyServer) -> Iterator[Callable[..., Relay]]:
    relays: list[Relay] = []

    def make(tls: str, outside: dict[str, Any] | None = None, **way: Any) -> Relay:
        if "smarthost" not in way:
            way = {"mx": True, "port": PORT, **way}
        values = {"tls": tls, "allow_addresses": "127.0.0.0/8", **way}
        relays.append(Relay(name_server, values, policy_server, **(outside or {})))
        return relays[-1]

    yield make
    for each in relays:
        blockon(Deferred.fromCoroutine(each.close()))


def level(outcome: Outcome) -> str:
    """How it was delivered, or why not."""
    if outcome.verdict != "delivered":
        return f"{outcome.verdict} {outcome.reply}"
    return outcome.remote.partition(" ")[2] or "in clear"


# DANE.


@pytest.mark.parametrize(
    ("domain", "how"),
    [
        ("own", "(TLS: dane)"),
        ("own0", "(TLS: dane)"),
        ("named", "(TLS: dane)"),
        ("wrong", "deferred 451 4.7.5 TLS: the certificate is not one that TLSA names"),
        ("unnamed", "deferred 451 4.7.5 TLS: the certificate is not for mx.unnamed.example or"),
        ("unusable", "(TLS: encrypt)"),
        ("without", "(TLS: may)"),
        ("unsigned", "(TLS: may)"),
        ("borrowed", "(TLS: may)"),  # its MX is not signed, whatever its host has
        ("lent", "(TLS: may)"),  # the other way round
        ("broken", "deferred 451 4.4.3 DNS does not answer about _"),
        ("moved", "(TLS: dane)"),
    ],
)
@ensureDeferred
async def test_dane(relay: Any, serve: Any, box: Box, domain: str, how: str) -> None:
    serve()
    outcome = await relay("dane").sent(f"{domain}.example")
    assert level(outcome).startswith(how)
    assert len(box.envelopes) == (outcome.verdict == "delivered")


@pytest.mark.parametrize(
    ("domain", "how"),
    [
        ("own", "deferred 451 4.7.10 the server does not offer the TLS that is asked for"),
        ("unusable", "deferred 451 4.7.10 the server does not offer the TLS that is asked for"),
        ("without", "in clear"),
    ],
)
@ensureDeferred
async def test_dane_and_a_server_without_tls(relay: Any, serve: Any, domain: str, how: str) -> None:
    """Who takes STARTTLS away gets nothing."""
    serve(tls=False)
    assert level(await relay("dane").sent(f"{domain}.example")) == how


@pytest.mark.parametrize(
    ("tls", "how"),
    [
        ("dane", "(TLS: dane)"),
        ("mta-sts", "(TLS: mta-sts)"),
        ("dane+mta-sts", "(TLS: dane)"),
        ("may", "(TLS: may)"),
        ("verify", "(TLS: verify)"),
        ("none", "in clear"),
    ],
)
@ensureDeferred
async def test_levels_of_a_smarthost(relay: Any, serve: Any, ca: str, tls: str, how: str) -> None:
    """Its name is from the file: what counts is TLSA at its port, and its own policy."""
    serve(host="127.0.0.1")
    options = {"ca": ca} if "sts" in tls or tls == "verify" else {}
    sender = relay(tls, smarthost=f"localhost:{PORT}", **options)
    assert level(await sender.sent("whatever.example")) == how


@ensureDeferred
async def test_an_address_has_neither_tlsa_nor_policy(relay: Any, serve: Any, ca: str) -> None:
    serve()
    sender = relay("dane+mta-sts", ca=ca, smarthost=f"127.0.3.1:{PORT}")
    assert level(await sender.sent("whatever.example")) == "(TLS: may)"
    by_mx = relay("dane+mta-sts", ca=ca)
    assert level(await by_mx.sent("[127.0.3.1]")) == "(TLS: may)"


@ensureDeferred
async def test_far_name_servers_are_told_of_once(
    name_server: str, policy_server: PolicyServer, serve: Any
) -> None:
    """DANE is worth as much as the way to them."""
    serve()
    way = {"mx": True, "port": PORT, "tls": "dane", "allow_addresses": "127.0.0.0/8"}
    for servers, far in (([name_server], []), ([name_server, "192.0.2.53"], ["192.0.2.53:53"])):
        sender = Relay(servers, way, policy_server)
        for domain in ("own.example", "own0.example"):
            assert level(await sender.sent(domain)) == "(TLS: dane)"
        told = [each for each in sender.logged if "trusts name servers" in each["log_format"]]
        assert [each["servers"] for each in told] == far
        await Deferred.fromCoroutine(sender.close())


# MTA-STS.


@pytest.mark.parametrize(
    ("domain", "how"),
    [
        ("enforce", "(TLS: mta-sts)"),
        ("stranger", "deferred 451 4.7.5 TLS: the certificate is for another name"),
        ("unlisted", "deferred 451 4.7.5 the MTA-STS policy of unlisted.example does not name"),
        ("testing", "(TLS: may)"),
        ("off", "(TLS: may)"),
        ("missing", "(TLS: may)"),
        ("web", "(TLS: may)"),
        ("redirected", "(TLS: may)"),
        ("big", "(TLS: may)"),
        ("without", "(TLS: may)"),
    ],
)
@ensureDeferred
async def test_mta_sts(
    relay: Any, serve: Any, box: Box, ca: str, policy_server: PolicyServer, domain: str, how: str
) -> None:
    serve()
    outcome = await relay("mta-sts", ca=ca).sent(f"{domain}.example")
    assert level(outcome).startswith(how)
    assert len(box.envelopes) == (outcome.verdict == "delivered")
    assert policy_server.asked == ([] if domain == "without" else [domain])


@ensureDeferred
async def test_a_certificate_that_nobody_trusts(relay: Any, serve: Any, ca: str) -> None:
    serve(leaf=STRANGER.issue_cert("mx.enforce.example"))
    says = level(await relay("mta-sts", ca=ca).sent("enforce.example"))
    assert says.startswith("deferred 451 4.7.5 TLS: certificate verify failed")


@ensureDeferred
async def test_a_policy_server_that_nobody_trusts(relay: Any, serve: Any) -> None:
    """Without `ca` its certificate is unknown: no policy."""
    serve()
    sender = relay("mta-sts")
    assert level(await sender.sent("enforce.example")) == "(TLS: may)"
    (reason,) = [each["reason"] for each in sender.logged if "no MTA-STS" in each["log_format"]]
    assert "TLS failed" in reason


@ensureDeferred
async def test_a_policy_server_on_a_private_address(
    relay: Any, ca: str, policy_server: PolicyServer
) -> None:
    """S11: the guard of the HTTP client holds for policies as well."""
    sender = relay("mta-sts", ca=ca, allow_addresses="127.0.3.0/24")
    await sender.sent("enforce.example")
    assert policy_server.asked == []
    (reason,) = [each["reason"] for each in sender.logged if "no MTA-STS" in each["log_format"]]
    assert "127.0.0.1 is loopback" in reason


@pytest.mark.parametrize(
    ("domain", "how"),
    [
        ("both", "(TLS: dane)"),  # whatever the policy says
        ("wrong", "deferred 451 4.7.5 TLS: the certificate is not one that TLSA names"),
        ("weak", "deferred 451 4.7.5 the MTA-STS policy of weak.example does not name"),
        ("unusable", "(TLS: encrypt)"),
        ("enforce", "(TLS: mta-sts)"),
        ("without", "(TLS: may)"),
    ],
)
@ensureDeferred
async def test_both_dane_first(relay: Any, serve: Any, ca: str, domain: str, how: str) -> None:
    serve()
    assert level(await relay("dane+mta-sts", ca=ca).sent(f"{domain}.example")).startswith(how)


# How policies are kept.


class Days:
    """Unix time by hand."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def days() -> Days:
    return Days()


@ensureDeferred
async def test_a_policy_is_fetched_once_and_renewed(
    relay: Any, serve: Any, ca: str, policy_server: PolicyServer, days: Days
) -> None:
    serve()
    sender = relay("mta-sts", {"wall": days}, ca=ca, uses=1)
    for number in range(3):
        assert level(await sender.sent("enforce.example", number)) == "(TLS: mta-sts)"
    assert len(policy_server.asked) == 1
    days.now += 600  # of 1000: more than half
    await sender.sent("enforce.example")
    assert len(policy_server.asked) == 2


@ensureDeferred
async def test_a_policy_counts_though_its_server_is_gone(
    relay: Any, serve: Any, ca: str, policy_server: PolicyServer, days: Days
) -> None:
    """Until its time is over; and the server is not asked by every message."""
    serve()
    sender = relay("mta-sts", {"wall": days}, ca=ca, uses=1)
    await sender.sent("enforce.example")
    policy_server.silent = True
    days.now += 999
    for number in range(3):
        assert level(await sender.sent("enforce.example", number)) == "(TLS: mta-sts)"
    assert len(policy_server.asked) == 2
    days.now += 1
    assert level(await sender.sent("enforce.example")) == "(TLS: may)"


@ensureDeferred
async def test_all_who_wait_for_a_policy_wait_for_one(
    relay: Any, serve: Any, ca: str, policy_server: PolicyServer
) -> None:
    serve()
    sender = relay("mta-sts", ca=ca)
    sending = [Deferred.fromCoroutine(sender.sent("enforce.example", at)) for at in range(5)]
    assert {level(each) for each in await gatherResults(sending)} == {"(TLS: mta-sts)"}
    assert len(policy_server.asked) == 1


@ensureDeferred
async def test_policies_outlive_a_restart(
    relay: Any, serve: Any, ca: str, policy_server: PolicyServer, tmp_path: Path
) -> None:
    serve()
    outside = {"policies": tmp_path / "mta-sts"}
    first = relay("mta-sts", outside, ca=ca)
    await first.sent("enforce.example")
    await first.courier.close()
    (file,) = (tmp_path / "mta-sts").iterdir()
    assert list(json.loads(file.read_text())) == ["enforce.example"]
    assert file.stat().st_mode & 0o077 == 0
    policy_server.silent = True
    second = relay("mta-sts", outside, ca=ca)
    assert level(await second.sent("enforce.example")) == "(TLS: mta-sts)"
    await second.courier.close()
    file.write_text("{broken")
    third = relay("mta-sts", outside, ca=ca)
    assert level(await third.sent("enforce.example")) == "(TLS: may)"
    assert any("are not used" in each["log_format"] for each in third.logged)


@ensureDeferred
async def test_no_more_policies_than_allowed_are_kept(
    relay: Any, serve: Any, ca: str, policy_server: PolicyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S8."""
    monkeypatch.setattr(policies, "MOST", 2)
    serve()
    sender = relay("mta-sts", ca=ca)
    for domain in ("enforce", "testing", "off", "enforce"):
        await sender.sent(f"{domain}.example")
    assert policy_server.asked == ["enforce", "testing", "off"]  # its connection was kept
    (keeper,) = sender.courier._facilities._policies.values()
    assert list(keeper._kept) == ["testing.example", "off.example"]


KEPT = {
    "a.example": Kept(Policy("enforce", 1000, ("mx.a.example", "*.b.example")), "1", 500.0),
    "c.example": Kept(Policy("none", 1000, ()), "x", 500.0),
}


def test_the_file_of_policies(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file.json"
    assert load(path, 0.0) == {}
    save(path, KEPT)
    assert load(path, 600.0) == KEPT
    assert load(path, 1500.0) == {}
    assert [each.name for each in path.parent.iterdir()] == ["file.json"]


ENTRY = {"id": "1", "fetched": 1, "mode": "none", "max_age": 9, "mx": []}
DAMAGED = [
    "",
    "{",
    "[]",
    '{"a": 1}',
    '{"a": {}}',
    *(
        json.dumps({"a": {**ENTRY, **change}})
        for change in (
            {"mode": "x"},
            {"fetched": "x"},
            {"max_age": "9"},
            {"max_age": -1},
            {"mx": "x"},
            {"mx": ["a b"]},
        )
    ),
]


@pytest.mark.parametrize("text", DAMAGED)
def test_a_damaged_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "file").write_text(text)
    with pytest.raises(ValueError):  # noqa: PT011 - of any kind
        load(tmp_path / "file", 0.0)
