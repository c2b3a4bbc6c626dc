"""What a server allows its clients: time, work per turn, bytes."""

from __future__ import annotations

from dataclasses import dataclass

from netserve.http.h1 import Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """The options of one server. Times are in seconds, sizes in bytes.

    Arguments:
        limits: what one request may bring.
        head_timeout: for a request line and its fields, from their first byte on (408).
        body_timeout: in which something of a body has to come, while it is wanted (408).
        keep_alive: that a connection may wait for its next request; and for its first.
        send_timeout: in which a client has to take something of what is sent to it.
        tunnel_timeout: in which something has to move after a switch of protocols.
        discarded: the most of a body that is read over, after its response is complete, to keep
            the connection.
        turn: events of one connection that are handled in one turn of the reactor.
        pipelined: bytes of further requests that are held while one is answered.
        gives_up: whether a client that closes its sending side is taken to be gone; otherwise it
            gets the responses to what it has sent.
    """

    limits: Limits = Limits()  # noqa: RUF009 - it is frozen
    head_timeout: float = 60.0
    body_timeout: float = 60.0
    keep_alive: float = 75.0
    send_timeout: float = 60.0
    tunnel_timeout: float = 600.0
    discarded: int = 65536
    turn: int = 32
    pipelined: int = 65536
    gives_up: bool = False
