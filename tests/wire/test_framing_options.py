"""Framings in the file: the short form, the long one, and what is refused."""

from __future__ import annotations

from typing import Any, Literal

import jsonschema
import pytest
from pydantic import TypeAdapter, ValidationError

from netserve.wire.framing import (
    Delimiter,
    Fixed,
    Framing,
    FramingSettings,
    LengthPrefix,
    Line,
    Netstring,
    UntilIdle,
)
from netserve.wire.framing.options import FRAMINGS, FramingOption, framing_option
from netserve.wire.octets import Octets, parse_octets

OPTION: TypeAdapter[Any] = TypeAdapter(FramingOption)
OCTETS: TypeAdapter[Any] = TypeAdapter(Octets)

GOOD: list[tuple[Any, Framing]] = [
    ("line", Line()),
    ({"kind": "line"}, Line()),
    ({"kind": "line", "ending": "lf"}, Line(b"\n")),
    ({"kind": "delimiter", "delimiter": "\x03"}, Delimiter(b"\x03")),
    ({"kind": "delimiter", "delimiter": {"hex": "1c 0d"}}, Delimiter(b"\x1c\r")),
    ({"kind": "fixed", "size": 12}, Fixed(12)),
    ({"kind": "fixed", "size": 12, "pad": " "}, Fixed(12, b" ")),
    ("length-prefix", LengthPrefix(4, "big", False)),
    (
        {"kind": "length-prefix", "bytes": 2, "order": "little", "inclusive": True},
        LengthPrefix(2, "little", True),
    ),
    ("netstring", Netstring()),
    ("until-idle", UntilIdle(0.2)),
    ({"kind": "until-idle", "idle": "1s"}, UntilIdle(1.0)),
]

BAD: list[tuple[Any, tuple[Any, ...], str]] = [
    ("lines", (), "does not match any of the expected tags"),
    ("delimiter", ("delimiter", "delimiter"), "Field required"),
    ("fixed", ("fixed", "size"), "Field required"),
    (5, (), "neither a text nor a mapping"),
    ({"bytes": 2}, (), "discriminator 'kind'"),
    ({"kind": "line", "bytes": 2}, ("line", "bytes"), "not permitted"),
    ({"kind": "length-prefix", "bytes": 3}, ("length-prefix", "bytes"), "1, 2, 4 or 8"),
    ({"kind": "length-prefix", "order": "native"}, ("length-prefix", "order"), "'big' or 'little'"),
    ({"kind": "length-prefix", "inclusive": "yes"}, ("length-prefix", "inclusive"), "boolean"),
    ({"kind": "fixed", "size": 0}, ("fixed", "size"), "greater than or equal to 1"),
    ({"kind": "fixed", "size": 2**30}, ("fixed", "size"), "less than or equal to 1048576"),
    ({"kind": "fixed", "size": 4, "pad": "ab"}, ("fixed", "pad"), "one byte, not 2"),
    ({"kind": "delimiter", "delimiter": ""}, ("delimiter", "delimiter"), "1 to 256 bytes, not 0"),
    ({"kind": "delimiter", "delimiter": {"hex": "0"}}, ("delimiter", "delimiter"), "two digits"),
    ({"kind": "until-idle", "idle": "0s"}, ("until-idle", "idle"), "greater than 0"),
    ({"kind": "until-idle", "idle": 5}, ("until-idle", "idle"), "not a duration"),
]


@pytest.mark.parametrize(("value", "framing"), GOOD)
def test_good(value: Any, framing: Framing) -> None:
    assert OPTION.validate_python(value).make() == framing


@pytest.mark.parametrize(("value", "where", "what"), BAD)
def test_bad(value: Any, where: tuple[Any, ...], what: str) -> None:
    with pytest.raises(ValidationError) as caught:
        OPTION.validate_python(value)
    [error] = caught.value.errors()
    assert error["loc"] == where
    assert what in error["msg"]


def test_the_schema_takes_what_the_model_takes() -> None:
    schema = OPTION.json_schema()
    for value, _ in GOOD:
        jsonschema.validate(value, schema)
    for value in ("lines", "fixed", 5, {"kind": "line", "bytes": 2}, {"kind": "fixed"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(value, schema)


@pytest.mark.parametrize(
    ("value", "octets"),
    [("é", "é".encode()), ({"hex": "02 0a FF"}, b"\x02\n\xff"), ({"hex": ""}, b""), (b"x", b"x")],
)
def test_octets(value: Any, octets: bytes) -> None:
    assert parse_octets(value) == octets


@pytest.mark.parametrize("value", [5, None, {"hex": "xx"}, {"hex": 5}, {"hexx": "00"}, ["a"]])
def test_not_octets(value: Any) -> None:
    with pytest.raises(ValidationError):
        OCTETS.validate_python(value)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(value, OCTETS.json_schema())


def test_every_framing_is_in_the_tuple() -> None:
    """And each can be chosen by its kind."""
    kinds = [model.model_fields["kind"].default for model in FRAMINGS]
    assert len(set(kinds)) == len(kinds)
    assert set(FRAMINGS) == set(FramingSettings.__subclasses__()) - {_Tab}


class _Tab(FramingSettings):
    """A framing that a protocol adds."""

    kind: Literal["tab"] = "tab"

    def make(self) -> Framing:
        return Delimiter(b"\t")


def test_a_framing_more_is_taken_in_both_forms() -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(framing_option(_Tab))
    for value in ("tab", {"kind": "tab"}):
        assert adapter.validate_python(value).make() == Delimiter(b"\t")
        jsonschema.validate(value, adapter.json_schema())
    assert adapter.validate_python("line").make() == Line()
