"""Results: their metrics in Prometheus' format, and their steps for people."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from netserve.protocols.probe.names import HELP, PHASES
from netserve.protocols.probe.result import Failure, Recorder


class Clock:
    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


def test_phases_add_up_and_all_of_them_are_told() -> None:
    clock = Clock()
    recorder = Recorder("http", clock)
    with recorder.during("connect"):
        clock.now += 0.5
    with recorder.during("connect"):
        clock.now += 0.25
    with contextlib.suppress(KeyError), recorder.during("tls"):
        clock.now += 0.125
        raise KeyError
    result = recorder.result(None)
    assert result.success
    assert result.seconds == 0.875
    phases = {
        phase: result.value("probe_http_duration_seconds", phase=phase)
        for phase in PHASES["http"][1]
    }
    assert phases == {"resolve": 0, "connect": 0.75, "tls": 0.125, "processing": 0, "transfer": 0}


def test_a_failure_says_where_and_why() -> None:
    clock = Clock()
    recorder = Recorder("tcp", clock)
    recorder.step("connected\x1b[31m")
    clock.now += 1
    result = recorder.result(Failure("tls", "refused", "it is refused"))
    assert result.value("probe_success") == 0
    assert result.value("probe_failure_info", phase="tls", reason="refused") == 1
    debug = result.debug()
    assert "     0.000 ms  connected?[31m\n" in debug
    assert "  1000.000 ms  failure in tls: it is refused (refused)\n" in debug


def test_a_metric_that_is_not_in_the_table_is_a_bug() -> None:
    with pytest.raises(ValueError, match="not in the table"):
        Recorder("tcp", Clock()).set("probe_http_status", 1)


def test_steps_are_bounded() -> None:
    recorder = Recorder("tcp", Clock())
    for _ in range(1000):
        recorder.step("x" * 10_000)
    steps = recorder.result(None).steps
    assert len(steps) == 200
    assert len(steps[0].text) == 500


@given(
    st.dictionaries(st.sampled_from(sorted(HELP)), st.floats(allow_nan=False), max_size=8),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
)
def test_prometheus_reads_it(values: dict[str, float], label: str) -> None:
    recorder = Recorder("dns", Clock())
    for name, value in values.items():
        recorder.set(name, value, text=label)
    families = {
        one.name: one for one in text_string_to_metric_families(recorder.result(None).exposition())
    }
    assert families["probe_success"].samples[0].value in {1, values.get("probe_success")}
    for name, value in values.items():
        assert any(
            sample.value == value and sample.labels == {"text": label}
            for sample in families[name].samples
        )
    assert families["probe_dns_duration_seconds"].type == "gauge"
