"""Opens the addresses that a service listens on."""

from __future__ import annotations

import errno
import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from twisted.internet import tcp
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import quoteStringArgument, serverFromString
from twisted.internet.error import CannotListenError
from twisted.python.failure import Failure

from netserve.config.listen import Listen
from netserve.config.listen_kinds import OPTIONS
from netserve.errors import StartError
from netserve.fairness.turns import Share
from netserve.plugin import TLS
from netserve.server.datagram_port import UDPPort, UNIXDatagramPort, begin
from netserve.server.tls import ServerContextFactory, TLSError

MAX_DATAGRAM = 65535
"""Bytes; the largest datagram that UDP has (RFC 768)."""

BACKLOG = 1024
"""Connections that may wait to be accepted, where the address does not say: Twisted's 50 are fewer
than come at once to a busy service, and the system lets the next one try again a second later. The
system has a limit of its own (net.core.somaxconn)."""

_REASONS = {
    errno.EADDRINUSE: "address in use",
    errno.EACCES: "permission denied; ports below 1024 need root or CAP_NET_BIND_SERVICE",
    errno.EADDRNOTAVAIL: "this machine does not have that address",
}
_FILE_REASONS = {
    errno.ENOENT: "the folder does not exist",
    errno.EACCES: "permission denied",
}
_PATHS = frozenset({"address"})
_OF_TLS = frozenset({"privateKey", "certKey", "extraCertChain", "sslmethod"})


def listen_stream(listen: Listen, factory: Any, *, reactor: Any, folder: Path) -> Deferred[Any]:
    """Listen for connections; Twisted's own endpoints have their result at once.

    Arguments:
        listen: an address of any of Twisted's kinds, or of a kind that a plugin of Twisted adds.
        factory: gets the connections.
        reactor: opens the socket.
        folder: where relative paths start.

    Errors:
        StartError: it cannot be listened on, with the reason, from the Deferred.
    """
    inside = listen.inside
    path = folder / inside.values["address"] if inside.kind == "unix" else None

    def opened() -> Any:
        if path is not None:
            _remove_stale(path, socket.SOCK_STREAM)
        return serverFromString(reactor, _description(listen, folder)).listen(factory)

    def failed(failure: Failure) -> NoReturn:
        _explain(listen, failure.value)  # type: ignore[arg-type]  # a failure has an error

    opening = maybeDeferred(opened)
    if path is not None:
        opening.addCallback(SocketFile, path)
    return opening.addErrback(failed)


def tls_of(listen: Listen, folder: Path) -> ServerContextFactory | None:
    """The TLS that an address brings with it, as `ssl:` does; None for others.

    It is our own: Twisted's has ciphers and curves that Mozilla's intermediate profile lacks,
    and no time for the handshake.

    Arguments:
        listen: the address.
        folder: where relative paths start.

    Raises:
        StartError: a file is missing or wrong.
    """
    values = listen.inside.values
    if listen.inside.kind != "ssl":
        return None
    key = folder / values.get("privateKey", "server.pem")
    chain = values.get("extraCertChain")
    try:
        return ServerContextFactory(
            TLS(
                certificate=folder / values["certKey"] if "certKey" in values else key,
                key=key,
                chain=None if chain is None else folder / chain,
            )
        )
    except TLSError as error:
        raise StartError(f"cannot listen on {listen.description}: {error.what}") from None


def listen_datagram(
    listen: Listen, protocol: Any, *, reactor: Any, folder: Path, turns: Share
) -> Any:
    """Listen for datagrams.

    Arguments:
        listen: an address.
        protocol: gets the datagrams.
        reactor: watches the socket.
        folder: where relative paths start.
        turns: the service's share of the reactor's time.

    Raises:
        StartError: it cannot be listened on, with the reason.
    """
    try:
        if listen.kind == "udp":
            udp = UDPPort(listen.port, protocol, listen.interface, MAX_DATAGRAM, reactor)
            return begin(udp, turns)
        path = folder / listen.values["address"]
        mode = int(listen.values.get("mode", _mode_by_umask()), 8)
        _remove_stale(path, socket.SOCK_DGRAM)
        unix = UNIXDatagramPort(os.fspath(path), protocol, MAX_DATAGRAM, mode, reactor)
        return SocketFile(begin(unix, turns), path)
    except Exception as error:
        _explain(listen, error)


@dataclass(frozen=True, slots=True)
class SocketFile:
    """A port on a UNIX socket, whose file is removed with it.

    The file may be gone, or lie in a folder that only root may write to; the next start removes
    it then. Neither keeps the service from stopping.

    Arguments:
        port: Twisted's.
        path: of the file.
    """

    port: Any
    path: Path

    def getHost(self) -> Any:
        """The address."""
        return self.port.getHost()

    def stopListening(self) -> Any:
        """Close it, and remove the file."""

        def closed(_: Any) -> None:
            with suppress(OSError):
                self.path.unlink()

        def not_removed(failure: Failure) -> None:
            # Twisted removes the file of a stream before it closes the socket.
            failure.trap(OSError)
            if isinstance(self.port, tcp.Port):
                tcp.Port.connectionLost(self.port, failure)

        closing = maybeDeferred(self.port.stopListening)
        return closing.addCallbacks(closed, not_removed)


def _remove_stale(path: Path, kind: socket.SocketKind) -> None:
    """Remove the file of a socket that a process left behind, and that no process reads from.

    Twisted does it by a lock with the number of the process. A daemon has another number after it
    has gone to the background, and a number comes again: asking the socket is never wrong.
    """
    if not path.is_socket():
        return
    with socket.socket(socket.AF_UNIX, kind) as probe:
        probe.setblocking(False)  # the queue of one that is in use may be full
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
        except OSError:
            return  # it is of another type, or not for us; binding tells


def _description(listen: Listen, folder: Path) -> str:
    """The endpoint's description, with a backlog, and paths that start at the file's folder."""
    if listen.kind == "haproxy":
        return f"haproxy:{_description(listen.inside, folder)}"
    if listen.kind not in OPTIONS:
        return listen.description  # a plugin of Twisted knows what it means
    # The certificate of `ssl:` is for the entrance; see `tls_of`.
    values = {name: value for name, value in listen.values.items() if name not in _OF_TLS}
    for name in _PATHS & values.keys():
        values[name] = os.fspath(folder / values[name])
    if "backlog" in OPTIONS[listen.kind]:
        values.setdefault("backlog", str(BACKLOG))
    if "mode" in OPTIONS[listen.kind]:
        values.setdefault("mode", _mode_by_umask())
    if "lockfile" in OPTIONS[listen.kind]:
        values["lockfile"] = "0"  # see `_remove_stale`
    kind = {"tls": "tcp", "tls6": "tcp6", "ssl": "tcp"}.get(listen.kind, listen.kind)
    return ":".join([kind, *(f"{name}={_quoted(value)}" for name, value in values.items())])


def _mode_by_umask() -> str:
    """The mode of a socket whose address gives none; Twisted would open it to everybody."""
    umask = os.umask(0o077)
    os.umask(umask)
    return f"{0o666 & ~umask:o}"


def _quoted(value: str) -> str:
    quoted: str = quoteStringArgument(value)
    return quoted.replace("=", "\\=")


def _explain(listen: Listen, error: BaseException) -> NoReturn:
    cause = error.socketError if isinstance(error, CannotListenError) else error
    kind = listen.inside.kind
    if kind == "systemd" and isinstance(cause, LookupError):
        reason = "systemd has not handed over such a socket ($LISTEN_FDS, $LISTEN_FDNAMES)"
    elif isinstance(cause, OSError):
        reason = _reason(kind, cause)
    else:
        reason = str(cause) or type(cause).__name__
    raise StartError(f"cannot listen on {listen.description}: {reason}") from error


def _reason(kind: str, error: OSError) -> str:
    reasons = _REASONS | (_FILE_REASONS if kind in {"unix", "unixgram"} else {})
    told = (error.strerror or str(error)).lower()
    return reasons.get(error.errno or 0, told)
