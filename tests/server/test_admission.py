"""Limits of connections (S8)."""

from ipaddress import ip_network

from hypothesis import given
from hypothesis import strategies as st

from netserve.server.access import AccessRules
from netserve.server.admission import Admission


def make(connections: int, per_address: int, deny: str = "192.0.2.0/24") -> Admission:
    return Admission(
        access=AccessRules(deny=[ip_network(deny)]),
        connections=connections,
        connections_per_address=per_address,
    )


def test_past_each_limit() -> None:
    """S8: connections are limited in all and per address, and a place is given back."""
    admission = make(3, 2)
    assert admission.admit("10.0.0.1") is None
    assert admission.admit("10.0.0.1") is None
    assert admission.admit("10.0.0.1") == "connections_per_address"
    assert admission.admit("10.0.0.2") is None
    assert admission.admit("10.0.0.3") == "connections"
    admission.release("10.0.0.1")
    assert admission.admit("10.0.0.3") is None


def test_who_is_denied_takes_no_place() -> None:
    admission = make(1, 1)
    assert admission.admit("192.0.2.1") == "denied"
    assert admission.admit("10.0.0.1") is None


def test_unix_sockets_count_in_all_only() -> None:
    admission = make(2, 1)
    assert [admission.admit(""), admission.admit(""), admission.admit("")] == [
        None,
        None,
        "connections",
    ]


@given(st.lists(st.sampled_from(["10.0.0.1", "10.0.0.2", "10.0.0.3", "::1"]), max_size=60))
def test_never_more_than_allowed(peers: list[str]) -> None:
    admission = make(5, 2)
    taken: list[str] = []
    for number, peer in enumerate(peers):
        if number % 3 == 2 and taken:
            admission.release(taken.pop(0))
        if admission.admit(peer) is None:
            taken.append(peer)
        assert len(taken) <= 5
        assert all(taken.count(one) <= 2 for one in taken)
    for peer in taken:
        admission.release(peer)
    assert admission._census.by_address == {}
    assert admission._census.open == 0
