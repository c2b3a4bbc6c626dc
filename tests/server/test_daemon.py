"""The process as a whole: what one part does wrong is not the others' loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest_twisted
from twisted.internet import reactor as _reactor

from netserve.config.load import load
from netserve.outbox import Outbox
from netserve.registry import Registry
from netserve.server.daemon import Component, Daemon
from netserve.server.service import HostedService

reactor: Any = _reactor
FILE = """
netserve: {state: state}
services:
  mail:
    protocol: smtp-relay
    listen: tcp:0:interface=127.0.0.1
    routes: [{deliver: {discard: true}}]
  echo: {protocol: echo, listen: "tcp:0:interface=127.0.0.1"}
"""


@pytest_twisted.ensureDeferred
async def test_a_bug_at_the_end_keeps_nothing_from_ending(tmp_path: Path, monkeypatch: Any) -> None:
    """The queue above all: what waits there is written by `Outbox.close`."""

    def broken(*_: Any) -> None:
        raise RuntimeError("a bug")

    file = tmp_path / "config.yaml"
    file.write_text(FILE)
    daemon = Daemon(load(file, Registry()), reactor=reactor, failed=lambda: None)
    daemon.build()
    daemon.components.append(Component(lambda: None, broken))
    daemon.bind()
    daemon.startService()
    ended: list[str] = []
    close = Outbox.close

    async def closed(outbox: Outbox) -> None:
        await close(outbox)
        ended.append("queue")

    async def stopped(service: HostedService) -> None:
        ended.append(service.name)

    monkeypatch.setattr(Outbox, "close", closed)
    monkeypatch.setattr(HostedService, "drain", broken)
    monkeypatch.setattr(HostedService, "stop", stopped)
    ports = [port for service in daemon.services.values() for port in service._ports]
    await daemon.stopService()
    assert ended == ["queue", "mail", "echo"]
    for port in ports:
        await port.stopListening()
