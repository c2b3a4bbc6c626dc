"""The parts of an expression, and the limits on its size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

MAX_TEXT: Final = 65_536
"""Characters of an expression."""
MAX_DEPTH: Final = 16
"""Parentheses and brackets inside each other."""
MAX_VALUES: Final = 4_096
"""Layers, field values and list items in one expression."""
MAX_DATA: Final = 65_535
"""Bytes of one string after ``*``; no IP packet is longer."""
MAX_TOTAL_DATA: Final = 1 << 20
"""Bytes of all strings together that an expression makes by ``*`` or by a call."""
MAX_INTEGER: Final = 1 << 128
"""Integers are smaller than this: no field of a header that is written as a number is wider."""

DATA_LAYERS: Final = frozenset({"Raw", "Padding"})
"""Layers that take their bytes without a name: ``Raw("data")``."""

CALLS: Final[dict[str, tuple[tuple[type, ...], ...]]] = {
    "Net": ((str,), (str, str)),
    "Net6": ((str,), (str, str)),
    "RandBin": ((int,),),
    "RandByte": ((),),
    "RandIP": ((), (str,)),
    "RandIP6": ((), (str,)),
    "RandInt": ((),),
    "RandLong": ((),),
    "RandMAC": ((), (str,)),
    "RandNum": ((int, int),),
    "RandShort": ((),),
    "RandString": ((int,),),
}
"""Values that are written as calls: their names, and the types of the arguments that they take."""


class NotationError(ValueError):
    """An expression is not in the notation.

    Arguments:
        what: the problem and the remedy.
        position: of the character in the text, from 0; None without a text.
    """

    def __init__(self, what: str, position: int | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.position = position

    def pointed_at(self, text: str, width: int = 72) -> str:
        """The error with the part of the text that it is about, and a caret below it."""
        if self.position is None:
            return self.what
        start = max(0, self.position - width // 2)
        part = text[start : start + width]
        part = "".join(char if char.isprintable() else " " for char in part)
        caret = " " * (self.position - start) + "^"
        return f"{self.what} (at character {self.position + 1})\n    {part}\n    {caret}"


class Budget:
    """Enforces the limits on an expression while it is parsed."""

    def __init__(self) -> None:
        self._values = 0
        self._data = 0

    def value(self, position: int | None = None) -> None:
        """Count a value.

        Raises:
            NotationError: there are too many.
        """
        self._values += 1
        if self._values > MAX_VALUES:
            raise NotationError(f"more than {MAX_VALUES} values", position)

    def data(self, size: int, position: int | None = None) -> None:
        """Count a string before it is made.

        Raises:
            NotationError: it is too long, or all of them are together.
        """
        if size > MAX_DATA:
            raise NotationError(f"more than {MAX_DATA} bytes of data", position)
        self._data += size
        if self._data > MAX_TOTAL_DATA:
            raise NotationError(f"more than {MAX_TOTAL_DATA} bytes of data in all", position)

    def call(self, call: Call, position: int | None = None) -> None:
        """Check a call.

        Raises:
            NotationError: it is unknown, its arguments are wrong, or its string is too long.
        """
        forms = CALLS.get(call.name, ())
        if tuple(type(argument) for argument in call.arguments) not in forms:
            texts = (", ".join(kind.__name__ for kind in types) for types in forms)
            known = " or ".join(f"{call.name}({text})" for text in texts)
            what = f"{call.name} is written {known}" if known else f"there is no {call.name}()"
            raise NotationError(what, position)
        if call.name in {"RandBin", "RandString"}:
            size = call.arguments[0]
            if not isinstance(size, int) or size < 0:
                raise NotationError(f"{call.name} takes a size in bytes", position)
            self.data(size, position)


@dataclass(frozen=True, slots=True)
class Call:
    """A value that is made when the packet is built, such as ``RandShort()``.

    Arguments:
        name: one of `CALLS`.
        arguments: texts and integers.
    """

    name: str
    arguments: tuple[str | int, ...] = ()


@dataclass(frozen=True, slots=True)
class Layer:
    """One header.

    Arguments:
        name: the name of Scapy's class.
        fields: names and values, in the order of the text; each name once.
        data: bytes that were given without a name; only `DATA_LAYERS` take them.
    """

    name: str
    fields: tuple[tuple[str, Value], ...] = ()
    data: Data | None = None


@dataclass(frozen=True, slots=True)
class Packet:
    """Layers from the outside in; data between them stands for itself.

    Arguments:
        layers: never empty, and at least one of them is a `Layer`.
    """

    layers: tuple[Layer | Data, ...]

    def every_layer(self) -> Iterator[Layer]:
        """The layers, and those inside of field values."""
        for layer in self.layers:
            if isinstance(layer, Layer):
                yield layer
                for _, value in layer.fields:
                    yield from _layers_in(value)


Data: TypeAlias = str | bytes
Value: TypeAlias = (
    "int | float | Data | list[Value] | tuple[Value, ...] | Packet | Call | None"  # bool is an int
)


def data_size(data: Data) -> int:
    """Bytes of data on the wire; texts are UTF-8."""
    return len(data.encode() if isinstance(data, str) else data)


def has_surrogate(text: str) -> bool:
    """Whether a text has half of a surrogate pair in it, which no encoding writes."""
    return not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text)


def _layers_in(value: Value) -> Iterator[Layer]:
    if isinstance(value, Packet):
        yield from value.every_layer()
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _layers_in(item)


def render(value: Value) -> str:
    """The text of a packet or a value; `parse` gives the same packet for it."""
    match value:
        case Packet(layers):
            return "/".join(_render_layer(layer) for layer in layers)
        case Call(name, arguments):
            return f"{name}({', '.join(map(repr, arguments))})"
        case list():
            return f"[{', '.join(map(render, value))}]"
        case tuple():
            return f"({', '.join(map(render, value))}{',' if len(value) == 1 else ''})"
        case _:
            return repr(value)


def _render_layer(layer: Layer | Data) -> str:
    if not isinstance(layer, Layer):
        return repr(layer)
    arguments = [f"{name}={render(value)}" for name, value in layer.fields]
    if layer.data is not None:
        arguments.insert(0, repr(layer.data))
    return f"{layer.name}({', '.join(arguments)})"
