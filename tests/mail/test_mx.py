"""Which servers take the mail for a domain: order, limits, loops, null MX."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserve.mail.mx import (
    MAX_ADDRESSES,
    MAX_HOSTS,
    Address,
    Exchange,
    Host,
    NotNow,
    Undeliverable,
    addresses_to_try,
    by_preference,
    is_host_name,
    literal_address,
    next_hop,
)


def order(*exchanges: tuple[int, str], own: str = "relay.example", seed: int = 0) -> list[str]:
    found = by_preference(
        "example.org",
        [Exchange(*each) for each in exchanges],
        own_name=own,
        random=Random(seed),
    )
    return [each.host for each in found]


def host(name: str, preference: int, *addresses: str, failed: bool = False) -> Host:
    return Host(name, preference, tuple(map(ip_address, addresses)), failed)


def ways(
    *hosts: Host,
    own: str = "",
    refusal: Callable[[Address], str | None] = lambda _: None,
) -> list[str]:
    found = addresses_to_try(
        "example.org", hosts, is_own=lambda address: str(address) == own, refusal=refusal
    )
    return [f"{one.name} {address}" for one, address in found]


# The next hop.


@pytest.mark.parametrize(
    ("mailbox", "hop"),
    [
        ("a@Example.ORG", "example.org"),
        ("a@example.org.", "example.org"),
        ("a@b_c.example", "b_c.example"),
        ('"a@b"@example.org', "example.org"),
        ("a@bücher.example", "xn--bcher-kva.example"),
        ("a@BÜCHER.example", "xn--bcher-kva.example"),
        ("a@xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("a@例え.テスト", "xn--r8jz45g.xn--zckzah"),
        ("a@[192.0.2.1]", "[192.0.2.1]"),
        ("a@[IPv6:2001:DB8:0::1]", "[2001:db8::1]"),
        ("a@[ipv6:::1]", "[::1]"),
    ],
)
def test_the_next_hop(mailbox: str, hop: str) -> None:
    assert next_hop(mailbox) == hop


@pytest.mark.parametrize(
    ("mailbox", "status"),
    [
        ("postmaster", "5.1.3"),
        ("a@[192.0.2]", "5.1.3"),
        ("a@[IPv6:hello]", "5.1.3"),
        ("a@[192.0.2.1", "5.1.3"),
        ("a@..", "5.1.2"),
        ("a@a b", "5.1.2"),
        ("a@-a.example", "5.1.2"),
        ("a@\u200d.example", "5.1.2"),
        ("a@" + "ü" * 70 + ".example", "5.1.2"),
        ("a@" + "a." * 130 + "example", "5.1.2"),
        ("a@x\n.example", "5.1.2"),
    ],
)
def test_a_mailbox_without_a_next_hop(mailbox: str, status: str) -> None:
    with pytest.raises(Undeliverable) as raised:
        next_hop(mailbox)
    assert raised.value.reply.status == status


@given(st.text())
def test_what_comes_out_is_a_name_or_an_address(domain: str) -> None:
    try:
        hop = next_hop(f"a@{domain}")
    except Undeliverable:
        return
    assert literal_address(hop) is not None or is_host_name(hop)
    assert hop.isascii()
    assert hop.isprintable()


# The order.


def test_the_best_come_first() -> None:
    assert order((20, "c"), (5, "a"), (10, "b")) == ["a", "b", "c"]


def test_equal_ones_are_in_random_order() -> None:
    seen = {tuple(order((1, "a"), (1, "b"), (1, "c"), (0, "x"), seed=seed)) for seed in range(100)}
    assert len(seen) == 6
    assert {each[0] for each in seen} == {"x"}


def test_a_host_that_is_there_twice_counts_once() -> None:
    assert order((20, "a"), (10, "b"), (5, "a")) == ["a", "b"]


def test_no_more_than_so_many_hosts() -> None:
    assert order(*((at, f"h{at}") for at in range(50))) == [f"h{at}" for at in range(MAX_HOSTS)]


@pytest.mark.parametrize("exchanges", [[(0, "")], [(0, ""), (10, "")]])
def test_null_mx(exchanges: list[tuple[int, str]]) -> None:
    with pytest.raises(Undeliverable) as raised:
        order(*exchanges)
    assert str(raised.value.reply) == "556 5.1.10 example.org takes no mail (null MX)"


def test_a_root_beside_others_is_read_over() -> None:
    assert order((0, ""), (10, "a")) == ["a"]


def test_this_host_and_all_that_are_not_better_are_left_out() -> None:
    mx = [(10, "a"), (20, "relay.example"), (20, "equal"), (30, "worse")]
    assert order(*mx) == ["a"]


@pytest.mark.parametrize("mx", [[(10, "relay.example")], [(10, "relay.example"), (10, "b")]])
def test_a_loop_by_name(mx: list[tuple[int, str]]) -> None:
    with pytest.raises(Undeliverable) as raised:
        order(*mx)
    assert raised.value.reply.status == "5.4.6"


# The addresses.


def test_those_of_one_host_alternate() -> None:
    found = ways(host("a", 1, "192.0.2.1", "192.0.2.2", "2001:db8::1"), host("b", 2, "192.0.2.3"))
    assert found == ["a 2001:db8::1", "a 192.0.2.1", "a 192.0.2.2", "b 192.0.2.3"]


def test_no_more_than_so_many_addresses() -> None:
    many = [f"192.0.2.{at}" for at in range(100)]
    assert len(ways(host("a", 1, *many))) == MAX_ADDRESSES


def test_own_addresses_and_all_that_are_not_better_are_left_out() -> None:
    hosts = [host("a", 1, "192.0.2.1"), host("b", 2, "192.0.2.2"), host("c", 2, "192.0.2.3")]
    assert ways(*hosts, own="192.0.2.3") == ["a 192.0.2.1"]
    with pytest.raises(Undeliverable) as raised:
        ways(*hosts, own="192.0.2.1")
    assert raised.value.reply.status == "5.4.6"


def test_refused_addresses_are_passed_over() -> None:
    def refusal(address: Address) -> str | None:
        return f"{address} is loopback" if address.is_loopback else None

    assert ways(host("a", 1, "127.0.0.1", "192.0.2.1"), refusal=refusal) == ["a 192.0.2.1"]
    with pytest.raises(Undeliverable) as raised:
        ways(host("a", 1, "127.0.0.1"), host("b", 2), refusal=refusal)
    text = "550 5.4.4 no mail is sent to such an address: a: 127.0.0.1 is loopback"
    assert str(raised.value.reply) == text


def test_hosts_without_addresses() -> None:
    assert ways(host("a", 1), host("b", 2, "192.0.2.1")) == ["b 192.0.2.1"]
    with pytest.raises(Undeliverable) as raised:
        ways(host("a", 1), host("b", 2))
    assert raised.value.reply.status == "5.4.4"


def test_lookups_that_failed() -> None:
    """What is known is tried; where nothing is known, DNS may answer later."""
    failed = host("a", 1, failed=True)
    assert ways(failed, host("b", 2, "192.0.2.1")) == ["b 192.0.2.1"]
    with pytest.raises(NotNow):
        ways(failed, host("b", 2))
    with pytest.raises(NotNow):
        ways(failed, host("b", 2, "192.0.2.1"), refusal=lambda _: "no")


def test_a_host_with_many_addresses_leaves_one_place_for_the_next() -> None:
    many = [f"192.0.2.{at}" for at in range(1, 9)]
    first = [f"a {address}" for address in many]
    assert ways(host("a", 1, *many)) == first[:5]
    backup, third = host("b", 2, "192.0.2.99"), host("c", 3, "192.0.2.98")
    assert ways(host("a", 1, *many), backup) == [*first[:4], "b 192.0.2.99"]
    assert ways(host("a", 1, *many[:4]), backup, third) == [*first[:4], "b 192.0.2.99"]
    assert ways(host("a", 1, *many[:3]), backup, third) == [
        *first[:3], "b 192.0.2.99", "c 192.0.2.98",
    ]  # fmt: skip


addresses = st.one_of(
    st.integers(0, 2**32 - 1).map(IPv4Address), st.integers(0, 2**128 - 1).map(IPv6Address)
)


@given(
    st.lists(
        st.builds(
            Host,
            st.sampled_from("abcdef"),
            st.integers(0, 3),
            st.lists(addresses, max_size=4).map(tuple),
            st.booleans(),
        ),
        min_size=1,
    ),
    st.integers(0, 5),
)
def test_never_to_oneself_nor_too_often(hosts: list[Host], own_at: int) -> None:
    hosts.sort(key=lambda one: one.preference)
    known = [(one.preference, address) for one in hosts for address in one.addresses]
    own = known[own_at][1] if own_at < len(known) else None
    try:
        found = addresses_to_try(
            "example.org", hosts, is_own=lambda address: address == own, refusal=lambda _: None
        )
    except (Undeliverable, NotNow):
        return
    assert 0 < len(found) <= MAX_ADDRESSES
    limit = min((at for at, address in known if address == own), default=4)
    assert all(one.preference < limit and address != own for one, address in found)
    assert [one.preference for one, _ in found] == sorted(one.preference for one, _ in found)
