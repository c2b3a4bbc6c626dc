"""The tables: every way leads somewhere, and the machines go no other way."""

from __future__ import annotations

import pytest

from netserve.http.h1.states import REQUEST, RESPONSE, State


@pytest.mark.parametrize("table", [REQUEST, RESPONSE])
def test_every_state_can_be_reached_and_left(table: dict[State, dict[str, State]]) -> None:
    reached, waiting = set(), [State.IDLE]
    while waiting:
        state = waiting.pop()
        if state not in reached:
            reached.add(state)
            waiting.extend(table[state].values())
    assert reached == set(table)
    for state, ways in table.items():
        assert "closed" in ways or state is State.CLOSED
