"""What of a message goes into the queue, and when its content may come: over real sockets."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor as _reactor

from netserve.protocols.smtp_relay import plugin
from netserve.testing.mail import Raw, in_thread, mails, relay
from netserve.testing.programs import require_program
from netserve.testing.queue import until

reactor: Any = _reactor

DEVICES = {"role": "devices", "allow": ("127.0.0.1",)}


def hand_over(port: int, content: bytes, *, end: bytes = b"\r\n.\r\n") -> str:
    """Send a message, and give the reply to its end."""
    with Raw(port) as client:
        client.send("EHLO x", "MAIL FROM:<a@b.test>", "RCPT TO:<c@d.test>", "DATA").replies(4)
        client.socket.sendall(content + end)
        return client.replies(1)[0]


async def queued(
    folder: Path, content: bytes, *, end: bytes = b"\r\n.\r\n", **options: Any
) -> bytes:
    """The message as it lies in the Maildir, from our Received on."""
    async with relay(folder, **options) as service:
        reply = await in_thread(lambda: hand_over(service.port, content, end=end))
        assert "queued as" in reply
        (mail,) = await mails(folder)
    return mail[mail.index(b"Received: from x") :]


def after_ours(mail: bytes) -> bytes:
    """What stands after our own fields."""
    return mail.partition(b" +0000\r\n")[2]


# ---- The header.


@pytest.mark.parametrize("end", [b".\r\n", b"\r\n.\r\n", b"text\r\n.\r\n", b"\r\ntext\r\n.\r\n"])
@pytest_twisted.ensureDeferred
async def test_a_message_without_a_header_has_its_hop_counted(tmp_path: Path, end: bytes) -> None:
    """RFC 5321, 4.4 and 6.3: an empty message would go round in a loop without end."""
    mail = await queued(tmp_path, b"", end=end)
    assert mail.count(b"Received: ") == 1
    header, empty_line, text = mail.partition(b"\r\n\r\n")
    assert empty_line
    assert header.startswith(b"Received: ")
    assert text.strip() == end.removesuffix(b".\r\n").strip()


@pytest_twisted.ensureDeferred
async def test_an_empty_message_in_a_loop_comes_to_an_end(tmp_path: Path) -> None:
    """A relay whose smarthost is itself: with five hops allowed it is accepted six times."""
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        port = chosen.getsockname()[1]
    options: dict[str, Any] = {
        "listen": f"tcp:{port}:interface=127.0.0.1", "limits": {"hops": 5},
        "routes": (
            {"match": {"sender": "<>"}, "deliver": {"maildir": "mail"}},
            {"deliver": {"smarthost": f"127.0.0.1:{port}", "tls": "none"}},
        ),
    }  # fmt: skip
    async with relay(tmp_path, **options) as service:
        await in_thread(lambda: hand_over(port, b"", end=b".\r\n"))
        (bounce,) = await mails(tmp_path)
        assert b"5.4.6 Too many hops" in bounce
        assert service.metrics.requests == 6


@pytest.mark.parametrize("role", ["relay", "devices"])
@pytest_twisted.ensureDeferred
async def test_what_only_the_submitting_hop_should_see_is_removed(
    tmp_path: Path, role: str
) -> None:
    """S28: Bcc, Resent-Bcc, Return-Path and Content-Length, however they are written."""
    content = (
        b"Return-Path: <me>\r\nSubject : x\r\nBCC: s@x.test,\r\n t@x.test\r\n"
        b"resent-bcc\t: u@x.test\r\nContent-Length: 5\r\nTo: v@x.test\r\n\r\nBcc: in the text"
    )
    options = DEVICES if role == "devices" else {}
    mail = await queued(tmp_path, content, **options)
    assert mail.endswith(b"Subject: x\r\nTo: v@x.test\r\n\r\nBcc: in the text\r\n")
    for hidden in (b"s@x.test", b"t@x.test", b"u@x.test", b"Return-Path", b"Content-Length"):
        assert hidden not in mail


@pytest_twisted.ensureDeferred
async def test_what_is_removed_is_for_the_file_to_say(tmp_path: Path) -> None:
    content = b"Bcc: s@x.test\r\nX-Secret: y\r\n\r\nz"
    mail = await queued(tmp_path, content, remove_headers=("x-secret",))
    assert after_ours(mail) == b"Bcc: s@x.test\r\n\r\nz\r\n"


@pytest.mark.parametrize(
    ("names", "why"),
    [(("a b",), "not the name"), (("bcc:",), "not the name"), (("RECEIVED",), "Received stays")],
)
def test_what_cannot_be_removed(names: tuple[str, ...], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        plugin.settings.model_validate(
            {"protocol": "smtp-relay", "listen": "tcp:0", "remove_headers": names,
             "routes": ({"deliver": {"discard": True}},)}
        )  # fmt: skip


@pytest.mark.parametrize(
    ("content", "kept"),
    [
        (b"From root Sat Jan  3 01:05:34 1996\r\nDate: y\r\n\r\nz", b"Date: y\r\n\r\nz\r\n"),
        (b"A: b\r\nno field\r\nC: d\r\n\r\nz", b"A: b\r\n\r\nno field\r\nC: d\r\n\r\nz\r\n"),
        (b"Subject : x\r\n\r\nz", b"Subject: x\r\n\r\nz\r\n"),
        (b"just text", b"\r\njust text\r\n"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_where_the_header_ends(tmp_path: Path, content: bytes, kept: bytes) -> None:
    assert after_ours(await queued(tmp_path, content)) == kept


@pytest.mark.parametrize(
    ("content", "accepted"),
    [
        (b"", False),
        (b"\r\nFrom: me@b.test\r\n\r\n", False),
        (b"no field\r\nFrom: me@b.test\r\n\r\n", False),
        (b"From : boss@b.test\r\n\r\n", False),
        (b"From: =?utf-8?q?me=40b.test?=@b.test\r\n\r\n", False),
        (b'From: =?utf-7?q?+AA0-?=@b.test, a"\r\n\r\n', False),
        (b"From me Mon Jan  1 00:00:00 2024\r\nFrom: me@b.test\r\n\r\nx\r\n", True),
        (b"From : me@b.test\r\n\r\nx\r\n", True),
    ],
)
@pytest_twisted.ensureDeferred
async def test_users_are_held_to_their_senders_by_the_same_header(
    tmp_path: Path, content: bytes, accepted: bool
) -> None:
    """S7: what counts is the header as it is sent on."""
    options: dict[str, Any] = {
        "users": {"me": "secret"}, "login_without_tls": True, "senders": {"me": "me@b.test"},
        "senders_in_header": True,
    }  # fmt: skip
    async with relay(tmp_path, **options) as service:

        def work() -> str:
            with Raw(service.port) as client:
                client.send("EHLO x", "AUTH PLAIN AG1lAHNlY3JldA==", "MAIL FROM:<me@b.test>")
                client.send("RCPT TO:<c@d.test>", "DATA").replies(5)
                client.socket.sendall(content + b".\r\n")
                return client.replies(1)[0]

        reply = await in_thread(work)
        assert reply[:3] == ("250" if accepted else "550"), reply
        assert service.metrics.requests == accepted
        assert service.metrics.errors["internal"] == 0


# ---- Line ends of devices.


@pytest.mark.parametrize(
    ("content", "kept"),
    [
        (b"A: b\r\r\nC: d\r\r\n\r\r\nz\r", b"A: b\r\nC: d\r\n\r\nz\r\n"),
        (b"A: b\rBcc: d\r\n\r\nz", b"A: b Bcc: d\r\n\r\nz\r\n"),
        (b"A: b\r\r\r\nC: d\r\rE: f\n\nz", b"A: b\r\nC: d  E: f\r\n\r\nz\r\n"),
        (b"A: b\n\nz\r.\r\ry", b"A: b\r\n\r\nz .  y\r\n"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_cr_makes_no_structure(tmp_path: Path, content: bytes, kept: bytes) -> None:
    """S4: neither a field nor the end of the header, nor that of the message."""
    mail = await queued(tmp_path, content, normalise_newlines_for=("127.0.0.1",))
    assert after_ours(mail) == kept


@pytest.mark.parametrize("end", [b"\n.\n", b"\r\n.\n", b"\n.\r\n", b"\r\r\n.\r\r\n"])
@pytest_twisted.ensureDeferred
async def test_a_device_that_ends_with_a_lone_dot_is_answered(tmp_path: Path, end: bytes) -> None:
    mail = await queued(tmp_path, b"Subject: x\n\nHello\n..\n", end=end.lstrip(b"\r\n"), **DEVICES)
    assert mail.endswith(b"Subject: x\r\n\r\nHello\r\n.\r\n")


@pytest_twisted.ensureDeferred
async def test_a_device_that_closes_its_side_after_a_lone_dot(tmp_path: Path) -> None:
    async with relay(tmp_path, **DEVICES) as service:

        def work() -> str:
            with Raw(service.port) as client:
                client.send("HELO x", "MAIL FROM:<>", "RCPT TO:<a@b.test>", "DATA").replies(4)
                client.socket.sendall(b"a: b\n\nc\n.\n")
                client.socket.shutdown(socket.SHUT_WR)
                return client.rest()

        assert "queued as" in await in_thread(work)


@pytest_twisted.ensureDeferred
async def test_what_follows_a_lone_dot_is_text(tmp_path: Path) -> None:
    """S4: a false end of data gives one message, also from a device; only silence ends it."""
    smuggled = b"MAIL FROM:<x@y.test>\r\nRCPT TO:<z@y.test>\r\nDATA\r\nsecond"
    mail = await queued(tmp_path, b"a: b\n\nc\n.\n" + smuggled, **DEVICES)
    assert mail.endswith(b"c\r\n\r\n" + smuggled + b"\r\n")


@pytest_twisted.ensureDeferred
async def test_silence_ends_no_other_message(tmp_path: Path) -> None:
    """S4: neither that of another client, nor one whose last line has more than a dot."""
    options = {"normalise_newlines_for": ("127.0.0.1",), "limits": {"idle_timeout": 3.0}}
    async with relay(tmp_path, **options) as service:

        def work() -> str:
            with Raw(service.port) as client:
                client.send("HELO x", "MAIL FROM:<>", "RCPT TO:<a@b.test>", "DATA").replies(4)
                client.socket.sendall(b"a: b\n\nc\n.\n")
                return client.rest()

        assert (await in_thread(work)).startswith("421 4.4.2")
        assert service.metrics.requests == 0


# ---- Clients that do not wait.


def all_at_once(port: int, *, greeted: bool) -> str:
    """Send a whole session, after the greeting or before; everything that is answered."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        if greeted:
            client.recv(1000)
        text = b"x" * 70 + b"\r\n"
        client.sendall(
            b"EHLO x\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\nSubject: x\r\n\r\n"
            + text * 20_000 + b".\r\nQUIT\r\n"
        )  # fmt: skip
        return client.makefile("rb").read().decode()


@pytest.mark.parametrize("greeted", [True, False])
@pytest_twisted.ensureDeferred
async def test_a_client_that_does_not_wait_is_refused(tmp_path: Path, greeted: bool) -> None:
    """RFC 2920, 3.1: content before 354, and anything before the greeting; it reads why."""
    async with relay(tmp_path) as service:
        said = await in_thread(lambda: all_at_once(service.port, greeted=greeted))
        assert said.splitlines()[-1][:9] == ("503 5.5.1" if greeted else "554 5.5.1")
        assert ("220 " in said) is False
        await until(lambda: service.metrics.connections_open == 0, reactor=reactor)
        assert service.metrics.requests == 0
        assert service.metrics.errors["sent_away"] == 1


@pytest.mark.parametrize("options", [DEVICES, {"refuse_early_talk": False}])
@pytest.mark.parametrize("greeted", [True, False])
@pytest_twisted.ensureDeferred
async def test_it_is_taken_where_the_file_says_so(
    tmp_path: Path, options: dict[str, Any], greeted: bool
) -> None:
    async with relay(tmp_path, **options) as service:
        said = await in_thread(lambda: all_at_once(service.port, greeted=greeted))
        assert "queued as" in said
        assert said.splitlines()[-1].startswith("221")


@pytest_twisted.ensureDeferred
async def test_a_group_of_commands_is_no_early_talk(tmp_path: Path) -> None:
    """RFC 2920: swaks sends MAIL, RCPT and DATA in one piece, and waits for 354."""
    swaks = require_program("swaks")
    async with relay(tmp_path) as service:
        result = await in_thread(
            lambda: subprocess.run(
                [swaks, "--server", f"127.0.0.1:{service.port}", "--to", "user@example.org",
                 "--from", "sender@example.org", "--pipeline"],
                capture_output=True, text=True, timeout=20, check=False,
            )
        )  # fmt: skip
        assert result.returncode == 0, result.stdout
        await mails(tmp_path)
