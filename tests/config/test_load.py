"""A good file: its values, and where they stand."""

from __future__ import annotations

import ipaddress
import sys
from pathlib import Path

import pytest

from netserve.config.envelope import ProcessSettings
from netserve.config.listen import Listen
from netserve.config.load import Configuration, load
from netserve.config.types import Secret
from netserve.errors import ConfigError
from netserve.registry import Registry

CASES = Path(__file__).parent / "cases"
REGISTRY = Registry(built_in=(("sample", "sample:plugin"),), installed=lambda: ())

GOOD = """\
netserve:
  state: ./state
  log: {format: json, level: warn}
  status: "tcp:7000:interface=127.0.0.1"
  drain: 1m30s

services:
  first:
    protocol: sample
    listen: ["tcp:7007:interface=127.0.0.1", "udp:7007"]
    text: !env GREETING
    count: 010
    ratio: 1
    flag: true
    wait: 500ms
    level: middle
    networks: 127.0.0.1
    names: &names [ab, "no"]
    limits: {message_size: 25MiB, connections: 5}
    login:
      user: me
      password: !file secret.txt
    deliver:
      - maildir: ./mail
      - {smarthost: [a, b], tls: verify}
    shape: {kind: circle, radius: 2.5}
    either: auto
    anything: {yes: [no, 22:22, ~, *names], 404: !!str 5}
  second:
    protocol: sample
    listen: unix:/run/second.sock
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(CASES))
    monkeypatch.setenv("GREETING", "hello")
    (tmp_path / "secret.txt").write_text("hunter2\n")
    (tmp_path / "config.yaml").write_text(GOOD)
    return tmp_path


@pytest.fixture
def configuration(folder: Path) -> Configuration:
    return load(folder / "config.yaml", REGISTRY)


def test_the_process(configuration: Configuration, folder: Path) -> None:
    assert configuration.file == folder / "config.yaml"
    assert configuration.folder == folder
    process = configuration.process
    assert process.state == folder / "state"
    assert (process.log.format, process.log.level) == ("json", "warn")
    assert process.status == Listen("tcp:7000:interface=127.0.0.1")
    assert (process.user, process.group, process.drain) == (None, None, 90.0)


def test_a_process_by_default(folder: Path) -> None:
    """Without `netserve:` the state is beside the file, not in the current folder."""
    text = "services: {one: {protocol: sample, listen: tcp:0}}"
    (folder / "config.yaml").write_text(text)
    process = load(folder / "config.yaml", REGISTRY).process
    assert process.state == folder / "var"
    assert process.status is None
    assert process.drain == 10.0


def test_the_services(configuration: Configuration, folder: Path) -> None:
    first, second = configuration.services
    assert (first.name, second.name) == ("first", "second")
    assert first.plugin is REGISTRY.find("sample")
    settings = first.settings
    assert type(settings) is first.plugin.settings
    expected = {
        "text": "hello", "count": 10, "ratio": 1.0, "flag": True, "wait": 0.5, "level": "middle",
        "networks": (ipaddress.ip_network("127.0.0.1"),), "names": ("ab", "no"), "either": "auto",
        "anything": {"yes": ("no", "22:22", None, ("ab", "no")), "404": "5"},
        "listen": (Listen("tcp:7007:interface=127.0.0.1"), Listen("udp:7007")),
    }  # fmt: skip
    assert {name: getattr(settings, name) for name in expected} == expected
    assert settings.limits.message_size == 25 * 2**20
    assert settings.login.password == Secret("hunter2")
    assert settings.deliver[0].maildir == folder / "mail"
    assert settings.deliver[1].smarthost == ("a", "b")
    assert settings.shape.radius == 2.5


def test_no_secret_is_in_what_is_printed(configuration: Configuration) -> None:
    """S17: not in a repr, not in a dump."""
    assert "hunter2" not in repr(configuration)
    assert "hunter2" not in repr(configuration.services[0].settings)
    assert "hunter2" not in configuration.services[0].settings.model_dump_json(
        include={"login", "text"}
    )


@pytest.mark.parametrize(
    ("way", "place"),
    [
        (("services", "first", "listen", 1), "10:46: services.first.listen[1]"),
        (("services", "second", "listen", 0), "31:13: services.second.listen"),
        (("services", "first", "login", "password"), "22:17: services.first.login.password"),
        (("services", "first", "login"), "20:5: services.first.login"),
        (("services", "first", "tls", "certificate"), "8:3: services.first.tls.certificate"),
        (("services", "first", "deliver", 1, "tls"), "25:34: services.first.deliver[1].tls"),
        (
            ("services", "first", "anything", "yes", 3, 1),
            "18:24: services.first.anything",  # its keys may be anything, too
        ),
        (("services", "second"), "29:3: services.second"),
        (("netserve", "status"), "4:11: netserve.status"),
    ],
)
def test_a_place(configuration: Configuration, way: tuple[str | int, ...], place: str) -> None:
    """Also of what the file lacks, and of an alias, which is where its anchor is."""
    problem = configuration.problem(way, "wrong")
    assert f"{problem.line}:{problem.column}: {problem.path}" == place
    source = GOOD.splitlines()[problem.line - 1]
    source = source.replace("[a, b]", "[***, ***]").replace('&names [ab, "no"]', "*** [***, ***]")
    assert problem.source == source
    assert str(problem).startswith(f"{configuration.file}:{place}: wrong\n    {source}\n")


def test_only_the_plugins_of_the_file_are_imported(folder: Path) -> None:
    registry = Registry(
        built_in=(("sample", "sample:plugin"), ("other", "no_such_module:plugin")),
        installed=lambda: (),
    )
    assert load(folder / "config.yaml", registry).services
    assert "no_such_module" not in sys.modules


def test_port_zero_may_be_there_twice(folder: Path) -> None:
    text = "services: {a: {protocol: sample, listen: tcp:0}, b: {protocol: sample, listen: tcp:0}}"
    (folder / "config.yaml").write_text(text)
    assert len(load(folder / "config.yaml", REGISTRY).services) == 2


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("tcp:7007", "udp:7007"),
        ("tcp:7007", "tcp:7008"),
        ("tcp:7007:interface=127.0.0.1", "tcp:7007:interface=127.0.0.2"),
        ("tcp:7007:interface=127.0.0.1", r"tcp:7007:interface=\:\:1"),
        ("unix:/a", "unixgram:/a"),
        ("systemd:domain=INET:index=0", "systemd:domain=INET:index=1"),
    ],
)
def test_addresses_that_do_not_clash(folder: Path, one: str, other: str) -> None:
    text = f"services:\n  a: {{protocol: sample, listen: '{one}'}}\n"
    text += f"  b: {{protocol: sample, listen: '{other}'}}\n"
    (folder / "config.yaml").write_text(text)
    assert len(load(folder / "config.yaml", REGISTRY).services) == 2


def test_many_problems_are_counted(folder: Path) -> None:
    lines = "".join(f"x{number}: 1\n" for number in range(250))
    (folder / "config.yaml").write_text(lines)
    with pytest.raises(ConfigError) as caught:
        load(folder / "config.yaml", REGISTRY)
    assert len(caught.value.problems) == 101
    assert caught.value.problems[-1].what == "and 151 more problems"


def test_the_defaults_of_the_process_are_a_good_file() -> None:
    assert ProcessSettings().drain == 10.0
