"""``netserve send``, run as a command against a running queue, and against SMTP servers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
from pytest_twisted import ensureDeferred
from twisted.internet import reactor as _reactor
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from netserve.ops.control import ControlSocket
from netserve.outbox import Outbox
from netserve.testing.mail import mails, relay
from netserve.testing.queue import DEFERRED, DELIVERED, FAILED, Courier, opened_queue, until
from netserve.testing.turns import share_of_turns

reactor: Any = _reactor
MAIN = "from netserve.cli import main; main()"


def run(state: Path, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", MAIN, "send", *arguments, "--state", str(state)],
        input=text,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


async def send(state: Path, *arguments: str, text: str = "") -> tuple[int, list[str]]:
    """Exit code, and the lines."""
    done = await deferToThread(run, state, *arguments, text=text)
    return done.returncode, (done.stdout + done.stderr).splitlines()


@asynccontextmanager
async def daemon(state: Path, courier: Courier) -> AsyncIterator[Outbox]:
    async with opened_queue(state / "outbox", courier, reactor=reactor) as outbox:
        control = ControlSocket(state / "control", turns=share_of_turns(), log=Logger())
        control.add_queue(outbox)
        await control.start()
        yield outbox
        await control.stop()


@ensureDeferred
async def test_a_message_is_followed_to_its_delivery(tmp_path: Path) -> None:
    courier = Courier(DELIVERED)
    async with daemon(tmp_path, courier):
        code, lines = await send(tmp_path, "ada@example.com", "--subject", "Grüße", "--text", "hi")
    assert code == 0
    accepted, route, attempt, end = lines
    assert accepted.startswith("accepted as ")
    assert "from <postmaster@relay.example.org>, by mail, trace " in accepted
    assert route == "route of <ada@example.com>: example.com"
    assert attempt == "delivered <ada@example.com>: 250 2.0.0 ok (mx.example.com[192.0.2.1]:25)"
    assert end == "delivered"
    ((_, addresses, body),) = courier.delivered
    assert addresses == ("ada@example.com",)
    assert b"From: postmaster@relay.example.org\r\nTo: ada@example.com\r\n" in body
    assert b"with local id" in body
    assert b"\r\nDate: " in body
    assert b"\r\nMessage-ID: <" in body


@ensureDeferred
async def test_a_failure_is_told_with_its_reply(tmp_path: Path) -> None:
    courier = Courier(lambda message, recipient: FAILED if message.sender else DELIVERED)
    async with daemon(tmp_path, courier):
        code, lines = await send(tmp_path, "a@b.test", "--from", "me@d.test")
        assert code == 1
        assert lines[-2:] == [
            "failed <a@b.test>: 550 5.1.1 nobody (mx.example.com[192.0.2.1]:25)", "failed"
        ]  # fmt: skip


@ensureDeferred
async def test_a_deferral_tells_when_it_is_tried_again(tmp_path: Path) -> None:
    """And what is tried within the time is waited for."""
    async with daemon(tmp_path, Courier(DEFERRED)) as outbox:
        code, lines = await send(tmp_path, "a@b.test")
        assert code == 75
        assert lines[-2].startswith("deferred <a@b.test>: 450 4.2.0 later")
        assert lines[-1] == "deferred: the next attempt is in 5m"
        assert outbox.depth()["delivering"] == 0


@ensureDeferred
async def test_json_has_it_all(tmp_path: Path) -> None:
    async with daemon(tmp_path, Courier(DELIVERED)):
        code, lines = await send(tmp_path, "a@b.test", "c@d.test", "--json")
    answer = json.loads("\n".join(lines))
    assert (code, answer["result"]) == (0, "delivered")
    assert [step["step"] for step in answer["steps"]] in (
        ["accepted", "route", "attempt", "route", "attempt"],
        ["accepted", "route", "route", "attempt", "attempt"],
    )
    assert sorted(answer["steps"][0]) == ["id", "sender", "service", "step", "trace"]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("nobody",), 1, "Error: to[0]: the address has no domain"),
        (("a@b.test", "--service", "none"), 1, "no service 'none' uses the queue; there is mail"),
        (("a@b.test", "--from", "x\ny"), 1, "Error: from: has a line end"),
        (("a@b.test", "--tls", "none"), 2, "--tls and --user are for --server"),
        (("a@b.test", "--server", "x", "--service", "y"), 2, "--service is for the running"),
        ((), 2, "Missing argument"),
    ],
)
@ensureDeferred
async def test_what_is_wrong_is_said(
    tmp_path: Path, arguments: tuple[str, ...], code: int, says: str
) -> None:
    async with daemon(tmp_path, Courier(DELIVERED)):
        got, lines = await send(tmp_path, *arguments)
    assert (got, says in "\n".join(lines)) == (code, True), lines


def test_without_a_daemon_it_says_so(tmp_path: Path) -> None:
    done = run(tmp_path, "a@b.test")
    assert (done.returncode, done.stdout) == (1, "")
    assert "netserve is not running with this state folder" in done.stderr


# ---- By SMTP.


@ensureDeferred
async def test_by_smtp_to_a_netserve_that_can_be_asked(tmp_path: Path) -> None:
    """Its queue id is in the reply, and the control socket tells the rest."""
    async with relay(tmp_path) as service:
        assert service.outbox is not None
        control = ControlSocket(tmp_path / "control", turns=share_of_turns(), log=Logger())
        control.add_queue(service.outbox)
        await control.start()
        server = f"127.0.0.1:{service.port}"
        code, lines = await send(tmp_path, "a@b.test", "--from", "me@d.test", "--server", server)
        await control.stop()
        assert code == 0, lines
        assert lines[0] == f"connected to {server}, in clear"
        assert lines[2] == "RCPT <a@b.test>: 250 2.1.5 OK"
        assert lines[3].startswith("message: 250 2.0.0 OK, queued as ")
        assert lines[-1] == "delivered"
        assert b"From: me@d.test" in (await mails(tmp_path))[0]


@ensureDeferred
async def test_by_smtp_to_a_server_that_cannot_be_asked(tmp_path: Path) -> None:
    async with relay(tmp_path) as service:
        code, lines = await send(tmp_path, "a@b.test", "--server", f"127.0.0.1:{service.port}")
        assert code == 0, lines
        assert lines[-2].startswith("not followed: netserve is not running")
        assert lines[-1] == "accepted by the server, which is not followed"
        await until(lambda: service.metrics.requests == 1, reactor=reactor)


@ensureDeferred
async def test_by_smtp_with_tls_and_a_login(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The password comes from the input, and goes out over TLS that was verified only."""
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(tmp_path / "mx.key")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "mx.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    options = {
        "tls": {"certificate": "mx.pem", "key": "mx.key"},
        "role": "submission",
        "users": {"me": "secret"},
    }
    async with relay(tmp_path, **options) as service:
        server = ("--server", f"127.0.0.1:{service.port}")
        code, lines = await send(tmp_path, "a@b.test", *server)
        assert (code, lines[-2:]) == (1, ["530 5.7.0 Log in first", "refused"])
        assert ", by TLSv1.3" in lines[0]
        code, lines = await send(tmp_path, "a@b.test", *server, "--user", "me", text="secret\n")
        assert (code, "CERTIFICATE_VERIFY_FAILED" in lines[0]) == (75, True), lines
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        code, lines = await send(tmp_path, "a@b.test", *server, "--user", "me", text="secret\n")
        assert code == 0, lines
        assert lines[1] == "logged in as me: 235 2.7.0 Authenticated"
        code, lines = await send(tmp_path, "a@b.test", *server, "--user", "me", text="wrong\n")
        assert (code, lines[-2]) == (1, "535 5.7.8 The user or the password is wrong")


@ensureDeferred
async def test_by_smtp_to_nobody(tmp_path: Path) -> None:
    code, lines = await send(tmp_path, "a@b.test", "--server", "127.0.0.1:1")
    assert code == 75
    assert lines == ["127.0.0.1:1: [Errno 111] Connection refused", "refused"]


@pytest.mark.parametrize("server", ["", ":25", "localhost:", "localhost:smtp", "h:²", "h:65536"])
@ensureDeferred
async def test_by_smtp_to_what_is_no_server(tmp_path: Path, server: str) -> None:
    code, lines = await send(tmp_path, "a@b.test", "--server", server)
    assert (code, lines) == (1, [f"Error: not a server: {server!r}; write HOST or HOST:PORT"])


@pytest.mark.parametrize("server", ["[::1]:1", "localhost:1"])
@ensureDeferred
async def test_forms_of_a_server(tmp_path: Path, server: str) -> None:
    code, lines = await send(tmp_path, "a@b.test", "--server", server)
    assert (code, lines[-1]) == (75, "refused")
