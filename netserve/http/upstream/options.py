"""What a pool may do: time, connections, bytes, addresses."""

from __future__ import annotations

from dataclasses import dataclass

from netserve.http.guard import PUBLIC_ONLY, AddressGuard
from netserve.http.h1 import Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolOptions:
    """The options of one pool. Times are in seconds, sizes in bytes.

    Arguments:
        guard: the addresses that may be connected to beside public ones.
        limits: what one response may bring.
        connect_timeout: for one connection: name, TCP and TLS together.
        next_address: after which the next address of a name is tried beside the one before
            (RFC 8305, section 8).
        response_timeout: from the end of the request to the head of the final response.
        idle_timeout: in which something of a response has to come, and something of a request has
            to be taken, once it has begun.
        tunnel_timeout: in which something has to move after a switch of protocols.
        total_timeout: for a whole exchange, from its beginning on; None: no limit, so that a stream
            that is alive is not cut.
        keep_alive: that an idle connection is kept; an upstream that tells of less (Keep-Alive:
            timeout=) is closed a second before its time.
        connections: the most connections to all origins together.
        connections_per_origin: the most connections to one origin.
        waiting: the most requests that wait for a connection.
        wait_timeout: that a request may wait for a connection, beside the time of connecting.
        tries: how often a request is sent at the most, where an upstream has closed a kept
            connection before it saw the request.
        replayed: the most of a body that is held for another try.
        names_kept: that the addresses of a name are kept.
        turn: events of one connection that are handled in one turn of the reactor.
    """

    guard: AddressGuard = PUBLIC_ONLY
    limits: Limits = Limits()  # noqa: RUF009 - it is frozen
    connect_timeout: float = 5.0
    next_address: float = 0.25
    response_timeout: float = 60.0
    idle_timeout: float = 60.0
    tunnel_timeout: float = 600.0
    total_timeout: float | None = None
    keep_alive: float = 15.0
    connections: int = 100
    connections_per_origin: int = 100
    waiting: int = 1000
    wait_timeout: float = 30.0
    tries: int = 2
    replayed: int = 65536
    names_kept: float = 10.0
    turn: int = 32
