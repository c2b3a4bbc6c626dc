"""How wide networks of the file are."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from netserve.config.networks import has_strangers, names_addresses


@pytest.mark.parametrize(
    ("network", "strangers", "named"),
    [
        ("0.0.0.0/0", True, False),
        ("198.0.0.0/8", True, False),
        ("198.51.0.0/16", False, False),
        ("10.0.0.0/8", False, False),
        ("198.51.100.0/24", False, True),
        ("198.51.100.7", False, True),
        ("::/0", True, False),
        ("2001:db8::/32", False, False),
        ("fc00::/7", False, False),
        ("2001:db8::/64", False, True),
        ("2001:db8::1", False, True),
        ("64:ff9b::/96", True, True),
        ("64:ff9b:1::/64", True, True),
        ("64:ff9b::c000:0/112", False, True),
        ("2001::/32", True, False),
        ("2001::/64", True, True),
    ],
)
def test_how_wide_a_network_is(network: str, strangers: bool, named: bool) -> None:
    assert has_strangers(ip_network(network)) is strangers
    assert names_addresses(ip_network(network)) is named
