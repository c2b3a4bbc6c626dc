"""Addresses that a service listens on, as types for settings models."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, TypeAlias

from pydantic import (
    AfterValidator,
    BeforeValidator,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    WithJsonSchema,
)
from pydantic_core import CoreSchema, core_schema

from netserve.config.listen_kinds import INSIDE_HAPROXY, values_by_name
from netserve.config.values import json_one_or_many, one_or_many
from netserve.errors import InvalidValue


class Listen:
    """An address that a service listens on, in the form of Twisted's endpoint descriptions.

    ``tcp:7007:interface=127.0.0.1``, ``unix:/run/x.sock:mode=660``, ``systemd:…``, ``haproxy:…``
    and any other that Twisted or its plugins know; beside them ``udp:`` and ``unixgram:``, and
    ``tls:`` for TCP with the service's own TLS from the first byte, in the same form. A backslash
    escapes a colon, an equals sign or a backslash.

    Arguments:
        description: the text from the file.

    Raises:
        ValueError: it is not of that form.
    """

    __slots__ = ("description", "inside", "kind", "values")

    DATAGRAM_KINDS: Final = frozenset({"udp", "unixgram"})
    TLS_KINDS: Final = frozenset({"tls", "tls6"})
    PORT_KINDS: Final = frozenset({"tcp", "tcp6", "ssl", "udp"}) | TLS_KINDS

    description: str
    kind: str
    """The word before the first colon."""
    values: dict[str, str]
    """What stands behind it, by name, such as ``interface``."""
    inside: Listen
    """The address that stands behind ``haproxy:``; of all other kinds it is the address itself."""

    def __init__(self, description: str) -> None:
        self.description = description
        first, *rest = _split_description(description)
        self.kind = first[1]
        if first[0] is not None or not re.fullmatch(r"[a-z][a-z0-9_+-]*", self.kind) or not rest:
            raise InvalidValue(
                "not an address to listen on; write for example tcp:7007:interface=127.0.0.1,"
                " udp:7007 or unix:/run/name.sock"
            )
        if self.kind in self.PORT_KINDS:
            port = next((value for name, value in rest if name in {None, "port"}), "")
            if not re.fullmatch(r"\d{1,5}", port, re.ASCII) or int(port) > 65535:
                raise InvalidValue(
                    "not a port: {port}; a port is a number from 0 to 65535", port=repr(port)
                )
        self.values = values_by_name(self.kind, rest)
        self.inside = self
        if self.kind == "haproxy":
            if rest[0][1] not in INSIDE_HAPROXY:
                known = ", ".join(f"{kind}:" for kind in INSIDE_HAPROXY)
                raise InvalidValue("haproxy: stands before one of " + known)
            self.inside = Listen(description.partition(":")[2])

    @property
    def is_datagram(self) -> bool:
        """Whether datagrams come in here, not connections."""
        return self.kind in self.DATAGRAM_KINDS

    @property
    def begins_with_tls(self) -> bool:
        """Whether connections have the service's TLS from their first byte, in any case."""
        return self.kind in self.TLS_KINDS

    @property
    def is_encrypted(self) -> bool:
        """Whether connections are never in clear here."""
        return self.begins_with_tls or self.inside.kind == "ssl"

    @property
    def port(self) -> int | None:
        """The port of the kinds that have one in the description, else None."""
        if self.kind not in self.PORT_KINDS:
            return None
        return int(self.values["port"])

    @property
    def interface(self) -> str:
        """The address to bind, or an empty string for all of them."""
        return self.values.get("interface", "")

    def __repr__(self) -> str:
        return self.description

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Listen) and other.description == self.description

    def __hash__(self) -> int:
        return hash((Listen, self.description))

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        def check(value: object) -> Listen:
            if isinstance(value, Listen):
                return value
            if isinstance(value, str):
                return cls(value)
            raise InvalidValue("not an address to listen on; write for example tcp:7007")

        return core_schema.no_info_plain_validator_function(check)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"type": "string", "pattern": "^[a-z][a-z0-9_+-]*:.+$"}


def _split_description(text: str) -> list[tuple[str | None, str]]:
    """``kind:value:name=value`` as (name or None, value) pairs, the kind being the first."""
    parts: list[tuple[str | None, str]] = []
    name: str | None = None
    value = ""
    characters = iter(text)
    for character in characters:
        if character == "\\":
            value += next(characters, "")
        elif character == "=" and name is None:
            name, value = value, ""
        elif character == ":":
            parts.append((name, value))
            name, value = None, ""
        else:
            value += character
    parts.append((name, value))
    return parts


def _not_empty(value: tuple[Listen, ...]) -> tuple[Listen, ...]:
    if not value:
        raise InvalidValue("at least one address is needed")
    if len(set(value)) != len(value):
        raise InvalidValue("the same address twice")
    return value


ListenAddresses: TypeAlias = Annotated[
    tuple[Listen, ...],
    BeforeValidator(one_or_many),
    AfterValidator(_not_empty),
    WithJsonSchema(json_one_or_many({"type": "string", "pattern": "^[a-z][a-z0-9_+-]*:.+$"})),
]
"""One address or a list of them."""
