"""The states of an exchange as two tables: one of its request, one of its response.

Both machines go by the same tables. The server reads the request half and writes the response
half, the client the other way round. When both halves are DONE, they begin again together
("next"), or end together ("closed").

=======  ===============================================  ====================================
state    of a request                                     of a response
=======  ===============================================  ====================================
IDLE     none has begun                                   there is no request to answer
HEAD     -                                                a head is awaited; 1xx may come first
BODY     the head is there, the body follows              the same
DONE     complete                                         complete
RAW      bytes that are no longer HTTP                    the same
BROKEN   the sender broke the protocol                    the same
CLOSED   nothing follows                                  nothing follows
=======  ===============================================  ====================================

RFC 9112, section 9 (connection management), RFC 9110, section 7.8 (Upgrade) and 9.3.6 (CONNECT).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final


class State(Enum):
    """Where a half of an exchange is."""

    IDLE = "nothing has begun"
    HEAD = "the head is awaited"
    BODY = "the body follows"
    DONE = "complete"
    RAW = "no longer HTTP"
    BROKEN = "the protocol was broken"
    CLOSED = "nothing follows"

    __hash__ = object.__hash__  # by identity; Enum's own is a Python function


# By these names the machines and drivers know them: an access through the class is slow (3.11).
IDLE: Final = State.IDLE
HEAD: Final = State.HEAD
BODY: Final = State.BODY
DONE: Final = State.DONE
RAW: Final = State.RAW
BROKEN: Final = State.BROKEN
CLOSED: Final = State.CLOSED

REQUEST: Final[Mapping[State, Mapping[str, State]]] = {
    State.IDLE: {"head": State.BODY, "violation": State.BROKEN, "closed": State.CLOSED},
    State.BODY: {"end": State.DONE, "violation": State.BROKEN, "closed": State.CLOSED},
    State.DONE: {"next": State.IDLE, "switched": State.RAW, "closed": State.CLOSED},
    State.RAW: {"end": State.CLOSED, "closed": State.CLOSED},
    State.BROKEN: {"closed": State.CLOSED},
    State.CLOSED: {},
}
"""Of a request: state -> what happens -> the state after it."""

RESPONSE: Final[Mapping[State, Mapping[str, State]]] = {
    State.IDLE: {"request": State.HEAD, "closed": State.CLOSED},
    State.HEAD: {
        "informational": State.HEAD,
        "head": State.BODY,
        "switched": State.RAW,
        "violation": State.BROKEN,
        "closed": State.CLOSED,
    },
    State.BODY: {"end": State.DONE, "violation": State.BROKEN, "closed": State.CLOSED},
    State.DONE: {"next": State.IDLE, "closed": State.CLOSED},
    State.RAW: {"end": State.CLOSED, "closed": State.CLOSED},
    State.BROKEN: {"closed": State.CLOSED},
    State.CLOSED: {},
}
"""Of a response: state -> what happens -> the state after it."""
