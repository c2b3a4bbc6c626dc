"""Types for settings models that are about bytes on the wire: framings, and bytes themselves.

``framing: line`` and ``framing: {kind: line}`` are the same. The short form is for framings that
need no options; `FramingOption` takes both, and `FramingSettings.make` gives the framing::

    class MySettings(Settings):
        framing: FramingOption = LineFraming(kind="line")
        "How requests are told apart."

    decoder = settings.framing.make().decoder(limit)
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import BeforeValidator, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema

from netserve.config.types import Duration, PositiveInt, Section, Words
from netserve.errors import InvalidValue
from netserve.wire import framing

__all__ = [
    "DelimiterFraming",
    "FixedFraming",
    "FramingOption",
    "FramingSettings",
    "LengthPrefixFraming",
    "LineFraming",
    "NetstringFraming",
    "Octets",
    "ShortForm",
    "UntilIdleFraming",
    "parse_octets",
]


class ShortForm:
    """For `Annotated`: a mapping that may be written as one text.

    Arguments:
        expand: the mapping that a text stands for.
        schema: the JSON Schema of the text.
    """

    def __init__(self, expand: Callable[[str], Any], schema: dict[str, Any]) -> None:
        self._expand = expand
        self._schema = schema

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        def widen(value: object) -> object:
            if isinstance(value, str):
                return self._expand(value)
            if isinstance(value, (dict, Section)):
                return value
            raise InvalidValue("neither a text nor a mapping")

        # A validator as pydantic itself makes it, so that its JSON Schema is the inner one's.
        return BeforeValidator(widen).__get_pydantic_core_schema__(source, handler)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"anyOf": [self._schema, handler(schema)]}


def parse_octets(value: object) -> bytes:
    r"""Bytes from a text (as UTF-8), or from ``{hex: "02 0a ff"}``.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, dict) and set(value) == {"hex"} and isinstance(value["hex"], str):
        try:
            return bytes.fromhex(value["hex"])
        except ValueError:
            raise InvalidValue(
                'not bytes in hex; write two digits for each: {hex: "02 0a ff"}'
            ) from None
    raise InvalidValue('not a text, nor bytes in hex; write "text" or {hex: "02 0a ff"}')


OCTETS_SCHEMA: Final[dict[str, Any]] = {
    "anyOf": [
        {"type": "string"},
        {
            "type": "object",
            "properties": {"hex": {"type": "string", "pattern": "^([0-9A-Fa-f]{2} *)*$"}},
            "required": ["hex"],
            "additionalProperties": False,
        },
    ]
}


class _Octets:
    """Parses what `Octets` takes, within bounds."""

    def __init__(self, least: int, most: int) -> None:
        self._least = least
        self._most = most

    def _parse(self, value: object) -> bytes:
        octets = parse_octets(value)
        if not self._least <= len(octets) <= self._most:
            bounds = (
                f"{self._least} to {self._most} bytes" if self._least < self._most else "one byte"
            )
            raise InvalidValue(bounds + ", not " + str(len(octets)))
        return octets

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return BeforeValidator(self._parse).__get_pydantic_core_schema__(source, handler)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        del schema, handler
        return OCTETS_SCHEMA


Octets: TypeAlias = Annotated[bytes, _Octets(1, 65536)]
"""Bytes: a text, or ``{hex: "02 0a ff"}``."""


class FramingSettings(Section):
    """What the options of all framings have in common."""

    @abstractmethod
    def make(self) -> framing.Framing:
        """The framing itself."""


class LineFraming(FramingSettings):
    """Lines that end with LF or CRLF."""

    kind: Literal["line"] = "line"
    """A frame is a line."""
    ending: Literal["crlf", "lf"] = "crlf"
    """What a line ends with that is sent; both are understood."""

    def make(self) -> framing.Framing:
        return framing.Line(b"\r\n" if self.ending == "crlf" else b"\n")


class DelimiterFraming(FramingSettings):
    """Frames that end with some bytes of your choice."""

    kind: Literal["delimiter"] = "delimiter"
    """A frame ends at a delimiter."""
    delimiter: Annotated[bytes, _Octets(1, 256)]
    """What ends a frame: a text, or `{hex: "1c 0d"}`."""

    def make(self) -> framing.Framing:
        return framing.Delimiter(self.delimiter)


class FixedFraming(FramingSettings):
    """Frames of one size."""

    kind: Literal["fixed"] = "fixed"
    """All frames have the same size."""
    size: Annotated[PositiveInt, Field(le=1048576)]
    """The bytes of a frame, at most 1048576."""
    pad: Annotated[bytes, _Octets(1, 1)] = b"\0"
    """The byte that shorter frames are filled up with when they are sent."""

    def make(self) -> framing.Framing:
        return framing.Fixed(self.size, self.pad)


class LengthPrefixFraming(FramingSettings):
    """Frames with their length in front."""

    kind: Literal["length-prefix"] = "length-prefix"
    """A frame has its length in front."""
    bytes: Literal[1, 2, 4, 8] = 4
    """The bytes of the length."""
    order: Literal["big", "little"] = "big"
    """The order of its bytes: big is the network's."""
    inclusive: bool = False
    """Whether the length counts its own bytes too."""

    def make(self) -> framing.Framing:
        return framing.LengthPrefix(self.bytes, self.order, self.inclusive)


class NetstringFraming(FramingSettings):
    """Netstrings: `5:hello,`."""

    kind: Literal["netstring"] = "netstring"
    """A frame is a netstring."""

    def make(self) -> framing.Framing:
        return framing.Netstring()


class UntilIdleFraming(FramingSettings):
    """A frame is what comes until nothing comes for a while."""

    kind: Literal["until-idle"] = "until-idle"
    """A frame ends when the peer pauses, or closes its side."""
    idle: Annotated[Duration, Field(gt=0)] = 0.2
    """The length of the pause."""

    def make(self) -> framing.Framing:
        return framing.UntilIdle(self.idle)


FramingOption: TypeAlias = Annotated[
    Annotated[
        LineFraming
        | DelimiterFraming
        | FixedFraming
        | LengthPrefixFraming
        | NetstringFraming
        | UntilIdleFraming,
        Field(discriminator="kind"),
    ],
    ShortForm(
        lambda kind: {"kind": kind},
        {"enum": ["line", "length-prefix", "netstring", "until-idle"]},
    ),
    Words("text or mapping"),
]
"""A framing: its kind, or a mapping with its kind and options."""
