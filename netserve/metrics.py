"""The numbers that a service or the process shows. Pure.

Counting costs an addition: nothing is formatted, and no lock is taken, until somebody reads.

`Families` holds gauges, counters and histograms by name; a `Metrics` adds the plain counters that
every service has, and a `ProcessMetrics` has what belongs to the process and is shown once. A
service that is built again keeps its `Metrics`. So that a build that fails changes nothing, what it
registers is noted by `registering`, and shown by `show`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias, TypeVar, cast

MOST: Final = 1000
"""Combinations of label values that a counter or histogram holds; further ones are counted
together, under `OTHER`."""
OTHER: Final = "other"
SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""The upper bounds of a histogram's buckets, where none are given: for times."""

Labels: TypeAlias = tuple[str, ...]
Kind: TypeAlias = Literal["gauge", "counter", "histogram"]


class LabelledCounter:
    """A counter for each combination of label values.

    Arguments:
        labels: the names of the labels.
    """

    __slots__ = ("_count", "values")

    def __init__(self, labels: Labels) -> None:
        self._count = len(labels)
        self.values: dict[Labels, float] = {} if labels else {(): 0}

    def add(self, amount: float, *labels: str) -> None:
        """Count.

        Arguments:
            amount: at least 0.
            labels: the value of each label, from a short list of possible ones.
        """
        values = self.values
        if labels not in values:
            labels = _bounded(labels, self._count, len(values))
        values[labels] = values.get(labels, 0) + amount


@dataclass(slots=True)
class Distribution:
    """What a histogram holds for one combination of label values.

    Arguments:
        counts: how many values are in each bucket alone; the last one is for larger values.
        total: the sum of all values.
    """

    counts: list[int]
    total: float = 0.0


class Histogram:
    """Counts values by size, for each combination of label values.

    Arguments:
        labels: the names of the labels.
        bounds: the upper bounds of the buckets, in ascending order.
    """

    __slots__ = ("_count", "bounds", "values")

    def __init__(self, labels: Labels, bounds: Sequence[float]) -> None:
        self._count = len(labels)
        self.bounds = tuple(bounds)
        self.values: dict[Labels, Distribution] = {}

    def observe(self, value: float, *labels: str) -> None:
        """Count a value.

        Arguments:
            value: such as seconds.
            labels: the value of each label, from a short list of possible ones.
        """
        found = self.values.get(labels)
        if found is None:
            labels = _bounded(labels, self._count, len(self.values))
            new = Distribution([0] * (len(self.bounds) + 1))
            found = self.values.setdefault(labels, new)
        found.counts[bisect_left(self.bounds, value)] += 1
        found.total += value


def _bounded(labels: Labels, expected: int, known: int) -> Labels:
    if len(labels) != expected:
        raise ValueError(f"expected {expected} label values, not {len(labels)}")
    return labels if known < MOST else (OTHER,) * expected


Read: TypeAlias = Callable[[], Mapping[Labels, float]]


@dataclass(frozen=True, slots=True)
class Family:
    """Numbers of one name.

    Arguments:
        kind: what they are.
        help_text: one sentence.
        labels: the names of their labels.
        read: gives them by the values of the labels; None for a histogram.
        own: the counter or histogram that holds them, where they are not read from elsewhere.
    """

    kind: Kind
    help_text: str
    labels: Labels
    read: Read | None
    own: LabelledCounter | Histogram | None = None


T = TypeVar("T", bound=LabelledCounter | Histogram)


@dataclass(slots=True)
class Families:
    """Gauges, counters and histograms by name, in Prometheus' form without ``netserve_``."""

    families: dict[str, Family] = field(default_factory=dict)
    _before: Mapping[str, Family] = field(default_factory=dict, repr=False)

    def gauge(
        self,
        name: str,
        help_text: str,
        read: Callable[[], float] | Read,
        labels: Labels = (),
    ) -> None:
        """Show a number that is read when the metrics are asked for.

        Arguments:
            name: in Prometheus' form, without the prefix ``netserve_``.
            help_text: one sentence.
            read: gives the number, or with labels the numbers by the labels' values; must not
                block.
            labels: the names of labels; few combinations of their values may occur.
        """
        if labels:
            self.families[name] = Family("gauge", help_text, labels, cast("Read", read))
            return
        number = cast("Callable[[], float]", read)
        self.families[name] = Family("gauge", help_text, (), lambda: {(): number()})

    def counter(
        self, name: str, help_text: str, labels: Labels = (), read: Read | None = None
    ) -> LabelledCounter:
        """Show a counter.

        Arguments:
            name: in Prometheus' form, without the prefix ``netserve_`` and without ``_total``.
            help_text: one sentence.
            labels: the names of labels; few combinations of their values may occur.
            read: gives the numbers by the labels' values, where they are counted elsewhere; must
                not block.

        Returns:
            The counter to add to. It is the same one after the service was built again. Where
            `read` is given, it is not shown.
        """
        own = LabelledCounter(labels)
        if read is None:
            own = self._known(name, labels, own)
            read = lambda: own.values  # noqa: E731 - a function of one word
        self.families[name] = Family("counter", help_text, labels, read, own)
        return own

    def histogram(
        self, name: str, help_text: str, labels: Labels = (), bounds: Sequence[float] = SECONDS
    ) -> Histogram:
        """Show how many values there were of each size.

        Arguments:
            name: in Prometheus' form, without the prefix ``netserve_``.
            help_text: one sentence.
            labels: the names of labels; few combinations of their values may occur.
            bounds: the upper bounds of the buckets, in ascending order; for seconds unless given.

        Returns:
            The histogram to add to. It is the same one after the service was built again.
        """
        own = self._known(name, labels, Histogram(labels, bounds))
        if own.bounds != tuple(bounds):
            own = Histogram(labels, bounds)
        self.families[name] = Family("histogram", help_text, labels, None, own)
        return own

    def _known(self, name: str, labels: Labels, new: T) -> T:
        """The counter or histogram that has this name and these labels already, or a new one."""
        known = self.families.get(name) or self._before.get(name)
        if known is None or known.labels != labels or type(known.own) is not type(new):
            return new
        return cast("T", known.own)

    @contextmanager
    def registering(self) -> Iterator[Mapping[str, Family]]:
        """Note what is registered within the context, and show none of it."""
        before, noted = self.families, dict[str, Family]()
        self.families, self._before = noted, before
        try:
            yield noted
        finally:
            self.families, self._before = before, {}

    def show(self, families: Mapping[str, Family]) -> None:
        """Show these, and no others.

        Arguments:
            families: that were noted by `registering`.
        """
        self.families = dict(families)

    def value(self, name: str, *labels: str) -> float:
        """A gauge or counter as it is now, for tests.

        Arguments:
            name: as it was registered.
            labels: the value of each label.
        """
        read = self.families[name].read
        if read is None:
            raise ValueError(f"{name} is a histogram")
        return read().get(labels, 0)


@dataclass(slots=True)
class Metrics(Families):
    """The numbers of one service.

    A protocol counts its `requests` and `errors` (by kind, from a short fixed list), and may add
    gauges, counters and histograms. The rest is counted by the hosting layer.
    """

    requests: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    connections_open: int = 0
    connections_total: int = 0
    connections_refused: Counter[str] = field(default_factory=Counter)
    bytes_received: int = 0
    bytes_sent: int = 0


@dataclass(slots=True)
class ProcessMetrics(Families):
    """The numbers of the process, such as those of its queue, which no service has for itself."""
