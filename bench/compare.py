"""Subject and peers by turns, and what their numbers say: medians, and medians of ratios.

Other work on the machine disturbs wall time more than CPU time, and both drift. So subjects take
turns (A B A B …), a ratio is taken within a turn, and the median of those ratios is told.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from bench.table import Claim, Row

SATURATED = "the load generator's core was full: the rate is the load's, go by the CPU"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One measurement of one subject.

    Arguments:
        rate: items a second.
        cpu: seconds of CPU an item.
        saturated: whether the load generator could not have given more.
    """

    rate: float
    cpu: float
    saturated: bool = False


@dataclass(frozen=True, slots=True)
class Samples:
    """The samples of one subject, one a turn."""

    turns: Sequence[Sample]

    @property
    def rate(self) -> float:
        """Items a second, the median."""
        return median(sample.rate for sample in self.turns)

    @property
    def cpu(self) -> float:
        """Microseconds of CPU an item, the median."""
        return median(sample.cpu for sample in self.turns) * 1e6

    @property
    def note(self) -> str:
        """That the load was at its limit in most of the turns, or nothing."""
        full = sum(sample.saturated for sample in self.turns)
        return SATURATED if full * 2 > len(self.turns) else ""

    def row(self, work: str, subject: str, claims: Sequence[Claim] = ()) -> Row:
        """These numbers as a row of the table."""
        return Row(
            work=work, subject=subject, rate=self.rate, cpu=self.cpu, claims=claims, note=self.note
        )

    def rate_ratio(self, peer: Samples) -> float:
        """Our rate by theirs, the median over the turns."""
        return median(a.rate / b.rate for a, b in zip(self.turns, peer.turns, strict=True))

    def cpu_ratio(self, peer: Samples) -> float:
        """Our CPU an item by theirs, the median over the turns."""
        return median(a.cpu / b.cpu for a, b in zip(self.turns, peer.turns, strict=True))


def by_turns(turns: int, measures: Mapping[str, Callable[[], Sample]]) -> dict[str, Samples]:
    """Measure each subject once a turn, every other turn in the opposite order.

    Arguments:
        turns: how many.
        measures: by the subject's name, what takes one sample of it.
    """
    taken: dict[str, list[Sample]] = {name: [] for name in measures}
    for turn in range(turns):
        # The one that goes second finds warmer caches, or a busier disk: neither always does.
        for name in list(measures)[:: -1 if turn % 2 else 1]:
            taken[name].append(measures[name]())
    return {name: Samples(samples) for name, samples in taken.items()}
