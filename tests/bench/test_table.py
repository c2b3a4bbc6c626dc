"""The table of the benchmarks: what is promised, whether it is kept, and how that is shown."""

from __future__ import annotations

import pytest

from bench.table import Claim, Row, render


@pytest.mark.parametrize(
    ("value", "bounds", "met"),
    [
        (0.93, {"at_least": 0.8}, True),
        (0.80, {"at_least": 0.8}, True),
        (0.7996, {"at_least": 0.8}, True),  # shown as 0.8, so judged as 0.8
        (0.79, {"at_least": 0.8}, False),
        (1.1, {"at_most": 1.1}, True),
        (1.11, {"at_most": 1.1}, False),
        (59.0, {"at_most": 60}, True),
        (5.0, {"at_least": 4, "at_most": 6}, True),
        (7.0, {"at_least": 4, "at_most": 6}, False),
        (7.0, {}, None),
    ],
)
def test_a_claim_is_met_within_its_bounds(value, bounds, met):
    assert Claim(value=value, of="something", **bounds).met is met


@pytest.mark.parametrize(
    ("claim", "text", "target"),
    [
        (Claim(value=0.9312, of="the rate of x", at_least=0.8), "0.931x the rate of x", ">= 0.8x"),
        (Claim(value=51.04, of="idle", unit=" MB", at_most=60), "51 MB idle", "<= 60 MB"),
        (Claim(value=12345.6, of="b", unit=""), "12346 b", ""),
        (Claim(value=0, of="b", unit=""), "0 b", ""),
        (Claim(value=0.0000012, of="b", unit=""), "0.000001 b", ""),
    ],
)
def test_a_claim_reads_as_number_unit_and_meaning(claim, text, target):
    assert (str(claim), claim.target) == (text, target)


def test_a_row_misses_by_a_broken_promise_or_a_broken_run_only():
    kept = Claim(value=2, of="x", at_least=1)
    broken = Claim(value=0.5, of="x", at_least=1)
    assert not Row(work="w", subject="s", claims=[kept]).missed
    assert not Row(work="w", subject="s", skipped="not installed").missed
    assert Row(work="w", subject="s", claims=[kept, broken]).missed
    assert Row(work="w", subject="s", failed="it broke").missed


def cells(text: str) -> list[list[str]]:
    """The table's cells without its head and rule."""
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(line) for line in table}) == 1, "every line is equally long"
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table[2:]]


def test_a_work_is_named_once_and_each_claim_has_its_line():
    rate = Claim(value=0.9, of="the rate of peer", at_least=0.8)
    cost = Claim(value=1.3, of="the CPU of peer", at_most=1.2)
    text = render(
        [
            Row(work="lines", subject="netserve", rate=123456.7, cpu=8.04, claims=[rate, cost]),
            Row(work="lines", subject="peer", rate=137000, cpu=6.2),
            Row(work="memory", subject="netserve", memory=51.5),
        ]
    )
    assert cells(text) == [
        ["lines", "netserve", "123,457", "8.0", "", "0.9x the rate of peer", ">= 0.8x", "yes"],
        ["", "", "", "", "", "1.3x the CPU of peer", "<= 1.2x", "NO"],
        ["", "peer", "137,000", "6.2", "", "", "", ""],
        ["memory", "netserve", "", "", "51.5", "", "", ""],
    ]


def test_a_skipped_peer_and_a_failed_run_say_why_on_one_line():
    text = render(
        [
            Row(work="mail", subject="Postfix", skipped="not installed"),
            Row(work="mail", subject="netserve", failed="it said\n  no | thanks"),
        ]
    )
    assert "skipped: not installed" in text
    assert "FAILED: it said no \\| thanks" in text
    assert len(text.splitlines()) == 4


def test_the_same_note_stands_under_the_table_once():
    rows = [Row(work="w", subject=name, note="load at its limit") for name in ("a", "b")]
    text = render([*rows, Row(work="w", subject="c", note="another")])
    assert [line[1] for line in cells(text)] == ["a (1)", "b (1)", "c (2)"]
    assert text.endswith("\n\n1. load at its limit\n2. another\n")
