"""The values that options have: durations, sizes, secrets, paths, networks.

In YAML 1.2 ``no``, ``22:22`` and ``010`` are what they look like, so nothing is coerced here
either: a yes-or-no option takes ``true`` and ``false`` only. Lists are tuples.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic_core import CoreSchema, core_schema

from netserve.errors import HIDDEN, InvalidValue

_DURATION_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", re.ASCII)
_RATE_UNITS: Final = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86400.0}
_RATE_SCHEMA: Final = {"type": "string", "pattern": r"^[1-9]\d*/(second|minute|hour|day)$"}
_RATE: Final = re.compile(r"(\d{1,9})/(second|minute|hour|day)", re.ASCII)
_SIZE_UNITS: Final = {
    "B": 1,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
}
_SIZE: Final = re.compile(r"(\d+)(B|kB|MB|GB|KiB|MiB|GiB)?", re.ASCII)


_IPV4_MAPPED: Final = ipaddress.IPv6Network("::ffff:0:0/96")


def parse_duration(value: object) -> float:
    """Seconds from ``500ms``, ``5s``, ``4h``, ``1h30m`` or ``5d``.

    Raises:
        ValueError: it is not of that form, or longer than ten years.
    """
    if isinstance(value, str):
        parts = _DURATION.findall(value)
        if parts and "".join(number + unit for number, unit in parts) == value:
            seconds = float(sum(float(number) * _DURATION_UNITS[unit] for number, unit in parts))
            if seconds <= 3650 * 86400:
                return seconds
            raise InvalidValue("longer than ten years")
    raise InvalidValue(
        "not a duration; write a number with its unit: 500ms, 5s, 10m, 4h, 1h30m, 5d"
    )


def parse_size(value: object) -> int:
    """Bytes from ``4096``, ``64KiB``, ``10MiB``, ``1GB``.

    Raises:
        ValueError: it is not of that form.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str) and (match := _SIZE.fullmatch(value)):
        return int(match[1]) * _SIZE_UNITS[match[2] or "B"]
    raise InvalidValue(
        "not a size; write bytes, or a number with its unit: 4096, 64KiB, 10MiB, 1GB"
    )


@dataclass(frozen=True, slots=True)
class Rate:
    """So many in a time, written in the file as ``250/hour``.

    Arguments:
        count: how many, from 1 up.
        seconds: in which time.
    """

    count: int
    seconds: float

    def __str__(self) -> str:
        unit = next((unit for unit, time in _RATE_UNITS.items() if time == self.seconds), None)
        return f"{self.count}/{unit or f'{self.seconds:g}s'}"

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(parse_rate)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return dict(_RATE_SCHEMA)


def parse_rate(value: object) -> Rate:
    """From ``20/second``, ``100/minute``, ``250/hour``, ``10000/day``.

    Raises:
        ValueError: it is not of that form.
    """
    if isinstance(value, Rate):
        return value
    if isinstance(value, str) and (match := _RATE.fullmatch(value)) and int(match[1]):
        return Rate(int(match[1]), _RATE_UNITS[match[2]])
    raise InvalidValue(
        "not a rate; write how many in which time: 20/second, 100/minute, 250/hour, 10000/day"
    )


def _different_times(rates: tuple[Rate, ...]) -> tuple[Rate, ...]:
    if len({rate.seconds for rate in rates}) < len(rates):
        raise InvalidValue("two rates for the same time; one of them is enough")
    return rates


@dataclass(frozen=True, slots=True)
class Words:
    """For `Annotated`: what an option takes, where its type alone does not tell.

    Arguments:
        text: a few words, such as ``text or list of texts``.
    """

    text: str


@dataclass(frozen=True, slots=True)
class Shown:
    """For `Annotated`: a text that cannot be a secret, such as the name of a host.

    Errors about a file show what stands where no secret can be: numbers, choices, paths, networks,
    addresses to listen on, and texts of this kind. Other texts are shown nowhere.
    """


TEXTS: Final = Words("text or list of texts")

Duration: TypeAlias = Annotated[
    float,
    BeforeValidator(lambda value: value if isinstance(value, float) else parse_duration(value)),
    WithJsonSchema({"type": "string", "pattern": r"^(\d+(\.\d+)?(ms|s|m|h|d))+$"}),
]
"""Seconds, written in the file as ``5s`` or ``4h``."""

Size: TypeAlias = Annotated[
    int,
    BeforeValidator(parse_size),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0},
                {"type": "string", "pattern": r"^\d+(B|kB|MB|GB|KiB|MiB|GiB)?$"},
            ]
        }
    ),
]
"""Bytes, written in the file as ``4096`` or ``10MiB``."""


class Secret:
    """A text that is printed nowhere: its str, repr and format are ``***``.

    Arguments:
        value: the secret; `reveal` returns it.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The text itself; call it where it is sent, and keep no copy."""
        return self._value

    def __repr__(self) -> str:
        return HIDDEN

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __reduce__(self) -> Any:
        raise TypeError("a secret is not pickled")

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        def check(value: object) -> Secret:
            if isinstance(value, Secret):
                return value
            if isinstance(value, str):
                return cls(value)
            raise InvalidValue("not a text; put it in quotes, or use !env, !file or !credential")

        return core_schema.no_info_plain_validator_function(
            check, serialization=core_schema.plain_serializer_function_ser_schema(lambda _: HIDDEN)
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"type": "string", "writeOnly": True}


def expand_home(path: str | Path) -> Path:
    """The path with the home folder that it begins with (``~``, ``~user``) written out.

    Raises:
        ValueError: there is no such user.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise InvalidValue(
            "{path}: there is no user of this name",
            otherwise="there is no user of the name after the ~",
            path=path,
        ) from None


_LONGEST_NAME: Final = 255
"""Characters of a part of a path; no file system has longer ones."""


def _in_folder_of_file(value: object, info: ValidationInfo) -> Path:
    text = str(value)
    if not isinstance(value, (str, Path)) or not text:
        raise InvalidValue("not a path")
    if "\0" in text:
        raise InvalidValue("a path has no NUL in it")
    if "\n" in text or "-----BEGIN" in text or max(map(len, text.split("/"))) > _LONGEST_NAME:
        raise InvalidValue(
            "not a path; it may be what stands in a file: keep that in one, and write its path"
        )
    folder = (info.context or {}).get("folder", Path())
    return Path(folder) / expand_home(value)


FilePath: TypeAlias = Annotated[
    Path, BeforeValidator(_in_folder_of_file), WithJsonSchema({"type": "string"})
]
"""A path; a relative one starts at the folder of the config file (context key ``folder``)."""


@dataclass(frozen=True, slots=True)
class Use:
    """For `Annotated`: what a service does with a path for as long as it runs.

    The start then finds out whether the user that the process becomes may do so. A path without
    this is one that is read once, while the service is built.

    Arguments:
        access: ``read`` a file again, or ``write`` into a folder, which is made where it is
            missing, and may have placeholders in braces in its path.
    """

    access: Literal["read", "write"]


ReadPath: TypeAlias = Annotated[FilePath, Use("read")]
"""A file that is read again while the service runs."""
WrittenPath: TypeAlias = Annotated[FilePath, Use("write")]
"""A folder that the service writes into while it runs."""


def parse_network(value: object) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """From ``10.0.0.0/8``, ``::1``; IPv4 that is written as IPv6 is IPv4, as it is for peers.

    Raises:
        ValueError: it is not of that form.
    """
    if isinstance(value, (ipaddress.IPv4Network, ipaddress.IPv6Network)):
        return value
    try:
        if isinstance(value, str):
            network = ipaddress.ip_network(value)
            if isinstance(network, ipaddress.IPv6Network) and network.subnet_of(_IPV4_MAPPED):
                mapped = int(network.network_address) & 0xFFFFFFFF
                return ipaddress.IPv4Network((mapped, network.prefixlen - _IPV4_MAPPED.prefixlen))
            return network
    except ValueError as error:
        raise InvalidValue(
            "not a network: {error}", otherwise="not a network", error=error
        ) from None
    raise InvalidValue("not a network; write an address or a network: 127.0.0.1, 10.0.0.0/8, ::1")


Network: TypeAlias = Annotated[
    ipaddress.IPv4Network | ipaddress.IPv6Network,
    BeforeValidator(parse_network),
    WithJsonSchema({"type": "string"}),
]
"""An IP network or a single address."""


def one_or_many(value: object) -> object:
    """Before a tuple is validated: one value for a list of it alone."""
    if isinstance(value, (tuple, list)):
        return tuple(value)
    return (value,)


def json_one_or_many(item: dict[str, Any]) -> dict[str, Any]:
    """The JSON Schema of one item or a list of them."""
    return {"anyOf": [item, {"type": "array", "items": item}]}


Networks: TypeAlias = Annotated[
    tuple[Network, ...],
    BeforeValidator(one_or_many),
    WithJsonSchema(json_one_or_many({"type": "string"})),
]
"""One network or a list of them."""


Rates: TypeAlias = Annotated[
    tuple[Rate, ...],
    BeforeValidator(one_or_many),
    AfterValidator(_different_times),
    WithJsonSchema({"anyOf": [_RATE_SCHEMA, {"type": "array", "items": _RATE_SCHEMA}]}),
]
"""One rate or a list of them, which all hold."""


def _parse_import_path(value: object) -> str:
    if isinstance(value, str):
        module, _, name = value.partition(":")
        if all(part.isidentifier() for part in (*module.split("."), *name.split("."))):
            return value
    raise InvalidValue("not the way to a Python object; write module:object")


ImportPath: TypeAlias = Annotated[
    str, BeforeValidator(_parse_import_path), WithJsonSchema({"type": "string"}), Shown()
]
"""``package.module:object``; it is imported only when the service is built."""

PositiveInt: TypeAlias = Annotated[int, Field(ge=1)]
"""A whole number from 1 up."""
