"""The process as a whole: what one part does wrong is not the others' loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor as _reactor

from netserve.config.load import load
from netserve.errors import ConfigError
from netserve.outbox import Outbox
from netserve.registry import Registry
from netserve.server.daemon import Component, Daemon
from netserve.server.service import Service

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

    async def stopped(service: Service) -> None:
        ended.append(service.name)

    monkeypatch.setattr(Outbox, "close", closed)
    monkeypatch.setattr(Service, "drain", broken)
    monkeypatch.setattr(Service, "stop", stopped)
    await daemon.stopService()
    assert ended == ["queue", "mail", "echo"]
    await daemon.sockets.close_others([])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("", "services.mine: hunter2 is no good\n"),
        (", password: hunter2", "services.mine: its protocol cannot be built: ValueError (in "),
    ],
)
def test_what_a_plugin_says_is_shown_where_it_was_given_no_secret(
    tmp_path: Path, options: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S17: `int(password)` is enough to have it in the text of an error."""
    module = "plain_plugin" if not options else "secret_plugin"
    field = "" if not options else "    password: Secret\n"
    (tmp_path / f"{module}.py").write_text(
        "from netserve.config.types import Secret\n"
        "from netserve.plugin import ProtocolPlugin, Settings\n"
        f"class Mine(Settings):\n    pass\n{field}"
        "def build(settings, context):\n"
        "    raise ValueError('hunter2 is no good')\n"
        "plugin = ProtocolPlugin(name='mine', settings=Mine, build=build)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    file = tmp_path / "config.yaml"
    service = f"{{protocol: '{module}:plugin', listen: 'tcp:0:127.0.0.1'{options}}}"
    file.write_text(f"netserve: {{state: state}}\nservices:\n  mine: {service}\n")
    daemon = Daemon(load(file, Registry()), reactor=reactor, failed=lambda: None)
    with pytest.raises(ConfigError) as caught:
        daemon.build()
    assert told in str(caught.value)
    if options:
        assert "hunter2" not in str(caught.value)
        assert f"{module}.py, line 7); its text is not shown" in str(caught.value)
