"""The record of a probe, and its result: a verdict, metrics, steps. Pure."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from netserve.protocols.probe.names import HELP, PHASES

_LONGEST_STEP: Final = 500
_MOST_STEPS: Final = 200
_LONGEST_LABEL: Final = 500

Labels = tuple[tuple[str, str], ...]


class ProbeFailed(Exception):
    """The probe has failed.

    Arguments:
        reason: a word or two for a label, such as ``refused``, from a short fixed list.
        text: the explanation for people.
    """

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason
        self.text = text


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a probe failed.

    Arguments:
        phase: the phase of the failure.
        reason: see `ProbeFailed`.
        text: see `ProbeFailed`.
    """

    phase: str
    reason: str
    text: str


@dataclass(frozen=True, slots=True)
class Step:
    """One line for people.

    Arguments:
        seconds: since the probe's start.
        text: the description.
    """

    seconds: float
    text: str


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a probe.

    Arguments:
        success: the verdict.
        seconds: how long it took.
        metrics: by name and labels; see `netserve.protocols.probe.names`.
        steps: in order.
        failure: the reason of the failure, or None.
    """

    success: bool
    seconds: float
    metrics: Mapping[tuple[str, Labels], float]
    steps: tuple[Step, ...]
    failure: Failure | None = None

    def value(self, name: str, **labels: str) -> float | None:
        """One metric, or None where there is none."""
        return self.metrics.get((name, tuple(labels.items())))

    def exposition(self) -> str:
        """The metrics in Prometheus' text format (version 0.0.4)."""
        lines: list[str] = []
        for name in HELP:  # together by name, as the format asks
            series = [
                (labels, number) for (of, labels), number in self.metrics.items() if of == name
            ]
            if series:
                lines += [f"# HELP {name} {HELP[name]}", f"# TYPE {name} gauge"]
                lines += [f"{name}{_labels(labels)} {_number(number)}" for labels, number in series]
        return "\n".join(lines) + "\n"

    def debug(self) -> str:
        """The steps with their times, and the metrics."""
        lines = [f"{step.seconds * 1000:10.3f} ms  {step.text}" for step in self.steps]
        verdict = "success" if self.success else "failure"
        if self.failure is not None:
            verdict += f" in {self.failure.phase}: {self.failure.text} ({self.failure.reason})"
        lines.append(f"{self.seconds * 1000:10.3f} ms  {verdict}")
        return "\n".join(lines) + "\n\n" + self.exposition()


@dataclass(slots=True)
class Recorder:
    """The record that a check writes.

    Arguments:
        kind: of the check, a key of `PHASES`.
        clock: gives monotonic seconds.
    """

    kind: str
    clock: Callable[[], float]
    phase: str = "start"
    """The current phase."""
    _began: float = 0.0
    _durations: dict[str, float] = field(default_factory=dict)
    _metrics: dict[tuple[str, Labels], float] = field(default_factory=dict)
    _steps: list[Step] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._began = self.clock()
        _, phases = PHASES[self.kind]
        self._durations = dict.fromkeys(phases, 0.0)

    @contextlib.contextmanager
    def during(self, phase: str) -> Iterator[None]:
        """Measure a phase; the time counts even if the phase fails."""
        self.phase, began = phase, self.clock()
        try:
            yield
        finally:
            self.add(phase, self.clock() - began)

    def add(self, phase: str, seconds: float) -> None:
        """Add time to a phase."""
        self._durations[phase] += seconds

    def set(self, name: str, value: float, **labels: str) -> None:
        """Set a metric."""
        if name not in HELP:
            raise ValueError(f"{name} is not in the table of metrics")
        cut = tuple((label, text[:_LONGEST_LABEL]) for label, text in labels.items())
        self._metrics[name, cut] = value

    def step(self, text: str) -> None:
        """Add a line for people; unprintable characters of the peer become question marks."""
        if len(self._steps) < _MOST_STEPS:
            shown = "".join(char if char.isprintable() else "?" for char in text[:_LONGEST_STEP])
            self._steps.append(Step(self.clock() - self._began, shown))

    def result(self, failure: Failure | None) -> Result:
        """Finish the record."""
        seconds = self.clock() - self._began
        metrics: dict[tuple[str, Labels], float] = {
            ("probe_success", ()): float(failure is None),
            ("probe_duration_seconds", ()): seconds,
        }
        name, _ = PHASES[self.kind]
        for phase, took in self._durations.items():
            metrics[name, (("phase", phase),)] = took
        metrics |= self._metrics
        if failure is not None:
            labels = (("phase", failure.phase), ("reason", failure.reason))
            metrics["probe_failure_info", labels] = 1.0
        return Result(failure is None, seconds, metrics, tuple(self._steps), failure)


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(text)}"' for name, text in labels) + "}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(number: float) -> str:
    if math.isnan(number):
        return "NaN"
    if math.isinf(number):
        return "+Inf" if number > 0 else "-Inf"
    return str(int(number)) if number == int(number) and abs(number) < 1e15 else repr(number)
