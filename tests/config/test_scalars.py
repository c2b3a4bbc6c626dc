"""Scalars mean what YAML 1.2's core schema says."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserve.config.scalars import MAX_DIGITS, Scalar, resolve, resolve_as


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None), ("~", None), ("null", None), ("Null", None), ("NULL", None), ("nULL", "nULL"),
        ("true", True), ("True", True), ("TRUE", True), ("tRUE", "tRUE"),
        ("false", False), ("False", False), ("FALSE", False),
        ("no", "no"), ("No", "No"), ("yes", "yes"), ("on", "on"), ("off", "off"), ("y", "y"),
        ("22:22", "22:22"), ("1:2:3", "1:2:3"), ("010", 10), ("0o10", 8), ("0x1F", 31),
        ("0b11", "0b11"), ("1_000", "1_000"), ("2024-01-01", "2024-01-01"), ("1.2.3", "1.2.3"),
        ("-5", -5), ("+5", 5), ("-0x1", "-0x1"), ("0o8", "0o8"),
        ("1.5", 1.5), (".5", 0.5), ("5.", 5.0), ("1e3", 1000.0), ("-1.5E-3", -0.0015),
        (".", "."), ("-", "-"), ("+", "+"), ("1e", "1e"), ("e5", "e5"), ("1.5e+", "1.5e+"),
        (".inf", math.inf), ("-.Inf", -math.inf), ("+.INF", math.inf),
        ("inf", "inf"), ("nan", "nan"), (".iNF", ".iNF"),
        ("127.0.0.1", "127.0.0.1"), ("127.0.0.0/8", "127.0.0.0/8"), ("5s", "5s"), ("\u0661",
        "\u0661"),
    ],
)  # fmt: skip
def test_a_plain_scalar(text: str, value: Scalar) -> None:
    resolved = resolve(text)
    assert resolved == value
    assert type(resolved) is type(value)


def test_not_a_number_is_a_number() -> None:
    value = resolve(".nan")
    assert isinstance(value, float)
    assert math.isnan(value)


def test_a_number_has_no_more_digits_than_allowed() -> None:
    assert resolve("9" * MAX_DIGITS) == int("9" * MAX_DIGITS)
    with pytest.raises(ValueError, match="more than 64 digits"):
        resolve("9" * (MAX_DIGITS + 1))


@given(st.integers(min_value=-(10**60), max_value=10**60))
def test_every_whole_number_is_itself(number: int) -> None:
    assert resolve(str(number)) == number


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_fraction_is_itself(number: float) -> None:
    assert resolve(repr(number)) == number


@given(st.text())
def test_any_text_gives_a_value_or_is_a_number_too_long(text: str) -> None:
    try:
        value = resolve(text)
    except ValueError:
        assert len(text) > MAX_DIGITS
    else:
        assert not isinstance(value, str) or value == text


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [("str", "5", "5"), ("int", "5", 5), ("float", "5", 5.0), ("bool", "true", True), ("null",
     "", None)],
)  # fmt: skip
def test_a_scalar_with_a_core_tag(kind: str, text: str, value: Scalar) -> None:
    resolved = resolve_as(kind, text)
    assert resolved == value
    assert type(resolved) is type(value)


@pytest.mark.parametrize(
    ("kind", "text"), [("int", "a"), ("int", "true"), ("bool", "1"), ("float", "true"), ("null",
    "x")]
)  # fmt: skip
def test_a_core_tag_that_does_not_fit(kind: str, text: str) -> None:
    with pytest.raises(ValueError, match=f"not of the kind !!{kind}"):
        resolve_as(kind, text)
