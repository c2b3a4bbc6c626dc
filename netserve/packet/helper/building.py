"""Nodes of the notation -> packets of Scapy -> bytes. Nothing of it is evaluated.

A node's name is looked up in `Layers`, a call's name in `_CALLS`; fields are handed over by the
names that the layer has, and values are numbers, strings, lists, tuples and packets.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from scapy.base_classes import Net
from scapy.fields import FlagValue
from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6
from scapy.packet import Packet as ScapyPacket
from scapy.packet import Raw
from scapy.utils6 import Net6
from scapy.volatile import (
    RandBin,
    RandByte,
    RandInt,
    RandIP,
    RandIP6,
    RandLong,
    RandMAC,
    RandNum,
    RandShort,
    RandString,
    VolatileValue,
)

from netserve.packet.helper.kernel import NoNeighbour
from netserve.packet.helper.layers import Layers
from netserve.packet.notation import Call, Layer, NotationError, Packet, Value

_CALLS: Final = {
    "Net": Net, "Net6": Net6, "RandBin": RandBin, "RandByte": RandByte, "RandIP": RandIP,
    "RandIP6": RandIP6, "RandInt": RandInt, "RandLong": RandLong, "RandMAC": RandMAC,
    "RandNum": RandNum, "RandShort": RandShort, "RandString": RandString,
}  # fmt: skip
_HAVE_SOURCE: Final = (IP, IPv6)
_SINGLE: Final = (int, str, bytes, float, type(None), FlagValue)
"""Values that stand for themselves; the others may stand for several."""
_LONGEST_REASON: Final = 200


class BuildError(ValueError):
    """Scapy cannot make this packet; the text says why."""


@dataclass(frozen=True, slots=True)
class Built:
    """One packet.

    Arguments:
        data: its bytes.
        packet: Scapy's object, which answers are held against.
    """

    data: bytes
    packet: ScapyPacket


class Builder:
    """Makes packets.

    Arguments:
        layers: the layers that can be named.
    """

    def __init__(self, layers: Layers) -> None:
        self._layers = layers

    def packet(self, node: Packet) -> ScapyPacket:
        """Scapy's object for an expression; lists and ranges are still in it.

        Raises:
            BuildError: a layer, a field or a value is not known.
        """
        built: ScapyPacket | None = None
        for layer in node.layers:
            one = self._layer(layer) if isinstance(layer, Layer) else Raw(load=layer)
            if built is None:
                built = one
            else:
                built.add_payload(one)  # as `/` does, but without its copies
        if built is None:
            raise BuildError("a packet without layers")
        return built

    def all(self, node: Packet) -> Iterator[Built]:
        """Every packet that an expression stands for, each built when it is asked for.

        Raises:
            BuildError: one of them cannot be made.
        """
        try:
            built = self.packet(node)
            for packet in (built,) if _settle(built) else built:
                _settle_source(packet)
                yield Built(bytes(packet), packet)
        except (BuildError, NotationError, MemoryError):
            raise
        except NoNeighbour as error:
            raise BuildError(error.what) from None
        except Exception as error:
            raise BuildError(_reason(error)) from None

    def _layer(self, node: Layer) -> ScapyPacket:
        found = self._layers.find(node.name)
        if found is None:
            raise BuildError(f"there is no layer {node.name}; see netserve list-layers")
        known = {field.name for field in found.fields_desc} | set(found.deprecated_fields)
        given: dict[str, Any] = {}
        for name, value in node.fields:
            if name not in known:
                names = ", ".join(sorted(known)) or "none"
                raise BuildError(f"{node.name} has no field {name}; it has {names}")
            given[name] = self._value(value)
        try:
            if node.data is not None:
                given["load"] = node.data
            return found(**given)
        except MemoryError:
            raise
        except Exception as error:
            raise BuildError(f"{node.name}: {_reason(error)}") from None

    def _value(self, value: Value) -> Any:
        match value:
            case Packet():
                return self.packet(value)
            case Call(name, arguments):
                try:
                    return _CALLS[name](*arguments)
                except Exception as error:
                    raise BuildError(f"{name}: {_reason(error)}") from None
            case list():
                return [self._value(item) for item in value]
            case tuple():
                return tuple(self._value(item) for item in value)
            case _:
                return value


def _settle(packet: ScapyPacket) -> bool:
    """Whether there is nothing in a packet that stands for several, or for a random value.

    Its layers are then marked as settled, as iterating over a packet does with each of the copies
    that it makes: building makes one more where that was not done.
    """
    layers = []
    layer = packet
    while layer:
        defaults = (layer.default_fields, layer.overloaded_fields)
        if any(isinstance(value, VolatileValue) for each in defaults for value in each.values()):
            return False
        for name, value in layer.fields.items():
            is_list = isinstance(value, list) and layer.get_field(name).islist
            if not is_list and not isinstance(value, _SINGLE):
                return False
        layers.append(layer)
        layer = layer.payload
    for layer in layers:
        layer.explicit = 1
    return True


def _settle_source(packet: ScapyPacket) -> None:
    """Write down the source that Scapy would ask the routes for, each time that it is needed."""
    layer = packet
    while layer:
        if type(layer) in _HAVE_SOURCE and layer.fields.get("src") is None:
            layer.fields["src"] = layer.src
        layer = layer.payload


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split()).partition(" To inject bytes into the field")[0]
    text = text[:_LONGEST_REASON]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
