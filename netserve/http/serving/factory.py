"""The factory of `ServerConnection`: what the connections of one server share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.interfaces import IProtocolFactory
from twisted.logger import Logger
from zope.interface import implementer

from netserve.connection import connection_id
from netserve.http.deadlines import Deadlines
from netserve.http.h1 import Field, Kind, Request, Violation, make_field
from netserve.http.h1.reasons import reason_of
from netserve.http.serving.connection import ServerConnection
from netserve.http.serving.exchange import Handler
from netserve.http.serving.options import ServerOptions
from netserve.wire.peer import peer_name


@implementer(IProtocolFactory)
class HttpServerFactory:
    """An HTTP/1.1 server; a factory for the hosting layer, or for a port of the reactor.

    Arguments:
        handler: is called with each exchange; see `netserve.http.serving.exchange`.
        reactor: the reactor, which is also the clock.
        log: gets one line for each request that is refused or left, and our own bugs.
        options: time, work and bytes.
    """

    noisy = False

    def __init__(
        self,
        handler: Handler,
        *,
        reactor: Any,
        log: Logger,
        options: ServerOptions | None = None,
    ) -> None:
        self.handler = handler
        self.reactor = reactor
        self.log = log
        self.options = options = options or ServerOptions()
        self.deadlines = Deadlines(
            reactor,
            (options.head_timeout, options.body_timeout, options.keep_alive, options.send_timeout),
        )
        self.connections: set[ServerConnection] = set()
        self.requests = 0
        loop = getattr(reactor, "loop", None)
        self.call_soon: Callable[[Callable[[], None]], Any] = (
            loop.call_soon if loop is not None else lambda call: reactor.callLater(0, call)
        )

    def doStart(self) -> None:
        """See `IProtocolFactory`."""

    def doStop(self) -> None:
        """See `IProtocolFactory`."""

    def buildProtocol(self, addr: Any) -> ServerConnection:
        return ServerConnection(self)

    # What the connections report; a subclass may count, or answer in another form.

    def error_page(self, violation: Violation) -> tuple[bytes, Sequence[Field], bytes]:
        """Reason, fields and body of the response to a violation."""
        body = f"{violation.reason}\n".encode()
        fields = [
            make_field(b"Content-Type", b"text/plain; charset=utf-8"),
            make_field(b"Content-Length", b"%d" % len(body)),
        ]
        return reason_of(violation.status), fields, body

    def refused(self, connection: ServerConnection, violation: Violation) -> None:
        """A request broke the protocol or passed a limit."""
        if violation.kind is Kind.INCOMPLETE:
            self.log.info(
                "incomplete request from {peer}: {reason}",
                peer=peer_of(connection),
                reason=str(violation),
                connection_id=connection_id(connection.transport),
            )
        else:
            self.log.info(
                "rejected a request from {peer} with {status}: {reason}",
                peer=peer_of(connection),
                status=violation.status,
                reason=str(violation),
                connection_id=connection_id(connection.transport),
            )

    def left(self, connection: ServerConnection, request: Request, reason: str) -> None:
        """A client disconnected before its response was complete."""
        self.log.info(
            "{peer} disconnected before its response was complete: {reason}",
            peer=peer_of(connection),
            reason=reason,
            connection_id=connection_id(connection.transport),
        )

    def failed(self, connection: ServerConnection) -> None:
        """The handler raised an exception; called where it is being handled."""
        self.log.failure(
            "a request from {peer} failed",
            peer=peer_of(connection),
            connection_id=connection_id(connection.transport),
        )


def peer_of(connection: ServerConnection) -> str:
    """The client's name, for the log."""
    return peer_name(connection.transport.getPeer())
