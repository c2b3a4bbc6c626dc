"""The relay over real sockets: clients of other people's making, and some that misbehave."""

from __future__ import annotations

import random
import smtplib
import socket
import ssl
import subprocess
from base64 import b64encode
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_twisted
import trustme
from argon2 import PasswordHasher
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.internet import reactor as _reactor
from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.protocol import connectionDone
from twisted.internet.task import Clock
from twisted.logger import Logger, formatEvent
from zope.interface import implementer

from netserve.config.types import parse_rate
from netserve.connection import Tracker
from netserve.fairness.turns import Share
from netserve.mail.server.states import State
from netserve.outbox import Incoming, Outbox, OutOfSpace, StorageFailed
from netserve.plugin import Metrics
from netserve.protocols.smtp_relay import plugin
from netserve.protocols.smtp_relay.receiving.login_memory import Patience
from netserve.protocols.smtp_relay.receiving.logins import Logins
from netserve.protocols.smtp_relay.receiving.rates import Places, RateLimits
from netserve.protocols.smtp_relay.receiving.reception import Reception
from netserve.protocols.smtp_relay.receiving.relaying import LOOPBACK
from netserve.protocols.smtp_relay.receiving.session import SmtpSession
from netserve.protocols.smtp_relay.receiving.taking import Shared
from netserve.testing.hosting import serve
from netserve.testing.machines import chunkings
from netserve.testing.mail import TEXT, Raw, in_thread, mails, relay, send
from netserve.testing.programs import require_program
from netserve.testing.queue import until
from netserve.testing.turns import ManualTurns, endless_turn

reactor: Any = _reactor


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls(authority: trustme.CA, tmp_path: Path) -> dict[str, str]:
    certificate = authority.issue_cert("mx.test", "127.0.0.1")
    chain, key = tmp_path / "mx.pem", tmp_path / "mx.key"
    chain.write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    key.write_bytes(certificate.private_key_pem.bytes())
    return {"certificate": str(chain), "key": str(key)}


@pytest.fixture
def client_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


# ---- From a client into the Maildir.


@pytest_twisted.ensureDeferred
async def test_a_mail_arrives_byte_for_byte(tmp_path: Path) -> None:
    """But for the added header field, it is what was sent (S5)."""
    async with relay(tmp_path) as service:
        await in_thread(lambda: send(service.port))
        (mail,) = await mails(tmp_path)
        assert service.metrics.requests == 1
    added, _, text = mail.partition(b"Subject: test")
    assert b"Subject: test" + text == TEXT
    assert (
        b"Received: from client.test ([127.0.0.1])\r\n\tby mx.test (netserve) with ESMTP id"
        in added
    )
    assert b"for <user@example.org>;" in added


@pytest_twisted.ensureDeferred
async def test_every_command_in_one_piece(tmp_path: Path) -> None:
    async with relay(tmp_path) as service:

        def work() -> list[str]:
            with Raw(service.port) as client:
                client.send("EHLO x", "MAIL FROM:<>", "RCPT TO:<a@b.test>", "DATA")
                replies = client.replies(4)
                return replies + client.send("a: b", "", ".", "QUIT").replies(2)

        replies = await in_thread(work)
        assert [reply[:3] for reply in replies] == ["250", "250", "250", "354", "250", "221"]
        assert "queued as" in replies[4]
        await mails(tmp_path)


@pytest_twisted.ensureDeferred
async def test_a_client_that_closes_its_side_gets_its_answer(tmp_path: Path) -> None:
    async with relay(tmp_path) as service:

        def work() -> str:
            with Raw(service.port) as client:
                client.send("HELO x", "MAIL FROM:<>", "RCPT TO:<a@b.test>", "DATA").replies(4)
                client.send("a: b", "", ".")
                client.socket.shutdown(socket.SHUT_WR)
                return client.rest()

        assert "queued as" in await in_thread(work)


@pytest_twisted.ensureDeferred
async def test_swaks(tmp_path: Path) -> None:
    swaks = require_program("swaks")
    async with relay(tmp_path) as service:
        result = await in_thread(
            lambda: subprocess.run(
                [swaks, "--server", f"127.0.0.1:{service.port}", "--to", "user@example.org",
                 "--from", "sender@example.org", "--body", "by swaks", "--pipeline"],
                capture_output=True, text=True, timeout=20, check=False,
            )
        )  # fmt: skip
        assert result.returncode == 0, result.stdout
        assert b"by swaks" in (await mails(tmp_path))[0]


@pytest_twisted.ensureDeferred
async def test_curl(tmp_path: Path) -> None:
    curl = require_program("curl")
    (tmp_path / "text").write_bytes(TEXT)
    async with relay(tmp_path) as service:
        result = await in_thread(
            lambda: subprocess.run(
                [curl, "-sS", f"smtp://127.0.0.1:{service.port}/client.test",
                 "--mail-from", "sender@example.org", "--mail-rcpt", "user@example.org",
                 "--upload-file", str(tmp_path / "text")],
                capture_output=True, text=True, timeout=20, check=False,
            )
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        assert (await mails(tmp_path))[0].endswith(TEXT)


@pytest_twisted.ensureDeferred
async def test_smtp_source(tmp_path: Path) -> None:
    source = require_program("smtp-source")
    async with relay(tmp_path) as service:
        result = await in_thread(
            lambda: subprocess.run(
                [source, "-s", "5", "-m", "50", "-l", "4096", "-f", "a@b.test", "-t", "c@d.test",
                 f"127.0.0.1:{service.port}"],
                capture_output=True, text=True, timeout=30, check=False,
            )
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        assert len(await mails(tmp_path, 50)) == 50


# ---- 250 is for what is kept safe.


@pytest_twisted.ensureDeferred
async def test_250_goes_out_after_the_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S1: not before the outbox says that it holds the message."""
    committed: Deferred[str] = Deferred()
    monkeypatch.setattr(Incoming, "commit", lambda *_: committed)
    async with relay(tmp_path) as service:
        sent: list[Any] = []
        sending = in_thread(lambda: sent.append(send(service.port)))
        with pytest.raises(AssertionError):
            await until(lambda: sent, reactor=reactor, seconds=0.3)
        committed.callback("Q1")
        await sending
        assert sent == [{}]


@pytest.mark.parametrize(
    ("method", "error", "code"),
    [
        ("commit", StorageFailed("no"), 451),
        ("commit", OutOfSpace("no"), 452),
        ("commit", RuntimeError("a bug"), 451),
        ("write", StorageFailed("no"), 451),
        ("write", OutOfSpace("no"), 452),
    ],
)
@pytest_twisted.ensureDeferred
async def test_what_is_not_kept_is_not_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, error: Exception, code: int
) -> None:
    """S2, S3: 451 or 452, and the session goes on."""

    def failing(*_: object) -> Deferred[str]:
        if method == "commit":
            return fail(error)
        raise error

    async with relay(tmp_path) as service:
        with monkeypatch.context() as broken:
            broken.setattr(Incoming, method, failing)
            with pytest.raises(smtplib.SMTPDataError) as caught:
                await in_thread(lambda: send(service.port))
            assert caught.value.smtp_code == code
        await in_thread(lambda: send(service.port))
        assert len(await mails(tmp_path)) == 1


@pytest_twisted.ensureDeferred
async def test_too_little_space_is_452(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """S3: under 1.5 times the largest message; and it recovers by itself."""
    async with relay(tmp_path, limits={"message_size": 1000}) as service:
        monkeypatch.setattr(Outbox, "free_space", lambda _: 1499)
        with pytest.raises(smtplib.SMTPSenderRefused, match=r"4\.3\.1"):
            await in_thread(lambda: send(service.port))
        monkeypatch.setattr(Outbox, "free_space", lambda _: 1500)
        await in_thread(lambda: send(service.port))


@pytest_twisted.ensureDeferred
async def test_a_client_that_goes_away_leaves_nothing(tmp_path: Path) -> None:
    async with relay(tmp_path) as service:

        def work() -> None:
            with Raw(service.port) as client:
                client.send("HELO x", "MAIL FROM:<>", "RCPT TO:<a@b.test>", "DATA").replies(4)
                client.send("Subject: half")

        await in_thread(work)
        await until(lambda: service.metrics.connections_open == 0, reactor=reactor)
        assert service.outbox is not None
        assert service.outbox.depth()["queued"] == 0
        assert service.metrics.requests == 0


# ---- Who may.


@pytest_twisted.ensureDeferred
async def test_nobody_else_may_relay(tmp_path: Path) -> None:
    """S7: from a network that is not listed, mail is taken for nobody."""
    async with relay(tmp_path, relay_for=["192.0.2.0/24"]) as service:
        with pytest.raises(smtplib.SMTPRecipientsRefused, match=r"5\.7\.1"):
            await in_thread(lambda: send(service.port))


@pytest_twisted.ensureDeferred
async def test_recipients_without_a_way_are_refused_at_rcpt(tmp_path: Path) -> None:
    routes = (
        {"match": {"recipient": "*@closed.test"}, "deliver": {"refuse": "Moved away"}},
        {"match": {"recipient": "*@open.test"}, "deliver": {"discard": True}},
    )
    async with relay(tmp_path, routes=routes) as service:
        port = service.port
        await in_thread(lambda: send(port, to="a@open.test"))
        with pytest.raises(smtplib.SMTPRecipientsRefused, match=r"5\.7\.1 Moved away"):
            await in_thread(lambda: send(port, to="a@closed.test"))
        with pytest.raises(smtplib.SMTPRecipientsRefused, match=r"5\.1\.2"):
            await in_thread(lambda: send(port, to="a@other.test"))


@pytest_twisted.ensureDeferred
async def test_recipients_without_a_folder_are_refused_at_rcpt(tmp_path: Path) -> None:
    """S18: no message is accepted that could only be bounced."""
    routes = ({"deliver": {"maildir": "mail/{domain}/{local}"}},)
    async with relay(tmp_path, routes=routes) as service:

        def work() -> list[str]:
            with Raw(service.port) as client:
                client.send("EHLO x", "MAIL FROM:<> SMTPUTF8")
                client.send(
                    "RCPT TO:<a/b@x.test>", "RCPT TO:<\u2025@x.test>", 'RCPT TO:<".."@x.test>'
                )
                client.send(
                    "RCPT TO:<user@bücher.example>", "RCPT TO:<\uff55ser@xn--bcher-kva.example>"
                )
                client.send("RCPT TO:<postmaster>", "DATA")
                return client.replies(9) + client.send("a: b", "", ".").replies(1)

        replies = await in_thread(work)
        assert [reply[:9] for reply in replies[2:5]] == ["553 5.1.3"] * 3
        assert [reply[:3] for reply in replies[5:]] == ["250", "250", "250", "354", "250"]
        folder = tmp_path / "mail"
        await until(lambda: len(list(folder.glob("*/*/new/*"))) == 3, reactor=reactor)
        assert sorted(str(path.relative_to(folder)) for path in folder.glob("*/*")) == [
            "mx.test/postmaster",
            "xn--bcher-kva.example/user",
        ]


HASH = PasswordHasher(time_cost=1, memory_cost=64).hash("geheim")
USERS = {"me": "secret", "jürgen": HASH}


@pytest.mark.parametrize(("user", "password"), [("me", "secret"), ("jürgen", "geheim")])
@pytest_twisted.ensureDeferred
async def test_submission_with_starttls_and_a_login(
    tmp_path: Path, tls: dict[str, str], client_tls: ssl.SSLContext, user: str, password: str
) -> None:
    options = {"tls": tls, "role": "submission", "users": USERS}
    async with relay(tmp_path, **options) as service:

        def work() -> None:
            with smtplib.SMTP("127.0.0.1", service.port, timeout=10) as client:
                client.ehlo("client.test")
                assert not client.has_extn("auth")
                with pytest.raises(smtplib.SMTPSenderRefused, match="Log in first"):
                    client.sendmail("a@b.test", "c@d.test", TEXT)
                client.starttls(context=client_tls)
                client.ehlo("client.test")
                assert not client.has_extn("starttls")
                assert client.esmtp_features["auth"].split() == ["PLAIN", "LOGIN"]
                with pytest.raises(smtplib.SMTPAuthenticationError, match=r"5\.7\.8"):
                    client.login("me", "wrong")
                auth = f"\0{user}\0{password}"
                code, _ = client.docmd("AUTH", "PLAIN " + b64encode(auth.encode()).decode())
                assert code == 235
                client.sendmail("a@b.test", "c@d.test", TEXT)

        await in_thread(work)
        (mail,) = await mails(tmp_path)
    assert b"with ESMTPSA id" in mail
    assert b"\r\nDate: " in mail
    assert b"\r\nMessage-ID: <" in mail


@pytest_twisted.ensureDeferred
async def test_tls_from_the_first_byte(
    tmp_path: Path, tls: dict[str, str], client_tls: ssl.SSLContext
) -> None:
    async with relay(tmp_path, tls=tls, starttls=False, users=USERS) as service:

        def work() -> None:
            with smtplib.SMTP_SSL("127.0.0.1", service.port, context=client_tls) as client:
                client.login("me", "secret")
                client.sendmail("a@b.test", "c@d.test", TEXT)

        await in_thread(work)
        assert b"with ESMTPSA id" in (await mails(tmp_path))[0]


@pytest_twisted.ensureDeferred
async def test_nothing_from_before_tls_is_acted_on(tmp_path: Path, tls: dict[str, str]) -> None:
    """S6: a command that was injected behind STARTTLS closes the connection."""
    async with relay(tmp_path, tls=tls) as service:

        def work() -> str:
            with Raw(service.port) as client:
                client.send("EHLO x").replies(1)
                return client.send("STARTTLS", "MAIL FROM:<evil@b.test>").rest()

        assert (await in_thread(work)).startswith("421 4.7.0")


@pytest_twisted.ensureDeferred
async def test_logins_in_clear_only_where_the_file_says_so(tmp_path: Path) -> None:
    async with relay(tmp_path, users=USERS, login_without_tls=True) as service:

        def work() -> None:
            with smtplib.SMTP("127.0.0.1", service.port, timeout=10) as client:
                client.login("me", "secret")
                client.sendmail("a@b.test", "c@d.test", TEXT)

        await in_thread(work)
        assert b"with ESMTPA id" in (await mails(tmp_path))[0]


@pytest_twisted.ensureDeferred
async def test_a_user_may_be_held_to_some_senders(tmp_path: Path) -> None:
    options = {"users": USERS, "login_without_tls": True, "senders": {"me": ("me@*",)}}
    async with relay(tmp_path, **options) as service:

        def work() -> None:
            with smtplib.SMTP("127.0.0.1", service.port, timeout=10) as client:
                client.login("me", "secret")
                with pytest.raises(smtplib.SMTPSenderRefused, match=r"5\.7\.1"):
                    client.sendmail("boss@b.test", "c@d.test", TEXT)
                client.sendmail("me@b.test", "c@d.test", TEXT)

        await in_thread(work)


@implementer(ICredentialsChecker)
class Checker:
    """Lets in who has the same word twice, whatever its case, and breaks for some users."""

    credentialInterfaces = (IUsernamePassword,)

    def requestAvatarId(self, credentials: Any) -> Any:
        name = credentials.username.lower()
        if name == b"broken":
            raise ConnectionError("the directory is down")
        assert credentials.checkPassword(credentials.username)
        if name == b"slow":
            self.slow = Deferred()
            return self.slow
        return {b"nobody": (), b"empty": b"", b"lines": b"a\r\nb"}.get(name, succeed(name))

    slow: Deferred[bytes] | None = None
    """What a login of the user ``slow`` waits for."""


the_checker = Checker()


@pytest.fixture
def checker(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The options for another checker."""
    module = type(pytest)("checker_of_this_test")
    module.checker = the_checker
    monkeypatch.setitem(__import__("sys").modules, module.__name__, module)
    return {"checker": "checker_of_this_test:checker", "login_without_tls": True}


@pytest_twisted.ensureDeferred
async def test_a_user_goes_by_the_name_that_the_checker_gives(
    tmp_path: Path, checker: dict[str, Any]
) -> None:
    """S7: rules for a user are not passed by another way to write the name."""
    async with relay(tmp_path, **checker, senders={"me": "me@*"}) as service:

        def work() -> None:
            with smtplib.SMTP("127.0.0.1", service.port, timeout=10) as client:
                client.login("ME", "ME")
                with pytest.raises(smtplib.SMTPSenderRefused, match=r"5\.7\.1"):
                    client.sendmail("boss@b.test", "c@d.test", TEXT)

        await in_thread(work)


@pytest.mark.parametrize("user", ["nobody", "empty", "lines"])
@pytest_twisted.ensureDeferred
async def test_a_checker_that_names_nobody_lets_nobody_in(
    tmp_path: Path, checker: dict[str, Any], user: str
) -> None:
    async with relay(tmp_path, **checker) as service:

        def work() -> None:
            with (
                smtplib.SMTP("127.0.0.1", service.port, timeout=10) as client,
                pytest.raises(smtplib.SMTPAuthenticationError, match=r"4\.7\.0"),
            ):
                client.login(user, user)

        await in_thread(work)


def begin_slowly(port: int) -> Raw:
    """A client whose login takes its time."""
    client = Raw(port).__enter__()
    login = b64encode(b"\0slow\0slow").decode()
    return client.send("EHLO x", f"AUTH PLAIN {login}")


@pytest_twisted.ensureDeferred
async def test_nobody_looks_at_the_password_of_a_client_that_is_gone(
    tmp_path: Path, checker: dict[str, Any]
) -> None:
    """S8: else what waits to be looked at is bounded by nothing."""
    async with relay(tmp_path, **checker) as service:
        client = await in_thread(lambda: begin_slowly(service.port))
        await until(lambda: the_checker.slow is not None, reactor=reactor)
        waiting, the_checker.slow = the_checker.slow, None
        assert waiting is not None
        client.__exit__()
        await until(lambda: waiting.called, reactor=reactor)
        assert service.metrics.errors == {}


@pytest_twisted.ensureDeferred
async def test_a_checker_that_gives_up_is_told_to_the_client(
    tmp_path: Path, checker: dict[str, Any]
) -> None:
    async with relay(tmp_path, **checker) as service:
        client = await in_thread(lambda: begin_slowly(service.port))
        await until(lambda: the_checker.slow is not None, reactor=reactor)
        assert the_checker.slow is not None
        the_checker.slow.cancel()
        replies = await in_thread(lambda: client.replies(2))
        assert replies[1].startswith("454 4.7.0")
        client.__exit__()


@pytest_twisted.ensureDeferred
async def test_another_checker_takes_the_place_of_users(
    tmp_path: Path, checker: dict[str, Any]
) -> None:
    async with relay(tmp_path, **checker) as service:

        def work() -> None:
            with smtplib.SMTP("127.0.0.1", service.port, timeout=10) as client:
                with pytest.raises(smtplib.SMTPAuthenticationError, match=r"4\.7\.0"):
                    client.login("broken", "x")
                client.login("twice", "twice")

        await in_thread(work)


@pytest_twisted.ensureDeferred
async def test_what_is_no_checker_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not check user names and passwords"):
        await serve(
            plugin, state=tmp_path, routes=({"deliver": {"discard": True}},),
            checker="os:path", login_without_tls=True,
        )  # fmt: skip


# ---- Limits that are the driver's.


@pytest_twisted.ensureDeferred
async def test_a_message_has_its_time(tmp_path: Path) -> None:
    """S8: a client that drips is sent away."""
    async with relay(tmp_path, limits={"data_timeout": 0.2}) as service:

        def work() -> str:
            with Raw(service.port) as client:
                client.send("HELO x", "MAIL FROM:<>", "RCPT TO:<a@b.test>", "DATA").replies(4)
                for _ in range(100):
                    client.socket.settimeout(0.05)
                    try:
                        client.send("drip")
                        return client.rest()
                    except TimeoutError:
                        client.file = client.socket.makefile("rb")
                return "never"

        assert (await in_thread(work)).startswith("421 4.4.2")


class Transport:
    """One whose client reads nothing, until it is `emptied`."""

    def __init__(self, peer: Any) -> None:
        self.peer = peer
        self.sent = b""
        self.unread = 0
        self.producer: Any = None
        self.reading = True

    def getPeer(self) -> Any:
        return self.peer

    def write(self, data: bytes) -> None:
        self.sent += data
        self.unread += len(data)
        if self.producer is not None and self.unread > 65536:
            self.producer.pauseProducing()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert self.producer is None
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def loseConnection(self) -> None:
        pass

    def pauseProducing(self) -> None:
        self.reading = False

    def resumeProducing(self) -> None:
        self.reading = True

    def emptied(self) -> None:
        self.unread = 0
        if self.producer is not None:
            self.producer.resumeProducing()


class Queue:
    """An outbox that keeps nothing."""

    id = "Q1"
    size = 0

    def __init__(self) -> None:
        self.commits: list[Deferred[str]] = []
        self.waits = False

    def incoming(self) -> Queue:
        return self

    def free_space(self) -> int:
        return 10**12

    def write(self, data: bytes) -> None:
        pass

    def abort(self) -> None:
        pass

    def commit(self, service: str, envelope: Any) -> Deferred[str]:
        self.commits.append(Deferred() if self.waits else succeed("Q1"))
        return self.commits[-1]


HERE = SimpleNamespace(host="127.0.0.1")


def session(
    queue: Queue,
    clock: Any = reactor,
    *,
    peer: Any = HERE,
    logged: list[str] | None = None,
    turns: Share | None = None,
    refuse_early_talk: bool = True,
) -> tuple[SmtpSession, Transport]:
    """A session without sockets; what it logs is appended to the list."""
    lines: list[str] = [] if logged is None else logged
    log = Logger(observer=lambda event: lines.append(formatEvent(event)))
    settings = plugin.settings.model_validate(
        {
            "protocol": "smtp-relay",
            "listen": "tcp:0",
            "routes": ({"deliver": {"discard": True}},),
            "refuse_early_talk": refuse_early_talk,
        }
    )
    context: Any = SimpleNamespace(
        service="mail", reactor=clock, log=log, metrics=Metrics(), random=random.Random(0),
        turns=turns or endless_turn(), tracker=Tracker("mail"),
    )  # fmt: skip
    shared = Shared(
        context=context, outbox=queue, reception=Reception(settings), logins=no_logins(clock),
        rates=RateLimits(
            per_address=parse_rate("1/hour"), per_user=parse_rate("1/hour"), exempt=LOOPBACK,
            recipients_per_address=parse_rate("1/hour"), recipients_per_user=parse_rate("1/hour"),
            clock=lambda: 0.0,
        ),
        places=Places(100), wall=lambda: 0.0,
    )  # fmt: skip
    made, transport = SmtpSession(shared), Transport(peer)
    made.transport = transport
    made.connectionMade()
    made.dataReceived(b"EHLO x\r\n")
    return made, transport


def no_logins(clock: Any) -> Logins:
    return Logins(
        None, patience=Patience(pair=5, address=50), exempt=(), places=1, queue=1, reactor=clock,
        log=Logger(),
    )  # fmt: skip


def test_a_command_has_its_time() -> None:
    """S8: half a line that grows by a byte from time to time is not waited for without end."""
    clock = Clock()
    made, transport = session(Queue(), clock)
    made.dataReceived(b"NO")
    clock.advance(299)
    made.dataReceived(b"O")
    assert b"421" not in transport.sent
    clock.advance(2)
    made.dataReceived(b"P")
    assert transport.sent.endswith(b"421 4.4.2 This took too long\r\n")


@pytest.mark.parametrize(
    ("said", "logged"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", ["closed 127.0.0.1: 421 4.7.0 This is SMTP"]),
        (b"X\r\n" * 60, ["closed 127.0.0.1: 421 4.7.0 Too many errors"]),
        (b"NOOP\r\nQUIT\r\n", []),
    ],
    ids=["HTTP", "errors", "QUIT"],
)
def test_who_is_sent_away_is_logged_in_one_line(said: bytes, logged: list[str]) -> None:
    lines: list[str] = []
    made, _ = session(Queue(), logged=lines)
    made.dataReceived(said)
    made.dataReceived(said)
    assert made._machine.state is State.CLOSED
    made.connectionLost(connectionDone)
    assert lines == logged


def test_whole_commands_and_messages_have_their_own_time() -> None:
    clock = Clock()
    made, transport = session(Queue(), clock)
    for _ in range(5):
        made.dataReceived(b"NO")
        clock.advance(299)
        made.dataReceived(b"OP\r\n")
    made.dataReceived(b"MAIL FROM:<>\r\nRCPT TO:<a@b.test>\r\nDATA\r\n")
    for _ in range(2):
        made.dataReceived(b"half a line")
        clock.advance(299)
    made.dataReceived(b"\r\n.\r\n")
    assert transport.sent.endswith(b"queued as Q1\r\n")


def test_a_client_that_always_sends_half_a_line_ahead_is_not_slow() -> None:
    """Each line has its own time, however the network cuts them."""
    clock = Clock()
    made, transport = session(Queue(), clock)
    made.dataReceived(b"NO")
    for _ in range(5):
        clock.advance(200)
        made.dataReceived(b"OP\r\nNO")
    assert b"421" not in transport.sent


def test_a_chunk_that_is_not_taken_has_its_time() -> None:
    """S8: it may be as long as a number can be written, and is answered at its end only."""
    clock = Clock()
    made, transport = session(Queue(), clock)
    made.dataReceived(b"BDAT 99999999999999999999\r\n")
    for _ in range(4):
        made.dataReceived(b"line\r\n")
        clock.advance(100)
    made.dataReceived(b"line\r\n")
    assert transport.sent.endswith(b"421 4.4.2 This took too long\r\n")


def test_who_comes_from_nowhere_that_is_known_is_not_trusted() -> None:
    """S7: no address is an address of this machine only where it is that of a UNIX socket."""
    for peer, reply in ((UNIXAddress(None), b"250 2.1.5"), (object(), b"554 5.7.1")):
        made, transport = session(Queue(), peer=peer)
        made.dataReceived(b"MAIL FROM:<>\r\nRCPT TO:<a@b.test>\r\n")
        assert transport.sent.splitlines()[-1].startswith(reply)


def test_replies_that_nobody_reads_are_bounded() -> None:
    """S8: what is buffered is bounded, in and out; and when they are read, none is missing."""
    queue = Queue()
    made, transport = session(queue)
    block = b"MAIL FROM:<>\r\nRCPT TO:<a@b.test>\r\nBDAT 2 LAST\r\n\r\n" * 1000
    for _ in range(50):
        if transport.reading:
            made.dataReceived(block)
    assert not transport.reading
    assert transport.unread < 256 * 1024
    taken = len(queue.commits)
    assert 0 < taken < 10_000
    for _ in range(50):
        transport.emptied()
    assert transport.reading
    assert len(queue.commits) % 1000 == 0
    assert transport.sent.count(b"queued as") == len(queue.commits) > taken
    assert transport.producer is None


def test_what_is_sent_ahead_of_an_answer_is_one_piece_at_most() -> None:
    """S8: reading pauses while the queue decides, as soon as something waits."""
    queue = Queue()
    queue.waits = True
    made, transport = session(queue)
    made.dataReceived(b"MAIL FROM:<>\r\nRCPT TO:<a@b.test>\r\nBDAT 2 LAST\r\n\r\n")
    assert transport.reading
    made.dataReceived(b"NOOP\r\n")
    assert not transport.reading
    assert b"queued" not in transport.sent
    queue.commits[0].callback("Q1")
    assert transport.reading
    assert transport.sent.endswith(b"queued as Q1\r\n250 2.0.0 OK\r\n")


@pytest_twisted.ensureDeferred
async def test_draining_ends_idle_sessions_by_421(tmp_path: Path) -> None:
    service = await serve(
        plugin, state=tmp_path, hostname="mx.test", routes=({"deliver": {"discard": True}},)
    )
    client = await in_thread(lambda: Raw(service.port).__enter__())
    said = in_thread(client.rest)
    await service.stop()
    assert (await said).startswith("421 4.3.2")
    client.__exit__()


@pytest_twisted.ensureDeferred
async def test_an_idle_session_ends_by_421(tmp_path: Path) -> None:
    """S10."""
    async with relay(tmp_path, limits={"idle_timeout": 0.3}) as service:

        def work() -> str:
            with Raw(service.port) as client:
                return client.rest()

        assert await in_thread(work) == "421 4.4.2 This took too long\r\n"


@pytest_twisted.ensureDeferred
async def test_garbage_is_answered(tmp_path: Path) -> None:
    async with relay(tmp_path) as service:

        def work() -> str:
            with Raw(service.port) as client:
                client.socket.sendall(bytes(range(256)) * 40 + b"\r\n" * 40)
                return client.rest()

        assert "421 4.7.0" in await in_thread(work)
        await in_thread(lambda: send(service.port))


def transaction(recipients: int) -> bytes:
    names = b"".join(b"RCPT TO:<u%d@b.test>\r\n" % number for number in range(recipients))
    return b"MAIL FROM:<>\r\n" + names + b"RSET\r\n"


def test_commands_that_are_sent_ahead_are_handled_in_turns() -> None:
    """S23: one command a turn where there is no more time; nothing is read until they are done."""
    manual = ManualTurns()
    made, transport = session(Queue(), turns=manual.share())
    manual.all()
    transport.sent = b""
    made.dataReceived(transaction(100))
    assert not transport.reading
    assert transport.sent.count(b"\r\n") <= 2
    assert manual.all() >= 100
    assert transport.sent == b"250 2.1.0 OK\r\n" + b"250 2.1.5 OK\r\n" * 100 + b"250 2.0.0 OK\r\n"
    assert transport.reading


@settings(deadline=None)
@given(data=st.data(), chance=st.randoms(use_true_random=False))
def test_turns_do_not_matter(data: st.DataObject, chance: random.Random) -> None:
    """The replies are the same in one go and in slices, however the input is cut."""
    sent = b"".join(
        data.draw(
            st.lists(
                st.sampled_from(
                    [transaction(3), b"NOOP\r\n", b"nonsense\r\n", b"\xff\r\n",
                     b"MAIL FROM:<>\r\nRCPT TO:<a@b.test>\r\nDATA\r\n", b"a\r\n.\r\n",
                     b"MAIL FROM:<>\r\nRCPT TO:<a@b.test>\r\nBDAT 3\r\nabcBDAT 2 LAST\r\n\r\n"]
                ),
                max_size=8,
            )
        )
    )  # fmt: skip
    # A client that talks early is refused by what has come until then.
    whole, wanted = session(Queue(), Clock(), refuse_early_talk=False)
    whole.dataReceived(sent)
    manual = ManualTurns()
    sliced, transport = session(Queue(), Clock(), turns=manual.share(), refuse_early_talk=False)
    for piece in data.draw(chunkings(sent)):
        if not transport.reading:
            manual.all()
        sliced.dataReceived(piece)
        if chance.random() < 0.5:
            manual.turn()
    manual.all()
    assert transport.sent == wanted.sent
    assert sliced._machine.state is whole._machine.state


def test_a_session_that_is_gone_has_no_more_turns() -> None:
    manual = ManualTurns()
    made, transport = session(Queue(), turns=manual.share())
    manual.all()
    made.dataReceived(transaction(100))
    before = transport.sent
    made.connectionLost(connectionDone)
    manual.all()
    assert transport.sent == before
