"""Where protocols are found: built in, installed, or beside the config file.

A name is looked up in `BUILT_IN`, which is all there is of registration, and then among the
entry points of the group ``netserve.protocols``. ``module:object`` is imported as it is, and
modules beside the config file can be imported too. A plugin is imported only when it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Final

from twisted.internet.interfaces import IStreamServerEndpointStringParser
from twisted.logger import Logger, LogLevel
from twisted.plugin import getPlugins
from twisted.python.failure import Failure

from netserve.config.import_path import import_object
from netserve.config.sentences import nearest
from netserve.errors import PluginError
from netserve.plugin import ProtocolPlugin, ServiceSettings

GROUP: Final = "netserve.protocols"
"""The entry-point group of installed plugins."""

BUILT_IN: Final = (
    ("echo", "netserve.protocols.echo:plugin"),
    ("request-response", "netserve.protocols.request_response:plugin"),
    ("http-bridge", "netserve.protocols.http_bridge:plugin"),
    ("smtp-relay", "netserve.protocols.smtp_relay:plugin"),
    ("factory", "netserve.protocols.factory:plugin"),
)
"""The protocols of netserve itself, by name."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A protocol as ``netserve list`` shows it.

    Arguments:
        name: what stands behind ``protocol:``.
        source: ``built-in``, or the distribution that it came with and its version.
        plugin: the protocol, or None where it is broken.
        error: why it is broken, or an empty string.
    """

    name: str
    source: str
    plugin: ProtocolPlugin[Any] | None
    error: str = ""

    @property
    def summary(self) -> str:
        """One line about the protocol."""
        return summary_of(self.plugin) if self.plugin else self.error


class Registry:
    """All protocols that this process can host.

    Arguments:
        built_in: names and import paths.
        installed: gives the entry points of the group.
        log: gets the traceback of a plugin that cannot be imported, at level debug.
    """

    def __init__(
        self,
        built_in: Sequence[tuple[str, str]] = BUILT_IN,
        installed: Callable[[], Iterable[EntryPoint]] = lambda: entry_points(group=GROUP),
        log: Logger | None = None,
    ) -> None:
        self._built_in = dict(built_in)
        self._installed = installed
        self._log = log or Logger(namespace="netserve.registry")

    def built_in(self) -> tuple[str, ...]:
        """The names of the protocols that come with netserve."""
        return tuple(self._built_in)

    def names(self) -> tuple[str, ...]:
        """The names of all protocols; nothing is imported."""
        others = sorted({point.name for point in self._installed()} - self._built_in.keys())
        return (*self._built_in, *others)

    def address_kinds(self) -> tuple[str, ...]:
        """The kinds of addresses to listen on that Twisted's plugins add, such as ``onion``."""
        return tuple(plugin.prefix for plugin in getPlugins(IStreamServerEndpointStringParser))

    def find(self, name: str, folder: Path | None = None) -> ProtocolPlugin[Any]:
        """The protocol of a name.

        Arguments:
            name: a name, or ``module:object``.
            folder: of the config file; modules in it can be imported.

        Raises:
            PluginError: it is unknown, cannot be imported, or is no plugin.
        """
        if ":" in name:
            return self._import(name, folder)
        if name in self._built_in:
            return self._import(self._built_in[name])
        points = [point for point in self._installed() if point.name == name]
        if not points:
            raise PluginError(f"unknown protocol; {nearest(name, self.names())}")
        if len({point.value for point in points}) > 1:
            sources = " and ".join(sorted(_source(point) for point in points))
            raise PluginError(f"{sources} both bring a protocol {name}; uninstall one of them")
        return self._import(points[0].value)

    def plugins(self) -> tuple[Listed, ...]:
        """Every protocol that has a name, the broken ones too; all of them are imported."""
        listed = [self._listed(name, "built-in") for name in self._built_in]
        for point in sorted(self._installed(), key=lambda point: point.name):
            if point.name in self._built_in:
                what = "never used: netserve has a protocol of this name itself"
                listed.append(Listed(point.name, _source(point), None, what))
            else:
                listed.append(self._listed(point.name, _source(point)))
        return tuple(listed)

    def _listed(self, name: str, source: str) -> Listed:
        try:
            return Listed(name, source, self.find(name))
        except PluginError as error:
            return Listed(name, source, None, str(error))

    def _import(self, path: str, folder: Path | None = None) -> ProtocolPlugin[Any]:
        try:
            found = import_object(path, folder)
        except PluginError as error:
            self._log.failure("{path}", Failure(error), path=path, level=LogLevel.debug)
            raise
        if not isinstance(found, ProtocolPlugin):
            kind = "a class" if isinstance(found, type) else f"of the type {type(found).__name__}"
            raise PluginError(
                f"{path} is {kind}, not a ProtocolPlugin; write a plugin,"
                " or host a factory by `protocol: factory`"
            )
        if not (isinstance(found.settings, type) and issubclass(found.settings, ServiceSettings)):
            raise PluginError(
                f"{path}: the settings of this plugin are not a subclass of ServiceSettings"
            )
        return found


def summary_of(plugin: ProtocolPlugin[Any]) -> str:
    """One line about a protocol: its own, or the first line of its settings' docstring."""
    first_line, *_ = (plugin.settings.__doc__ or "").strip().splitlines() or [""]
    return plugin.summary or first_line


def _source(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.value
