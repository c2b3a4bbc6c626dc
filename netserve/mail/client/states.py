"""The states of a session as a client, and the ways between them; the machine is in `machine`.

A state is the reply, or the deed of the driver, that is waited for. Beside the ways of the table, a
421, a reply that is none, one that was not asked for, and a lost connection lead from any state to
CLOSED.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final


class State(Enum):
    """What is waited for."""

    BANNER = "banner"
    EHLO = "ehlo"
    HELO = "helo"
    STARTTLS = "starttls"
    TLS = "tls"
    AUTH = "auth"
    READY = "ready"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    BODY = "body"
    FINAL = "final"
    RESET = "reset"
    QUIT = "quit"
    CLOSED = "closed"

    __hash__ = object.__hash__  # by identity; Enum's own is a Python function


TRANSITIONS: Final[Mapping[State, Mapping[str, State]]] = {
    State.BANNER: {"greeted": State.EHLO},
    State.EHLO: {
        "not known": State.HELO,
        "TLS is offered": State.STARTTLS,
        "login is wanted": State.AUTH,
        "usable": State.READY,
    },
    State.HELO: {"usable": State.READY},
    State.STARTTLS: {
        "agreed": State.TLS,
        "login is wanted": State.AUTH,  # refused, and the level is `may`
        "usable": State.READY,
    },
    State.TLS: {"started": State.EHLO},
    State.AUTH: {"challenged": State.AUTH, "usable": State.READY},
    State.READY: {"message": State.MAIL, "quit": State.QUIT},
    State.MAIL: {"go on": State.RCPT, "refused": State.READY},
    State.RCPT: {"next recipient": State.RCPT, "go on": State.DATA, "all refused": State.RESET},
    State.DATA: {
        "go on": State.BODY,
        "nobody to send it to": State.FINAL,
        "refused": State.RESET,
        "refused as MAIL was": State.READY,
    },
    State.BODY: {"ended": State.FINAL},
    State.FINAL: {"answered": State.READY},
    State.RESET: {"usable": State.READY},
    State.QUIT: {},
    State.CLOSED: {},
}
