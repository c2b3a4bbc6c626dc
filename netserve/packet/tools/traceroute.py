"""The routers on the way to a target: probes with growing hop limits, and their answers.

Every probe has a different source port (or, for ICMP, sequence number), which identifies its
answer: routers quote the first eight bytes after the IP header (RFC 792), and targets reply to the
port.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from netserve.packet.notation import Layer
from netserve.packet.reading import Facts, icmp_words, read_packet
from netserve.packet.requests import Exchange
from netserve.packet.tools.headers import Address, echo_request, layer, to

Method = Literal["tcp", "udp", "icmp"]


@dataclass(frozen=True, slots=True)
class Plan:
    """A trace.

    Arguments:
        target: the address.
        method: the protocol of the probes.
        port: the target's port, for TCP and UDP.
        first: the first hop.
        last: the last hop.
        tries: probes for each hop.
        base: the first source port, or the identifier for ICMP.
    """

    target: Address
    method: Method = "udp"
    port: int = 33434
    first: int = 1
    last: int = 30
    tries: int = 3
    base: int = 33000

    def request(self, timeout: float) -> Exchange:
        """The request for the helper; probe `number` has the index `number`."""
        packets = tuple(
            to(self.target, self._probe(number), hops=self.first + number // self.tries)
            for number in range((self.last - self.first + 1) * self.tries)
        )
        return Exchange(packets=packets, timeout=timeout)

    def _probe(self, number: int) -> Layer:
        if self.method == "icmp":
            return echo_request(self.target, identifier=self.base, sequence=number)
        if self.method == "tcp":
            return layer("TCP", sport=self.base + number, dport=self.port, flags="S", seq=number)
        return layer("UDP", sport=self.base + number, dport=self.port)


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer.

    Arguments:
        source: the address that answered.
        seconds: the time from probe to answer.
        is_end: whether the trace ends here: at the target, or at a router that rejects the probe.
        words: the answer, unless it is 'time exceeded'.
    """

    source: str
    seconds: float
    is_end: bool
    words: str


@dataclass(slots=True)
class Trace:
    """The answers to a plan's probes.

    Arguments:
        plan: the plan.
    """

    plan: Plan
    _answers: dict[int, Answer] = field(default_factory=dict)

    def add(self, answer: dict[str, Any]) -> None:
        """An answer of the helper."""
        facts = read_packet(bytes.fromhex(answer["data"]))
        seconds = (answer["received"] - answer["sent"]) / 1e9
        is_end, words = _meaning(facts)
        self._answers.setdefault(answer["index"], Answer(facts.source, seconds, is_end, words))

    def hops(self) -> Iterator[tuple[int, list[Answer | None]]]:
        """Each hop with the answers to its probes, up to the first that ends the trace.

        Without such a hop, the trace ends one hop after the last answer.
        """
        plan = self.plan
        last = max((number // plan.tries for number in self._answers), default=0)
        for hop in range(plan.last - plan.first + 1):
            start = hop * plan.tries
            answers = [self._answers.get(number) for number in range(start, start + plan.tries)]
            yield plan.first + hop, answers
            if any(answer is not None and answer.is_end for answer in answers) or hop > last:
                return

    @property
    def reached(self) -> bool:
        """Whether the target answered."""
        return any(answer.source == str(self.plan.target) for answer in self._answers.values())

    def to_json(self) -> dict[str, Any]:
        """As JSON values; times in milliseconds."""
        return {
            "target": str(self.plan.target),
            "method": self.plan.method,
            "reached": self.reached,
            "hops": [
                {
                    "hop": hop,
                    "answers": [
                        answer
                        and {
                            "address": answer.source,
                            "ms": round(answer.seconds * 1000, 3),
                            "words": answer.words,
                        }
                        for answer in answers
                    ],
                }
                for hop, answers in self.hops()
            ],
        }

    def lines(self) -> Iterator[str]:
        """A line for each hop."""
        for hop, answers in self.hops():
            shown, before = [], ""
            for answer in answers:
                if answer is None:
                    shown.append("*")
                    continue
                if answer.source != before:
                    shown.append(f"{answer.source} {answer.words}".rstrip())
                    before = answer.source
                shown.append(f"{answer.seconds * 1000:.3f} ms")
            yield f"{hop:3}  {'  '.join(shown)}"


def _meaning(facts: Facts) -> tuple[bool, str]:
    """Whether an answer ends the trace, and its words."""
    if facts.quoted is None:
        return True, f"[{facts.flags}]" if facts.flags else icmp_words(
            facts
        ) if facts.kind >= 0 else ""
    is_exceeded = (facts.version, facts.kind) in {(4, 11), (6, 3)}
    return not is_exceeded, "" if is_exceeded else icmp_words(facts)
