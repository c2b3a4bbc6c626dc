"""Datagrams as UDP packets (RFC 768)."""

from __future__ import annotations

import struct
from typing import Final

from netserve.capture.frames.checksum import checksum, word_sum
from netserve.capture.frames.ip import UDP, Address, Header
from netserve.capture.frames.tcp import Frame

__all__ = ["LARGEST", "Datagrams"]

LARGEST: Final = 65_507
"""Bytes of a datagram at most; one of a UNIX socket may be longer, and is cut."""

_HEADER: Final = struct.Struct("!HHHH")


class Datagrams:
    """The datagrams between two addresses.

    Arguments:
        local: our address.
        peer: the peer's, of the same version.
    """

    __slots__ = ("_headers", "_ports", "_sums")

    def __init__(self, local: Address, peer: Address) -> None:
        self._headers = (Header(local, peer, UDP), Header(peer, local, UDP))
        self._ports = ((local.port, peer.port), (peer.port, local.port))
        self._sums = tuple(header.pseudo_sum + local.port + peer.port for header in self._headers)

    def data(self, inbound: bool, data: bytes) -> list[Frame]:
        """One datagram, cut where it is longer than UDP can have it."""
        data = data[:LARGEST]
        size = 8 + len(data)
        # The length is in the pseudo header too. Zero would say that there is no checksum.
        code = checksum(self._sums[inbound] + 2 * size + word_sum(data)) or 0xFFFF
        source, destination = self._ports[inbound]
        head = _HEADER.pack(source, destination, size, code)
        return [(inbound, b"".join((self._headers[inbound].make(size), head, data)))]
