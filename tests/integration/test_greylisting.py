"""Recipients that a greylisting server defers stay together (RFC 5321, section 4.5.4.1)."""

from __future__ import annotations

import smtplib
import time
from pathlib import Path
from typing import Any

import pytest

from netserve.testing.next_hop import CuttingController
from netserve.testing.process import free_port, running, wait_until

COUNT = 10
DELAY = 1.5
"""Seconds for which a recipient is deferred after its first attempt."""

NULL = "<>"
"""The sender of bounces; aiosmtpd takes an empty one for a missing MAIL."""


class Greylist:
    """A server that defers recipients, and then accepts or rejects them.

    Arguments:
        reply: to RCPT once the delay has passed.
        stage: the command that is deferred, RCPT or DATA.
    """

    def __init__(self, reply: str, stage: str = "RCPT") -> None:
        self.reply = reply
        self.stage = stage
        self.first: dict[str, float] = {}
        self.attempts: list[list[str]] = []
        self.envelopes: list[Any] = []

    def _is_early(self, name: str) -> bool:
        now = time.monotonic()
        return now < self.first.setdefault(name, now) + DELAY

    async def handle_MAIL(
        self, server: Any, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        envelope.mail_from = address or NULL
        envelope.mail_options.extend(options)
        if address not in {"", NULL}:
            self.attempts.append([])
        return "250 OK"

    async def handle_RCPT(
        self, server: Any, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        if envelope.mail_from != NULL:
            self.attempts[-1].append(address)
            if self.stage == "RCPT" and self._is_early(address):
                return "451 4.7.1 greylisted"
            if not self.reply.startswith("250"):
                return self.reply
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        if self.stage == "DATA" and self._is_early(envelope.mail_from):
            return "451 4.7.1 greylisted"
        self.envelopes.append(envelope)
        return "250 OK"


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["RCPT", "DATA"])
@pytest.mark.parametrize("reply", ["250 OK", "550 5.1.1 no such user"])
def test_greylisted_recipients_are_retried_in_one_transaction(
    tmp_path: Path, stage: str, reply: str
) -> None:
    """Ten recipients: one copy of the message, or one bounce that names them all."""
    hop = Greylist(reply, stage)
    port = free_port()
    controller = CuttingController(hop, hostname="127.0.0.1", port=free_port())
    controller.start()
    config = tmp_path / "config.yaml"
    config.write_text(
        "netserve: {state: ./var}\n"
        "services:\n"
        "  mail:\n"
        "    protocol: smtp-relay\n"
        f"    listen: tcp:{port}:interface=127.0.0.1\n"
        "    hostname: relay.example.org\n"
        "    retry: {first: 2s, longest: 2s}\n"
        f"    routes: [{{deliver: {{smarthost: '127.0.0.1:{controller.port}', tls: none}}}}]\n"
    )
    everybody = [f"r{number}@example.net" for number in range(COUNT)]
    try:
        with running(config) as process:
            with smtplib.SMTP("127.0.0.1", port) as client:
                client.sendmail("sender@example.org", everybody, b"Subject: x\r\n\r\nHello\r\n")
            wait_until(lambda: hop.envelopes, what="the message or its bounce")
            process.stop()
    finally:
        controller.stop()
    (envelope,) = hop.envelopes
    is_refused_at_once = stage == "DATA" and not reply.startswith("250")
    assert hop.attempts == [everybody] * (1 if is_refused_at_once else 2)
    if reply.startswith("250"):
        assert sorted(envelope.rcpt_tos) == everybody
    else:
        assert envelope.rcpt_tos == ["sender@example.org"]
        assert envelope.content.count(b"Final-Recipient: ") == COUNT
