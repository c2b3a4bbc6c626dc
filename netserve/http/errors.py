"""What can go wrong with an upstream over HTTP, each with a short text of its own.

Every error is an `UpstreamError`, so a caller may catch that one alone. ``kind`` is a word from a
short fixed list (for metrics), ``status`` what a gateway answers for it (RFC 9110, 15.6.3 and
15.6.5), and ``told`` what those may read who are not to know the upstream. The error's own text
is for the log; it names the upstream by host and port only, since a URL's path and query can hold
what does not belong there.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import ClassVar, Final

import aiohttp

from netserve.crossing import TimedOut
from netserve.errors import UpstreamError


class HttpError(UpstreamError):
    """The base of what goes wrong between us and an HTTP upstream."""

    kind: ClassVar[str] = "upstream"
    told: ClassVar[str] = "the upstream failed"
    status: ClassVar[int] = 502


class AddressForbidden(HttpError):
    """The guard does not let us connect to this address, or to what this name stands for."""

    kind = "forbidden"
    told = "the upstream's address is not allowed"


class NameUnknown(HttpError):
    """The upstream's name has no address."""

    kind = "name"
    told = "the upstream's name is unknown"


class Unreachable(HttpError):
    """No connection came about: no route, no answer from the network."""

    kind = "unreachable"
    told = "the upstream cannot be reached"


class Refused(HttpError):
    """Nothing listens there."""

    kind = "refused"
    told = "the upstream refused the connection"


class TlsFailed(HttpError):
    """The TLS handshake failed, or the certificate is not the upstream's."""

    kind = "tls"
    told = "the upstream's certificate or TLS is wrong"


class Reset(HttpError):
    """The upstream closed the connection before its answer was complete."""

    kind = "reset"
    told = "the upstream broke the connection"


class BadAnswer(HttpError):
    """What came is not HTTP, or does not keep to it."""

    kind = "bad-answer"
    told = "the upstream's answer makes no sense"


class TooLarge(HttpError):
    """The answer is larger than the limit, as sent or unpacked (S12)."""

    kind = "too-large"
    told = "the upstream's answer is too large"


class TooManyRedirects(HttpError):
    """More redirects than the limit, or one that is not followed."""

    kind = "redirects"
    told = "the upstream redirects too often or to where it must not"


class HttpTimedOut(HttpError, TimedOut):
    """The upstream was too slow."""

    kind = "timeout"
    told = "the upstream took too long"
    status = 504


class ConnectTimedOut(HttpTimedOut):
    """The connection, with its TLS handshake, took too long."""

    kind = "connect-timeout"
    told = "connecting to the upstream took too long"


class ReadTimedOut(HttpTimedOut):
    """Nothing came for too long."""

    kind = "read-timeout"
    told = "the upstream stopped sending"


class TotalTimedOut(HttpTimedOut):
    """The whole exchange took too long."""

    kind = "total-timeout"
    told = "the upstream took too long"


_MEANINGS: Final[tuple[tuple[type[BaseException], type[HttpError], str], ...]] = (
    # The more special type stands before the one that it is a kind of.
    (aiohttp.ClientConnectorDNSError, NameUnknown, "{where}: its name has no address: {reason}"),
    (aiohttp.ClientSSLError, TlsFailed, "{where}: TLS failed: {reason}"),
    (ssl.SSLError, TlsFailed, "{where}: TLS failed: {reason}"),
    (aiohttp.ClientConnectorError, Unreachable, "{where}: cannot be reached: {reason}"),
    (aiohttp.ConnectionTimeoutError, ConnectTimedOut, "{where}: connecting took too long"),
    (aiohttp.SocketTimeoutError, ReadTimedOut, "{where}: no answer for too long"),
    (asyncio.TimeoutError, TotalTimedOut, "{where}: the answer took too long"),
    (aiohttp.ClientPayloadError, Reset, "{where}: closed the connection inside its answer"),
    (aiohttp.ServerDisconnectedError, Reset, "{where}: closed the connection without an answer"),
    (aiohttp.ClientOSError, Reset, "{where}: the connection broke: {reason}"),
    (aiohttp.ClientConnectionError, Reset, "{where}: the connection broke"),
    (aiohttp.InvalidURL, BadAnswer, "{where}: not a URL that can be asked"),
    (aiohttp.ClientResponseError, BadAnswer, "{where}: its answer is not HTTP"),
    (aiohttp.ClientError, BadAnswer, "{where}: its answer makes no sense"),
    (OSError, Unreachable, "{where}: cannot be reached: {reason}"),
)


def as_http_error(error: BaseException, where: str) -> HttpError:
    """What an exception of aiohttp's means, in our words.

    Arguments:
        error: what aiohttp raised.
        where: the upstream as ``host:port``.
    """
    if isinstance(error, HttpError):
        return error
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(cause, ConnectionRefusedError):
        return Refused(f"{where}: refused the connection")
    for kind, result, text in _MEANINGS:
        if isinstance(error, kind):
            return result(text.format(where=where, reason=_reason(error)))
    return HttpError(f"{where}: {type(error).__name__}")


def _reason(error: BaseException) -> str:
    """The innermost reason, in a few words."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        error = error.certificate_error
    elif isinstance(error, aiohttp.ClientConnectorError):
        error = error.os_error
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message.rstrip(".")
    if isinstance(error, ssl.SSLError):
        return (error.reason or "the handshake failed").lower().replace("_", " ")
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return type(error).__name__
