"""The relay's listeners, by their roles and with their usual peers, over real sockets."""

from __future__ import annotations

import smtplib
import socket
import ssl
import subprocess
from base64 import b64encode
from collections.abc import Callable
from email.message import EmailMessage
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
import trustme
from argon2 import PasswordHasher
from click.testing import CliRunner
from twisted.internet import reactor as _reactor
from twisted.logger import globalLogPublisher

from netserve.cli.passwd import passwd
from netserve.errors import OptionError
from netserve.ops.logs import text_line
from netserve.testing.hosting import FREE_PORT
from netserve.testing.mail import TEXT, Raw, in_thread, mails, relay, send
from netserve.testing.next_hop import CuttingController
from netserve.testing.programs import missing, require_program
from netserve.testing.queue import until

reactor: Any = _reactor
HASH = PasswordHasher(time_cost=1, memory_cost=64).hash("geheim")
USERS = {"me": "secret", "you": "geheim"}


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls(authority: trustme.CA, tmp_path: Path) -> dict[str, str]:
    issued = authority.issue_cert("mx.test", "127.0.0.1", key_type=trustme.KeyType.RSA)
    chain, key = tmp_path / "mx.pem", tmp_path / "mx.key"
    chain.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())
    return {"certificate": str(chain), "key": str(key)}


@pytest.fixture
def client_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


async def program(name: str, *arguments: str, text: str = "") -> tuple[int, str]:
    """Run a program, and give its exit code and what it said."""
    command = [require_program(name), *arguments]

    def work() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, input=text, capture_output=True, text=True, timeout=30, check=False
        )

    done = await in_thread(work)
    return done.returncode, done.stdout + done.stderr


async def swaks(port: int, *arguments: str) -> tuple[int, str]:
    code, said = await program(
        "swaks", "--server", "127.0.0.1", "--port", str(port), "--from", "a@b.test",
        "--to", "c@d.test", "--ehlo", "client.test", *arguments,
    )  # fmt: skip
    if "TLS not available" in said:
        missing("swaks has no TLS; it needs Net::SSLeay")
    return code, said


# ---- Submission: 587 and 465.


@pytest_twisted.ensureDeferred
async def test_ports_587_and_465_of_one_service(
    tmp_path: Path, tls: dict[str, str], client_tls: ssl.SSLContext
) -> None:
    """STARTTLS on one address, TLS from the first byte on the other; a login on both."""
    options = {
        "listen": (FREE_PORT, FREE_PORT.replace("tcp", "tls")),
        "role": "submission",
        "users": USERS,
        "tls": tls,
    }
    async with relay(tmp_path, **options) as service:
        submission, submissions = (address.port for address in service.addresses)

        def work() -> None:
            with smtplib.SMTP("127.0.0.1", submission, timeout=10) as client:
                client.starttls(context=client_tls)
                client.login("me", "secret")
                client.sendmail("a@b.test", "c@d.test", TEXT)
            with smtplib.SMTP_SSL("127.0.0.1", submissions, context=client_tls) as client:
                client.ehlo("client.test")
                assert not client.has_extn("starttls")
                with pytest.raises(smtplib.SMTPSenderRefused, match="Log in first"):
                    client.sendmail("a@b.test", "c@d.test", TEXT)
                client.login("you", "geheim")
                client.sendmail("a@b.test", "c@d.test", TEXT)

        await in_thread(work)
        for mail in await mails(tmp_path, 2):
            assert b"with ESMTPSA id" in mail
            assert b"\r\nDate: " in mail
            assert b"\r\nMessage-ID: <" in mail


@pytest.mark.parametrize("way", [("-tls",), ("-tlsc",)])
@pytest_twisted.ensureDeferred
async def test_swaks_logs_in(tmp_path: Path, tls: dict[str, str], way: tuple[str]) -> None:
    options = {
        "listen": (FREE_PORT, FREE_PORT.replace("tcp", "tls")),
        "role": "submission",
        "users": USERS,
        "tls": tls,
    }
    async with relay(tmp_path, **options) as service:
        port = service.addresses[way == ("-tlsc",)].port
        for kind in ("PLAIN", "LOGIN"):
            login = ("--auth", kind, "--auth-user", "me", "--auth-password", "secret")
            code, said = await swaks(port, *way, *login)
            assert (code, "235 2.7.0" in said) == (0, True), said
        code, said = await swaks(port, *way)
        assert (code, "530 5.7.0" in said) == (23, True), said
        wrong = ("--auth", "PLAIN", "--auth-user", "me", "--auth-password", "wrong")
        code, said = await swaks(port, *way, *wrong)
        assert (code, "535 5.7.8" in said) == (28, True), said
        assert len(await mails(tmp_path, 2)) == 2


@pytest_twisted.ensureDeferred
async def test_the_handshake_behind_starttls_has_its_time(
    tmp_path: Path, tls: dict[str, str]
) -> None:
    """S10."""
    async with relay(tmp_path, tls=tls, limits={"handshake_timeout": 0.2}) as service:

        def work() -> bytes:
            with Raw(service.port) as client:
                client.send("EHLO x", "").replies(1)
                client.replies(1)
                client.send("STARTTLS").replies(1)
                client.socket.sendall(b"\x16")
                try:
                    return client.file.read()
                except ConnectionResetError:
                    return b""

        assert await in_thread(work) == b""
        assert service.metrics.errors["handshake_timeout"] == 1


@pytest_twisted.ensureDeferred
async def test_a_handshake_in_time_is_left_alone(
    tmp_path: Path, tls: dict[str, str], client_tls: ssl.SSLContext
) -> None:
    async with relay(tmp_path, tls=tls, limits={"handshake_timeout": 2.0}) as service:

        def work() -> None:
            with smtplib.SMTP("127.0.0.1", service.port, timeout=10) as client:
                client.starttls(context=client_tls)
                client.sendmail("a@b.test", "c@d.test", TEXT)

        await in_thread(work)
        assert not [call for call in reactor.getDelayedCalls() if "handshake" in repr(call.func)]


# ---- Behind a load balancer.


BALANCED = {"proxy_protocol_from": "127.0.0.1", "relay_for": "192.0.2.0/24"}


def claiming(version: str, source: str) -> tuple[str, ...]:
    family = {"1": "TCP4", "2": "AF_INET"}[version]
    return (
        "--proxy-version", version, "--proxy-family", family, "--proxy-source", source,
        "--proxy-source-port", "4711", "--proxy-dest", "10.0.0.1", "--proxy-dest-port", "25",
    )  # fmt: skip


@pytest.mark.parametrize("version", ["1", "2"])
@pytest_twisted.ensureDeferred
async def test_swaks_through_the_proxy_protocol(tmp_path: Path, version: str) -> None:
    """S7: who may relay is decided by the client's address, not by the balancer's."""
    async with relay(tmp_path, **BALANCED) as service:
        code, said = await swaks(service.port, *claiming(version, "192.0.2.7"))
        assert code == 0, said
        (mail,) = await mails(tmp_path)
        assert b"Received: from client.test ([192.0.2.7])" in mail
        code, said = await swaks(service.port, *claiming(version, "198.51.100.7"))
        assert (code, "554 5.7.1 Relay access denied" in said) == (24, True), said


@pytest_twisted.ensureDeferred
async def test_nobody_claims_an_address_who_is_no_balancer(tmp_path: Path) -> None:
    """S7."""
    options = {
        "proxy_protocol_from": "192.0.2.99",
        "relay_for": "192.0.2.0/24",
        "refuse_early_talk": False,
    }
    async with relay(tmp_path, **options) as service:

        def work() -> list[str]:
            with socket.create_connection(("127.0.0.1", service.port), timeout=10) as client:
                header = b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 25\r\n"
                client.sendall(header + b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.test>\r\nQUIT\r\n")
                return client.makefile().read().splitlines()

        said = await in_thread(work)
        assert said[1].startswith("500 5.5.2")
        assert "554 5.7.1 Relay access denied" in said


# ---- Old devices.


DEVICES = {"role": "devices", "allow": "127.0.0.1"}


@pytest_twisted.ensureDeferred
async def test_a_device_is_taken_as_it_is(tmp_path: Path) -> None:
    """Bare line feeds, no login, no TLS, and a header without a date."""
    async with relay(tmp_path, **DEVICES) as service:

        def work() -> list[str]:
            with Raw(service.port) as client:
                client.socket.sendall(
                    b"HELO scanner3\nMAIL FROM:scan@b.test\nRCPT TO:c@d.test\nDATA\n"
                )
                client.replies(4)
                client.socket.sendall(b"Subject: scan\n\npage\n.\nend\r\n.\r\n")
                return client.replies(1)

        (said,) = await in_thread(work)
        assert said.startswith("250"), said
        (mail,) = await mails(tmp_path)
        assert b"\r\nDate: " in mail
        assert mail.endswith(b"Subject: scan\r\n\r\npage\r\n\r\nend\r\n")


@pytest_twisted.ensureDeferred
async def test_a_device_that_insists_on_a_login_gets_one(tmp_path: Path) -> None:
    async with relay(tmp_path, **DEVICES, users=USERS) as service:
        code, said = await swaks(
            service.port, "--auth", "LOGIN", "--auth-user", "me", "--auth-password", "secret"
        )
        assert code == 0, said
        assert b"with ESMTPA id" in (await mails(tmp_path))[0]


@pytest_twisted.ensureDeferred
async def test_nobody_but_the_devices_gets_a_word(tmp_path: Path) -> None:
    """S7: not even loopback, which may relay elsewhere."""
    async with relay(tmp_path, role="devices", allow="192.0.2.7") as service:

        def work() -> bytes:
            with socket.create_connection(("127.0.0.1", service.port), timeout=10) as client:
                try:
                    return client.recv(100)
                except ConnectionResetError:
                    return b""

        assert await in_thread(work) == b""
        assert service.metrics.connections_refused == {"denied": 1}


OLD_DIALOGUE = (
    ("EHLO d\n", "250 CHUNKING"),
    ("MAIL FROM:<a@b.test>\n", "250 2.1.0"),
    ("rcpt to:<c@d.test>\n", "250 2.1.5"),  # a capital R is openssl's word for "renegotiate"
    ("DATA\n", "354"),
    ("Subject: scan\n\npage\n.\n", "250 2.0.0 OK, queued"),
    ("quit\n", "221"),
)


@pytest.mark.parametrize(("version", "agreed"), [("-tls1", "TLSv1"), ("-tls1_1", "TLSv1.1")])
@pytest_twisted.ensureDeferred
async def test_old_tls_behind_starttls(
    tmp_path: Path, tls: dict[str, str], version: str, agreed: str
) -> None:
    """With openssl as the device."""
    old = {**tls, "minimum_version": "1.0"}
    async with relay(tmp_path, **DEVICES, tls=old) as service:
        command = [
            require_program("openssl"), "s_client", "-connect", f"127.0.0.1:{service.port}",
            "-starttls", "smtp", version, "-cipher", "AES128-SHA@SECLEVEL=0", "-crlf",
        ]  # fmt: skip

        def work() -> str:
            with subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                text=True,
            ) as device:  # fmt: skip
                assert device.stdin is not None
                assert device.stdout is not None
                said = ""
                for line, reply in OLD_DIALOGUE:
                    device.stdin.write(line)
                    device.stdin.flush()
                    while reply not in said.rpartition("---")[2]:
                        more = device.stdout.readline()
                        assert more, said
                        said += more
                return said

        said = await in_thread(work)
        assert b"with ESMTPS id" in (await mails(tmp_path))[0]
        assert f"Protocol  : {agreed}\n" in said, said


# ---- Rates, and connections of a user.


@pytest_twisted.ensureDeferred
async def test_messages_of_an_address_have_a_rate(tmp_path: Path) -> None:
    """S8."""
    async with relay(tmp_path, rates={"per_address": "2/hour", "exempt": ()}) as service:
        for _ in range(2):
            await in_thread(lambda: send(service.port))
        with pytest.raises(smtplib.SMTPSenderRefused, match=r"4\.7\.1 Too many messages of your"):
            await in_thread(lambda: send(service.port))
        assert service.metrics.errors == {"refused": 1}


@pytest_twisted.ensureDeferred
async def test_recipients_of_an_address_have_a_rate(tmp_path: Path) -> None:
    """S8: the others can be sent to later."""
    rates = {"recipients_per_address": "3/hour", "exempt": ()}
    async with relay(tmp_path, rates=rates) as service:

        def work() -> Any:
            with smtplib.SMTP("127.0.0.1", service.port, timeout=10) as client:
                to = [f"user{n}@b.test" for n in range(5)]
                return client.sendmail("a@b.test", to, TEXT)

        refused = await in_thread(work)
        assert sorted(refused) == ["user3@b.test", "user4@b.test"]
        assert {code for code, _ in refused.values()} == {450}
        assert len(await mails(tmp_path, 3)) == 3


@pytest_twisted.ensureDeferred
async def test_loopback_is_exempt_but_its_users_are_not(tmp_path: Path) -> None:
    """S8: a user has a rate wherever the user comes from."""
    rates = {"per_address": "1/hour", "per_user": "1/hour"}
    options = {"users": USERS, "login_without_tls": True, "rates": rates}
    async with relay(tmp_path, **options) as service:

        def work(user: str, password: str) -> None:
            with smtplib.SMTP("127.0.0.1", service.port, timeout=10) as client:
                client.login(user, password)
                client.sendmail("a@b.test", "c@d.test", TEXT)

        for _ in range(3):
            await in_thread(lambda: send(service.port))
        await in_thread(lambda: work("me", "secret"))
        with pytest.raises(smtplib.SMTPSenderRefused, match="Too many messages of this user"):
            await in_thread(lambda: work("me", "secret"))
        await in_thread(lambda: work("you", "geheim"))


@pytest_twisted.ensureDeferred
async def test_connections_of_a_user_are_limited(tmp_path: Path) -> None:
    """S8: per user, and a place is given back."""
    options = {"users": USERS, "login_without_tls": True, "limits": {"connections_per_user": 2}}
    async with relay(tmp_path, **options) as service:
        login = "AUTH PLAIN " + b64encode(b"\0me\0secret").decode()

        def logged_in() -> Raw:
            client = Raw(service.port).__enter__()
            assert client.send("EHLO x", login).replies(2)[1].startswith("235")
            return client

        def refused() -> str:
            with Raw(service.port) as client:
                client.send("EHLO x", login)
                return client.rest()

        first, second = await in_thread(logged_in), await in_thread(logged_in)
        assert "421 4.7.0 Too many connections of this user" in await in_thread(refused)
        first.__exit__()
        await until(lambda: service.metrics.connections_open == 1, reactor=reactor)
        again = await in_thread(logged_in)
        for client in (second, again):
            client.__exit__()
        await until(lambda: service.metrics.connections_open == 0, reactor=reactor)
        assert service.metrics.errors == {"connections_per_user": 1}


# ---- Users from a file, and what they may send.


def in_file(file: Path, user: str, *arguments: str, password: str = "") -> None:
    result = CliRunner().invoke(passwd, [str(file), user, *arguments], input=password)
    assert result.exit_code == 0, result.output


@pytest_twisted.ensureDeferred
async def test_the_log_tells_whose_mail_was_taken(tmp_path: Path) -> None:
    """Whose password was stolen is to be found out."""
    lines: list[str] = []

    def observe(event: Any) -> None:
        lines.append(text_line(event))

    globalLogPublisher.addObserver(observe)
    try:
        async with relay(tmp_path, users=USERS, login_without_tls=True) as service:

            def work() -> None:
                with smtplib.SMTP("127.0.0.1", service.port, timeout=10) as client:
                    client.sendmail("a@b.test", "c@d.test", TEXT)
                    client.login("me", "secret")
                    client.sendmail("a@b.test", "c@d.test", TEXT)

            await in_thread(work)
    finally:
        globalLogPublisher.removeObserver(observe)
    first, second = (line for line in lines if "accepted" in line)
    assert ", of 127.0.0.1, trace " in first
    assert ", of 127.0.0.1, user me, trace " in second
    assert not any("secret" in line for line in lines)


@pytest_twisted.ensureDeferred
async def test_a_login_from_before_tls_is_forgotten(
    tmp_path: Path, tls: dict[str, str], client_tls: ssl.SSLContext
) -> None:
    """S6: also where connections of a user, and what a user may send, are counted."""
    options = {
        "users": USERS,
        "tls": tls,
        "login_without_tls": True,
        "limits": {"connections_per_user": 1},
        "rates": {"per_user": "1/hour"},
    }
    async with relay(tmp_path, **options) as service:

        def work(user: str) -> None:
            with smtplib.SMTP("127.0.0.1", service.port, timeout=10) as client:
                client.login("me", "secret")
                client.starttls(context=client_tls)
                client.login(user, USERS[user])
                client.sendmail("a@b.test", "c@d.test", TEXT)

        for user in ("you", "me"):
            await in_thread(partial(work, user))
            await until(lambda: service.metrics.connections_open == 0, reactor=reactor)
        assert len(await mails(tmp_path, 2)) == 2


@pytest_twisted.ensureDeferred
async def test_users_of_a_file_come_and_go_while_it_runs(tmp_path: Path) -> None:
    file = tmp_path / "users"
    in_file(file, "me", "--stdin", password="secret\n")
    options = {"users_file": "users", "login_without_tls": True, "role": "submission"}
    async with relay(tmp_path, **options) as service:

        def login(user: str, password: str) -> int:
            with smtplib.SMTP("127.0.0.1", service.port, timeout=10) as client:
                try:
                    return client.login(user, password)[0]
                except smtplib.SMTPAuthenticationError as error:
                    return error.smtp_code

        assert await in_thread(lambda: login("me", "secret")) == 235
        assert await in_thread(lambda: login("you", "geheim")) == 535
        in_file(file, "you", "--stdin", password="geheim\n")
        in_file(file, "me", "--delete")
        assert await in_thread(lambda: login("you", "geheim")) == 235
        assert await in_thread(lambda: login("me", "secret")) == 535


@pytest_twisted.ensureDeferred
async def test_a_file_of_users_that_is_wrong_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "users").write_text("me\n")
    with pytest.raises(OptionError, match=r"users:1: not NAME:HASH"):
        async with relay(tmp_path, users_file="users", login_without_tls=True):
            pass


HELD = {"users": USERS, "login_without_tls": True, "senders": {"me": ("*@mine.test",)}}


@pytest.mark.parametrize(
    ("in_header", "author", "taken"),
    [
        (False, "From: boss@b.test\r\n", True),
        (True, "From: boss@b.test\r\n", False),
        (True, "From: me@mine.test\r\n", True),
        (True, 'from: "boss@b.test" <me@mine.test>\r\n', True),
        (True, "From: me@mine.test, boss@b.test\r\n", False),
        (True, "From: me@mine.test\r\nFrom: boss@b.test\r\n", False),
        (True, "From: me@mine.test\r\n <boss@b.test>\r\n", False),
        (True, "", False),
    ],
)
@pytest_twisted.ensureDeferred
async def test_the_header_is_held_to_the_senders_where_asked(
    tmp_path: Path, in_header: bool, author: str, taken: bool
) -> None:
    async with relay(tmp_path, **HELD, senders_in_header=in_header) as service:

        def work(user: str, password: str) -> None:
            with smtplib.SMTP("127.0.0.1", service.port, timeout=10) as client:
                client.login(user, password)
                client.sendmail("me@mine.test", "c@d.test", f"{author}Subject: x\r\n\r\ntext\r\n")

        await in_thread(lambda: work("you", "geheim"))  # who is not listed may say anything
        if taken:
            await in_thread(lambda: work("me", "secret"))
        else:
            with pytest.raises(smtplib.SMTPDataError, match=r"5\.7\.1 The From field"):
                await in_thread(lambda: work("me", "secret"))
        assert len(await mails(tmp_path, 1 + taken)) == 1 + taken


# ---- Extensions, from end to end.


@pytest_twisted.ensureDeferred
async def test_chunks_arrive_as_one_message(tmp_path: Path) -> None:
    """CHUNKING: in pieces with commands between them, and a refused one is read over."""
    async with relay(tmp_path) as service:

        def work() -> list[str]:
            with Raw(service.port) as client:
                envelope = b"EHLO x\r\nMAIL FROM:<a@b.test> SIZE=40\r\nRCPT TO:<c@d.test>\r\n"
                chunks = (
                    b"BDAT 22\r\nSubject: chunks\r\n\r\n.\r\n"
                    b"NOOP\r\n"
                    b"BDAT 8\r\nBDAT 9\r\n"
                    b"BDAT 0 LAST\r\n"
                )
                client.socket.sendall(envelope + chunks + b"BDAT 6\r\nRSET\r\nQUIT\r\n")
                return client.replies(9)

        said = await in_thread(work)
        assert [reply[:3] for reply in said] == [
            "250", "250", "250", "250", "250", "250", "250", "503", "221"
        ]  # fmt: skip
        (mail,) = await mails(tmp_path)
        assert mail.endswith(b"Subject: chunks\r\n\r\n.\r\nBDAT 9\r\n")


class Hop:
    """An aiosmtpd, what it took in, and what it offers."""

    def __init__(self) -> None:
        self.taken: list[Any] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.taken.append(envelope)
        return "250 OK"


@pytest.fixture
def next_hop() -> Any:
    made: list[CuttingController] = []

    def start(**options: Any) -> tuple[Hop, str]:
        hop = Hop()
        controller = CuttingController(hop, hostname="127.0.0.1", port=0, **options)
        made.append(controller)
        controller.port = _free_port()
        controller.start()
        return hop, f"127.0.0.1:{controller.port}"

    yield start
    for controller in made:
        controller.stop()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


@pytest_twisted.ensureDeferred
async def test_internationalised_mail_goes_through(
    tmp_path: Path, next_hop: Callable[..., tuple[Hop, str]]
) -> None:
    """SMTPUTF8: addresses and header, from smtplib to aiosmtpd."""
    hop, address = next_hop(enable_SMTPUTF8=True)
    message = EmailMessage()
    message["From"] = "Jürgen <jürgen@bücher.test>"
    message["To"] = "δοκιμή@παράδειγμα.test"
    message["Subject"] = "Grüße"
    message.set_content("schöne Grüße\n")
    routes = ({"deliver": {"smarthost": address}},)
    async with relay(tmp_path, routes=routes) as service:

        def work() -> None:
            with smtplib.SMTP("127.0.0.1", service.port, timeout=10) as client:
                client.send_message(message)

        await in_thread(work)
        await until(lambda: hop.taken, reactor=reactor)
    (envelope,) = hop.taken
    assert envelope.mail_from == "jürgen@bücher.test"
    assert envelope.rcpt_tos == ["δοκιμή@παράδειγμα.test"]
    assert "SMTPUTF8" in envelope.mail_options
    assert b"with UTF8SMTP id" in envelope.content
    assert "From: Jürgen <jürgen@bücher.test>\r\n".encode() in envelope.content
    assert "schöne Grüße".encode() in envelope.content


@pytest_twisted.ensureDeferred
async def test_internationalised_addresses_need_smtputf8(tmp_path: Path) -> None:
    async with relay(tmp_path) as service:

        def work() -> list[str]:
            with Raw(service.port) as client:
                return client.send("EHLO x", "MAIL FROM:<jürgen@b.test>").replies(2)

        assert (await in_thread(work))[1].startswith("553 5.6.7")
