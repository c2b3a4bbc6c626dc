"""HAProxy's PROXY header."""

from __future__ import annotations

import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserve.wire.proxy_header import (
    LARGEST,
    ProxyHeader,
    ProxyHeaderError,
    read_proxy_header,
)

V2 = b"\r\n\r\n\0\r\nQUIT\n"


def v2(command: int, family: int, body: bytes) -> bytes:
    return V2 + struct.pack("!BBH", command, family, len(body)) + body


TCP4 = bytes([192, 0, 2, 7, 10, 0, 0, 1]) + struct.pack("!HH", 4711, 25)
TCP6 = ipaddress.IPv6Address("2001:db8::7").packed * 2 + struct.pack("!HH", 4711, 25)

GOOD = [
    (b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 25\r\n", ("192.0.2.7", 4711)),
    (b"PROXY TCP6 2001:db8::7 ::1 4711 25\r\n", ("2001:db8::7", 4711)),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", None),
    (v2(0x21, 0x11, TCP4), ("192.0.2.7", 4711)),
    (v2(0x21, 0x21, TCP6), ("2001:db8::7", 4711)),
    (v2(0x21, 0x11, TCP4 + b"\x04\x00\x01x"), ("192.0.2.7", 4711)),  # and further data
    (v2(0x20, 0x00, b""), None),  # the balancer's own check
    (v2(0x20, 0x11, TCP4), None),
    (v2(0x21, 0x00, b""), None),
    (v2(0x21, 0x31, b"x" * 216), None),  # UNIX sockets
]


@pytest.mark.parametrize(("header", "client"), GOOD)
def test_who_the_client_is(header: bytes, client: tuple[str, int] | None) -> None:
    assert read_proxy_header(header) == ProxyHeader(client, len(header))


@pytest.mark.parametrize("header", [header for header, _ in GOOD])
def test_however_it_is_cut(header: bytes) -> None:
    """Nothing is decided before it is whole, and what stands behind it is not read."""
    for end in range(len(header)):
        assert read_proxy_header(header[:end]) is None
    read = read_proxy_header(header + b"EHLO x\r\n")
    assert read is not None
    assert read.size == len(header)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"EHLO x\r\n", "there is none"),
        (b"\x16\x03\x01", "there is none"),
        (b"proxy TCP4", "there is none"),
        (b"PROXY TCP4 192.0.2.7 10.0.0.1 4711\r\n", "malformed"),
        (b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 25 26\r\n", "malformed"),
        (b"PROXY TCP4 192.0.2.7  10.0.0.1 4711 25\r\n", "malformed"),
        (b"PROXY UDP4 192.0.2.7 10.0.0.1 4711 25\r\n", "malformed"),
        (b"PROXY TCP4 2001:db8::7 ::1 4711 25\r\n", "an address"),
        (b"PROXY TCP4 192.0.2.7 \xff 4711 25\r\n", "an address"),
        (b"PROXY TCP6 fe80::1%\x1b[2J ::1 1 25\r\n", "an address"),
        (b"PROXY TCP4 192.0.2.7 10.0.0.1 65536 25\r\n", "a port"),
        (b"PROXY TCP4 192.0.2.7 10.0.0.1 -1 25\r\n", "a port"),
        (b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 \xb2\r\n", "a port"),
        (b"PROXY TCP4 " + b"1" * 200, "too long"),
        (b"PROXY UNKNOWN" + b" " * 100 + b"\r\n", "too long"),
        (v2(0x11, 0x11, TCP4), "not known"),
        (v2(0x22, 0x11, TCP4), "not known"),
        (v2(0x21, 0x12, TCP4), "addresses"),  # datagrams do not come over a connection
        (v2(0x21, 0x11, TCP4[:-1]), "addresses"),
        (v2(0x21, 0x21, TCP4), "addresses"),
        (v2(0x21, 0x77, TCP4), "addresses"),
        (V2 + b"\x21\x11\xff\xff", "too long"),
    ],
)
def test_what_is_none(data: bytes, why: str) -> None:
    with pytest.raises(ProxyHeaderError, match=why):
        read_proxy_header(data)


@given(st.binary(max_size=300), st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", V2, V2 + b"\x21"]))
def test_anything_is_read_or_refused(data: bytes, begin: bytes) -> None:
    """S8: and never is more waited for than the largest header."""
    try:
        read = read_proxy_header(begin + data)
    except ProxyHeaderError:
        return
    assert read is None or read.size <= LARGEST
    if read is not None and read.client is not None:
        ipaddress.ip_address(read.client[0])


def test_more_is_waited_for_only_within_the_limit() -> None:
    """S8."""
    with pytest.raises(ProxyHeaderError):
        read_proxy_header(b"PROXY " + b"x" * 101)
    largest = v2(0x21, 0x11, TCP4 + bytes(LARGEST - 16 - len(TCP4)))
    assert read_proxy_header(largest[:-1]) is None
    assert read_proxy_header(largest) is not None
