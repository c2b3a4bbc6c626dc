"""Packets in, conversations out: one pass, within bounds, whatever the file has.

A finished conversation is reported a moment later, since repetitions of its last segments belong
to it. At most `MOST_LIVE` are followed at the same time; later packets of one that was given up
begin a new one.
"""

from __future__ import annotations

import struct
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from itertools import islice
from typing import Final, Protocol, TypeAlias

from netserve.capture.decode.conversation import Conversation, Heard
from netserve.capture.decode.detect import is_server_port
from netserve.capture.decode.model import Item
from netserve.capture.dissect.ip import TCP, UDP, Datagram, Network
from netserve.capture.dissect.link import (
    ARP,
    ETHERNET,
    IPV4,
    IPV6,
    LINK_TYPES,
    CutShort,
    name_of_link_type,
)
from netserve.capture.dissect.tcp import ACK, FIN, RST, SYN
from netserve.capture.reading.model import Packet

__all__ = ["Engine", "Reporter", "Totals"]

MOST_LIVE: Final = 8192
"""Conversations that are followed at the same time."""
LOOKED_AT: Final = 16
"""Of the oldest ones, how many are compared to find one to give up."""
LINGER: Final = 1_000_000_000
"""Nanoseconds for which a conversation that is over takes late packets."""
MOST_OVER: Final = 1024
"""Conversations that are over and linger."""
UDP_IDLE: Final = 30_000_000_000
"""Nanoseconds without a datagram after which a conversation over UDP is over."""
SWEEP_EVERY: Final = 5_000_000_000
SWEEP_MASK: Final = 255
"""A mask of the packet number: how often finished conversations are looked for."""
MOST_SORTS: Final = 1000
"""Different kinds of other packets that are counted by name."""

_PORTS: Final = struct.Struct("!HH")
_TCP: Final = struct.Struct("!IIBB")
_V4_TCP: Final = struct.Struct("!BxHxxHxB2x12sIIBB")
"""An IPv4 header without options, and the TCP header: the key is its addresses and ports."""
_IS_IPV4: Final = b"\x08\x00"
_ENDING: Final = FIN | RST
_UNUSUAL: Final = SYN | FIN | RST
_PROTOCOLS: Final = {
    1: "ICMP", 2: "IGMP", 4: "IP in IP", 41: "IPv6 in IP", 47: "GRE", 50: "ESP", 51: "AH",
    58: "ICMPv6", 59: "no next header", 89: "OSPF", 103: "PIM", 112: "VRRP", 115: "L2TP",
    132: "SCTP", 136: "UDP-Lite",
}  # fmt: skip
_ETHER_TYPES: Final = {
    0: "other link-layer", ARP: "ARP", 0x8863: "PPPoE discovery", 0x8864: "PPPoE", 0x8847: "MPLS",
    0x88CC: "LLDP", 0x888E: "EAPOL", 0x88E5: "MACsec", 0x8899: "Realtek", 0x9000: "loopback test",
}  # fmt: skip


_Found: TypeAlias = tuple[Conversation, int, Callable[..., None]]
"""The conversation, the sending side, and the function for its TCP segments."""


class Reporter(Protocol):
    """The receiver of conversations."""

    def heard(self, conversation: Conversation, item: Item) -> None:
        """An item of a conversation."""

    def over(self, conversation: Conversation) -> None:
        """A conversation has ended."""


@dataclass(slots=True)
class Totals:
    """Counters of all of the file.

    Attributes:
        packets: in the file.
        size: bytes of them on the network.
        first: time of the first packet, in nanoseconds.
        last: time of the last one.
        conversations: by protocol; an empty name for those without data.
        other: packets that belong to no conversation, by kind.
        cut_short: packets of which the capture has a part only.
        malformed: packets whose headers make no sense.
        strays: TCP packets without data that belong to no connection.
        given_up: conversations that were reported early, as there were too many.
    """

    packets: int = 0
    size: int = 0
    first: int = 0
    last: int = 0
    conversations: Counter[str] = field(default_factory=Counter)
    other: Counter[str] = field(default_factory=Counter)
    cut_short: int = 0
    malformed: int = 0
    strays: int = 0
    given_up: int = 0


class Engine:
    """Follows the conversations of a capture.

    Arguments:
        reporter: where they go.
        ports: protocols by the server's port, where they are known beforehand.
        wanted: decides by a conversation's ends whether it is followed.
    """

    def __init__(self, reporter: Reporter, ports: Mapping[int, str] | None = None) -> None:
        self._heard: Heard = reporter.heard
        self._reporter = reporter
        self._ports = ports or {}
        self._network = Network()
        self._live: dict[bytes, _Found] = {}
        "By source, destination and ports, for both directions."
        # These are emptied from the front, which a dict takes longer and longer for.
        self._keys: OrderedDict[Conversation, tuple[bytes, bytes]] = OrderedDict()
        self._over: OrderedDict[Conversation, int] = OrderedDict()
        "Those that linger, and when they ended."
        self._number = 0
        self._swept_at = 0
        self.totals = Totals()

    @property
    def live(self) -> int:
        """How many conversations are being followed."""
        return len(self._keys)

    @property
    def fragments(self) -> tuple[int, int]:
        """Fragments of IP datagrams, and datagrams that could not be put together."""
        fragments = self._network.fragments
        return fragments.count, fragments.lost + fragments.waiting

    def take(self, packets: Iterable[Packet]) -> None:
        """Take packets in the order of the file; may be called several times.

        Raises:
            CaptureFileError: raised by the iterator; the packets before it have been taken.
        """
        totals, live = self.totals, self._live
        count, size_of_all, cut_short = totals.packets, totals.size, totals.cut_short
        time = totals.last
        try:
            for _, time, link_type, data, size, comments in packets:
                count += 1
                size_of_all += size
                if not count & SWEEP_MASK:
                    self._sweep(time)
                if count == 1:
                    totals.first = time
                length = len(data)
                cut_short += size > length
                # Nearly all packets are read here in one look: TCP in IPv4 without options, on
                # Ethernet. All others are taken apart layer by layer in `_any`.
                if link_type == ETHERNET and length >= 54 and data[12:14] == _IS_IPV4:
                    (
                        first,
                        total,
                        fragment,
                        protocol,
                        key,
                        number,
                        acknowledgement,
                        offset,
                        flags,
                    ) = _V4_TCP.unpack_from(data, 14)
                    begin, end = 34 + (offset >> 4) * 4, 14 + total
                    if (
                        first == 0x45 and protocol == TCP and not fragment & 0x3FFF
                        and 54 <= begin <= end <= length
                    ):  # fmt: skip
                        found = live.get(key)
                        if found is None or flags & _UNUSUAL or comments:
                            self._segment(
                                time, key, number, acknowledgement, flags, data[begin:end], 0,
                                comments,
                            )  # fmt: skip
                        else:
                            conversation, side, segment = found
                            conversation.last = time
                            segment(side, time, number, acknowledgement, flags, data[begin:end])
                        continue
                self._any(time, link_type, data, size, comments)
        finally:
            totals.packets, totals.size, totals.cut_short = count, size_of_all, cut_short
            totals.last = time

    def _any(
        self, time: int, link_type: int, data: bytes, size: int, comments: tuple[str, ...]
    ) -> None:
        """A packet of any kind."""
        strip = LINK_TYPES.get(link_type)
        if strip is None:
            self._other(name_of_link_type(link_type))
            return
        try:
            kind, start = strip(data)
            if kind not in {IPV4, IPV6}:
                self._other(_ETHER_TYPES.get(kind, f"EtherType 0x{kind:04x}"))
                return
            datagram = self._network.datagram(kind, data, start, time)
            if datagram is None:
                self._other("fragments")
            elif datagram.protocol == TCP:
                self._tcp(time, datagram, comments)
            elif datagram.protocol == UDP:
                self._udp(time, datagram, comments)
            else:
                self._other(_PROTOCOLS.get(datagram.protocol, f"IP protocol {datagram.protocol}"))
        except CutShort:
            # Of one that was captured in part, a cut within a header is no fault.
            self.totals.malformed += size <= len(data)

    def finish(self) -> None:
        """The file has ended: report the remaining conversations, the oldest first."""
        for conversation in list(self._keys):
            self._end(conversation)

    def _tcp(self, time: int, datagram: Datagram, comments: tuple[str, ...]) -> None:
        source, destination, _, data, missing = datagram
        if len(data) < 20:
            raise CutShort("ends within the TCP header")
        number, acknowledgement, offset, flags = _TCP.unpack_from(data, 4)
        header = (offset >> 4) * 4
        if header < 20 or header > len(data) + missing:
            raise CutShort("a TCP header that is longer than its packet")
        self._segment(
            time, source + destination + data[:4], number, acknowledgement, flags, data[header:],
            missing, comments,
        )  # fmt: skip

    def _segment(
        self, time: int, key: bytes, number: int, acknowledgement: int, flags: int, payload: bytes,
        missing: int, comments: tuple[str, ...],
    ) -> None:  # fmt: skip
        """A segment, by the key of its direction."""
        found = self._live.get(key)
        if found is None or flags & SYN:
            found = self._connection(time, key, number, flags, bool(payload or missing), found)
            if found is None:
                self.totals.strays += 1
                return
        conversation, side, _ = found
        conversation.last = time
        if comments:
            self._comment(conversation, comments)
        tcp = conversation.tcp
        if tcp is not None:
            tcp.segment(side, time, number, acknowledgement, flags, payload, missing)
            if flags & _ENDING and tcp.is_over and conversation not in self._over:
                self._over[conversation] = time

    def _connection(
        self, time: int, key: bytes, number: int, flags: int, has_data: bool,
        found: _Found | None,
    ) -> _Found | None:  # fmt: skip
        """Which connection a segment belongs to that may begin one; None for a stray."""
        if found is not None and self._is_new(found[0], found[1], number, flags):
            self._end(found[0])
            found = None
        if found is None and (has_data or flags & SYN):
            found = self._begin(time, key, "tcp", flags)
        return found

    def _is_new(self, conversation: Conversation, side: int, number: int, flags: int) -> bool:
        """Whether a SYN opens another connection between the same addresses and ports."""
        tcp = conversation.tcp
        if flags & ACK or tcp is None:
            return False
        return tcp.began_with != number and (tcp.is_over or side == 0 or tcp.began_with is None)

    def _udp(self, time: int, datagram: Datagram, comments: tuple[str, ...]) -> None:
        source, destination, _, data, missing = datagram
        if len(data) < 8:
            raise CutShort("ends within the UDP header")
        key = source + destination + data[:4] + b"U"
        found = self._live.get(key)
        if found is not None and time - found[0].last > UDP_IDLE:
            self._end(found[0])
            found = None
        if found is None:
            found = self._begin(time, key, "udp", 0)
        conversation, side, _ = found
        if comments:
            self._comment(conversation, comments)
        length = int.from_bytes(data[4:6], "big")
        payload = data[8:length] if 8 <= length <= len(data) else data[8:]
        missing = missing if length > len(data) else 0
        conversation.last = time
        conversation.datagram(side, time, payload, missing)

    def _comment(self, conversation: Conversation, comments: tuple[str, ...]) -> None:
        for comment in comments:
            conversation.comment(comment)

    def _begin(self, time: int, key: bytes, transport: str, flags: int) -> _Found:
        """A new conversation, by the key of the direction of its first packet."""
        if len(self._keys) >= MOST_LIVE:
            self._make_room()
        # Two addresses, two ports, and for UDP one byte more.
        width = (len(key) - 4) // 2
        source, destination, ports = key[:width], key[width : 2 * width], key[2 * width :]
        from_port, to_port = _PORTS.unpack_from(ports)
        by_client = _is_by_client(flags, from_port, to_port)
        one = (str(ip_address(source)), from_port)
        other = (str(ip_address(destination)), to_port)
        client, server = (one, other) if by_client else (other, one)
        self._number += 1
        conversation = Conversation(
            self._number, transport, client, server, time, self._heard,
            self._ports.get(server[1], ""),
        )  # fmt: skip
        back = destination + source + ports[2:4] + ports[:2] + ports[4:]
        side = 0 if by_client else 1
        segment = conversation.tcp.segment if conversation.tcp is not None else _no_segment
        self._live[key] = found = (conversation, side, segment)
        # A connection of an address and port to itself has one key for both directions.
        self._live.setdefault(back, (conversation, 1 - side, segment))
        self._keys[conversation] = (key, back)
        return found

    def _make_room(self) -> None:
        """Give up the one that has been quiet longest, of the oldest few."""
        self.totals.given_up += 1
        self._end(min(islice(self._keys, LOOKED_AT), key=lambda each: each.last))

    def _sweep(self, time: int) -> None:
        """Report conversations that have ended and lingered, and idle ones over UDP."""
        over = self._over
        while over:
            conversation, ended = next(iter(over.items()))
            if 0 <= time - ended < LINGER and len(over) <= MOST_OVER:
                break
            self._end(conversation)
        if abs(time - self._swept_at) >= SWEEP_EVERY:
            self._swept_at = time
            idle = [each for each in self._keys if each.tcp is None and time - each.last > UDP_IDLE]
            for conversation in idle:
                self._end(conversation)

    def _end(self, conversation: Conversation) -> None:
        key, back = self._keys.pop(conversation)
        self._live.pop(key, None)
        self._live.pop(back, None)
        self._over.pop(conversation, None)
        conversation.finish()
        self.totals.conversations[conversation.protocol] += 1
        self._reporter.over(conversation)
        conversation.release()

    def _other(self, name: str) -> None:
        other = self.totals.other
        if name in other or len(other) < MOST_SORTS:
            other[name] += 1
        else:
            other["others"] += 1


def _no_segment(*_: object) -> None:
    """UDP has none."""


def _is_by_client(flags: int, from_port: int, to_port: int) -> bool:
    """Whether the first packet that was captured comes from the client."""
    if flags & SYN:
        return not flags & ACK
    if is_server_port(from_port) != is_server_port(to_port):
        return is_server_port(to_port)
    return True
