"""``config.yaml`` -> a `Configuration`, or a `ConfigError` with every problem of the file.

It goes in two stages: first the envelope (``netserve:``, and the names of the services), then
each service by the model of its own protocol. Only the plugins that the file names are
imported, and nothing is opened: what the network or the file system has to say comes later.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from netserve.config import tags
from netserve.config.addresses import report_clashes, report_unknown_kinds
from netserve.config.disclosure import disclose
from netserve.config.document import Document
from netserve.config.envelope import SERVICE_NAME, Envelope, ProcessSettings
from netserve.config.explain import explain
from netserve.config.listen import Listen
from netserve.config.nodes import Unreadable, compose
from netserve.config.packet import PacketSettings
from netserve.config.sentences import kind_of, nearest
from netserve.config.service import Plugin, ServiceSettings, Settings
from netserve.config.shapes import Shape
from netserve.config.source import read_text
from netserve.config.tree import Way
from netserve.config.types import FilePath
from netserve.errors import ConfigError, PluginError, Problem

M = TypeVar("M", bound=BaseModel)
_STATE: TypeAdapter[Path] = TypeAdapter(FilePath)


class Plugins(Protocol):
    """Where protocols are found; `netserve.registry.Registry` is the one in use."""

    def find(self, name: str, folder: Path | None = None) -> Plugin:
        """The protocol of this name; raises PluginError."""

    def names(self) -> Sequence[str]:
        """Every protocol that has a name."""

    def address_kinds(self) -> Sequence[str]:
        """The kinds of addresses that plugins of Twisted add."""


@dataclass(frozen=True, slots=True)
class ServiceConfiguration:
    """One service of the file.

    Arguments:
        name: its name.
        plugin: its protocol.
        settings: its options, an instance of the plugin's model.
    """

    name: str
    plugin: Plugin
    settings: ServiceSettings


@dataclass(frozen=True, slots=True)
class Configuration:
    """A file that has been checked.

    Arguments:
        file: its path as the user gave it.
        folder: the absolute folder that it is in.
        process: the section ``netserve:``.
        packet: the section ``packet:``.
        services: in the order of the file.
        document: the text and what stands where.
    """

    file: Path
    folder: Path
    process: ProcessSettings
    packet: PacketSettings
    services: tuple[ServiceConfiguration, ...]
    document: Document = field(repr=False)

    def problem(self, path: Way, what: str | ValueError) -> Problem:
        """A problem that shows when the file is put to use, at its place in the file.

        Arguments:
            path: the keys and indexes to the value, such as ``("services", "echo", "listen", 1)``;
                where the file lacks it (a default), the nearest one above is pointed at.
            what: what is wrong, and what would be right. Of a text, all is shown; of an error, what
                cannot be a secret.
        """
        return self.document.problem(path, what)


def load(path: Path, plugins: Plugins) -> Configuration:
    """Read and check a config file.

    Arguments:
        path: the file.
        plugins: where its protocols are found.

    Raises:
        ConfigError: everything that is wrong with it.
    """
    text = read_text(path)
    return load_text(text, path, plugins, tags.for_file(path.absolute().parent))


def load_text(text: str, path: Path, plugins: Plugins, known_tags: tags.Tags) -> Configuration:
    """Check the text of a config file.

    Arguments:
        text: all of the file.
        path: its path, for messages.
        plugins: where its protocols are found.
        known_tags: resolve ``!env`` and its like; they have the file's folder.

    Raises:
        ConfigError: everything that is wrong with it.
    """
    document = Document(str(path), text)
    try:
        compose(document, known_tags)
    except Unreadable:
        raise ConfigError(document.problems()) from None
    folder = known_tags.folder
    loader = _Loader(document, plugins, folder)
    envelope, services = loader.load()
    problems = document.problems()
    if problems or envelope is None:
        raise ConfigError(problems)
    return Configuration(path, folder, envelope.netserve, envelope.packet, services, document)


def load_state(path: Path) -> Path:
    """The state folder that a file names, for those who look for the process that runs it.

    Nothing else in the file has to be right: they have another environment, without the
    variables and credentials of the process, and the file may have been changed since its start.

    Arguments:
        path: the file.

    Raises:
        ConfigError: it cannot be read, or what it says of the state folder is wrong.
    """
    folder = path.absolute().parent
    document = Document(str(path), read_text(path))
    try:
        compose(document, tags.for_file(folder))
    except Unreadable:
        raise ConfigError(document.problems()) from None
    way = ("netserve", "state")
    if document.root is not None:
        disclose(document.root, {(): Shape(Envelope)})
    data = document.root.plain() if document.root else None
    section = data.get(way[0]) if isinstance(data, dict) else None
    state = ProcessSettings.model_fields["state"].default
    if isinstance(section, dict):
        state = section.get(way[1], state)
    if document.has_problem_at(way):  # a tag without a value
        raise ConfigError(document.problems())
    try:
        found: Path = _STATE.validate_python(state, context={"folder": folder})
    except ValidationError:
        raise ConfigError([document.problem(way, "not a path")]) from None
    return found


def load_packet(path: Path) -> PacketSettings:
    """The section ``packet:`` of a file, for commands that need nothing else of it.

    As with `load_state`, nothing else in the file has to be right.

    Arguments:
        path: the file.

    Raises:
        ConfigError: it cannot be read, or the section is wrong.
    """
    folder = path.absolute().parent
    document = Document(str(path), read_text(path))
    try:
        compose(document, tags.for_file(folder))
    except Unreadable:
        raise ConfigError(document.problems()) from None
    if document.root is not None:
        disclose(document.root, {(): Shape(Envelope)})
    data = document.root.plain() if document.root else None
    section = data.get("packet", {}) if isinstance(data, dict) else {}
    section_way: Way = ("packet",)
    if not isinstance(section, dict):
        raise ConfigError([document.problem(section_way, f"a mapping, not {kind_of(section)}")])
    try:
        return PacketSettings.model_validate(section, context={"folder": folder})
    except ValidationError as error:
        explain(document, section_way, Shape(PacketSettings), section, error)
        raise ConfigError(document.problems()) from None


@dataclass(frozen=True, slots=True)
class _Loader:
    """Turns the tree of one document into models."""

    document: Document
    plugins: Plugins
    folder: Path

    def load(self) -> tuple[Envelope | None, tuple[ServiceConfiguration, ...]]:
        root = self.document.root
        data = root.plain() if root else None
        if not isinstance(data, dict):
            what = "the file has to be a mapping with the keys netserve and services"
            self.document.report(
                (),
                what if data is not None else "the file is empty; it needs a section `services:`",
            )
            return None, ()
        named = data.get("services")
        services: Mapping[str, Any] = named if isinstance(named, dict) else {}
        plugins = self._plugins(services)
        self._disclose(plugins)
        # With the section left out, its defaults have to be validated too: `state` is a path.
        envelope = self._validate((), Envelope, {"netserve": {}, **data})
        if named == {} and not self.document.has_problem_at(("services",)):
            self.document.report(("services",), "no service here; there has to be one", "key")
        loaded = [
            ServiceConfiguration(name, plugin, settings)
            for name, plugin in plugins.items()
            if plugin is not None
            and (settings := self._validate(("services", name), plugin.settings, services[name]))
        ]
        process = envelope.netserve if envelope else None
        addresses = tuple(_addresses(process, loaded))
        report_unknown_kinds(self.document, addresses, self.plugins.address_kinds)
        report_clashes(self.document, addresses)
        return envelope, tuple(loaded)

    def _plugins(self, services: Mapping[str, Any]) -> dict[str, Plugin | None]:
        """The protocol of each service; None where there is none for what the file has."""
        found: dict[str, Plugin | None] = {}
        for name, options in services.items():
            way = ("services", name)
            if not SERVICE_NAME.fullmatch(name):
                what = (
                    "not a name for a service; it begins with a small letter, and has small"
                    " letters, digits, - and _, 63 at most"
                )
                self.document.report(way, what, "key")
            if isinstance(options, dict):
                found[name] = self._plugin(way, options)
            else:
                what = "a service is a mapping with protocol and listen"
                self.document.report(way, f"{what}, not {kind_of(options)}" if options else what)
        return found

    def _disclose(self, plugins: Mapping[str, Plugin | None]) -> None:
        """Say what of the file may be shown, before anything of it is."""
        sections: dict[Way, Shape] = {(): Shape(Envelope)}
        partly_known: list[Way] = []
        for name, plugin in plugins.items():
            way = ("services", name)
            sections[way] = Shape(Settings if plugin is None else plugin.settings)
            partly_known += [way] if plugin is None else []
        if self.document.root is not None:
            disclose(self.document.root, sections, partly_known)

    def _validate(self, way: Way, model: type[M], data: Mapping[str, Any]) -> M | None:
        try:
            return model.model_validate(data, context={"folder": self.folder})
        except ValidationError as error:
            explain(self.document, way, Shape(model), data, error)
            return None

    def _plugin(self, way: Way, options: Mapping[str, Any]) -> Plugin | None:
        name = options.get("protocol")
        if not isinstance(name, str) or not name:
            known = nearest("", self.plugins.names())
            if "protocol" in options:
                self.document.report((*way, "protocol"), f"expected a protocol's name; {known}")
            else:
                self.document.report(way, f"protocol is missing; {known}", "key")
            return None
        try:
            return self.plugins.find(name, self.folder)
        except PluginError as error:
            what = str(error)
            if self.document.is_tagged((*way, "protocol")):
                what = f"no protocol of this name can be used; {nearest('', self.plugins.names())}"
            self.document.report((*way, "protocol"), what)
            return None


def _addresses(
    process: ProcessSettings | None, services: Sequence[ServiceConfiguration]
) -> Iterator[tuple[Way, Listen]]:
    if process and process.status:
        yield ("netserve", "status"), process.status
    for service in services:
        for way, listen in service.settings.addresses():
            yield ("services", service.name, *way), listen
