"""What the clients and the smarthost saw, and the verdict. Pure.

A mail is acknowledged when its client read the ``250`` or ``202``. It must arrive at the smarthost,
once; a second arrival is excused only where netserve was killed or the smarthost cut its sessions
between the two, which is what delivery at least once means. A request that failed is excused only
where netserve was down at some moment of it.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

SHOWN = 5
"""Faults of one kind that are printed."""


@dataclass(frozen=True, slots=True)
class Outage:
    """A time without the process.

    Arguments:
        begin: monotonic seconds of the kill.
        end: when the next process was ready.
    """

    begin: float
    end: float


@dataclass(slots=True)
class Record:
    """Everything that was seen, in monotonic seconds."""

    outages: list[Outage] = field(default_factory=list)
    cuts: list[float] = field(default_factory=list)
    """When the smarthost cut its sessions, so that a reply of it may not have arrived."""
    answered: Counter[str] = field(default_factory=Counter)
    """Right answers by the name of a client."""
    interrupted: Counter[str] = field(default_factory=Counter)
    """Requests that an outage explains, by the name of a client."""
    faults: list[str] = field(default_factory=list)
    acknowledged: dict[str, float] = field(default_factory=dict)
    """When a mail got its 250 or 202, by the token in it."""
    arrivals: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """When the smarthost accepted a mail, by the token in it."""
    damaged: list[str] = field(default_factory=list)
    """Tokens of mails that did not arrive byte for byte."""

    def failed(self, client: str, begin: float, end: float, why: str) -> None:
        """A request got no answer, or a wrong one.

        Arguments:
            client: the name of the client.
            begin: when the request began.
            end: when it had failed.
            why: what the client saw.
        """
        if any(True for _ in self._outages_within(begin, end)):
            self.interrupted[client] += 1
        else:
            self.faults.append(f"{client}: {why}")

    def _outages_within(self, begin: float, end: float) -> Iterator[Outage]:
        return (each for each in self.outages if each.begin <= end and begin <= each.end)

    def missing(self) -> list[str]:
        """Tokens of mails that were acknowledged and have not arrived."""
        return [token for token in self.acknowledged if token not in self.arrivals]

    def repeated(self) -> tuple[int, list[str]]:
        """How many mails arrived twice around a kill or cut, and those that neither explains."""
        excused, unexplained = 0, []
        for token, times in self.arrivals.items():
            for first, second in itertools.pairwise(times):
                cut = any(first <= each <= second for each in self.cuts)
                if cut or any(True for _ in self._outages_within(first, second)):
                    excused += 1
                else:
                    unexplained.append(token)
        return excused, unexplained

    def verdict(self, log_faults: Sequence[str] = ()) -> tuple[bool, str]:
        """Whether all held, and the report for people.

        Arguments:
            log_faults: lines of netserve's log that ought not to be there.
        """
        missing = self.missing()
        excused, unexplained = self.repeated()
        lines = [f"{'client':<16}{'answered':>10}{'interrupted':>13}"]
        lines += [
            f"{name:<16}{self.answered[name]:>10}{self.interrupted[name]:>13}"
            for name in sorted(self.answered.keys() | self.interrupted.keys())
        ]
        lines.append(f"kills: {len(self.outages)}")
        lines.append(
            f"mails: {len(self.acknowledged)} acknowledged, {len(missing)} lost,"
            f" {len(unexplained)} repeated without a reason,"
            f" {excused} repeated after a kill or cut,"
            f" {len(self.damaged)} damaged"
        )
        for title, found in (
            ("wrong or missing answers", self.faults),
            ("lost mails", missing),
            ("repeated mails", unexplained),
            ("damaged mails", self.damaged),
            ("lines of the log", list(log_faults)),
        ):
            if found:
                lines.append(f"{title}: {len(found)}")
                lines += [f"  {each}" for each in found[:SHOWN]]
        idle = [name for name in self.interrupted if not self.answered[name]]
        lines += [f"{name}: got no answer at all" for name in idle]
        passed = not any((self.faults, missing, unexplained, self.damaged, log_faults, idle))
        passed = passed and bool(self.answered)
        lines.append("PASS" if passed else "FAIL")
        return passed, "\n".join(lines)
