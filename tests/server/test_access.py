"""Who may connect."""

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserve.server.access import AccessRules, counting_key, parse_address


@pytest.mark.parametrize(
    ("allow", "deny", "peer", "permitted"),
    [
        ([], [], "192.0.2.1", True),
        (["10.0.0.0/8"], [], "10.1.2.3", True),
        (["10.0.0.0/8"], [], "192.0.2.1", False),
        (["10.0.0.0/8"], ["10.1.0.0/16"], "10.1.2.3", False),
        ([], ["10.1.0.0/16"], "10.1.2.3", False),
        ([], ["10.1.0.0/16"], "10.2.2.3", True),
        (["10.0.0.0/8"], [], "::ffff:10.1.2.3", True),
        ([], ["10.0.0.0/8"], "::ffff:10.1.2.3", False),
        (["fe80::/10"], [], "fe80::1%eth0", True),
        (["10.0.0.0/8"], [], "", True),  # a UNIX socket: the file's mode decides
    ],
)
def test_rules(allow: list[str], deny: list[str], peer: str, permitted: bool) -> None:
    rules = AccessRules(allow=map(ip_network, allow), deny=map(ip_network, deny))
    assert rules.permits(parse_address(peer)) is permitted


@given(st.ip_addresses())
def test_an_address_counts_the_same_however_it_is_written(address: object) -> None:
    assert counting_key(parse_address(str(address))) == counting_key(parse_address(str(address)))
    assert counting_key(parse_address(str(address)))


def test_one_subscriber_of_ipv6_counts_once() -> None:
    first = counting_key(parse_address("2001:db8:1:2::1"))
    assert first == counting_key(parse_address("2001:db8:1:2:ffff::9"))
    assert first != counting_key(parse_address("2001:db8:1:3::1"))
