"""A peer's address."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserve.config.types import parse_network
from netserve.wire.peer import (
    counting_key,
    is_in,
    parse_address,
)


@given(st.ip_addresses())
def test_an_address_counts_the_same_however_it_is_written(address: object) -> None:
    written = getattr(address, "exploded", str(address))
    assert counting_key(str(address)) == counting_key(written) != ""
    assert parse_address(str(address)) == parse_address(written)


def test_one_subscriber_of_ipv6_counts_once() -> None:
    first = counting_key("2001:db8:1:2::1")
    assert first == counting_key("2001:db8:1:2:ffff::9")
    assert first != counting_key("2001:db8:1:3::1")
    assert counting_key("") == counting_key("/run/x.sock") == ""


@pytest.mark.parametrize(
    ("client", "inside"),
    [("fe80::1%eth0", True), ("::ffff:10.1.2.3", True), ("10.1.2.3", True), ("11.0.0.1", False),
     ("", False), ("x", False)],
)  # fmt: skip
def test_forms_of_an_address(client: str, inside: bool) -> None:
    networks = [ip_network("10.0.0.0/8"), ip_network("fe80::/10")]
    assert is_in(client, networks) is inside


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("::ffff:0:0/96", "0.0.0.0/0"),
        ("::ffff:192.0.2.1", "192.0.2.1/32"),
        ("::/0", "::/0"),
        ("fc00::/7", "fc00::/7"),
        ("10.0.0.0/8", "10.0.0.0/8"),
    ],
)
def test_networks_are_read_as_addresses_are(written: str, meant: str) -> None:
    """S7: else a `deny` that is written so would deny nobody."""
    network = parse_network(written)
    assert str(network) == meant
    assert is_in(written.partition("/")[0], [network])
