"""The record of a connection, and the ids of all connections of a process."""

from __future__ import annotations

from random import Random
from typing import Any, Final, NamedTuple

_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
"""As queue ids have it: without i, l, o and u, which are taken for other characters."""
_PAIRS: Final = tuple(a + b for a in _ALPHABET for b in _ALPHABET)
_BITS: Final = 40
_STEP: Final = 0x9E3779B97F
"""Odd, so that all numbers are used before one is used again; large, so that the ids of
connections that follow one another look different."""


class Connection(NamedTuple):
    """A connection, as it was when it began. It does not change.

    Arguments:
        id: eight characters, unique in the process.
        service: the service's name.
        local: our address, one of Twisted's; None where the transport has none to give.
        peer: the other end's address; the client's where a PROXY header names it. None for the
            socket of datagrams as a whole.
        tls: whether it is inside TLS from its first byte; False before STARTTLS.
        began: unix seconds.
        outgoing: whether netserve opened it, as a client.
    """

    id: str
    service: str
    local: Any
    peer: Any
    tls: bool
    began: float
    outgoing: bool = False


class Ids:
    """Gives ids to the connections of a process.

    Arguments:
        random: where the ids begin, so that those of an earlier process are others.
    """

    __slots__ = ("_last",)

    def __init__(self, random: Random) -> None:
        self._last = random.getrandbits(_BITS)

    def next(self) -> str:
        """An id that this process has not used."""
        self._last = number = self._last + _STEP & (1 << _BITS) - 1
        pairs = _PAIRS
        return (
            pairs[number >> 30]
            + pairs[number >> 20 & 1023]
            + pairs[number >> 10 & 1023]
            + pairs[number & 1023]
        )


def local_address(transport: Any) -> Any:
    """Our address of a connection; None where its transport has none to give."""
    try:
        return transport.getHost()
    except Exception:  # of a transport of somebody's plugin, or of a socket that has gone already
        return None


def note(transport: Any, connection: Connection) -> None:
    """Note the record of a connection in its transport, for `connection_id`.

    Arguments:
        transport: of the socket; it has the record as its attribute `connection` afterwards.
        connection: the record.
    """
    try:  # noqa: SIM105 - `suppress` costs more than all the rest
        transport.connection = connection
    except AttributeError:
        pass  # a transport of somebody's plugin may have no room for it


def address_text(address: Any) -> str:
    """One of Twisted's addresses in a log: ``192.0.2.7:25``, ``[2001:db8::7]:25``, or a path."""
    host = getattr(address, "host", None)
    if host is None:
        name = getattr(address, "name", None) or b"a local socket"
        return name.decode(errors="replace") if isinstance(name, bytes) else str(name)
    return f"[{host}]:{address.port}" if ":" in host else f"{host}:{address.port}"


def connection_id(transport: Any) -> str:
    """The id of the connection that a transport belongs to; empty where it has none.

    Arguments:
        transport: Twisted's or asyncio's.
    """
    connection = getattr(transport, "connection", None)
    if connection is None and hasattr(transport, "get_extra_info"):
        connection = transport.get_extra_info("connection")
    return connection.id if isinstance(connection, Connection) else ""
