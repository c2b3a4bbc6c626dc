"""Protocols: built in, installed, beside the file; and each way in which one can be broken."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from netserve.config.import_path import import_object
from netserve.errors import PluginError
from netserve.plugin import ProtocolPlugin
from netserve.registry import BUILT_IN, GROUP, Registry

PLUGIN = """
from netserve.plugin import ProtocolPlugin, Settings

class MySettings(Settings):
    '''Does what I want.

    At length.
    '''

plugin = ProtocolPlugin(name="mine", settings=MySettings, build=lambda settings, context: None)
wrong_settings = ProtocolPlugin(name="mine", settings=dict, build=lambda settings, context: None)
class NotOne: pass
class Outer:
    inner = plugin
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in [name for name in sys.modules if name.startswith("registry_")]:
        del sys.modules[name]  # another test's, from another folder
    (tmp_path / "registry_mine.py").write_text(PLUGIN)
    (tmp_path / "registry_broken.py").write_text("def f(:\n")
    (tmp_path / "registry_raises.py").write_text("raise RuntimeError('two\\nlines')\n")
    (tmp_path / "registry_exits.py").write_text("import sys; sys.exit(3)\n")
    return tmp_path


def registry(*installed: tuple[str, str]) -> Registry:
    points = [EntryPoint(name, value, GROUP) for name, value in installed]
    return Registry(
        built_in=(("echo", "netserve.protocols.echo:plugin"),), installed=lambda: points
    )


def message(found: Registry, name: str, folder: Path | None = None) -> str:
    with pytest.raises(PluginError) as caught:
        found.find(name, folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_built_in_protocol() -> None:
    plugin = registry().find("echo")
    assert isinstance(plugin, ProtocolPlugin)
    assert plugin.name == "echo"


@pytest.mark.parametrize("name", [name for name, _ in BUILT_IN])
def test_every_built_in_protocol_can_be_used(name: str) -> None:
    assert Registry().find(name).name == name


def test_a_protocol_beside_the_file(folder: Path) -> None:
    assert registry().find("registry_mine:plugin", folder).name == "mine"
    assert registry().find("registry_mine:Outer.inner", folder).name == "mine"


def test_an_installed_protocol(folder: Path) -> None:
    sys.path.append(str(folder))
    found = registry(("mine", "registry_mine:plugin"))
    assert found.names() == ("echo", "mine")
    assert found.find("mine").name == "mine"


UNUSABLE = {
    "ecko": "unknown protocol; did you mean echo?",
    "Echo": "unknown protocol; did you mean echo?",
    "zzz": "unknown protocol; known are echo",
    "": "unknown protocol; known are echo",
    "registry_none:plugin": (
        "cannot import registry_none: ModuleNotFoundError: No module named 'registry_none'"
    ),
    "registry_broken:plugin": (
        "cannot import registry_broken: SyntaxError: invalid syntax (registry_broken.py, line 1)"
    ),
    "registry_raises:plugin": "cannot import registry_raises: RuntimeError: two lines",
    "registry_exits:plugin": "cannot import registry_exits: SystemExit: 3",
    "registry_mine:none": "there is no none in FOLDER/registry_mine.py",
    "registry_mine:Outer.none": "there is no none in registry_mine",
    "registry_mine:NotOne": (
        "registry_mine:NotOne is a class, not a ProtocolPlugin; write a"
        " plugin, or host a factory by `protocol: factory`"
    ),
    "registry_mine:wrong_settings": (
        "registry_mine:wrong_settings: the settings of this plugin are not a subclass of"
        " ServiceSettings"
    ),
    ":plugin": ":plugin is not the way to a Python object; write module:object",
    "a b:c": "a b:c is not the way to a Python object; write module:object",
}


@pytest.mark.parametrize(("name", "what"), UNUSABLE.items(), ids=str)
def test_what_cannot_be_used(folder: Path, name: str, what: str) -> None:
    assert message(registry(), name, folder).replace(str(folder), "FOLDER") == what


def test_two_packages_with_the_same_name() -> None:
    found = registry(("mine", "one:plugin"), ("mine", "other:plugin"))
    what = "one:plugin and other:plugin both bring a protocol mine; uninstall one of them"
    assert message(found, "mine") == what


def test_the_list_has_broken_ones_too(folder: Path) -> None:
    sys.path.append(str(folder))
    found = registry(
        ("broken", "registry_broken:plugin"),
        ("mine", "registry_mine:plugin"),
        ("echo", "registry_mine:plugin"),
    )
    listed = [(each.name, each.source, each.summary) for each in found.plugins()]
    assert listed[0][:2] == ("echo", "built-in")
    assert listed[1][2].startswith("cannot import registry_broken: SyntaxError")
    assert listed[2][2] == "never used: netserve has a protocol of this name itself"
    assert listed[3] == ("mine", "registry_mine:plugin", "Does what I want.")


def test_a_file_beside_the_config_does_not_hide_what_is_installed(folder: Path) -> None:
    (folder / "queue.py").write_text("raise RuntimeError")
    assert import_object("queue:Queue", folder).__module__ == "queue"
