"""Requests over the wire: the same on the other side, and nothing else is taken."""

from __future__ import annotations

import json
from typing import Any

import pytest

from netserve.packet.notation import parse
from netserve.packet.requests import (
    MOST_EXPRESSIONS,
    Ask,
    Craft,
    DescribeLayers,
    Exchange,
    RequestError,
    read_ask,
    read_deadline,
)

PACKET = parse('IP(dst="127.0.0.1")/TCP(dport=(1, 5))/b"x"')
ASKS: list[Ask] = [
    Craft(packet=PACKET),
    Craft(packet=PACKET, detail=True),
    DescribeLayers(),
    DescribeLayers(name="IP"),
    Exchange(packets=(PACKET,)),
    Exchange(packets=(PACKET, PACKET), layer=2, interface="lo", timeout=0.5, inter=0.1, retry=2),
    Exchange(packets=(PACKET,), timeout=None, count=9, multi=True, first=True, detail=True),
]


@pytest.mark.parametrize("ask", ASKS)
def test_a_request_is_the_same_on_the_other_side(ask: Ask) -> None:
    assert read_ask(json.loads(json.dumps(ask.to_json()))) == ask


@pytest.mark.parametrize(
    "change",
    [
        {"op": "eval"}, {"op": None}, {"packets": []}, {"packets": "x"}, {"packets": [[]]},
        {"packets": [PACKET] * 2}, {"layer": 4}, {"layer": "3"}, {"layer": 2}, {"interface": 5},
        {"timeout": -1}, {"timeout": "2"}, {"timeout": 1e9}, {"timeout": float("nan")},
        {"count": 0}, {"count": 2}, {"count": 1.5}, {"count": None}, {"inter": -0.1},
        {"retry": 101}, {"retry": -1}, {"multi": 1}, {"first": None}, {"detail": "no"},
        {"packets": [[{"layer": "IP"}]] * (MOST_EXPRESSIONS + 1)},
    ],
)  # fmt: skip
def test_what_is_no_request(change: dict[str, Any]) -> None:
    with pytest.raises(RequestError):
        read_ask({**Exchange(packets=(PACKET,)).to_json(), **change})


@pytest.mark.parametrize("value", [None, 5, [], {}, {"op": "craft"}, {"op": "layers"}])
def test_what_is_nothing_at_all(value: Any) -> None:
    with pytest.raises(RequestError):
        read_ask(value)


def test_deadlines() -> None:
    assert read_deadline(5) == 5.0
    assert read_deadline(0.25) == 0.25
    for value in (None, "5", 0, -1, True, float("inf"), float("nan"), 3601):
        with pytest.raises(RequestError):
            read_deadline(value)
