"""Why a connection could not be made, or was lost: errors of Twisted and OpenSSL in plain words."""

from __future__ import annotations

from typing import Final

from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet import defer, error

from netserve.mail.envelope import Reply
from netserve.mail.tlsa import TlsaMismatch

# The first that fits: status (RFC 3463) and text.
_WORDS: Final[tuple[tuple[type[BaseException], str, str], ...]] = (
    (error.DNSLookupError, "4.4.3", "the name was not found"),
    (error.ConnectionRefusedError, "4.4.1", "the connection was refused"),
    (error.NoRouteError, "4.4.1", "no route to the server"),
    (error.TimeoutError, "4.4.1", "no connection in time"),
    (defer.TimeoutError, "4.4.1", "no connection in time"),
    (error.UserError, "4.4.1", "the connection was given up"),
    (defer.CancelledError, "4.4.1", "the connection was given up"),
    (error.ConnectionAborted, "4.4.2", "the connection was cut"),
    (error.ConnectionDone, "4.4.2", "the server closed the connection"),
    (error.ConnectionLost, "4.4.2", "the connection was lost"),
)


def reason_of(problem: BaseException | None) -> Reply:
    """A temporary reply of ours for an error of a connection."""
    if isinstance(problem, VerificationError):
        return Reply(451, "4.7.5", "TLS: the certificate is for another name")
    if isinstance(problem, TlsaMismatch):
        return Reply(451, "4.7.5", f"TLS: {problem}")
    if isinstance(problem, SSL.Error):
        return Reply(451, "4.7.5", f"TLS: {_openssl_words(problem)}")
    for kind, status, text in _WORDS:
        if isinstance(problem, kind):
            return Reply(451, status, text)
    if isinstance(problem, (error.ConnectError, OSError)):
        return Reply(451, "4.4.1", f"no connection: {problem}")
    return Reply(451, "4.4.2", "the connection was lost")


def _openssl_words(problem: SSL.Error) -> str:
    errors = problem.args[0] if problem.args else ()
    if isinstance(errors, (list, tuple)):
        words = [str(each[-1]) for each in errors if isinstance(each, tuple) and each]
        if words := [word for word in words if word]:
            return "; ".join(words)
    return "the handshake failed"
