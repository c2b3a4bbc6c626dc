"""The states of an SMTP session as a table; the machine that goes by it is in `server`.

=========  ==================================================================
state      what is taken, besides NOOP, HELP, VRFY, RSET, EHLO, HELO and QUIT
=========  ==================================================================
START      nothing; EHLO or HELO leads to READY
READY      MAIL, AUTH, STARTTLS
MAIL       RCPT
RCPT       RCPT, DATA, BDAT
CHUNKS     BDAT
DATA       content, up to CRLF.CRLF
CHUNK      content, as much as BDAT said
SKIP       content of a BDAT that was refused
AUTH       responses
TLS        a handshake
CLOSED     nothing
=========  ==================================================================

RFC 5321, 4.1.4 (order of commands), RFC 3030 (BDAT), RFC 3207 (STARTTLS), RFC 4954 (AUTH).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final


class State(enum.Enum):
    """Where a session is."""

    __hash__ = object.__hash__  # that of Enum is Python, and tables are asked for each command

    START = "before HELO or EHLO"
    READY = "no message is announced"
    MAIL = "a sender was accepted"
    RCPT = "a recipient was accepted"
    DATA = "the message comes, up to CRLF.CRLF"
    CHUNK = "a chunk of the message comes"
    CHUNKS = "the next BDAT is awaited"
    SKIP = "a chunk comes that is not taken"
    AUTH = "a response of the client is awaited"
    TLS = "the TLS handshake is awaited"
    CLOSED = "the session is over"


def _row(state: State, /, **after: State) -> Mapping[str, State]:
    """A state in which commands are read: the ones that are always taken, and these."""
    always = {
        **dict.fromkeys(("NOOP", "HELP", "VRFY"), state),
        "HELO": State.READY,
        "EHLO": State.READY,
        "RSET": State.READY,
        "QUIT": State.CLOSED,
    }
    return always | after


TABLE: Final[Mapping[State, Mapping[str, State]]] = {
    State.START: _row(State.START, RSET=State.START),
    State.READY: _row(State.READY, MAIL=State.MAIL, AUTH=State.AUTH, STARTTLS=State.TLS),
    State.MAIL: _row(State.MAIL, RCPT=State.RCPT),
    State.RCPT: _row(State.RCPT, RCPT=State.RCPT, DATA=State.DATA, BDAT=State.CHUNK),
    State.CHUNKS: _row(State.CHUNKS, BDAT=State.CHUNK),
    State.DATA: {"end of data": State.READY},
    State.CHUNK: {"end of chunk": State.CHUNKS, "end of data": State.READY},
    State.SKIP: {},  # back to the state before it
    State.AUTH: {"end of exchange": State.READY},
    State.TLS: {"handshake": State.START},
    State.CLOSED: {},
}
"""State -> what happens (commands in capitals) -> the state after it, when it is accepted."""

EXPECTED: Final[Mapping[str, str]] = {
    "MAIL": "Say EHLO first, and MAIL once for each message",
    "RCPT": "Say MAIL first",
    "DATA": "No recipient was accepted",
    "BDAT": "No recipient was accepted",
    "AUTH": "Say EHLO first, and AUTH before MAIL",
    "STARTTLS": "Say EHLO first, and STARTTLS before MAIL",
}
"""Command -> the advice where the table does not have it."""
