"""What goes wrong with an upstream, in the words of `netserve.http.errors`."""

from __future__ import annotations

from typing import Final

from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet import error as twisted_errors
from twisted.python.failure import Failure

from netserve.http.errors import (
    BadAnswer,
    HttpError,
    Refused,
    Reset,
    TlsFailed,
    TooLarge,
    Unreachable,
)
from netserve.http.h1 import Kind, Violation


class PoolBusy(HttpError):
    """No connection was free in time, or too many requests wait for one already."""

    kind = "busy"
    told = "too many requests wait for the upstream"
    status = 503


class CannotSend(HttpError):
    """What is to be sent is not HTTP."""

    kind = "request"
    told = "the request cannot be passed on"
    status = 400


class InternalError(HttpError):
    """A bug in netserve; the log has the details."""

    kind = "internal"
    told = "an internal error"
    status = 500


class PoolClosed(HttpError):
    """The pool takes no more requests."""

    kind = "closed"
    told = "the service is stopping"
    status = 503


_TLS: Final = (SSL.Error, VerificationError)


def connect_error(where: str, failure: Failure) -> HttpError:
    """Why no connection came about.

    Arguments:
        where: the origin, for the text.
        failure: Twisted's.
    """
    error = failure.value
    if isinstance(error, HttpError):
        return error
    if isinstance(error, twisted_errors.ConnectionRefusedError):
        return Refused(f"{where}: refused the connection")
    if isinstance(error, _TLS):
        return TlsFailed(f"{where}: TLS failed: {_tls_reason(error)}")
    if isinstance(error, twisted_errors.ConnectError):
        return Unreachable(f"{where}: cannot be reached: {_os_reason(error)}")
    return Unreachable(f"{where}: closed the connection before it was ready")


def lost_error(where: str, failure: Failure) -> HttpError:
    """Why a connection was lost before its response was complete."""
    if isinstance(failure.value, _TLS):
        return TlsFailed(f"{where}: TLS failed: {_tls_reason(failure.value)}")
    return Reset(f"{where}: the connection broke")


def violation_error(where: str, violation: Violation) -> HttpError:
    """What is wrong with a response."""
    text = f"{where}: its response: {violation}"
    if violation.kind is Kind.TOO_LARGE:
        return TooLarge(text)
    if violation.kind is Kind.INCOMPLETE:
        return Reset(text)
    return BadAnswer(text)


def _tls_reason(error: BaseException) -> str:
    if isinstance(error, VerificationError):
        return "the certificate is for another name"
    words = error.args[0] if error.args else ()
    if isinstance(words, list) and words:
        return "; ".join(str(each[-1]) for each in words)
    return str(words) or "the handshake failed"


def _os_reason(error: BaseException) -> str:
    number = getattr(error, "osError", None)
    if isinstance(error, twisted_errors.TimeoutError):
        return "no answer"
    return (str(number) if number else type(error).__name__).lower()
