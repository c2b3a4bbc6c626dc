"""Bytes in settings models: a text, or ``{hex: "02 0a ff"}``."""

from __future__ import annotations

from typing import Annotated, Any, Final, TypeAlias

from pydantic import BeforeValidator, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema

from netserve.errors import InvalidValue

__all__ = ["OCTETS_SCHEMA", "Octets", "OctetsWithin", "parse_octets"]


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


class OctetsWithin:
    """For `Annotated`: bytes, as `Octets` takes them, of a number within bounds.

    Arguments:
        least: how many there are at least.
        most: how many there are at most.
    """

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


Octets: TypeAlias = Annotated[bytes, OctetsWithin(1, 65536)]
"""Bytes: a text, or ``{hex: "02 0a ff"}``."""
