"""Packets in, conversations out: one pass, within bounds, whatever the file has.

Conversations that are over are reported a moment later, since repetitions of their last segments
belong to them. At most `MOST_LIVE` are followed at the same time; what is heard of one that had to
be given up begins another one.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from itertools import islice
from typing import Final, Protocol

from netserve.capture.decode.conversation import Conversation, Heard
from netserve.capture.decode.detect import is_server_port
from netserve.capture.dissect.ip import TCP, UDP, Datagram, Network
from netserve.capture.dissect.link import (
    ARP,
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
SWEEP_PACKETS: Final = 2000
MOST_SORTS: Final = 1000
"""Different kinds of other packets that are counted by name."""

_PORTS: Final = struct.Struct("!HH")
_TCP: Final = struct.Struct("!IIBB")
_PROTOCOLS: Final = {
    1: "ICMP", 2: "IGMP", 4: "IP in IP", 41: "IPv6 in IP", 47: "GRE", 50: "ESP", 51: "AH",
    58: "ICMPv6", 59: "no next header", 89: "OSPF", 103: "PIM", 112: "VRRP", 115: "L2TP",
    132: "SCTP", 136: "UDP-Lite",
}  # fmt: skip
_ETHER_TYPES: Final = {
    0: "other link-layer", ARP: "ARP", 0x8863: "PPPoE discovery", 0x8864: "PPPoE", 0x8847: "MPLS",
    0x88CC: "LLDP", 0x888E: "EAPOL", 0x88E5: "MACsec", 0x8899: "Realtek", 0x9000: "loopback test",
}  # fmt: skip


class Reporter(Protocol):
    """What becomes of conversations."""

    def heard(self, conversation: Conversation, item: object) -> None:
        """Something was said."""

    def over(self, conversation: Conversation) -> None:
        """Nothing more comes of it."""


@dataclass(slots=True)
class Totals:
    """Counters of all of the file.

    Attributes:
        packets: in the file.
        size: bytes of them on the network.
        first: time of the first packet, in nanoseconds.
        last: time of the last one.
        conversations: by protocol; an empty name for those in which nothing was said.
        other: packets that belong to no conversation, by what they are.
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
        self._live: dict[bytes, tuple[Conversation, int]] = {}
        "By source, destination and ports, for both directions: the conversation, and the side."
        self._keys: dict[Conversation, tuple[bytes, bytes]] = {}
        self._over: dict[Conversation, int] = {}
        "Those that linger, and when they ended."
        self._number = 0
        self._swept_at = 0
        self._swept = 0
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

    def packet(self, packet: Packet) -> None:
        """Take the next packet of the file."""
        _, time, link_type, data, size, comments = packet
        totals = self.totals
        totals.packets += 1
        totals.size += size
        if not totals.first:
            totals.first = time
        totals.last = time
        if size > len(data):
            totals.cut_short += 1
        strip = LINK_TYPES.get(link_type)
        if strip is None:
            self._other(name_of_link_type(link_type))
            return
        try:
            kind, start = strip(data)
            if kind != IPV4 and kind != IPV6:
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
            totals.malformed += size <= len(data)
        if self._over or totals.packets - self._swept >= SWEEP_PACKETS:
            self._sweep(time)

    def finish(self) -> None:
        """The file is at its end: report what is left, in the order of its beginning."""
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
        key = source + destination + data[:4]
        found = self._live.get(key)
        if found is not None and flags & SYN and self._is_new(found[0], found[1], number, flags):
            self._end(found[0])
            found = None
        if found is None:
            if len(data) == header and not missing and not flags & SYN:
                self.totals.strays += 1
                return
            found = self._begin(time, key, "tcp", datagram, flags)
        conversation, side = found
        if comments:
            self._comment(conversation, comments)
        counts = conversation.counts[side]
        counts.packets += 1
        payload = data[header:]
        counts.size += len(payload) + missing
        conversation.last = time
        tcp = conversation.tcp
        if tcp is not None:
            tcp.segment(side, time, number, acknowledgement, flags & 0x3F, payload, missing)
            if flags & (FIN | RST) and tcp.is_over and conversation not in self._over:
                self._over[conversation] = time

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
            found = self._begin(time, key, "udp", datagram, 0)
        conversation, side = found
        if comments:
            self._comment(conversation, comments)
        length = int.from_bytes(data[4:6], "big")
        payload = data[8:length] if 8 <= length <= len(data) else data[8:]
        missing = missing if length > len(data) else 0
        counts = conversation.counts[side]
        counts.packets += 1
        counts.size += len(payload) + missing
        conversation.last = time
        conversation.datagram(side, time, payload, missing)

    def _comment(self, conversation: Conversation, comments: tuple[str, ...]) -> None:
        for comment in comments:
            conversation.comment(comment)

    def _begin(
        self, time: int, key: bytes, transport: str, datagram: Datagram, flags: int
    ) -> tuple[Conversation, int]:
        if len(self._keys) >= MOST_LIVE:
            self._make_room()
        source, destination, _, data, _ = datagram
        from_port, to_port = _PORTS.unpack_from(data)
        by_client = _is_by_client(flags, from_port, to_port)
        one = (str(ip_address(source)), from_port)
        other = (str(ip_address(destination)), to_port)
        client, server = (one, other) if by_client else (other, one)
        self._number += 1
        conversation = Conversation(
            self._number, transport, client, server, time, self._heard,
            self._ports.get(server[1], ""),
        )  # fmt: skip
        back = destination + source + data[2:4] + data[:2] + key[-1:] * (transport == "udp")
        side = 0 if by_client else 1
        self._live[key] = found = (conversation, side)
        # A connection of an address and port to itself has one key for both directions.
        self._live.setdefault(back, (conversation, 1 - side))
        self._keys[conversation] = (key, back)
        return found

    def _make_room(self) -> None:
        """Give up the one that has been quiet longest, of the oldest few."""
        self.totals.given_up += 1
        self._end(min(islice(self._keys, LOOKED_AT), key=lambda each: each.last))

    def _sweep(self, time: int) -> None:
        """Report what is over, as far as it has lingered, and UDP that has been quiet for long."""
        over = self._over
        while over:
            conversation, ended = next(iter(over.items()))
            if 0 <= time - ended < LINGER and len(over) <= MOST_OVER:
                break
            self._end(conversation)
        packets = self.totals.packets
        if packets - self._swept >= SWEEP_PACKETS and abs(time - self._swept_at) >= SWEEP_EVERY:
            self._swept, self._swept_at = packets, time
            for conversation in [
                each
                for each in self._keys
                if each.tcp is None and time - each.last > UDP_IDLE
            ]:
                self._end(conversation)

    def _end(self, conversation: Conversation) -> None:
        key, back = self._keys.pop(conversation)
        self._live.pop(key, None)
        self._live.pop(back, None)
        self._over.pop(conversation, None)
        conversation.finish()
        self.totals.conversations[conversation.protocol] += 1
        self._reporter.over(conversation)

    def _other(self, name: str) -> None:
        other = self.totals.other
        if name in other or len(other) < MOST_SORTS:
            other[name] += 1
        else:
            other["others"] += 1


def _is_by_client(flags: int, from_port: int, to_port: int) -> bool:
    """Whether the first packet that was captured comes from the client."""
    if flags & SYN:
        return not flags & ACK
    if is_server_port(from_port) != is_server_port(to_port):
        return is_server_port(to_port)
    return True
