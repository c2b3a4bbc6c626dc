"""While one client attacks one service, clients of another one wait for less than a bound.

`python -m bench.neighbours` measures the same; docs/fairness.md has the figures.
"""

from __future__ import annotations

import pytest

from bench.load.attacks import ATTACKS
from bench.neighbours import measure

BOUND = 2.0
"""Seconds within which another service answers, on a machine that does more than this."""
MEGABYTES = 750
"""The most memory that the process may use. One address may have 50 answers of 4 MiB under way,
each twice while its reply is being made, beside a budget of 64 MiB; the
process itself takes 100 MB."""
SECONDS = 3.0

SLOW_FOR_THEIR_OWN = {"percent-body", "unread-frames", "long-lines", "connects"}
"""Attacks whose service has long work to do, shares a slow upstream with the attacker, or shares a
listen queue with it: when that is full, the kernel drops connections, and a client tries again
after 1 s and 3 s."""


@pytest.mark.slow
@pytest.mark.parametrize("attack", ATTACKS)
def test_others_are_served_while_one_client_attacks(attack: str) -> None:
    """S9, S23, S24: another service, and another client of the same one; in bounded memory."""
    measured = measure(attack, SECONDS)
    assert len(measured.other) > 3
    assert measured.other[-1] < BOUND, measured.row()
    if measured.same and attack not in SLOW_FOR_THEIR_OWN:
        assert measured.same[-1] < BOUND, measured.row()
    assert measured.peak < MEGABYTES, measured.row()
    assert "Traceback" not in measured.log
