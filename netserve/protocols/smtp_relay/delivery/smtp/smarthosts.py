"""Smarthosts: servers that the file names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Final, TypeAlias

from pydantic import (
    AfterValidator,
    BeforeValidator,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
)
from pydantic_core import CoreSchema, core_schema

from netserve.config.types import Words, one_or_many
from netserve.errors import InvalidValue
from netserve.protocols.smtp_relay.delivery.smtp.targets import Security, Target
from netserve.protocols.smtp_relay.delivery.tls.client_tls import is_address
from netserve.protocols.smtp_relay.delivery.tls.security import Securing
from netserve.protocols.smtp_relay.lists import ONE_OR_MANY_TEXTS, not_empty


class Smarthost:
    """A server that mail is handed to: ``smtp.example.org:587``, ``192.0.2.1:25``, ``[::1]:25``.

    Arguments:
        text: as it stands in the file.

    Raises:
        ValueError: it is not of that form.
    """

    __slots__ = ("host", "port")

    _FORM: Final = re.compile(
        r"(?:\[(?P<literal>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?))"
        r":(?P<port>[0-9]{1,5})"
    )

    host: str
    """A name or an address, without brackets."""
    port: int

    def __init__(self, text: str) -> None:
        match = self._FORM.fullmatch(text)
        if match is None:
            raise InvalidValue(
                "not a smarthost; write host:port, such as smtp.example.org:587 or [::1]:25"
            )
        self.host = match["literal"] or match["name"].lower()
        self.port = int(match["port"])
        if not 0 < self.port < 65536:
            raise InvalidValue(
                "not a port: {port}; a port is a number from 1 to 65535",
                otherwise="not a port: a port is a number from 1 to 65535",
                port=self.port,
            )

    @property
    def tls_from_start(self) -> bool:
        """Whether TLS begins with the first byte, as it does on port 465 (RFC 8314, 3.3)."""
        return self.port == 465

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    __repr__ = __str__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Smarthost) and str(other) == str(self)

    def __hash__(self) -> int:
        return hash((Smarthost, self.host, self.port))

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        def check(value: object) -> Smarthost:
            if isinstance(value, Smarthost):
                return value
            if isinstance(value, str):
                return cls(value)
            raise InvalidValue("not a smarthost; write host:port, such as smtp.example.org:587")

        return core_schema.no_info_plain_validator_function(
            check, serialization=core_schema.plain_serializer_function_ser_schema(str)
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"type": "string", "pattern": r"^.+:\d{1,5}$"}


def _no_duplicates(value: tuple[Smarthost, ...]) -> tuple[Smarthost, ...]:
    if len(set(value)) != len(value):
        raise InvalidValue("the same smarthost twice")
    return value


Smarthosts: TypeAlias = Annotated[
    tuple[Smarthost, ...],
    BeforeValidator(one_or_many),
    AfterValidator(not_empty),
    AfterValidator(_no_duplicates),
    ONE_OR_MANY_TEXTS,
    Words("host:port or list of them"),
]
"""One smarthost or a list of them, the first choice first."""


class SmarthostServers:
    """The smarthosts of a route.

    Arguments:
        smarthosts: in order.
        securing: says how to speak to them.
    """

    sessions: int | None = None

    def __init__(self, smarthosts: Sequence[Smarthost], securing: Securing) -> None:
        self._targets = [smarthost_target(one, at) for at, one in enumerate(smarthosts)]
        self._securing = securing

    async def targets(self) -> Sequence[Target]:
        """See `targets.Servers`."""
        return self._targets

    async def security(self, target: Target) -> Security:
        """See `targets.Servers`."""
        return await self._securing.of(target)


def smarthost_target(smarthost: Smarthost, rank: int) -> Target:
    """A smarthost as a target; its name is the domain of its policy (RFC 8461, 3.4)."""
    domain = "" if is_address(smarthost.host) else smarthost.host
    return Target(smarthost.host, smarthost.port, domain=domain, signed=True, rank=rank)
