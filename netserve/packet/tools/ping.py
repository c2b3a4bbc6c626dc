"""Echo requests, and the times of the replies."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from netserve.packet.notation import Layer
from netserve.packet.reading import Facts, icmp_words, read_packet
from netserve.packet.requests import Exchange
from netserve.packet.tools.headers import Address, echo_request, to


def request(
    target: Address, *, identifier: int, sequence: int, size: int, hops: int, timeout: float
) -> Exchange:
    """The request for the helper for one echo request.

    Arguments:
        target: the address.
        identifier: of this run, 0 to 65535.
        sequence: of this request, 0 to 65535.
        size: bytes of data.
        hops: the TTL or hop limit.
        timeout: seconds to wait for the reply.
    """
    data = bytes(number & 0xFF for number in range(size))
    layers: list[Layer | bytes] = [echo_request(target, identifier=identifier, sequence=sequence)]
    if data:
        layers.append(data)
    packet = to(target, *layers, hops=hops)
    return Exchange(packets=(packet,), timeout=timeout, first=True)


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to one echo request.

    Arguments:
        sequence: of the request.
        source: the address that answered.
        hops: the TTL or hop limit of the answer.
        seconds: the time from request to answer.
        is_reply: whether it is the reply, and not an error of a router.
        words: the answer in words.
        size: bytes of data.
    """

    sequence: int
    source: str
    hops: int
    seconds: float
    is_reply: bool
    words: str
    size: int

    @classmethod
    def read(cls, sequence: int, answer: dict[str, Any]) -> Reply:
        """From an answer of the helper."""
        facts: Facts = read_packet(bytes.fromhex(answer["data"]))
        return cls(
            sequence=sequence,
            source=facts.source,
            hops=facts.hops,
            seconds=(answer["received"] - answer["sent"]) / 1e9,
            is_reply=facts.quoted is None,
            words=icmp_words(facts),
            size=facts.size,
        )


@dataclass(slots=True)
class Statistics:
    """The sums of a run.

    Arguments:
        sent: requests.
        times: seconds of each reply.
        errors: answers that were no replies.
    """

    sent: int = 0
    times: list[float] = field(default_factory=list)
    errors: int = 0

    @property
    def lost(self) -> float:
        """The share of requests without a reply, from 0.0 to 1.0."""
        return 1 - len(self.times) / self.sent if self.sent else 0.0

    def to_json(self) -> dict[str, Any]:
        """As JSON values; times in milliseconds."""
        summed: dict[str, Any] = {
            "sent": self.sent,
            "received": len(self.times),
            "errors": self.errors,
            "loss": round(self.lost, 4),
        }
        if self.times:
            mean = sum(self.times) / len(self.times)
            spread = math.sqrt(sum((time - mean) ** 2 for time in self.times) / len(self.times))
            values = {"min": min(self.times), "avg": mean, "max": max(self.times), "mdev": spread}
            summed["ms"] = {name: round(value * 1000, 3) for name, value in values.items()}
        return summed

    def __str__(self) -> str:
        text = f"{self.sent} sent, {len(self.times)} received"
        if self.errors:
            text += f", {self.errors} errors"
        text += f", {self.lost:.0%} lost"
        known = self.to_json().get("ms")
        if known:
            text += "\nmin/avg/max/mdev {min:.3f}/{avg:.3f}/{max:.3f}/{mdev:.3f} ms".format(**known)
        return text
