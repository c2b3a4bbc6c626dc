"""Which answer belongs to which packet: Scapy's `hashret` and `answers`, over what comes in."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from netserve.packet.headers import ETHERTYPE_IPV4
from netserve.packet.helper.sockets import Received

_MOST_SOURCES: Final = {4: 32, 6: 16}
_LOAD_WORD, _LOAD_BYTE, _EQUAL, _RETURN = 0x20, 0x30, 0x15, 0x06
_ICMP, _ICMPV6 = 1, 58
_ALL: Final = 0x40000


@dataclass(slots=True)
class Waiting:
    """A packet that was sent and may be answered.

    Arguments:
        index: its number in the request.
        data: its bytes.
        packet: Scapy's object.
        sent: when, in nanoseconds since 1970.
        answers: how many there were.
    """

    index: int
    data: bytes
    packet: Packet
    sent: int = 0
    answers: int = 0
    _read: Packet | None = None

    def is_answered_by(self, answer: Packet) -> bool:
        """Whether Scapy takes a packet for an answer, to what was written or to how it reads.

        The two differ where data was written behind a header that has a field for it.
        """
        if answer.answers(self.packet):
            return True
        if self._read is None:
            self._read = type(self.packet)(self.data)
        return bool(answer.answers(self._read))


@dataclass(slots=True)
class Matcher:
    """The packets that wait.

    Arguments:
        multi: whether a packet may have several answers.
    """

    multi: bool = False
    _by_hash: dict[bytes, list[Waiting]] = field(default_factory=lambda: defaultdict(list))
    _own: set[bytes] = field(default_factory=set)

    def add(self, waiting: Waiting) -> None:
        """One more packet waits."""
        self._by_hash[waiting.packet.hashret()].append(waiting)
        self._own.add(waiting.data)

    def match(self, received: Received, *, layer: int) -> tuple[Waiting, Packet] | None:
        """The packet that this one answers, if there is one, and what Scapy makes of it."""
        if not received.data or received.data in self._own:
            return None  # on loopback, what is sent comes in
        if layer == 2:
            packet = Ether(received.data)
        elif received.ethertype == ETHERTYPE_IPV4:
            packet = IP(received.data)
        else:
            packet = IPv6(received.data)
        candidates = self._by_hash.get(packet.hashret(), [])
        for at, waiting in enumerate(candidates):
            if waiting.is_answered_by(packet):
                if not self.multi:
                    del candidates[at]
                waiting.answers += 1
                return waiting, packet
        return None


def answer_filter(version: int, targets: Iterable[bytes]) -> list[tuple[int, int, int, int]]:
    """A program of classic BPF for a cooked packet socket: what may be an answer.

    That is what comes from a target, and every ICMP message, since routers send errors. With many
    targets, or with groups, everything may be.

    Arguments:
        version: of IP.
        targets: the packed destinations.
    """
    known = set(targets)
    if len(known) > _MOST_SOURCES[version] or any(map(_is_group, known)):
        return [(_RETURN, 0, 0, _ALL)]
    at, protocol = (9, _ICMP) if version == 4 else (6, _ICMPV6)
    program = [(_LOAD_BYTE, 0, 0, at), (_EQUAL, 0, 1, protocol), (_RETURN, 0, 0, _ALL)]
    for target in known:
        words = [int.from_bytes(target[i : i + 4], "big") for i in range(0, len(target), 4)]
        start = 12 if version == 4 else 8
        for number, word in enumerate(words):
            # Where a word differs, what is left of this target is skipped, with its verdict.
            skipped = (len(words) - number - 1) * 2 + 1
            program += [(_LOAD_WORD, 0, 0, start + number * 4), (_EQUAL, 0, skipped, word)]
        program.append((_RETURN, 0, 0, _ALL))
    return [*program, (_RETURN, 0, 0, 0)]


def _is_group(address: bytes) -> bool:
    """A multicast or broadcast address, whose members answer from their own."""
    if len(address) == 16:
        return address[0] == 0xFF
    return address[0] >= 224 or address[-1] == 255
