"""One request and its response, for the handler that answers it.

The handler is called with an `Exchange` when the header section of a request is complete. It sets
`receiver` if it wants the body, and responds at any time with `respond`, `write` and `end`, or with
`reply` for a whole response.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from netserve.http.h1 import Field, Request, Unsendable, make_field

if TYPE_CHECKING:
    from netserve.http.serving.connection import ServerConnection


class RequestReceiver(Protocol):
    """Gets what a client sends after the head of its request."""

    def request_data(self, data: bytes) -> None:
        """A piece of the body, or of what follows a switch of protocols."""

    def request_end(self, trailers: Sequence[Field]) -> None:
        """The body is complete; after a switch, the client sends no more."""

    def request_flush(self) -> None:
        """No more came for now: what was passed on of it may go out."""

    def client_gone(self, reason: str) -> None:
        """There is nobody to respond to any more, or the rest of the body will never come.

        Arguments:
            reason: a few words for the log.
        """

    def pause_response(self) -> None:
        """The client is slow: write nothing for now."""

    def resume_response(self) -> None:
        """The client has taken what was written."""


class _Ignored:
    """Stands for a receiver that wants nothing."""

    def request_data(self, data: bytes) -> None:
        """Nothing."""

    def request_end(self, trailers: Sequence[Field]) -> None:
        """Nothing."""

    def request_flush(self) -> None:
        """Nothing."""

    def client_gone(self, reason: str) -> None:
        """Nothing."""

    def pause_response(self) -> None:
        """Nothing."""

    def resume_response(self) -> None:
        """Nothing."""


IGNORED: Final = _Ignored()


class Exchange:
    """See the module. Every method does nothing once the client is gone.

    Arguments:
        connection: where it takes place.
        request: the head that came.
    """

    __slots__ = ("_connection", "is_raw", "receiver", "request")

    def __init__(self, connection: ServerConnection, request: Request) -> None:
        self._connection: ServerConnection | None = connection
        self.request = request
        self.receiver: RequestReceiver = IGNORED
        self.is_raw = False
        "Whether the protocol was switched."

    @property
    def is_open(self) -> bool:
        """Whether the response is awaited, or under way."""
        return self._connection is not None

    @property
    def transport(self) -> Any:
        """The client's transport, for its addresses; None once it is over."""
        return None if self._connection is None else self._connection.transport

    @property
    def is_slow(self) -> bool:
        """Whether the client has not yet taken what was written."""
        return self._connection is not None and self._connection.is_full

    # The request.

    def pause(self) -> None:
        """Read no more of the body for now."""
        if self._connection is not None:
            self._connection.pause_body()

    def resume(self) -> None:
        """Go on reading the body."""
        if self._connection is not None:
            self._connection.resume_body()

    # The response.

    def inform(self, status: int, reason: bytes, fields: Sequence[Field] = ()) -> None:
        """Send an informational response, such as 100 or 103.

        Raises:
            Unsendable: it is none.
        """
        connection = self._connection
        if connection is not None:
            data = connection.machine.send_informational(status, reason, fields)
            if data:
                connection.put(data)
                connection.flush()

    def flush(self) -> None:
        """Send what waits: a head, and small pieces, wait for what follows them, up to the end."""
        if self._connection is not None:
            self._connection.flush()

    def respond(self, status: int, reason: bytes, fields: Sequence[Field]) -> None:
        """Send the head of the response; see `ServerMachine.send_response` for what is added.

        It waits for the first large piece of the body, for the end, or for `flush`.

        Raises:
            Unsendable: it cannot be sent; another one may be.
        """
        connection = self._connection
        if connection is not None:
            connection.put(connection.machine.send_response(status, reason, fields))
            connection.responded()

    def write(self, data: bytes) -> None:
        """Send a piece of the body, or of what follows a switch of protocols.

        Raises:
            Unsendable: it does not fit the head.
        """
        connection = self._connection
        if connection is not None:
            for piece in connection.machine.send_data(data):
                connection.put(piece)
            if self.is_raw:
                connection.touch()

    def end(self, trailers: Sequence[Field] = ()) -> None:
        """The response is complete.

        Raises:
            Unsendable: it is not what its head says. Then the connection is aborted, so that the
                client does not take it for complete.
        """
        connection = self._connection
        if connection is not None:
            try:
                data = connection.machine.send_end(trailers)
            except Unsendable:
                connection.abort()
                raise
            if data:
                connection.put(data)
            connection.response_ended()

    def reply(self, status: int, reason: bytes, fields: Sequence[Field], body: bytes) -> None:
        """Send a whole response; Content-Length is added.

        Raises:
            Unsendable: it cannot be sent.
        """
        self.respond(status, reason, [*fields, make_field(b"Content-Length", b"%d" % len(body))])
        if body and self.request.method != b"HEAD":
            self.write(body)
        self.end()

    def abort(self) -> None:
        """End the connection at once: the response cannot be completed."""
        if self._connection is not None:
            self._connection.abort()

    def close(self) -> None:
        """Called by the connection: it is over."""
        self._connection = None
        self.receiver = IGNORED  # which may refer to this


Handler: TypeAlias = Callable[[Exchange], None]
