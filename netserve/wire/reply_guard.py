"""What a UDP service may answer (S14), without I/O.

The sender's address of a datagram is easily forged. So that nobody can use a service to send more
at a victim than he sends himself, a reply is no larger than its request, unless the file allows
it. So that no two services can be set to answer each other for ever, nothing is sent to a port
where such a service lives by convention, nor to one of our own.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

__all__ = ["LOOPING_PORTS", "LogLimit", "ReplyGuard"]

LOOPING_PORTS: Final = frozenset({7, 13, 17, 19})
"""echo (RFC 862), daytime (RFC 867), quote of the day (RFC 865), chargen (RFC 864)."""


class ReplyGuard:
    """Decides on replies.

    Arguments:
        own_ports: the UDP ports that this process listens on.
        amplify: whether a reply may be larger than its request.
    """

    __slots__ = ("_amplify", "_ports")

    def __init__(self, own_ports: Collection[int], *, amplify: bool = False) -> None:
        self._ports = LOOPING_PORTS | frozenset(own_ports)
        self._amplify = amplify

    def refuses_port(self, port: int | None) -> str | None:
        """Why nothing is sent to a port, or None. Ask before any work is done.

        Arguments:
            port: the request's source; None where there is no such thing (UNIX sockets).
        """
        if port == 0:
            return "port 0 takes no reply"
        if port in self._ports:
            return f"a reply to port {port} could loop"
        return None

    def refuses_size(self, request: int, reply: int) -> str | None:
        """Why a reply of this size is not sent, or None.

        Arguments:
            request: its size in bytes.
            reply: its size in bytes.
        """
        if reply > request and not self._amplify:
            return f"a reply of {reply} bytes to a request of {request} would amplify"
        return None

    def largest(self, request: int, most: int) -> int:
        """The largest reply to a request of this size, of a service that gives at most `most`."""
        return most if self._amplify else min(request, most)


class LogLimit:
    """Lets one event in an interval through to the log, and counts the others.

    Arguments:
        interval: in seconds.
    """

    __slots__ = ("_interval", "_next", "_suppressed")

    def __init__(self, interval: float = 10.0) -> None:
        self._interval = interval
        self._next: float | None = None
        self._suppressed = 0

    def count(self, now: float) -> int | None:
        """Count an event.

        Arguments:
            now: in seconds, of a monotonic clock.

        Returns:
            None where it is not to be logged, else how many there were since the last that was,
            with this one.
        """
        self._suppressed += 1
        if self._next is not None and now < self._next:
            return None
        self._next = now + self._interval
        count, self._suppressed = self._suppressed, 0
        return count


def times(count: int) -> str:
    """What a line of the log ends with that stands for so many; nothing where it is only one."""
    return f" ({count} times since the last such line)" if count > 1 else ""
