"""Which name servers are asked: the option `dns` of the relay."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Final, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from netserve.config.types import Duration, PositiveInt, Section, Shown, Words, one_or_many
from netserve.errors import InvalidValue
from netserve.protocols.smtp_relay.lists import ONE_OR_MANY_TEXTS


class NameServer:
    """A name server: ``127.0.0.1``, ``192.0.2.1:5353``, ``::1``, ``[::1]:5353``.

    Arguments:
        text: as it stands in the file.

    Raises:
        ValueError: it is not of that form.
    """

    __slots__ = ("address", "port")

    _WITH_PORT: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+)):([0-9]{1,5})")
    _WRONG: Final = "not a name server; write an address such as 127.0.0.1, 127.0.0.1:5353 or ::1"

    address: str
    port: int

    def __init__(self, text: str) -> None:
        match = self._WITH_PORT.fullmatch(text)
        address = (match[1] or match[2]) if match else text.removeprefix("[").removesuffix("]")
        try:
            self.address = str(ipaddress.ip_address(address))
        except ValueError:
            raise InvalidValue(self._WRONG) from None
        self.port = int(match[3]) if match else 53
        if not 0 < self.port < 65536:
            raise InvalidValue(
                "not a port: {port}; a port is a number from 1 to 65535", port=self.port
            )

    @property
    def is_here(self) -> bool:
        """Whether it is on this machine."""
        return ipaddress.ip_address(self.address).is_loopback

    def __str__(self) -> str:
        address = f"[{self.address}]" if ":" in self.address else self.address
        return f"{address}:{self.port}"

    __repr__ = __str__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NameServer) and str(other) == str(self)

    def __hash__(self) -> int:
        return hash((NameServer, self.address, self.port))

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        def check(value: object) -> NameServer:
            if isinstance(value, NameServer):
                return value
            if isinstance(value, str):
                return cls(value)
            raise InvalidValue(cls._WRONG)

        return core_schema.no_info_plain_validator_function(
            check, serialization=core_schema.plain_serializer_function_ser_schema(str)
        )


def _few(servers: tuple[NameServer, ...]) -> tuple[NameServer, ...]:
    if len(set(servers)) != len(servers):
        raise InvalidValue("the same name server twice")
    return servers


NameServers: TypeAlias = Annotated[
    tuple[Annotated[NameServer, Shown()], ...],
    BeforeValidator(one_or_many),
    AfterValidator(_few),
    ONE_OR_MANY_TEXTS,
    Words("address or list of addresses"),
]
"""One name server or a list of them, the first choice first."""


class Dns(Section):
    """Where DNS is asked, for delivery by MX and for the TLS levels that need it."""

    servers: NameServers = ()
    """Name servers, as `address` or `address:port`; without them those of `/etc/resolv.conf`. For
    DANE it has to be one that validates DNSSEC, on this machine or over a trusted wire."""
    timeout: Annotated[Duration, Field(gt=0)] = 5.0
    """For one question, over all name servers."""
    cache: PositiveInt = 10_000
    """Answers that are kept in memory, for as long as each may be."""
