"""Opens the addresses that a service listens on."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any, NoReturn

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import quoteStringArgument, serverFromString
from twisted.internet.error import CannotListenError
from twisted.python.failure import Failure

from netserve.config.types import Listen
from netserve.errors import StartError

MAX_DATAGRAM = 65535
"""Bytes; the largest datagram that UDP has (RFC 768)."""

BACKLOG = 1024
"""Connections that may wait to be accepted, where the address does not say: Twisted's 50 are fewer
than come at once to a busy service, and the system lets the next one try again a second later. The
system has a limit of its own (net.core.somaxconn)."""
_HAVE_BACKLOG = frozenset({"tcp", "tcp6", "ssl", "unix"}) | Listen.TLS_KINDS

_REASONS = {
    errno.EADDRINUSE: "address in use",
    errno.EACCES: "permission denied; ports below 1024 need root or CAP_NET_BIND_SERVICE",
    errno.EADDRNOTAVAIL: "this machine does not have that address",
    errno.ENOENT: "the folder does not exist",
}


def listen_stream(listen: Listen, factory: Any, *, reactor: Any, folder: Path) -> Deferred[Any]:
    """Listen for connections; Twisted's own endpoints have their result at once.

    Arguments:
        listen: an address of any of Twisted's kinds, or of a kind that a plugin of Twisted adds.
        factory: gets the connections.
        reactor: opens the socket.
        folder: where relative paths of UNIX sockets start.

    Errors:
        StartError: it cannot be listened on, with the reason, from the Deferred.
    """

    def opened() -> Any:
        return serverFromString(reactor, _description(listen, folder)).listen(factory)

    def failed(failure: Failure) -> NoReturn:
        _explain(listen, failure.value)  # type: ignore[arg-type]  # a failure has an error

    return maybeDeferred(opened).addErrback(failed)


def listen_datagram(listen: Listen, protocol: Any, *, reactor: Any, folder: Path) -> Any:
    """Listen for datagrams; arguments as in `listen_stream`.

    Raises:
        StartError: it cannot be listened on, with the reason.
    """
    try:
        if listen.kind == "udp":
            return reactor.listenUDP(
                listen.port, protocol, interface=listen.interface, maxPacketSize=MAX_DATAGRAM
            )
        path = folder / (listen.arguments[0] if listen.arguments else listen.options["address"])
        mode = int(listen.options.get("mode", "666"), 8)
        return reactor.listenUNIXDatagram(
            os.fspath(path), protocol, maxPacketSize=MAX_DATAGRAM, mode=mode
        )
    except Exception as error:
        _explain(listen, error)


def _description(listen: Listen, folder: Path) -> str:
    """The endpoint's description, with a backlog, and the path of a UNIX socket made absolute."""
    inner = listen.arguments[0] if listen.kind == "haproxy" and listen.arguments else listen.kind
    backlog = ""
    if inner in _HAVE_BACKLOG and "backlog" not in listen.options:
        backlog = f":backlog={BACKLOG}"
    return _absolute(listen, folder) + backlog


def _absolute(listen: Listen, folder: Path) -> str:
    if listen.begins_with_tls:
        return listen.description.replace("tls", "tcp", 1)  # the TLS is the gate's
    if listen.kind != "unix":
        return listen.description
    path = listen.arguments[0] if listen.arguments else listen.options.get("address", "")
    options = {name: value for name, value in listen.options.items() if name != "address"}
    absolute = quoteStringArgument(os.fspath(folder / path))
    return ":".join(
        ["unix", absolute, *(f"{k}={quoteStringArgument(v)}" for k, v in options.items())]
    )


def _explain(listen: Listen, error: BaseException) -> NoReturn:
    if isinstance(error, CannotListenError):
        cause = error.socketError
        number = getattr(cause, "errno", None)
        reason = _REASONS.get(number or 0) or getattr(cause, "strerror", None) or str(cause)
    else:
        reason = str(error) or type(error).__name__
    raise StartError(f"cannot listen on {listen.description}: {reason}") from error
