"""Assigns received packets to sent ones, by Scapy's `hashret` and `answers`."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from netserve.packet.headers import ETHERTYPE_IPV4
from netserve.packet.helper.sockets import Received


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
        """Whether Scapy accepts a packet as an answer to the built or to the dissected packet.

        The two differ if the expression puts data after a header that has a field for the data.
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
        """The sent packet that this one answers, with Scapy's dissection of the answer."""
        if not received.data or received.data in self._own:
            return None  # every packet that leaves by loopback arrives there again
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
