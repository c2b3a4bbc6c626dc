"""Counters, gauges and histograms with labels."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from netserve.metrics import MOST, OTHER, Families, Metrics, ProcessMetrics
from netserve.ops.metrics import make_exposition


class Service:
    def __init__(self, name: str) -> None:
        self.name = name
        self.metrics = Metrics()

    def read_traffic(self) -> None:
        """Nothing has moved."""

    def not_ready(self) -> None:
        """It is."""


def samples(process: ProcessMetrics, *services: Service) -> dict[tuple[Any, ...], float]:
    named: Any = {one.name: one for one in services}
    text = make_exposition(named, process)().decode()
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith("netserve_")
    }


def test_metrics_of_the_process_are_shown_once() -> None:
    process = ProcessMetrics()
    process.gauge("queue_queued", "Queued.", lambda: 7)
    shown = samples(process, Service("a"), Service("b"))
    assert [(key, value) for key, value in shown.items() if "queue" in key[0]] == [
        (("netserve_queue_queued",), 7)
    ]


def test_gauges_counters_and_histograms_have_labels() -> None:
    one, two = Service("one"), Service("two")
    one.metrics.gauge("sessions", "Open.", lambda: {("mx",): 2, ("smarthost",): 1}, ("way",))
    for service in (one, two):
        counted = service.metrics.counter("handled", "Handled.", ("outcome",))
        counted.add(2, "ok")
        counted.add(1, "failed")
        took = service.metrics.histogram("took_seconds", "Time.", ("route",), (0.1, 1))
        for seconds in (0.05, 0.1, 0.5, 7):
            took.observe(seconds, "slow")
    shown = samples(ProcessMetrics(), one, two)
    of_one, of_two = ("service", "one"), ("service", "two")
    assert shown["netserve_sessions", of_one, ("way", "mx")] == 2
    assert shown["netserve_handled_total", ("outcome", "ok"), of_two] == 2
    slow = ("route", "slow")
    bucket = "netserve_took_seconds_bucket"
    assert [shown[bucket, ("le", le), slow, of_one] for le in ("0.1", "1", "+Inf")] == [2, 3, 4]
    assert shown["netserve_took_seconds_sum", slow, of_one] == pytest.approx(7.65)
    assert shown["netserve_took_seconds_count", slow, of_one] == 4


def test_one_name_for_two_things_does_not_spoil_the_rest() -> None:
    one, two = Service("one"), Service("two")
    one.metrics.gauge("same", "A gauge.", lambda: 1)
    two.metrics.counter("same", "A counter.", ("kind",)).add(1, "x")
    shown = samples(ProcessMetrics(), one, two)
    assert [key for key in shown if "same" in key[0]] == [("netserve_same", ("service", "one"))]


@given(st.lists(st.text(max_size=3), max_size=30))
def test_a_counter_holds_a_bounded_number_of_labels(names: list[str]) -> None:
    """S9: whatever a peer can put into a label."""
    counter = Families().counter("seen", "Seen.", ("name",))
    for number in range(MOST):
        counter.add(1, f"known {number}")
    for name in names:
        counter.add(1, name)
    assert sum(counter.values.values()) == MOST + len(names)
    assert set(counter.values) - {(f"known {number}",) for number in range(MOST)} <= {(OTHER,)}


@pytest.mark.parametrize("labels", [(), ("a", "b")])
def test_labels_that_are_missing_or_too_many_are_an_error(labels: tuple[str, ...]) -> None:
    families = Families()
    with pytest.raises(ValueError, match="expected 1 label"):
        families.counter("seen", "Seen.", ("name",)).add(1, *labels)
    with pytest.raises(ValueError, match="expected 1 label"):
        families.histogram("took", "Took.", ("name",)).observe(1, *labels)


def test_a_counter_that_is_registered_again_goes_on() -> None:
    families = Families()
    families.counter("seen", "Seen.", ("name",)).add(3, "x")
    families.histogram("took", "Took.").observe(1)
    with families.registering() as noted:
        families.counter("seen", "Seen.", ("name",)).add(1, "x")
        families.histogram("took", "Took.").observe(2)
        families.counter("other", "Other.").add(1)
    assert set(families.families) == {"seen", "took"}
    families.show(noted)
    assert families.value("seen", "x") == 4
    assert families.value("other") == 1
