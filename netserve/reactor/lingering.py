"""The end of a connection whose peer may still be sending."""

from __future__ import annotations

from typing import Any, Final

from twisted.internet.interfaces import ISSLTransport

LINGER: Final = 2.0
"""Seconds that a peer has to read our last words, and to stop."""


def close_lingering(transport: Any, clock: Any) -> Any:
    """Close a connection whose stream is broken, behind what is still to be written.

    To close while bytes of the peer are unread resets the connection, and the peer could lose our
    last reply. So it is half-closed, and read to its end for a moment, which the caller sees to.

    Arguments:
        transport: of the connection.
        clock: the reactor.

    Returns:
        The delayed call that closes it for good, to be cancelled when the peer is faster.
    """
    if not ISSLTransport.providedBy(transport):
        transport.loseWriteConnection()
    return clock.callLater(LINGER, transport.loseConnection)
