"""The layers of Scapy that an expression may name, and their fields.

The table contains the classes that the modules below define, and nothing else. A name leads to a
class through this table only, never through an attribute or an import.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterable
from typing import Any, Final

from scapy.fields import ConditionalField, Emph
from scapy.packet import Packet

BASE: Final = ("scapy.packet", "scapy.layers.l2", "scapy.layers.inet", "scapy.layers.inet6",
               "scapy.layers.dns")  # fmt: skip
"""Modules that are always there."""
MORE: Final = tuple(
    f"scapy.{name}"
    for name in (
        "layers.dhcp", "layers.dhcp6", "layers.ntp", "layers.tftp", "layers.rip", "layers.vrrp",
        "layers.hsrp", "layers.vxlan", "layers.sctp", "layers.llmnr", "layers.ppp", "layers.l2tp",
        "layers.eap", "layers.snmp", "layers.netflow", "layers.radius", "layers.isakmp",
        "layers.rtp", "contrib.igmp", "contrib.igmpv3", "contrib.mpls", "contrib.lldp",
        "contrib.ospf", "contrib.geneve", "contrib.gtp",
    )
)  # fmt: skip
"""Modules that are loaded where the policy names a layer that the others do not have."""
_INTERNAL: Final = frozenset({"Packet", "NoPayload", "ASN1_Packet"})
_SHOWN_CHOICES: Final = 64


class Layers:
    """The layers that can be named.

    Arguments:
        names: those that have to be among them, as far as there are such; `*` at an end is for
            any ending.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._classes: dict[str, type[Packet]] = {}
        for module in BASE:
            self._add(module)
        for module in MORE:
            if all(map(self._has, names)):
                break
            self._add(module)

    def _add(self, path: str) -> None:
        try:
            module = importlib.import_module(path)
        except ImportError:
            return  # this version of Scapy has no such module
        for name, found in vars(module).items():
            is_layer = inspect.isclass(found) and issubclass(found, Packet)
            if is_layer and found.__module__ == path and _is_public(name):
                self._classes.setdefault(name, found)

    def _has(self, name: str) -> bool:
        if name.endswith("*"):
            return len(name) > 1 and any(known.startswith(name[:-1]) for known in self._classes)
        return name in self._classes

    def find(self, name: str) -> type[Packet] | None:
        """The class of a name."""
        return self._classes.get(name)

    def all(self) -> list[tuple[str, str]]:
        """The names, and Scapy's descriptions."""
        return sorted((name, _words(known)) for name, known in self._classes.items())

    def fields(self, name: str) -> list[dict[str, Any]]:
        """The fields of a layer: ``name``, ``type``, ``default``, and the names of values.

        Raises:
            KeyError: there is no such layer.
        """
        return [_field(field) for field in self._classes[name].fields_desc]


def _is_public(name: str) -> bool:
    return not name.startswith("_") and name not in _INTERNAL


def _words(layer: type[Packet]) -> str:
    words = getattr(layer, "_name", None)
    return words if isinstance(words, str) else layer.__name__


def _field(field: Any) -> dict[str, Any]:
    is_conditional = False
    while isinstance(field, (ConditionalField, Emph)):
        is_conditional |= isinstance(field, ConditionalField)
        field = field.fld
    described: dict[str, Any] = {
        "name": field.name,
        "type": type(field).__name__,
        "default": repr(getattr(field, "default", None)),
    }
    if is_conditional:
        described["conditional"] = True
    if isinstance(bits := getattr(field, "size", None), int):
        described["bits"] = bits
    choices = getattr(field, "i2s", None)
    if isinstance(choices, dict) and choices:
        shown = list(choices.items())[:_SHOWN_CHOICES]
        described["values"] = [[str(number), str(text)] for number, text in shown]
    names = getattr(field, "names", None)
    if isinstance(names, (list, str, tuple)):
        described["flags"] = [str(name) for name in names]
    return described
