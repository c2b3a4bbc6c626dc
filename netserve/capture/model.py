"""The data of a capture: connections of services, and the events on them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Final, TypeAlias

__all__ = ["UNKNOWN_PORT", "Endpoint", "Flow", "Kind", "Record", "Transport"]

UNKNOWN_PORT: Final = 1
"""The port that stands for a UNIX socket whose protocol has none."""


class Transport(Enum):
    """The transport of a connection."""

    TCP = "tcp"
    UDP = "udp"
    UNIX = "unix"
    UNIXGRAM = "unixgram"

    @property
    def is_stream(self) -> bool:
        """Whether it carries a stream of bytes rather than datagrams."""
        return self is Transport.TCP or self is Transport.UNIX

    @property
    def is_local(self) -> bool:
        """Whether it is a UNIX socket, which has a path where others have address and port."""
        return self in {Transport.UNIX, Transport.UNIXGRAM}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One end of a connection.

    Arguments:
        host: an IPv4 or IPv6 address, with or without a zone; for a UNIX socket its path, or an
            empty string for an end without one.
        port: its port; 0 for a UNIX socket.
        name: the host name that the address was looked up from, where there is one.
    """

    host: str
    port: int = 0
    name: str = ""

    def __str__(self) -> str:
        if not self.port:
            return f"unix:{self.host}" if self.host else "unix:(unnamed)"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, eq=False)
class Flow:
    """A connection, or the datagrams exchanged with one peer.

    Arguments:
        number: counts the flows of the process, from 1; no other flow of a file has it.
        service: the name of the service.
        transport: its transport.
        local: our end.
        peer: the other end.
        outgoing: whether we opened it, as a client.
        identity: the connection's id, as logs have it.
        trace: the trace id, where it is known when the connection begins.
        tls: whether the bytes were inside TLS on the network.
        port_of_protocol: for UNIX sockets: the registered port of the service's protocol, such
            as 25 for SMTP, by which analysers recognise it.
    """

    number: int
    service: str
    transport: Transport
    local: Endpoint
    peer: Endpoint
    outgoing: bool = False
    identity: str = ""
    trace: str = ""
    tls: bool = False
    port_of_protocol: int = UNKNOWN_PORT


class Kind(IntEnum):
    """The kinds of events on a flow, each with the value of its record."""

    OPENED = 0
    """The connection was made. No value; a flow that begins without it was joined midway."""
    RECEIVED = 1
    """Bytes from the peer."""
    SENT = 2
    """Bytes to the peer."""
    LOST_RECEIVED = 3
    """Reads that the capture had no room for: a pair of their number and their bytes."""
    LOST_SENT = 4
    """Writes that the capture had no room for, likewise."""
    NOTE = 5
    """A text for the next packet of the flow, such as the trace id of a new request."""
    PEER_CLOSED = 6
    """The peer has said that it sends no more (FIN). No value."""
    WE_CLOSED = 7
    """We have said that we send no more (FIN). No value."""
    ENDED = 8
    """The connection ended in good order; sides that have not closed yet close now. No value."""
    PEER_RESET = 9
    """The peer reset the connection. No value."""
    WE_RESET = 10
    """We reset the connection. No value."""
    ERROR = 11
    """The service met an error on the flow; a text that says which."""

    @property
    def is_last(self) -> bool:
        """Whether nothing follows it on its flow."""
        return self in _LAST


_LAST: Final = frozenset({Kind.ENDED, Kind.PEER_RESET, Kind.WE_RESET})

Record: TypeAlias = tuple[Flow, int, Kind, bytes | str | tuple[int, int] | None]
"""Flow, time in nanoseconds since 1970, what happened, and its value.

A plain tuple, because one is made for every read and write of a captured service.
"""
