"""Which ports of a host answer: SYN probes (TCP), or empty datagrams (UDP)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from netserve.packet.notation import Value
from netserve.packet.reading import PROTOCOLS, Facts, icmp_words, read_packet
from netserve.packet.requests import Exchange
from netserve.packet.tools.headers import Address, layer, to

Kind = Literal["tcp", "udp"]
State = Literal["open", "closed", "filtered", "open|filtered"]
_PORTS: Final = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", re.ASCII)
_TCP: Final = 6


def parse_ports(text: str) -> tuple[int, ...]:
    """Ports from ``22,80,8000-8010``, each once, in order.

    Raises:
        ValueError: it is not of that form.
    """
    ports: set[int] = set()
    for part in text.split(","):
        match = _PORTS.fullmatch(part.strip())
        if match is None:
            raise ValueError(f"{part.strip()!r} is not a port; write 22,80 or 8000-8010")
        first, last = int(match[1]), int(match[2] or match[1])
        if not 0 < first <= last <= 65535:
            raise ValueError(f"{part.strip()!r} is not a range of ports from 1 to 65535")
        ports.update(range(first, last + 1))
    return tuple(sorted(ports))


def requests(
    target: Address, kind: Kind, ports: Sequence[int], *, source: int, most: int, timeout: float,
    retry: int,
) -> Iterator[Exchange]:  # fmt: skip
    """The requests for the helper, each within the limit on packets.

    Arguments:
        target: the address.
        kind: of the ports.
        ports: the ports.
        source: the source port.
        most: packets of one request.
        timeout: seconds to wait.
        retry: how many times silent ports are probed again.
    """
    for start in range(0, len(ports), most):
        part: Value = list(ports[start : start + most])
        if kind == "tcp":
            probe = layer("TCP", sport=source, dport=part, flags="S", seq=source)
        else:
            probe = layer("UDP", sport=source, dport=part)
        yield Exchange(packets=(to(target, probe),), timeout=timeout, retry=retry)


@dataclass(slots=True)
class Scan:
    """The answers to a scan.

    Arguments:
        kind: of the ports.
        ports: all ports of the scan.
    """

    kind: Kind
    ports: Sequence[int]
    _known: dict[int, tuple[State, str, float]] = field(default_factory=dict)

    def add(self, answer: dict[str, Any]) -> None:
        """An answer of the helper."""
        facts = read_packet(bytes.fromhex(answer["data"]))
        port = facts.source_port if facts.quoted is None else facts.quoted.target_port
        seconds = (answer["received"] - answer["sent"]) / 1e9
        self._known.setdefault(port, (*_state(self.kind, facts), seconds))

    def states(self) -> Iterator[tuple[int, State, str, float | None]]:
        """Each port with its state, the reason, and the seconds until the answer."""
        silent: State = "filtered" if self.kind == "tcp" else "open|filtered"
        for port in self.ports:
            if port in self._known:
                yield (port, *self._known[port])
            else:
                yield port, silent, "no answer", None

    def counts(self) -> dict[str, int]:
        """The number of ports by state."""
        return dict(Counter(state for _, state, _, _ in self.states()))

    def to_json(self) -> dict[str, Any]:
        """As JSON values; times in milliseconds."""
        return {
            "kind": self.kind,
            "counts": self.counts(),
            "ports": [
                {
                    "port": port,
                    "state": state,
                    "why": why,
                    "ms": None if seconds is None else round(seconds * 1000, 3),
                }
                for port, state, why, seconds in self.states()
            ],
        }


def _state(kind: Kind, facts: Facts) -> tuple[State, str]:
    if facts.quoted is not None:
        is_closed = kind == "udp" and (facts.version, facts.kind, facts.code) in {
            (4, 3, 3),
            (6, 1, 4),
        }
        return "closed" if is_closed else "filtered", f"{icmp_words(facts)} from {facts.source}"
    if facts.protocol == _TCP:
        is_open = "S" in facts.flags and "A" in facts.flags
        return "open" if is_open else "closed", facts.flags
    return "open", PROTOCOLS.get(facts.protocol, "an answer")
