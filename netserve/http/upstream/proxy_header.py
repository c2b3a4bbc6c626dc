"""HAProxy's PROXY header, as we send it (its specification, versions 1 and 2)."""

from __future__ import annotations

import ipaddress
import struct
from typing import Final, Literal, TypeAlias

Endpoint: TypeAlias = tuple[str, int]

_SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
_LOCAL, _PROXY = 0x20, 0x21
_TCP4, _TCP6 = 0x11, 0x21


def proxy_header(
    client: Endpoint | None, server: Endpoint | None, *, version: Literal[1, 2]
) -> bytes:
    """The header for a connection that is made on behalf of a client.

    Arguments:
        client: address and port of the client; None: there is none, or no IP address.
        server: address and port that it has connected to; None as well.
        version: 1 is one line of text, 2 is binary.

    Raises:
        ValueError: an address is none.
    """
    if client is None or server is None:
        return b"PROXY UNKNOWN\r\n" if version == 1 else _SIGNATURE + bytes([_LOCAL, 0, 0, 0])
    source, target = ipaddress.ip_address(client[0]), ipaddress.ip_address(server[0])
    if source.version != target.version:
        source, target = _as_v6(source), _as_v6(target)
    if version == 1:
        family = f"TCP{source.version}"
        return f"PROXY {family} {source} {target} {client[1]} {server[1]}\r\n".encode()
    addresses = source.packed + target.packed + struct.pack("!HH", client[1], server[1])
    family_byte = _TCP4 if source.version == 4 else _TCP6
    return _SIGNATURE + struct.pack("!BBH", _PROXY, family_byte, len(addresses)) + addresses


def _as_v6(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> ipaddress.IPv6Address:
    if isinstance(address, ipaddress.IPv6Address):
        return address
    return ipaddress.IPv6Address(f"::ffff:{address}")
