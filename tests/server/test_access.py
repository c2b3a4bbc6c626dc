"""Who may connect."""

from ipaddress import ip_network

import pytest

from netserve.server.access import AccessRules
from netserve.wire.peer import parse_address


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
