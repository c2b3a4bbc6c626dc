"""The address guard: which addresses and hosts pass, by tables and properties (S11)."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserve.http.guard import PUBLIC_ONLY, AddressGuard, embedded_ipv4, special_use

REFUSED = {
    "127.0.0.1": "loopback",
    "127.255.255.254": "loopback",
    "0.0.0.0": "unspecified",
    "0.1.2.3": "unspecified",
    "10.0.0.1": "private",
    "172.16.0.1": "private",
    "172.31.255.255": "private",
    "192.168.1.1": "private",
    "100.64.0.1": "shared by carriers (CGNAT)",
    "169.254.1.1": "link-local",
    "169.254.169.254": "a metadata service",
    "100.100.100.200": "a metadata service",
    "168.63.129.16": "a metadata service",
    "192.0.0.8": "reserved",
    "198.18.0.1": "for benchmarks",
    "203.0.113.5": "for documentation",
    "224.0.0.251": "multicast",
    "239.255.255.250": "multicast",
    "240.0.0.1": "reserved",
    "255.255.255.255": "broadcast",
    "::": "unspecified",
    "::1": "loopback",
    "::7f00:1": "loopback",
    "::ffff:127.0.0.1": "loopback",
    "::ffff:7f00:1": "loopback",
    "::ffff:169.254.169.254": "a metadata service",
    "::ffff:0:10.0.0.1": "private",
    "64:ff9b::127.0.0.1": "loopback",
    "64:ff9b::a00:1": "private",
    "64:ff9b:1::1": "a translation prefix",
    "2002:7f00:1::": "loopback",
    "2002:a9fe:a9fe::1": "a metadata service",
    "2001::1": "a Teredo tunnel",
    "2001:10::1": "reserved",
    "2001:db8::1": "for documentation",
    "3fff::1": "for documentation",
    "fc00::1": "private",
    "fd00:ec2::254": "a metadata service",
    "fe80::1": "link-local",
    "fe80::1%lo": "link-local",
    "fec0::1": "site-local",
    "ff02::1": "multicast",
    "4000::1": "not public",
    "100::1": "not public",
    "5f00::1": "not public",
}

PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "93.184.216.34",
    "172.15.255.255",
    "172.32.0.1",
    "100.63.255.255",
    "100.128.0.1",
    "2606:4700:4700::1111",
    "2a00:1450::1",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
    "2002:808:808::1",
]

ODD_FORMS = [
    "2130706433",
    "0x7f000001",
    "0X7F000001",
    "0x7f.0.0.1",
    "0x7f.1",
    "127.1",
    "127.0.1",
    "0177.0.0.1",
    "017700000001",
    "127.0.0.01",
    "127.0.0.1.",
    "127.0.0.1..",
    "127.0.0.0x1",
    "127.0.0.1.1",
    "256.1.1.1",
    "1.1.1",
    "evil.1",
    "evil.0x7f",
    "08.8.8.8",
    "8.8.8.8.",
    "::ffff:127.0.0.1.",
    "::ffff:0x7f.0.0.1",
    "[::1]",
    "1::2::3",
    "",
]


@pytest.mark.parametrize(("text", "what"), REFUSED.items())
def test_special_addresses_are_refused_by_default(text: str, what: str) -> None:
    """S11: loopback, link-local, private, metadata and the like, in each notation."""
    address = ipaddress.ip_address(text)
    assert special_use(address) == what
    assert PUBLIC_ONLY.refusal(address) == f"{address} is {what}"
    assert PUBLIC_ONLY.host_refusal(text) == f"{address} is {what}"


@pytest.mark.parametrize("text", PUBLIC)
def test_public_addresses_pass(text: str) -> None:
    assert PUBLIC_ONLY.refusal(ipaddress.ip_address(text)) is None
    assert PUBLIC_ONLY.host_refusal(text) is None


@pytest.mark.parametrize("text", ODD_FORMS)
def test_odd_spellings_of_addresses_are_refused_even_where_all_is_allowed(text: str) -> None:
    """S11: decimal, hex, octal and short forms, whatever they mean."""
    assert PUBLIC_ONLY.host_refusal(text) is not None
    assert AddressGuard.parse(["0.0.0.0/0", "::/0"]).host_refusal(text) is not None


@pytest.mark.parametrize("text", ["localhost", "example.org", "1e100.net", "a.b-c.d_e", "0x", "x1"])
def test_names_are_left_to_the_resolver(text: str) -> None:
    expected = text == "0x"  # the URL standard takes it for the number 0
    assert (PUBLIC_ONLY.host_refusal(text) is not None) is expected


@pytest.mark.parametrize(
    ("entry", "passes", "stays_refused"),
    [
        ("127.0.0.1", ["127.0.0.1", "::ffff:127.0.0.1", "64:ff9b::7f00:1"], ["127.0.0.2", "::1"]),
        ("10.0.0.0/8", ["10.255.0.1", "2002:a00:1::"], ["192.168.0.1"]),
        ("::1", ["::1"], ["127.0.0.1", "::"]),
        ("fd12::/16", ["fd12::1"], ["fd13::1"]),
        ("::ffff:127.0.0.1", ["::ffff:127.0.0.1"], ["127.0.0.1", "::ffff:127.0.0.2"]),
    ],
)
def test_the_list_allows_what_it_names_and_no_more(
    entry: str, passes: list[str], stays_refused: list[str]
) -> None:
    guard = AddressGuard.parse([entry])
    assert [guard.host_refusal(text) for text in passes] == [None] * len(passes)
    assert all(guard.host_refusal(text) for text in stays_refused)


def test_names_of_the_list() -> None:
    guard = AddressGuard.parse(["Api.Internal", "*.corp.example"])
    assert guard.allows_name("api.internal")
    assert guard.allows_name("API.INTERNAL.")
    assert guard.allows_name("a.b.corp.example")
    for name in ["x.api.internal", "corp.example", "evilcorp.example", "api.internal.evil.org"]:
        assert not guard.allows_name(name)


@pytest.mark.parametrize(
    "entry",
    ["", "*", "*.", "a b", "10.0.0.1/8", "10.0.0.0/33", "127.1", "0x7f000001", "http://x/", "x:80"],
)
def test_entries_that_are_nothing_are_refused(entry: str) -> None:
    with pytest.raises(ValueError, match="not an address"):
        AddressGuard.parse([entry])


@given(st.ip_addresses())
def test_what_the_standard_library_calls_private_never_passes(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    """S11: a second opinion; ours is the stricter one."""
    passes = PUBLIC_ONLY.refusal(address) is None
    inner = embedded_ipv4(address) or address
    if inner.is_private or inner.is_loopback or inner.is_link_local or inner.is_multicast:
        assert not passes
    if inner.is_unspecified or inner.is_reserved:
        assert not passes


@given(st.ip_addresses(v=4), st.sampled_from(["::ffff:0:0", "64:ff9b::", "::ffff:0:0:0"]))
def test_an_address_inside_another_is_decided_like_itself(
    address: ipaddress.IPv4Address, prefix: str
) -> None:
    """S11: the embedded forms."""
    outer = ipaddress.IPv6Address(int(ipaddress.IPv6Address(prefix)) | int(address))
    assert embedded_ipv4(outer) == address
    assert special_use(outer) == special_use(address)
    sixtofour = ipaddress.IPv6Address((0x2002 << 112) | (int(address) << 80) | 1)
    assert special_use(sixtofour) == special_use(address)


@given(st.text(max_size=30))
def test_any_text_as_host_is_a_name_or_refused_or_a_public_address(host: str) -> None:
    """Nothing raises, and what is neither refused nor plain is an address that passes."""
    if PUBLIC_ONLY.host_refusal(host) is None:
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return
        assert special_use(address) is None
