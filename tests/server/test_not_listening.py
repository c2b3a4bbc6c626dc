"""A service need not listen: one that only starts and stops is hosted like any other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from click.testing import CliRunner
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred

from netserve.cli import main
from netserve.config.load import load
from netserve.plugin import Context, Hosted, ProtocolPlugin, ServiceSettings
from netserve.registry import Registry
from netserve.server.daemon import Daemon
from netserve.testing.hosting import serve
from netserve.testing.queue import until

reactor: Any = _reactor

MODULE = '''
from netserve.plugin import Hosted, ProtocolPlugin, ServiceSettings

class Ticking(ServiceSettings):
    """Ticks."""
    every: float = 1.0
    "Seconds between two ticks."

told = []

def build(settings, context):
    context.metrics.gauge("every", "Seconds.", lambda: settings.every)
    return Hosted({hosted})

plugin = ProtocolPlugin(name="ticking", settings=Ticking, build=build)
'''
BOTH = 'start=lambda: told.append("started"), stop=lambda: told.append("stopped")'


@pytest_twisted.ensureDeferred
async def test_it_is_started_and_stopped_by_the_daemon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "ticking.py").write_text(MODULE.format(hosted=BOTH))
    file = tmp_path / "config.yaml"
    file.write_text(
        'netserve: {state: state}\nservices: {tick: {protocol: "ticking:plugin", every: 5}}\n'
    )
    daemon = Daemon(load(file, Registry()), reactor=reactor, failed=lambda: None)
    daemon.build()
    daemon.bind()
    daemon.startService()
    import ticking  # type: ignore[import-not-found]

    service = daemon.services["tick"]
    await until(lambda: service.not_ready() is None, reactor=reactor)
    assert ticking.told == ["started"]
    assert service.metrics.value("every") == 5
    assert service.addresses() == []
    await daemon.stopService()
    assert ticking.told == ["started", "stopped"]


@pytest.mark.parametrize(
    ("hosted", "options", "told"),
    [
        ("", "", "build gave neither start nor stop"),
        (BOTH, ', listen: "tcp:0"', "unknown key"),
        (BOTH, ", limits: {connections: 1}", "unknown key"),
    ],
)
def test_what_does_not_go_without_listening(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hosted: str, options: str, told: str
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    name = f"not_listening_{abs(hash((hosted, options)))}"
    (tmp_path / f"{name}.py").write_text(MODULE.format(hosted=hosted))
    file = tmp_path / "config.yaml"
    file.write_text(
        f"netserve: {{state: state}}\nservices: {{tick: {{protocol: '{name}:plugin'{options}}}}}\n"
    )
    result = CliRunner().invoke(main, ["check", str(file), "--json"])
    assert result.exit_code == 1
    assert told in json.loads(result.stdout)[0]["what"]


@pytest_twisted.ensureDeferred
async def test_serve_hosts_it_for_the_tests_of_its_author() -> None:
    ended: Deferred[None] = Deferred()

    def build(settings: ServiceSettings, context: Context) -> Hosted:
        return Hosted(stop=lambda: ended.callback(None))

    service = await serve(ProtocolPlugin(name="quiet", settings=ServiceSettings, build=build))
    assert not ended.called
    await service.stop()
    assert ended.called
