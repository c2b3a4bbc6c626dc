"""Reports on mail that failed, from SMTP in to the Maildir of the sender."""

from __future__ import annotations

import re
import smtplib
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor as _reactor

from netserve.mail import kind
from netserve.plugin import ProcessMetrics
from netserve.server.queue_metrics import show_queue
from netserve.testing.mail import Raw, in_thread, mails, relay
from netserve.testing.next_hop import Box, next_hop
from netserve.testing.process import free_port
from netserve.testing.queue import until

reactor: Any = _reactor

SENDERS = [
    "=?utf-7?q?+AA0-?=@b.example",
    "=?utf-7?q?+AA0-?=+AA0-=?utf-7?q?+AA0-?=@b.example",
    "=?utf-8?q?a=40evil.test=3E=2C?=@b.example",
    "=?utf-8?b?DQpCY2M6IHg=?=@b.example",
    "=?x-unknown?b?!?=@b.example",
    "=?=?=@b.example",
    '"=?utf-8?q?x?= y"@b.example',
    '"a\\"b, c:;<>()"@b.example',
    '" "@b.example',
    '"@"@b.example',
    "a@[IPv6:2001:db8::1]",
    "a=b+c/d{e}|f~g@b.example",
    "postmaster",
    "jürgen@bücher.example",
    "a@bücher.example",
]
PARAMETERS = [
    "",
    " RET=FULL ENVID=+0D+0ABcc:x",
    " RET=FULL ENVID==?utf-7?q?+2BAA0-?=",
    " RET=HDRS ENVID=%s{0}",
]
CONTENT = (
    b"Subject: =?utf-7?q?+AA0-?=\r\nX: \xff\xfe\r\n"
    b"Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\n\xff"
    + b"y" * 2000
    + b"\r\n--b--\r\n"
)


def hand_over(port: int, sender: str, parameters: str) -> bool:
    """Send a message that will fail; whether it was accepted."""
    with smtplib.SMTP("127.0.0.1", port, local_hostname="x", timeout=20) as client:
        client.command_encoding = "utf-8"
        client.ehlo()
        utf8 = "" if sender.isascii() else " SMTPUTF8"
        code, _ = client.docmd("MAIL", f"FROM:<{sender}>{parameters}{utf8}")
        if code != 250:
            return False
        original = "rfc822;=?utf-7?q?+2BAA0-?=+0A"
        if client.docmd("RCPT", f"TO:<no@x.example> ORCPT={original}")[0] != 250:
            assert client.docmd("RCPT", "TO:<no@x.example>")[0] == 250
        code, _ = client.data(CONTENT)
        return code == 250


@pytest_twisted.ensureDeferred
async def test_every_sender_gets_its_bounce(tmp_path: Path) -> None:
    """S22: whatever it is called, and whatever it sends; and nothing is held."""
    routes = (
        {"match": {"sender": "<>"}, "deliver": {"maildir": "mail"}},
        {"deliver": {"smarthost": f"127.0.0.1:{(port := free_port())}", "tls": "none"}},
    )
    wanted: list[str] = []
    with next_hop(Box(), port=port):
        async with relay(tmp_path, routes=routes) as service:

            def work() -> None:
                wanted.extend(
                    sender
                    for at, sender in enumerate(SENDERS)
                    for parameters in (PARAMETERS[at % len(PARAMETERS)], "")
                    if hand_over(service.port, sender, parameters)
                )

            await in_thread(work)
            assert set(wanted) == set(SENDERS)
            bounces = await mails(tmp_path, len(wanted))
            assert service.outbox is not None
            await until(lambda: service.outbox.depth()["queued"] == 0, reactor=reactor)
            assert service.outbox.depth()["held"] == 0
            assert service.hosted_service.not_ready() is None
    delivered = [re.search(rb"Delivered-To: (.*)\r\n", bounce)[1].decode() for bounce in bounces]  # type: ignore[index]
    assert sorted(delivered) == sorted(wanted)
    for bounce, sender in zip(bounces, delivered, strict=True):
        head = bounce.partition(b"\r\n\r\n")[0] + b"\r\n"
        names = re.findall(rb"^([A-Za-z-]+):", head, re.MULTILINE)
        assert names.count(b"To") == 1
        assert b"Bcc" not in names
        if sender.isascii():
            assert b"\r\nTo: <" + sender.encode() + b">\r\n" in head
        assert b"\r\nAction: failed\r\n" in bounce


@pytest_twisted.ensureDeferred
async def test_a_sender_that_could_not_be_told_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S22: the recipient is held, and readiness and metrics tell."""

    def broken(_: Any) -> bytes:
        raise ZeroDivisionError

    monkeypatch.setattr(kind, "build_report", broken)
    monkeypatch.setattr(kind, "build_plain_report", broken)
    port = free_port()
    routes = ({"deliver": {"smarthost": f"127.0.0.1:{port}", "tls": "none"}},)
    with next_hop(Box(), port=port):
        async with relay(tmp_path, routes=routes) as service:

            def work() -> None:
                with Raw(service.port) as client:
                    client.send("EHLO x", "MAIL FROM:<a@b.test>", "RCPT TO:<no@x.test>", "DATA")
                    client.replies(4)
                    client.send("a: b", "", ".").replies(1)

            assert service.outbox is not None
            metrics = ProcessMetrics()
            show_queue(metrics, service.outbox)

            def shown() -> float:
                return metrics.value("queue_unreported")

            assert shown() == 0
            await in_thread(work)
            await until(lambda: shown() == 1, reactor=reactor)
            reason = service.hosted_service.not_ready()
            assert reason == "failed recipients are held, as their senders could not be told: 1"
