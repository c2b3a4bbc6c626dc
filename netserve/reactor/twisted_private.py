"""The private names of Twisted that netserve depends on: all of them are here.

Twisted has no public name for these, and may change them in any release. Functions stand for
what is called; `HOOKS` lists what classes of netserve override or read as subclasses of Twisted's.
A new release of Twisted is looked at here first: ``tests/reactor/test_twisted_private.py`` fails
for a name that is gone, and for one that is used and not listed.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from typing import Any, Final

from twisted.internet import tcp
from twisted.internet._signals import _MultiSignalHandling
from twisted.internet.base import DelayedCall, ReactorBase

__all__ = [
    "HOOKS",
    "TESTED",
    "accept_waiting",
    "base_signals",
    "combine_signals",
    "label_as_tls",
    "move_call_sooner",
]

TESTED: Final = ("26.10.0", "26.10.0")
"""The first and the last release of Twisted that the tests were run with."""

HOOKS: Final[Mapping[str, frozenset[str]]] = {
    "netserve.reactor.client.Attempt": frozenset({"_connectDone"}),
    "netserve.reactor.client.Connector": frozenset({"_makeTransport"}),
    "netserve.reactor.reactor.NetserveReactor": frozenset(
        {"_signalsFactory", "_supportedAddressFamilies"}
    ),
    "netserve.reactor.server.Port": frozenset({"_buildAddr"}),
    "netserve.reactor.tls.TLSProtocol": frozenset(
        {
            "_aborted", "_appSendBuffer", "_bufferedWrite", "_flushSendBIO", "_handshakeDone",
            "_lostTLSConnection", "_producer", "_shutdownTLS", "_tlsConnection",
            "_tlsShutdownFinished", "_write",
        }
    ),
    "netserve.reactor.unix.UNIXAttempt": frozenset({"_connectDone"}),
    "netserve.reactor.unix.UNIXConnector": frozenset({"_makeTransport"}),
}  # fmt: skip
"""By class, the private names of its bases in Twisted that it overrides or reads."""


def base_signals(reactor: Any) -> Any:
    """What `ReactorBase` handles signals by, without that of `PosixReactorBase` for children."""
    return ReactorBase._signalsFactory(reactor)  # noqa: SLF001


def combine_signals(*handlings: Any) -> Any:
    """One handling of signals that is all of these."""
    return _MultiSignalHandling(handlings)


def move_call_sooner(reactor: Any, call: DelayedCall) -> None:
    """Have a delayed call that was moved to an earlier time take its place."""
    ReactorBase._moveCallLaterSooner(reactor, call)  # noqa: SLF001


def label_as_tls(port: Any) -> None:
    """Have a listening port call itself TLS in the log, as Twisted's own `listenSSL` does."""
    port._type = "TLS"  # noqa: SLF001


def accept_waiting(
    sock: socket.socket, most: int, logger: Any
) -> Iterator[tuple[socket.socket, Any]]:
    """Accept connections as Twisted does, which survives having no descriptor left.

    No record is written while descriptors are short: an observer may need one.

    Arguments:
        sock: that listens.
        most: how many are accepted.
        logger: of the port.
    """
    with tcp._BuffersLogs(logger.namespace, logger.observer) as log:  # noqa: SLF001
        yield from tcp._accept(log, range(most), sock, tcp._reservedFD)  # noqa: SLF001
