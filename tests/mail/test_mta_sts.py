"""MTA-STS: records, policies and what they name (RFC 8461)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserve.mail.mta_sts import (
    MAX_AGE,
    MAX_PATTERNS,
    MAX_SIZE,
    BadPolicy,
    Policy,
    parse_policy,
    policy_id,
)

GOOD = (
    b"version: STSv1\r\n"
    b"mode: enforce\r\n"
    b"mx: mx.example.org\r\n"
    b"mx: *.example.net\r\n"
    b"max_age: 86400\r\n"
)
MX = ("mx.example.org", "*.example.net")


@pytest.mark.parametrize(
    ("records", "found"),
    [
        (["v=STSv1; id=20160831085700Z;"], "20160831085700Z"),
        (["v=STSv1;id=1"], "1"),
        (["v=STSv1 ; id = 1 ; other=x;"], "1"),
        (["v=STSv1; other=x; id=2"], "2"),
        (["v=STSv1; id=1; id=2"], "1"),
        (["v=spf1 -all", "v=STSv1; id=1"], "1"),
        ([], None),
        (["v=STSv1"], None),
        (["v=STSv1; id="], None),
        (["v=STSv1; id=a-b"], None),
        (["v=STSv1; id=" + "a" * 33], None),
        (["v=STSv1; nonsense"], None),
        (["v=STSv1; id=1", "v=STSv1; id=2"], None),
        (["v=STSv2; id=1"], None),
        ([" v=STSv1; id=1"], None),
        (["v=stsv1; id=1"], None),
    ],
)
def test_the_id_of_a_record(records: list[str], found: str | None) -> None:
    assert policy_id(records) == found


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_a_policy(newline: bytes) -> None:
    policy = parse_policy(GOOD.replace(b"\r\n", newline))
    assert policy == Policy("enforce", 86400, MX)


@pytest.mark.parametrize(
    ("old", "new", "policy"),
    [
        (b"enforce", b"testing", Policy("testing", 86400, MX)),
        (b"86400", b"9999999999", Policy("enforce", MAX_AGE, MX)),
        (
            b"*.example.net",
            b"MX2.Example.ORG.",
            Policy("enforce", 86400, (MX[0], "mx2.example.org")),
        ),
        (b"mode: ", b"new: x\r\nmode:\t ", Policy("enforce", 86400, MX)),
        (b"mode: enforce", b"mode: enforce\r\nmode: none", Policy("enforce", 86400, MX)),
    ],
)
def test_variants(old: bytes, new: bytes, policy: Policy) -> None:
    assert parse_policy(GOOD.replace(old, new)) == policy


def test_mode_none_needs_no_mx() -> None:
    assert parse_policy(b"version: STSv1\nmode: none\nmax_age: 0") == Policy("none", 0, ())


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "version"),
        (b"<html>", "of the form"),
        (GOOD.replace(b"STSv1", b"STSv2"), "version"),
        (GOOD.replace(b"enforce", b"force"), "mode"),
        (GOOD.replace(b"86400", b"-1"), "max_age"),
        (GOOD.replace(b"86400", b"1e3"), "max_age"),
        (GOOD.replace(b"86400", "\u0661".encode()), "max_age"),
        (GOOD.replace(b"mx: mx.example.org\r\nmx: *.example.net\r\n", b""), "names no MX"),
        (GOOD.replace(b"*.example.net", b"*"), "no host name"),
        (GOOD.replace(b"*.example.net", b"a.*.net"), "no host name"),
        (GOOD.replace(b"*.example.net", b"a b"), "no host name"),
        (GOOD + b"mx: a.b\n" * MAX_PATTERNS, "too many"),
        (GOOD + b"x: y\n" * (MAX_SIZE // 4), "too long"),
    ],
)
def test_what_is_no_policy(body: bytes, why: str) -> None:
    with pytest.raises(BadPolicy) as raised:
        parse_policy(body)
    assert why in str(raised.value)


@pytest.mark.parametrize(
    ("host", "named"),
    [
        ("mx.example.org", True),
        ("mx2.example.org", False),
        ("a.example.net", True),
        ("a.b.example.net", False),
        ("example.net", False),
        ("net", False),
        ("", False),
    ],
)
def test_the_hosts_that_it_names(host: str, named: bool) -> None:
    assert parse_policy(GOOD).names(host) is named


@given(st.lists(st.text()))
def test_any_record(records: list[str]) -> None:
    found = policy_id(records)
    assert found is None or (found.isalnum() and found.isascii())


@given(st.one_of(st.binary(), st.text().map(lambda text: GOOD + text.encode("utf-8", "replace"))))
def test_any_body(body: bytes) -> None:
    try:
        policy = parse_policy(body)
    except BadPolicy:
        return
    assert 0 <= policy.max_age <= MAX_AGE
    assert all(pattern.isascii() and pattern.isprintable() for pattern in policy.mx)
