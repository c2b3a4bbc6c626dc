"""Delivery over real sockets: aiosmtpd, smtp-sink and servers that misbehave as next hops."""

from __future__ import annotations

import contextlib
import io
import os
import pwd
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
import trustme
from aiosmtpd.smtp import AuthResult
from twisted.internet import reactor as _reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IHostnameResolver
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.logger import Logger
from zope.interface import implementer

from netserve.http import HttpClients
from netserve.mail.envelope import Outcome
from netserve.mail.queued import QueuedMessage, QueuedRecipient
from netserve.outbox import NotTried
from netserve.protocols.smtp_relay.delivery.courier import RouteCourier
from netserve.protocols.smtp_relay.delivery.smtp.pool import ServerPool
from netserve.protocols.smtp_relay.routes import Route
from netserve.testing.next_hop import TEXT, Box, queued
from netserve.testing.next_hop import next_hop as run_next_hop
from netserve.testing.process import free_port

reactor: Any = _reactor


class Relay:
    """A courier with one route, and what it logged."""

    def __init__(self, **deliver: Any) -> None:
        self.logged: list[dict[str, Any]] = []
        route = Route.model_validate({"deliver": deliver})
        log = Logger(observer=self.logged.append)
        self.http = HttpClients(reactor=reactor, log=log)
        self.courier = RouteCourier(
            [route], hostname="me.example", reactor=reactor, log=log, http=self.http
        )

    def send(
        self, message: QueuedMessage | None = None, to: Sequence[str] = ("r@example.net",)
    ) -> Deferred[Any]:
        message = message or queued()
        recipients = [QueuedRecipient(at, address) for at, address in enumerate(to)]
        destination = self.courier.destination(message, recipients[0])
        return self.courier.deliver(message, recipients, destination)

    async def sent(self, *arguments: Any, **options: Any) -> list[Outcome]:
        outcomes = await self.send(*arguments, **options)
        return [outcomes[at] for at in sorted(outcomes)]

    @property
    def pool(self) -> ServerPool:
        (pool,) = self.courier._channels.values()
        return pool


@pytest.fixture
def relay() -> Iterator[Callable[..., Relay]]:
    relays: list[Relay] = []

    def make(**deliver: Any) -> Relay:
        relays.append(Relay(**deliver))
        return relays[-1]

    yield make
    for each in relays:
        pytest_twisted.blockon(Deferred.fromCoroutine(each.courier.close()))


def summary(outcome: Outcome) -> str:
    return f"{outcome.verdict} {outcome.reply}"


# aiosmtpd as the next hop.


def authenticate(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
    good = (data.login, data.password) == (b"me", b"geheim")
    return AuthResult(success=good, handled=False, auth_data=data.login)


@pytest.fixture
def next_hop() -> Iterator[Callable[..., tuple[Box, int]]]:
    with contextlib.ExitStack() as running:

        def start(**options: Any) -> tuple[Box, int]:
            box = Box()
            return box, running.enter_context(run_next_hop(box, **options))

        yield start


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca(authority: trustme.CA, tmp_path: Path) -> str:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


def server_tls(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


@pytest_twisted.ensureDeferred
async def test_a_message_arrives_as_it_was(relay: Any, next_hop: Any) -> None:
    box, port = next_hop()
    (outcome,) = await relay(smarthost=f"127.0.0.1:{port}").sent()
    assert summary(outcome) == "delivered 250 2.0.0 taken"
    assert outcome.remote == f"127.0.0.1[127.0.0.1]:{port}"
    (envelope,) = box.envelopes
    assert envelope.original_content == TEXT
    assert (envelope.mail_from, envelope.rcpt_tos) == ("s@example.org", ["r@example.net"])


@pytest_twisted.ensureDeferred
async def test_dots_around_every_chunk_boundary_arrive(relay: Any, next_hop: Any) -> None:
    """S5: large bodies, with line ends and dots at every offset around the 64 KiB of a chunk."""
    box, port = next_hop(data_size_limit=None)
    sender = relay(smarthost=f"127.0.0.1:{port}")
    texts = []
    for offset in range(-5, 3):
        filling = (b"y" * 68 + b"\r\n") * 1000
        start = filling[: 65536 + offset - 70]
        texts.append(start.rstrip(b"\r\n").ljust(65536 + offset, b"z") + b"\r\n.\r\n..\r\n.x\r\n")
    for text in texts:
        assert (await sender.sent(queued(text)))[0].verdict == "delivered"
    assert [each.original_content for each in box.envelopes] == texts
    assert len(box.peers) == 1


@pytest_twisted.ensureDeferred
async def test_recipients_have_outcomes_of_their_own(relay: Any, next_hop: Any) -> None:
    box, port = next_hop()
    outcomes = await relay(smarthost=f"127.0.0.1:{port}").sent(to=["a@x", "no@x", "b@x"])
    assert [each.verdict for each in outcomes] == ["delivered", "failed", "delivered"]
    assert box.envelopes[0].rcpt_tos == ["a@x", "b@x"]


@pytest_twisted.ensureDeferred
async def test_one_connection_is_kept_and_used_up(relay: Any, next_hop: Any) -> None:
    box, port = next_hop()
    sender = relay(smarthost=f"127.0.0.1:{port}", uses=3)
    for number in range(6):
        assert (await sender.sent(queued(number=number)))[0].verdict == "delivered"
    assert len(box.peers) == 2


@pytest_twisted.ensureDeferred
async def test_never_more_connections_than_allowed(relay: Any, next_hop: Any) -> None:
    """S8: what finds no connection waits for one."""
    box, port = next_hop()
    sender = relay(smarthost=f"127.0.0.1:{port}", connections=2)
    results = gatherResults([sender.send(queued(number=number)) for number in range(20)])
    assert sender.pool.connections == 2
    assert all(each[0].verdict == "delivered" for each in await results)
    assert len(box.peers) <= 2


@pytest_twisted.ensureDeferred
async def test_an_idle_connection_is_closed(relay: Any, next_hop: Any) -> None:
    _, port = next_hop()
    sender = relay(smarthost=f"127.0.0.1:{port}", idle="200ms")
    await sender.sent()
    assert sender.pool.connections == 1
    await until(lambda: sender.pool.connections == 0)


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        await deferLater(reactor, 0.01)


@pytest.mark.parametrize("excluded", [(), ("PLAIN",)])
@pytest_twisted.ensureDeferred
async def test_verified_tls_and_login(
    relay: Any, next_hop: Any, authority: trustme.CA, ca: str, excluded: Sequence[str]
) -> None:
    tls = server_tls(authority, "localhost")
    options = {
        "auth_required": True,
        "authenticator": authenticate,
        "auth_exclude_mechanism": excluded,
    }
    box, port = next_hop(tls_context=tls, require_starttls=True, **options)
    login = {"user": "me", "password": "geheim"}
    (outcome,) = await relay(smarthost=f"localhost:{port}", ca=ca, login=login).sent()
    assert summary(outcome) == "delivered 250 2.0.0 taken"
    assert (box.ciphered, box.users) == ([True], [b"me"])


@pytest_twisted.ensureDeferred
async def test_a_wrong_password_is_deferred(
    relay: Any, next_hop: Any, authority: trustme.CA, ca: str
) -> None:
    tls = server_tls(authority, "localhost")
    _, port = next_hop(tls_context=tls, auth_required=True, authenticator=authenticate)
    sender = relay(smarthost=f"localhost:{port}", ca=ca, login={"user": "me", "password": "falsch"})
    (outcome,) = await sender.sent()
    assert summary(outcome).startswith("deferred 451 4.3.0 the server refuses the login: 535")
    assert "falsch" not in repr(sender.logged)


@pytest.mark.parametrize(
    ("name", "trusted", "why"),
    [
        ("other.example", True, "another name"),
        ("localhost", False, "certificate verify failed"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_certificate_that_does_not_fit(
    relay: Any, next_hop: Any, authority: trustme.CA, ca: str, name: str, trusted: bool, why: str
) -> None:
    """S19: TLS to others checks the name; nothing of the message is sent."""
    box, port = next_hop(tls_context=server_tls(authority, name))
    options = {"ca": ca} if trusted else {}
    (outcome,) = await relay(smarthost=f"localhost:{port}", tls="verify", **options).sent()
    assert summary(outcome).startswith("deferred 451 4.7.5 TLS")
    assert why in outcome.reply.text
    assert box.envelopes == []


@pytest.mark.parametrize(("level", "ciphered"), [("none", False), ("may", True), ("encrypt", True)])
@pytest_twisted.ensureDeferred
async def test_levels_that_take_any_certificate(
    relay: Any, next_hop: Any, authority: trustme.CA, level: str, ciphered: bool
) -> None:
    box, port = next_hop(tls_context=server_tls(authority, "other.example"))
    (outcome,) = await relay(smarthost=f"localhost:{port}", tls=level).sent()
    assert outcome.verdict == "delivered"
    assert box.ciphered == [ciphered]


@pytest.mark.parametrize(("level", "kind"), [("may", "delivered"), ("encrypt", "deferred")])
@pytest_twisted.ensureDeferred
async def test_a_server_without_starttls(relay: Any, next_hop: Any, level: str, kind: str) -> None:
    _, port = next_hop()
    (outcome,) = await relay(smarthost=f"127.0.0.1:{port}", tls=level).sent()
    assert outcome.verdict == kind


# Servers that misbehave.


class Scripted(Protocol):
    """Says a line for each line that comes, and then what the script's last entry says."""

    factory: Any

    def connectionMade(self) -> None:
        self.left = list(self.factory.then if self.factory.made else self.factory.script)
        self.factory.made.append(self)
        self.answer()

    def dataReceived(self, data: bytes) -> None:
        if data == b"QUIT\r\n":
            self.transport.loseConnection()
        for _ in range(data.count(b"\n")):
            self.answer()

    def answer(self) -> None:
        said = self.left.pop(0) if self.left else b""
        if said is None:
            self.transport.loseConnection()
        else:
            self.transport.write(said)


@pytest.fixture
def scripted() -> Iterator[Callable[..., Any]]:
    ports: list[Any] = []

    def start(*script: bytes | None, then: Sequence[bytes | None] | None = None) -> Any:
        factory: Any = Factory.forProtocol(Scripted)
        factory.made, factory.script = [], script
        factory.then = script if then is None else then  # for the second connection and later
        ports.append(reactor.listenTCP(0, factory, interface="127.0.0.1"))
        factory.address = f"127.0.0.1:{ports[-1].getHost().port}"
        return factory

    yield start
    for port in ports:
        pytest_twisted.blockon(port.stopListening())


HELLO = (b"220 mx\r\n", b"250 mx\r\n")
SHORT = dict.fromkeys(("greeting", "mail", "recipient", "data", "block", "end"), "200ms")


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ([], "no answer within 0.2 s (in state banner)"),
        ([b"220 mx\r\n"], "(in state ehlo)"),
        ([*HELLO], "(in state mail)"),
        ([*HELLO, b"250 ok\r\n"], "(in state rcpt)"),
        ([*HELLO, b"250 ok\r\n", b"250 ok\r\n"], "(in state data)"),
        ([*HELLO, b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"], "(in state final)"),
        ([None], "the server closed the connection"),
        ([*HELLO, None], "the server closed the connection"),
        ([*HELLO, b"250 ok\r\n", None], "the server closed the connection"),
        ([*HELLO, b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n", None], "it may have arrived"),
        ([*HELLO, b"421 4.3.2 going down\r\n"], "421 4.3.2 going down"),
        ([b"\x16\x03\x01garbage\r\n"], "not in the form of SMTP"),
        ([b"554 5.7.1 not you\r\n"], "does not greet us: 554 5.7.1 not you"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_server_that_misbehaves(
    relay: Any, scripted: Any, script: Sequence[bytes | None], why: str
) -> None:
    """S10: each phase has a timeout, as a client too."""
    sender = relay(smarthost=scripted(*script).address, tls="none", timeouts=SHORT)
    (outcome,) = await sender.sent()
    assert outcome.verdict == "deferred"
    assert why in str(outcome.reply)
    await until(lambda: sender.pool.connections == 0)


@pytest_twisted.ensureDeferred
async def test_bytes_that_are_no_reply_do_not_win_time(relay: Any, scripted: Any) -> None:
    server = scripted(*HELLO)
    sending = relay(smarthost=server.address, tls="none", timeouts=SHORT).send()
    await until(lambda: bool(server.made))
    begin = time.monotonic()
    while not sending.called and time.monotonic() < begin + 3:
        if server.made[0].transport is not None and not server.made[0].left:
            server.made[0].transport.write(b"250-x" if time.monotonic() < begin + 0.1 else b"x")
        await deferLater(reactor, 0.02)
    assert sending.called
    assert (await sending)[0].verdict == "deferred"


@pytest_twisted.ensureDeferred
async def test_nobody_there(relay: Any) -> None:
    sender = relay(smarthost=f"127.0.0.1:{free_port()}")
    (outcome,) = await sender.sent()
    assert summary(outcome) == "deferred 451 4.4.1 the connection was refused"
    await sender.sent()
    assert len(sender.logged) == 1  # not a line for each message that waits


@pytest_twisted.ensureDeferred
async def test_a_name_that_is_not_there(relay: Any) -> None:
    (outcome,) = await relay(smarthost="nowhere.invalid:25").sent()
    assert outcome.verdict == "deferred"
    assert outcome.reply.status == "4.4.3"


@pytest_twisted.ensureDeferred
async def test_a_host_that_does_not_answer_at_all(relay: Any) -> None:
    with closing(socket.socket()) as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = []
        for _ in range(4):  # the backlog is full, and the kernel drops further attempts
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(full.getsockname())
            waiting.append(client)
        sender = relay(
            smarthost=f"127.0.0.1:{full.getsockname()[1]}",
            timeouts={"connect": "300ms", "greeting": "300ms"},
        )
        (outcome,) = await sender.sent()
        for client in waiting:
            client.close()
    assert outcome.verdict == "deferred"
    assert outcome.reply.status in {"4.4.1", "4.4.2"}


@implementer(IHostnameResolver)
class TwoAddresses:
    """Every name has these, and they come at once."""

    def resolveHostName(self, receiver: Any, name: str, port: int = 0, *_: Any, **__: Any) -> Any:
        receiver.resolutionBegan(self)
        for last in (1, 2):
            receiver.addressResolved(IPv4Address("TCP", f"127.0.0.{last}", port))
        receiver.resolutionComplete()
        return self


@pytest_twisted.ensureDeferred
async def test_the_next_smarthost_takes_over_from_addresses_that_do_not_answer(
    relay: Any, next_hop: Any
) -> None:
    box, port = next_hop()
    with closing(socket.socket()) as full:
        full.bind(("", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(8)]
        for at, client in enumerate(waiting):
            client.setblocking(False)
            client.connect_ex((f"127.0.0.{1 + at % 2}", full.getsockname()[1]))
        before = reactor.installNameResolver(TwoAddresses())
        sender = relay(
            smarthost=[f"dead.example:{full.getsockname()[1]}", f"127.0.0.1:{port}"],
            timeouts={"connect": "400ms"},
        )
        (outcome,) = await sender.sent()
        reactor.installNameResolver(before)
        for client in waiting:
            client.close()
    assert outcome.verdict == "delivered", outcome
    assert len(box.envelopes) == 1


@pytest_twisted.ensureDeferred
async def test_the_next_smarthost_takes_over(relay: Any, next_hop: Any, scripted: Any) -> None:
    """A dead first one, one that refuses us, then one that works; the dead are remembered."""
    box, port = next_hop()
    dead, rude = free_port(), scripted(b"554 no\r\n")
    sender = relay(smarthost=[f"127.0.0.1:{dead}", rude.address, f"127.0.0.1:{port}"], uses=1)
    for number in range(3):
        assert (await sender.sent(queued(number=number)))[0].verdict == "delivered"
    assert len(box.envelopes) == 3
    assert len(rude.made) == 1


@pytest_twisted.ensureDeferred
async def test_level_may_goes_on_in_clear_where_tls_fails(relay: Any, scripted: Any) -> None:
    offer = b"250-mx\r\n250 STARTTLS\r\n"
    in_clear = [*HELLO, b"250 1\r\n", b"250 2\r\n", b"354 go\r\n", *([b""] * 5), b"250 in\r\n"]
    server = scripted(b"220 mx\r\n", offer, b"220 go\r\n", b"no TLS\r\n", then=in_clear)
    sender = relay(smarthost=server.address, timeouts=SHORT)
    (outcome,) = await sender.sent()
    assert outcome.verdict == "delivered", outcome
    assert any("in clear" in each["log_format"] for each in sender.logged)


@pytest_twisted.ensureDeferred
async def test_closing_in_a_handshake_does_not_go_on_in_clear(relay: Any, scripted: Any) -> None:
    server = scripted(b"220 mx\r\n", b"250-mx\r\n250 STARTTLS\r\n", b"220 go\r\n")
    sender = relay(smarthost=server.address)
    sending = sender.send()
    await until(lambda: bool(server.made) and not server.made[0].left)
    await Deferred.fromCoroutine(sender.courier.close())
    assert len(server.made) == 1
    assert not [each for each in sender.logged if "in clear" in each["log_format"]]
    with pytest.raises(NotTried):
        await sending


@pytest.mark.parametrize("goodbye", [None, b"421 4.4.2 idle too long\r\n"])
@pytest_twisted.ensureDeferred
async def test_a_kept_connection_that_has_gone_is_replaced(
    relay: Any, scripted: Any, goodbye: bytes | None
) -> None:
    lines = [b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n", b"", b"250 in\r\n"]
    server = scripted(*HELLO, *lines, goodbye)
    sender = relay(smarthost=server.address, tls="none", timeouts=SHORT)
    for number in range(3):
        (outcome,) = await sender.sent(queued(b"a\r\n", number=number))
        assert outcome.verdict == "delivered", outcome
        await deferLater(reactor, 0)
    assert len(server.made) == 3


@pytest.mark.parametrize("tail", [b"2", b"250 more\r\n"])
@pytest_twisted.ensureDeferred
async def test_a_server_that_says_too_much_gets_no_second_message(
    relay: Any, scripted: Any, tail: bytes
) -> None:
    lines = [b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n", b"", b"250 in\r\n" + tail]
    server = scripted(*HELLO, *lines)
    sender = relay(smarthost=server.address, tls="none", timeouts=SHORT, connections=1)
    sending = [sender.send(queued(b"a\r\n", number=number)) for number in range(3)]
    assert [(await each)[0].verdict for each in sending] == ["delivered"] * 3
    assert len(server.made) == 3


@pytest_twisted.ensureDeferred
async def test_a_kept_connection_on_which_the_server_begins_to_speak_is_given_up(
    relay: Any, scripted: Any
) -> None:
    lines = [b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n", b"", b"250 in\r\n"]
    server = scripted(*HELLO, *lines)
    sender = relay(smarthost=server.address, tls="none", connections=1)
    assert (await sender.sent(queued(b"a\r\n")))[0].verdict == "delivered"
    server.made[0].transport.write(b"42")
    await until(lambda: not sender.pool._ready[0].usable)
    assert (await sender.sent(queued(b"a\r\n")))[0].verdict == "delivered"
    assert len(server.made) == 2


# Our own side.


class Broken(io.BytesIO):
    def read(self, size: int | None = -1, /) -> bytes:
        raise OSError(5, "Input/output error")


def no_body() -> Any:
    raise FileNotFoundError("gone")


@pytest.mark.parametrize("size", [10, 100_000])
@pytest.mark.parametrize("opens", [Broken, no_body])
@pytest_twisted.ensureDeferred
async def test_a_body_that_can_not_be_read(
    relay: Any, next_hop: Any, opens: Callable[[], Any], size: int
) -> None:
    """The error comes through, the next hop gets nothing, and other mail goes on."""
    box, port = next_hop()
    sender = relay(smarthost=f"127.0.0.1:{port}")
    with pytest.raises(OSError, match=r"Input/output error|gone"):
        await sender.sent(queued(opens=opens, size=size))
    assert (await sender.sent())[0].verdict == "delivered"
    assert len(box.envelopes) == 1


@pytest_twisted.ensureDeferred
async def test_closing_defers_what_is_under_way(relay: Any, scripted: Any) -> None:
    server = scripted(*HELLO)
    sender = relay(smarthost=server.address, tls="none", connections=1)
    first, *others = [sender.send(queued(number=number)) for number in range(3)]
    await until(lambda: bool(server.made) and not server.made[0].left)
    await Deferred.fromCoroutine(sender.courier.close())
    (outcome,) = (await first).values()
    assert (outcome.verdict, outcome.reply.status) == ("deferred", "4.3.2")
    for each in others:
        with pytest.raises(NotTried):
            await each
    assert summary((await sender.sent())[0]) == "deferred 451 4.4.4 no route for this recipient"


@pytest_twisted.ensureDeferred
async def test_with_new_routes_only_what_is_under_way_goes_the_old_way(
    relay: Any, scripted: Any
) -> None:
    server = scripted(*HELLO)
    sender = relay(smarthost=server.address, tls="none", connections=1)
    message, who = queued(), QueuedRecipient(0, "r@example.net")
    old, pool = sender.courier.destination(message, who), sender.pool
    first, waiting = sender.send(), sender.send()
    await until(lambda: bool(server.made) and not server.made[0].left)
    sender.courier.use([Route.model_validate({"deliver": {"discard": True}})])
    for each in (waiting, sender.courier.deliver(message, [who], old)):
        with pytest.raises(NotTried):
            await each
    for reply in (b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n", b"250 in\r\n"):
        server.made[0].transport.write(reply)
        await deferLater(reactor, 0.02)
    assert (await first)[0].verdict == "delivered"
    await until(lambda: pool.connections == 0)


def test_routes_that_cannot_work_leave_nothing_open(relay: Any, tmp_path: Path) -> None:
    sender = relay(discard=True)
    before = dict(sender.courier._channels)
    ways = [
        {"http": {"url": "http://127.0.0.1:1/"}},
        {"smarthost": "127.0.0.1:1", "tls": "verify", "ca": str(tmp_path / "none.pem")},
    ]
    with pytest.raises(ValueError, match=r"none\.pem"):
        sender.courier.use([Route.model_validate({"deliver": way}) for way in ways])
    assert all(client.is_closed for client in sender.http._clients)
    assert sender.courier._channels == before


@pytest_twisted.ensureDeferred
async def test_routes_change_under_way(relay: Any, next_hop: Any) -> None:
    box, port = next_hop()
    sender = relay(refuse="not yet")
    assert summary((await sender.sent())[0]) == "failed 550 5.7.1 not yet"
    sender.courier.use([])
    assert summary((await sender.sent())[0]) == "deferred 451 4.4.4 no route for this recipient"
    way = {"smarthost": f"127.0.0.1:{port}"}
    sender.courier.use([Route.model_validate({"deliver": way})])
    assert (await sender.sent())[0].verdict == "delivered"
    pool = sender.pool
    sender.courier.use([Route.model_validate({"deliver": {"discard": True}})])
    assert summary((await sender.sent())[0]) == "delivered 250 2.0.0 discarded"
    await until(lambda: pool.connections == 0)
    assert len(box.envelopes) == 1


def test_a_missing_ca_file_is_told_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cannot read .*none\.pem: no such file"):
        Relay(smarthost="a:25", tls="verify", ca=str(tmp_path / "none.pem"))
    (tmp_path / "bad.pem").write_text("hello")
    with pytest.raises(ValueError, match="no certificate in"):
        Relay(smarthost="a:25", tls="verify", ca=str(tmp_path / "bad.pem"))


# Maildirs.


@pytest_twisted.ensureDeferred
async def test_into_maildirs(relay: Any, tmp_path: Path) -> None:
    sender = relay(maildir=f"{tmp_path}/{{domain}}/{{local}}")
    outcomes = await sender.sent(to=["a@x", "../b@x", "B@x"])
    assert [each.verdict for each in outcomes] == ["delivered", "failed", "delivered"]
    assert outcomes[0].report == "delivered"
    (file,) = (tmp_path / "x" / "b" / "new").iterdir()
    head = b"Return-Path: <s@example.org>\nDelivered-To: B@x\n"
    assert file.read_bytes() == head + TEXT.replace(b"\r\n", b"\n")


@pytest_twisted.ensureDeferred
async def test_a_maildir_that_can_not_be_written(relay: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    sender = relay(maildir=f"{tmp_path}/file/box")
    (outcome,) = await sender.sent()
    assert outcome.verdict == "deferred"
    assert outcome.reply.text == "cannot write into the Maildir: Not a directory"
    assert str(tmp_path) in str(sender.logged[0]["folder"])


# smtp-sink, with its injected faults.


@pytest.fixture
def sink() -> Iterator[Callable[..., int]]:
    program = shutil.which("smtp-sink", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        if os.environ.get("CI") == "true":
            pytest.fail("smtp-sink (Debian's package postfix) is needed")
        pytest.skip("smtp-sink is not installed (Debian's package postfix)")
    running: list[subprocess.Popen[bytes]] = []

    def start(*options: str) -> int:
        port = free_port()
        user = ["-u", pwd.getpwnam("nobody").pw_name] if os.geteuid() == 0 else []
        command = [program, *user, *options, f"127.0.0.1:{port}", "100"]
        running.append(subprocess.Popen(command))
        end = time.monotonic() + 5
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
            except OSError:
                assert time.monotonic() < end, "smtp-sink does not start"
                time.sleep(0.02)
            else:
                return port

    yield start
    for process in running:
        process.terminate()
        process.wait(5)


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ((), "delivered"),
        (("-p",), "delivered"),  # no PIPELINING
        (("-e",), "delivered"),  # no ESMTP
        (("-r", "mail"), "deferred"),
        (("-r", "rcpt"), "deferred"),
        (("-r", "data"), "deferred"),
        (("-r", "."), "deferred"),
        (("-r", "ehlo"), "deferred"),
        (("-f", "mail"), "failed"),
        (("-f", "rcpt"), "failed"),
        (("-f", "data"), "failed"),
        (("-f", "."), "failed"),
        (("-f", "connect"), "deferred"),
        (("-q", "mail"), "deferred"),
        (("-q", "rcpt"), "deferred"),
        (("-q", "data"), "deferred"),
        (("-q", "."), "deferred"),
        (("-Q", "mail"), "deferred"),
        (("-Q", "rcpt"), "deferred"),
        (("-Q", "data"), "deferred"),
        (("-W", ".:2"), "deferred"),  # slower than the timeout below
    ],
)
@pytest_twisted.ensureDeferred
async def test_the_faults_of_smtp_sink(
    relay: Any, sink: Any, options: Sequence[str], kind: str
) -> None:
    sender = relay(smarthost=f"127.0.0.1:{sink(*options)}", timeouts={"end": "500ms"})
    for number in range(2):
        outcomes = await sender.sent(queued(number=number), to=["a@x", "b@x"])
        assert [each.verdict for each in outcomes] == [kind, kind], outcomes
    (large,) = await sender.sent(queued(b"line\r\n" * 50_000))
    assert large.verdict == kind
