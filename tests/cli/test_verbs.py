"""check, schema and list, as they are called."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from netserve import __version__
from netserve.cli import main

ROOT = Path(__file__).parents[2]
GOOD = "services:\n  one:\n    protocol: echo\n    listen: tcp:7007\n"
BAD = "services:\n  one:\n    protocol: echo\n    listen: tcp:7007\n    pasword: hunter2\n"


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "config.yaml"


def test_a_good_file(config: Path) -> None:
    config.write_text(GOOD)
    result = call("check", config)
    assert (result.exit_code, result.output) == (0, "ok\n")
    assert call("check").output == "ok\n"  # config.yaml is the default
    assert json.loads(call("check", "--json").output) == []


def test_a_bad_file(config: Path) -> None:
    """S17: the value of a mistyped key is not shown."""
    config.write_text(BAD)
    result = call("check")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr == (
        "config.yaml:5:5: services.one.pasword: unknown key; known are protocol, log, listen,"
        " tls, limits, allow, deny, proxy_protocol_from, kind, limit, amplify\n"
        "        pasword: ***\n"
        "        ^\n"
    )


def test_a_bad_file_for_an_editor(config: Path) -> None:
    config.write_text(BAD)
    result = call("check", "--json", "config.yaml")
    assert result.exit_code == 1
    (problem,) = json.loads(result.stdout)
    assert problem.pop("what").startswith("unknown key")
    assert problem == {
        "file": "config.yaml", "line": 5, "column": 5, "path": "services.one.pasword",
    }  # fmt: skip


def test_no_file(config: Path) -> None:
    result = call("check")
    assert (result.exit_code, result.stderr) == (1, "config.yaml: there is no such file\n")


def test_the_schema() -> None:
    schema = json.loads(call("schema").output)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert "EchoSettings" in schema["$defs"]


def test_the_list_of_protocols() -> None:
    lines = call("list").output.splitlines()
    assert lines[0].split()[:2] == ["echo", "built-in"]
    assert {line.split()[0] for line in lines} >= {"echo", "request-response", "factory"}
    names = [entry["name"] for entry in json.loads(call("list", "--json").output)]
    assert names == [line.split()[0] for line in lines]


def test_the_options_of_a_protocol() -> None:
    output = call("list", "echo").output
    assert output.startswith("echo: Echo, discard, daytime, time or chargen, over TCP and UDP.\n\n")
    rows = {line.split()[0]: line for line in output.splitlines()[2:]}
    assert "(required)" in rows["listen"]
    assert "duration" in rows["limits.idle_timeout"]
    assert "5m" in rows["limits.idle_timeout"]
    options = json.loads(call("list", "--json", "echo").output)
    assert [option["path"] for option in options] == list(rows)


def test_the_options_of_a_protocol_beside_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT / "examples" / "shout")
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert "What is put behind each answer." in call("list", "shout:shout").output


def test_an_unknown_protocol() -> None:
    result = call("list", "ecko")
    assert result.exit_code == 1
    assert result.stderr == "Error: ecko: unknown protocol; did you mean echo?\n"


def test_the_version_needs_neither_twisted_nor_pydantic() -> None:
    code = (
        "import sys; from netserve.cli import main\n"
        "try: main(['--version'])\n"
        "finally: assert not {'twisted', 'pydantic', 'rich'} & sys.modules.keys()"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    assert result.stdout == f"netserve, version {__version__}\n"


def test_check_does_not_install_a_reactor(config: Path) -> None:
    """It is a tool for pipelines: nothing is opened, no loop is made."""
    config.write_text(GOOD)
    code = (
        "import sys; from netserve.cli import main\n"
        "main(['check', sys.argv[1]], standalone_mode=False)\n"
        "assert 'twisted.internet.reactor' not in sys.modules"
    )
    subprocess.run(
        [sys.executable, "-c", code, config], check=True, capture_output=True, timeout=60
    )
