"""Nodes as JSON values and back, for the way between two processes.

A packet is a list of layers. Numbers, texts, true, false, null and lists of JSON stand for
themselves; everything else is an object whose key names the kind::

    {"bytes": "68656c6c6f"}       {"tuple": [80, 89]}       {"packet": [...]}
    {"call": "RandShort", "with": []}
    {"layer": "TCP", "fields": [["dport", 80]]}             {"layer": "Raw", "data": "hello"}
"""

from __future__ import annotations

import math
from typing import Any

from netserve.packet.notation.nodes import (
    DATA_LAYERS,
    MAX_DEPTH,
    MAX_INTEGER,
    Budget,
    Call,
    Data,
    Layer,
    NotationError,
    Packet,
    Value,
    has_surrogate,
)


def encode(packet: Packet) -> list[Any]:
    """A packet as JSON values."""
    return [_encode_layer(layer) for layer in packet.layers]


def _encode_layer(layer: Layer | Data) -> Any:
    if not isinstance(layer, Layer):
        return _encode(layer)
    encoded: dict[str, Any] = {"layer": layer.name}
    if layer.fields:
        encoded["fields"] = [[name, _encode(value)] for name, value in layer.fields]
    if layer.data is not None:
        encoded["data"] = _encode(layer.data)
    return encoded


def _encode(value: Value) -> Any:
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    if isinstance(value, list):
        return [_encode(item) for item in value]
    if isinstance(value, tuple):
        return {"tuple": [_encode(item) for item in value]}
    if isinstance(value, Packet):
        return {"packet": encode(value)}
    if isinstance(value, Call):
        return {"call": value.name, "with": list(value.arguments)}
    return value


def decode(encoded: Any) -> Packet:
    """A packet from JSON values; the sender is not trusted.

    Raises:
        NotationError: they are none.
    """
    return _Decoder().packet(encoded, 0)


class _Decoder:
    def __init__(self) -> None:
        self._budget = Budget()

    def packet(self, encoded: Any, depth: int) -> Packet:
        if not isinstance(encoded, list) or depth > MAX_DEPTH:
            raise NotationError("a packet is a list of layers")
        layers = tuple(self._layer(layer, depth) for layer in encoded)
        if not any(isinstance(layer, Layer) for layer in layers):
            raise NotationError("a packet has at least one layer")
        return Packet(layers)

    def _layer(self, encoded: Any, depth: int) -> Layer | Data:
        if not isinstance(encoded, dict) or "layer" not in encoded:
            return self._data(encoded)
        self._budget.value()
        name, fields, data = encoded["layer"], encoded.get("fields", []), encoded.get("data")
        if not _is_name(name) or not isinstance(fields, list):
            raise NotationError("a layer has a name and fields")
        pairs: list[tuple[str, Value]] = []
        for pair in fields:
            if not isinstance(pair, list) or len(pair) != 2 or not _is_name(pair[0]):
                raise NotationError("a field has a name and a value")
            pairs.append((pair[0], self._value(pair[1], depth + 1)))
        if len({field for field, _ in pairs}) < len(pairs):
            raise NotationError("a layer has each field once")
        if data is None:
            return Layer(name, tuple(pairs))
        if name not in DATA_LAYERS:
            raise NotationError(f"{name} takes its fields by name")
        return Layer(name, tuple(pairs), self._data(data))

    def _data(self, encoded: Any) -> Data:
        value = self._value(encoded, 0)
        if not isinstance(value, (str, bytes)):
            raise NotationError("neither a layer nor data")
        return value

    def _value(self, encoded: Any, depth: int) -> Value:
        self._budget.value()
        if depth > MAX_DEPTH:
            raise NotationError(f"more than {MAX_DEPTH} levels of values")
        if encoded is None or isinstance(encoded, bool):
            return encoded
        if isinstance(encoded, (int, float)):
            if isinstance(encoded, int):
                is_small = abs(encoded) < MAX_INTEGER
            else:
                is_small = math.isfinite(encoded)
            if not is_small:
                raise NotationError("a number that is too large")
            return encoded
        if isinstance(encoded, str):
            if has_surrogate(encoded):
                raise NotationError("half of a surrogate pair is not a character")
            return encoded
        if isinstance(encoded, list):
            return [self._value(item, depth + 1) for item in encoded]
        if isinstance(encoded, dict):
            return self._tagged(encoded, depth)
        raise NotationError("not a value")

    def _tagged(self, encoded: dict[str, Any], depth: int) -> Value:
        match encoded:
            case {"bytes": str(text), **rest} if not rest:
                try:
                    return bytes.fromhex(text)
                except ValueError:
                    raise NotationError("bytes are written in hex digits") from None
            case {"tuple": list(items), **rest} if not rest:
                return tuple(self._value(item, depth + 1) for item in items)
            case {"packet": packet, **rest} if not rest:
                return self.packet(packet, depth)
            case {"call": str(name), "with": list(arguments), **rest} if not rest:
                call = Call(name, tuple(arguments))
                self._budget.call(call)
                return call
        raise NotationError("not a value")


def _is_name(name: object) -> bool:
    return isinstance(name, str) and name.isascii() and name.isidentifier()
