"""Why TLS failed on a connection, in words for the log."""

from __future__ import annotations

from typing import Final

from OpenSSL import SSL
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.python.failure import Failure

_IN_CLEAR: Final = frozenset(
    {
        "http request",
        "https proxy request",
        "packet length too long",
        "record layer failure",
        "wrong version number",
    }
)
"""What OpenSSL says of bytes that are no TLS."""


def tls_failure(reason: Failure, *, shaken: bool) -> str | None:
    """Why TLS failed, in OpenSSL's words, or None if it did not.

    Arguments:
        reason: why the connection was lost.
        shaken: whether the handshake was complete.
    """
    error = reason.value
    if isinstance(error, SSL.Error):
        return _words(error, shaken=shaken)
    if not shaken and reason.check(ConnectionDone, ConnectionLost):
        return "the client has closed the connection"
    return None


def _words(error: SSL.Error, *, shaken: bool) -> str:
    """The last part of each entry of OpenSSL's queue of errors, which is its reason."""
    queue = error.args[0] if error.args else ()
    reasons = [str(entry[-1]) for entry in queue] if isinstance(queue, list) else [str(error)]
    text = "; ".join(filter(None, reasons)) or "OpenSSL does not say why"
    if not shaken and not _IN_CLEAR.isdisjoint(reasons):
        text += " (the client does not speak TLS)"
    return text
