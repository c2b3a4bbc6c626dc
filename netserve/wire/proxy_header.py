"""HAProxy's PROXY protocol: the header that a load balancer puts before a connection. No I/O.

Versions 1 (text) and 2 (binary) of ``proxy-protocol.txt``, as HAProxy's project publishes it. Who
may send one is decided elsewhere: whoever may, can claim to be anybody.
"""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass
from typing import Final

from netserve.errors import PeerError

LARGEST: Final = 4096
"""Bytes of a header; one of version 2 may have further data behind its addresses."""

_V1: Final = b"PROXY "
_V1_LARGEST: Final = 107
_V1_VERSIONS: Final = {b"TCP4": 4, b"TCP6": 6}
_V2: Final = b"\r\n\r\n\0\r\nQUIT\n"
_V2_FIXED: Final = 16
_V2_LOCAL: Final = 0x20
_V2_PROXY: Final = 0x21
_V2_NO_ADDRESS: Final = frozenset({0x00, 0x31, 0x32})
"""Families without an IP address: unspecified, and UNIX sockets of the balancer's machine."""
_V2_ADDRESSES: Final = {0x11: struct.Struct("!4s4sHH"), 0x21: struct.Struct("!16s16sHH")}


class ProxyHeaderError(PeerError):
    """What a connection begins with is no PROXY header."""


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """A header that was read.

    Arguments:
        client: address and port of the client; None where it tells none, as for the balancer's
            own checks: the connection's own peer counts then.
        size: bytes of the header; what stands behind them is the client's.
    """

    client: tuple[str, int] | None
    size: int


def read_proxy_header(data: bytes) -> ProxyHeader | None:
    """The header that a connection begins with, or None while more of it is to come.

    Arguments:
        data: everything that has come so far.

    Raises:
        ProxyHeaderError: it does not begin with one, or with one that is malformed or too long.
    """
    if data.startswith(_V1):
        return _read_v1(data)
    if data.startswith(_V2):
        return _read_v2(data)
    if _V1.startswith(data) or _V2.startswith(data):
        return None
    raise ProxyHeaderError("there is none")


def _read_v1(data: bytes) -> ProxyHeader | None:
    end = data.find(b"\r\n", 0, _V1_LARGEST)
    if end < 0:
        if len(data) >= _V1_LARGEST:
            raise ProxyHeaderError("its line is too long")
        return None
    words = data[:end].split(b" ")
    size = end + 2
    if words[1] == b"UNKNOWN":
        return ProxyHeader(None, size)
    version = _V1_VERSIONS.get(words[1])
    if version is None or len(words) != 6:
        raise ProxyHeaderError("its line is malformed")
    _, _, source, destination, source_port, destination_port = words
    _v1_address(destination, version)
    _v1_port(destination_port)
    return ProxyHeader((_v1_address(source, version), _v1_port(source_port)), size)


def _v1_address(word: bytes, version: int) -> str:
    try:
        address = ipaddress.ip_address(word.decode("ascii"))
    except ValueError:
        address = None
    if address is None or address.version != version or b"%" in word:
        raise ProxyHeaderError("an address in it is malformed")
    return str(address)


def _v1_port(word: bytes) -> int:
    if not word.isdigit() or len(word) > 5 or int(word) > 65535:
        raise ProxyHeaderError("a port in it is malformed")
    return int(word)


def _read_v2(data: bytes) -> ProxyHeader | None:
    if len(data) < _V2_FIXED:
        return None
    command, family, length = data[12], data[13], int.from_bytes(data[14:16])
    if command not in {_V2_LOCAL, _V2_PROXY}:
        raise ProxyHeaderError("its version or command is not known")
    size = _V2_FIXED + length
    if size > LARGEST:
        raise ProxyHeaderError("it is too long")
    if len(data) < size:
        return None
    if command == _V2_LOCAL or family in _V2_NO_ADDRESS:
        return ProxyHeader(None, size)
    addresses = _V2_ADDRESSES.get(family)
    if addresses is None or length < addresses.size:
        raise ProxyHeaderError("its addresses are malformed")
    source, _, port, _ = addresses.unpack_from(data, _V2_FIXED)
    return ProxyHeader((str(ipaddress.ip_address(source)), port), size)
