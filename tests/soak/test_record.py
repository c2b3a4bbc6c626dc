"""The verdict of a soak: what is excused, and what is not."""

from __future__ import annotations

import pytest

from tests.soak.record import Outage, Record


def record(**values: object) -> Record:
    """A record with one right answer and what else is given."""
    made = Record(**values)  # type: ignore[arg-type]
    made.answered["echo"] += 1
    return made


def test_passes_when_every_mail_arrived_once() -> None:
    seen = record(acknowledged={"a": 1.0})
    seen.arrivals["a"].append(2.0)
    passed, report = seen.verdict()
    assert passed
    assert report.endswith("PASS")


def test_a_lost_mail_fails() -> None:
    passed, report = record(acknowledged={"a": 1.0}, outages=[Outage(0, 2)]).verdict()
    assert not passed
    assert "1 lost" in report


@pytest.mark.parametrize(
    ("reasons", "passes"),
    [
        ({}, False),
        ({"outages": [Outage(2.5, 4)]}, True),
        ({"outages": [Outage(0, 1)]}, False),
        ({"cuts": [2.5]}, True),
        ({"cuts": [3.5]}, False),
    ],
)
def test_a_repeated_mail_needs_a_reason(reasons: dict[str, object], passes: bool) -> None:
    seen = record(**reasons)
    seen.arrivals["a"].extend([2.0, 3.0])
    assert seen.verdict()[0] is passes


@pytest.mark.parametrize(
    ("begin", "end", "passes"), [(0, 1, False), (0, 2.5, True), (2.5, 2.6, True), (4, 5, False)]
)
def test_a_failed_request_needs_an_outage(begin: float, end: float, passes: bool) -> None:
    seen = record(outages=[Outage(2, 3)])
    seen.failed("echo", begin, end, "reset")
    assert seen.verdict()[0] is passes


def test_damage_a_bad_log_line_and_silence_fail() -> None:
    assert not record(damaged=["a"]).verdict()[0]
    assert not record().verdict(["Traceback"])[0]
    assert not Record().verdict()[0]
    seen = record(outages=[Outage(2, 3)])
    seen.failed("lines", 2, 3, "reset")  # it never got an answer
    assert not seen.verdict()[0]
