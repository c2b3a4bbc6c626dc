"""What the machines say: the messages that came, and what is to be done next.

A body is given as plain `bytes`, in as many pieces as it came in; `End` follows the last one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, TypeAlias

from netserve.http.h1.fields import Field, Fields
from netserve.http.h1.violations import Violation


class Signal(Enum):
    """Why there is no event.

    NEED_DATA: give what came by `receive`, or `receive_eof`.
    PAUSED: the other half has to finish first; ask again after it has.
    CLOSED: no event will come any more.
    """

    NEED_DATA = "need data"
    PAUSED = "paused"
    CLOSED = "closed"

    __hash__ = object.__hash__


NEED_DATA: Final = Signal.NEED_DATA
PAUSED: Final = Signal.PAUSED
NOTHING_FOLLOWS: Final = Signal.CLOSED


@dataclass(slots=True)
class Request:
    """The head of a request.

    Arguments:
        method: as it came.
        target: the request target, as it came.
        fields: as they came.
        minor: the minor version of HTTP/1, as it came; above 1 it counts as 1.
        authority: host and optional port that the request is for: those of an absolute target,
            else of Host; empty where HTTP/1.0 has none.
        path: path and query as they came, ``*``, or empty for CONNECT.
        length: of the body; None where it is chunked.
        keep_alive: whether the client lets the connection live on.
        expects_continue: whether the client waits for 100 before it sends the body.
        upgrade: the value of Upgrade where the client asks for one; empty: it does not.
    """

    method: bytes
    target: bytes
    fields: Fields
    minor: int = 1
    authority: bytes = b""
    path: bytes = b""
    length: int | None = 0
    keep_alive: bool = True
    expects_continue: bool = False
    upgrade: bytes = b""


@dataclass(slots=True)
class Informational:
    """The head of an informational (1xx) response; another head follows.

    Arguments:
        status: 100 to 199, and not 101.
        reason: as it came.
        fields: as they came.
    """

    status: int
    reason: bytes
    fields: Fields


@dataclass(slots=True)
class Response:
    """The head of a final response, or of 101.

    Arguments:
        status: 101, or 200 to 999.
        reason: as it came; may be empty.
        fields: as they came.
        minor: the minor version of HTTP/1, as it came.
        length: of the body that follows; None where it is chunked or ends with the connection.
        keep_alive: whether the connection may serve another request.
        switched: whether bytes follow that are no longer HTTP (101, or CONNECT and 2xx).
    """

    status: int
    reason: bytes
    fields: Fields
    minor: int = 1
    length: int | None = 0
    keep_alive: bool = True
    switched: bool = False


@dataclass(frozen=True, slots=True)
class End:
    """The end of a message, or of the bytes after a switch of protocols.

    Arguments:
        trailers: the fields that came after a chunked body.
    """

    trailers: Sequence[Field] = field(default=())


END: Final = End()

ServerEvent: TypeAlias = Request | bytes | End | Violation | Signal
ClientEvent: TypeAlias = Informational | Response | bytes | End | Violation | Signal
