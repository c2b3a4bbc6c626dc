"""IPv4 (RFC 791) and IPv6 (RFC 8200) packets, extension headers, and fragments put together."""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from netserve.capture.dissect.fragments import Fragments
from netserve.capture.dissect.link import IPV4, CutShort

__all__ = ["TCP", "UDP", "Datagram", "Network"]

TCP: Final = 6
UDP: Final = 17

_V4: Final = struct.Struct("!BBHHHBB2x4s4s")
_V6: Final = struct.Struct("!IHBB16s16s")
_V6_ANY_FRAGMENT: Final = 44
_V6_OPTIONS: Final = frozenset({0, 43, 60, 135, 139, 140})
"""Extension headers with a length in 8 bytes: hop-by-hop, routing, destination, mobility, HIP, …"""
_AUTHENTICATION: Final = 51  # with a length in 4 bytes (RFC 4302)
_MOST_EXTENSIONS: Final = 16
_OFFSET: Final = 0x1FFF
_MORE: Final = 0x2000


class Datagram(NamedTuple):
    """The content of an IP packet.

    Arguments:
        source: 4 or 16 bytes.
        destination: likewise.
        protocol: its number; 6 is TCP, 17 is UDP.
        data: the captured bytes.
        missing: bytes at its end that were not captured.
    """

    source: bytes
    destination: bytes
    protocol: int
    data: bytes
    missing: int


class Network:
    """Takes IP packets apart, and puts fragments together."""

    def __init__(self) -> None:
        self.fragments = Fragments()

    def datagram(self, kind: int, packet: bytes, start: int, time: int) -> Datagram | None:
        """The content of a packet; None for a fragment that does not complete its datagram.

        Arguments:
            kind: its EtherType, of IPv4 or IPv6.
            packet: all of it.
            start: where the IP header begins.
            time: in nanoseconds.

        Raises:
            CutShort: it ends within a header, or has one that makes no sense.
        """
        if kind == IPV4:
            return self._ipv4(packet, start, time)
        return self._ipv6(packet, start, time)

    def _ipv4(self, packet: bytes, start: int, time: int) -> Datagram | None:
        if len(packet) < start + 20:
            raise CutShort("ends within the IPv4 header")
        first, _, total, number, fragment, _, protocol, source, destination = _V4.unpack_from(
            packet, start
        )
        header = (first & 15) * 4
        if first >> 4 != 4 or header < 20:
            raise CutShort("no IPv4 header")
        # Offloading to the network card leaves the total length at zero.
        end = start + total if total else len(packet)
        begin = start + header
        if begin > end or begin > len(packet):
            raise CutShort("an IPv4 header that is longer than its packet")
        data = packet[begin:end]
        missing = end - begin - len(data)
        if fragment & (_MORE | _OFFSET):
            key = (source, destination, protocol, number)
            offset = (fragment & _OFFSET) * 8
            whole = self.fragments.add(key, offset, data, missing, bool(fragment & _MORE), time)
            return None if whole is None else Datagram(source, destination, protocol, whole, 0)
        return Datagram(source, destination, protocol, data, missing)

    def _ipv6(self, packet: bytes, start: int, time: int) -> Datagram | None:
        if len(packet) < start + 40:
            raise CutShort("ends within the IPv6 header")
        first, size, protocol, _, source, destination = _V6.unpack_from(packet, start)
        if first >> 28 != 6:
            raise CutShort("no IPv6 header")
        at = start + 40
        end = at + size if size else len(packet)
        data = packet[at:end]
        missing = end - at - len(data)
        if protocol in {TCP, UDP}:
            return Datagram(source, destination, protocol, data, missing)
        return self._behind_extensions(source, destination, protocol, data, missing, time)

    def _behind_extensions(
        self, source: bytes, destination: bytes, protocol: int, data: bytes, missing: int, time: int
    ) -> Datagram | None:
        at = 0
        for _ in range(_MOST_EXTENSIONS):
            if protocol not in _V6_OPTIONS and protocol not in {_V6_ANY_FRAGMENT, _AUTHENTICATION}:
                return Datagram(source, destination, protocol, data[at:], missing)
            if len(data) < at + 8:
                raise CutShort("ends within an IPv6 extension header")
            following = data[at]
            if protocol == _V6_ANY_FRAGMENT:
                field, number = struct.unpack_from("!HI", data, at + 2)
                offset, more = field & 0xFFF8, bool(field & 1)
                rest = data[at + 8 :]
                if offset or more:
                    key = (source, destination, following, number)
                    whole = self.fragments.add(key, offset, rest, missing, more, time)
                    if whole is None:
                        return None
                    rest, missing = whole, 0
                data, at = rest, 0
            else:
                unit, least = (4, 2) if protocol == _AUTHENTICATION else (8, 1)
                at += (data[at + 1] + least) * unit
                if at > len(data):
                    raise CutShort("ends within an IPv6 extension header")
            protocol = following
        raise CutShort("more IPv6 extension headers than make sense")
