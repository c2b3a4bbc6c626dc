"""Each kind of object is hosted as the table in service.py says."""

from __future__ import annotations

import asyncio
import random
import sys
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.interfaces import IProtocolFactory
from twisted.logger import Logger
from twisted.protocols.ftp import FTPFactory
from twisted.protocols.wire import Echo

from netserve.config.load import load
from netserve.errors import ConfigError
from netserve.plugin import Context, Hosted, Metrics
from netserve.protocols.factory import plugin
from netserve.registry import Registry
from netserve.testing.turns import endless_turn

ROOT = Path(__file__).parents[3]

OBJECTS = """
import asyncio
from twisted.internet.protocol import DatagramProtocol, Factory, Protocol

class Stream(Protocol):
    def __init__(self, word="none"):
        self.word = word

class Datagrams(DatagramProtocol):
    def __init__(self, word="none"):
        self.word = word

class Asyncio(asyncio.Protocol):
    def __init__(self, word="none"):
        self.word = word

class AsyncioDatagrams(asyncio.DatagramProtocol):
    pass

class MyFactory(Factory):
    def __init__(self, word="none"):
        self.word = word

ready = MyFactory("ready")
make_factory = lambda word="none": MyFactory(word)
make_stream = lambda word="none": Stream(word)
make_datagrams = lambda word="none": Datagrams(word)
make_asyncio = lambda word="none": Asyncio(word)
make_asyncio_class = lambda: Asyncio
make_nothing = lambda: None

def fails():
    raise RuntimeError("not today")
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "path", list(sys.path))
    sys.modules.pop("factory_objects", None)
    (tmp_path / "factory_objects.py").write_text(OBJECTS)
    return tmp_path


def context(folder: Path) -> Context:
    never: Any = None
    return Context(
        service="one",
        reactor=never,
        log=Logger(),
        metrics=Metrics(),
        folder=folder,
        state=folder,
        datagram_ports=frozenset(),
        tls=None,
        outbox=never,
        http=never,
        random=random.Random(0),
        turns=endless_turn(),
    )


def build(folder: Path, name: str, arguments: Any = (), listen: str = "tcp:0") -> Hosted:
    settings = plugin.settings.model_validate(
        {
            "protocol": "factory",
            "listen": listen,
            "object": f"factory_objects:{name}",
            "arguments": arguments,
        }
    )
    hosted = plugin.build(settings, context(folder))
    assert isinstance(hosted, Hosted)
    return hosted


@pytest.mark.parametrize("name", ["MyFactory", "make_factory"])
def test_a_factory_is_made_once(folder: Path, name: str) -> None:
    hosted: Any = build(folder, name, ("hello",))
    assert IProtocolFactory.providedBy(hosted.stream)
    assert hosted.stream.word == "hello"


def test_a_factory_that_is_there_is_itself(folder: Path) -> None:
    hosted: Any = build(folder, "ready")
    assert hosted.stream.word == "ready"


@pytest.mark.parametrize("name", ["Stream", "make_stream"])
def test_a_twisted_protocol_is_made_for_each_connection(folder: Path, name: str) -> None:
    hosted: Any = build(folder, name, {"word": "hello"})
    one, other = hosted.stream.buildProtocol(None), hosted.stream.buildProtocol(None)
    assert one is not other
    assert one.word == "hello"
    assert one.factory is hosted.stream


@pytest.mark.parametrize("name", ["Datagrams", "make_datagrams"])
def test_a_datagram_protocol_is_made_for_each_address(folder: Path, name: str) -> None:
    hosted: Any = build(folder, name, ("hello",), "udp:0")
    one, other = hosted.datagram(), hosted.datagram()
    assert one is not other
    assert one.word == "hello"


@pytest.mark.parametrize("name", ["Asyncio", "make_asyncio", "make_asyncio_class"])
def test_an_asyncio_protocol_is_made_for_each_connection(folder: Path, name: str) -> None:
    hosted: Any = build(folder, name)
    one, other = hosted.stream(), hosted.stream()
    assert isinstance(one, asyncio.Protocol)
    assert one is not other


@pytest.mark.parametrize(
    ("name", "arguments", "listen", "what"),
    [
        ("ready", ("x",), "tcp:0", "is a factory already, and takes no arguments"),
        ("MyFactory", (1, 2), "tcp:0", "does not take these arguments: too many"),
        ("MyFactory", {"wrod": "x"}, "tcp:0", "does not take these arguments: got an unexpected"),
        ("MyFactory", (), "udp:0", "takes connections; udp:0 is for datagrams"),
        ("Datagrams", (), "tcp:0", "takes datagrams; tcp:0 is for connections"),
        ("AsyncioDatagrams", (), "udp:0", "asyncio's kind of datagram protocol"),
        ("make_nothing", (), "tcp:0", "gives an object of the type NoneType"),
        ("fails", (), "tcp:0", "factory_objects:fails failed: RuntimeError: not today"),
        ("nothing", (), "tcp:0", "there is no nothing in"),
    ],
)
def test_what_cannot_be_hosted(
    folder: Path, name: str, arguments: Any, listen: str, what: str
) -> None:
    with pytest.raises(ValueError, match=what):
        build(folder, name, arguments, listen)


def test_a_protocol_of_twisted_itself(folder: Path) -> None:
    settings = plugin.settings.model_validate(
        {"protocol": "factory", "listen": "tcp:0", "object": "twisted.protocols.wire:Echo"}
    )
    hosted: Any = plugin.build(settings, context(folder))
    assert isinstance(hosted.stream.buildProtocol(None), Echo)


def test_the_ftp_example_is_built() -> None:
    configuration = load(ROOT / "examples/ftp/config.yaml", Registry())
    (service,) = configuration.services
    hosted = service.plugin.build(service.settings, context(configuration.folder))
    assert isinstance(hosted, Hosted)
    assert isinstance(hosted.stream, FTPFactory)
    realm: Any = hosted.stream.portal.realm
    assert realm.anonymousRoot.path == str(ROOT / "examples/ftp/files")


def test_arguments_of_a_wrong_form_are_told_by_the_check(tmp_path: Path) -> None:
    text = "services:\n  a:\n    protocol: factory\n    listen: tcp:0\n    object: a:b\n"
    (tmp_path / "config.yaml").write_text(f"{text}    arguments: [{{object: 5}}]\n")
    with pytest.raises(ConfigError, match=r"6:16: services\.a\.arguments: object: not a text"):
        load(tmp_path / "config.yaml", Registry())
