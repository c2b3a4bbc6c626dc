"""One request on its way to an upstream, from the caller's side.

The caller keeps the `Outgoing` that the pool returns and writes the body to it. Its receiver gets
the response.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Protocol

from netserve.http.errors import HttpError
from netserve.http.h1 import Field, Informational, Response

if TYPE_CHECKING:
    from netserve.http.upstream.connection import ClientConnection
    from netserve.http.upstream.pool import Upstream

IDEMPOTENT: Final = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"})
"""Methods that may be sent twice (RFC 9110, 9.2.2)."""


class ResponseReceiver(Protocol):
    """Gets what comes back."""

    def response_informed(self, response: Informational) -> None:
        """An informational response; the final one is still to come."""

    def response_started(self, response: Response) -> None:
        """The head of the final response."""

    def response_data(self, data: bytes) -> None:
        """A piece of the body, or of what follows a switch of protocols."""

    def response_end(self, trailers: Sequence[Field]) -> None:
        """The response is complete; after a switch, the upstream sends no more."""

    def response_flush(self) -> None:
        """No more came for now: what was passed on of it may go out."""

    def request_failed(self, error: HttpError) -> None:
        """There is no response, or no more of it. Nothing follows."""

    def pause_request(self) -> None:
        """The upstream is slow: write nothing for now."""

    def resume_request(self) -> None:
        """The upstream has taken what was written."""


class _Ignored:
    """The receiver of an exchange that is over."""

    def response_informed(self, response: Informational) -> None:
        """Nothing."""

    def response_started(self, response: Response) -> None:
        """Nothing."""

    def response_data(self, data: bytes) -> None:
        """Nothing."""

    def response_end(self, trailers: Sequence[Field]) -> None:
        """Nothing."""

    def response_flush(self) -> None:
        """Nothing."""

    def request_failed(self, error: HttpError) -> None:
        """Nothing."""

    def pause_request(self) -> None:
        """Nothing."""

    def resume_request(self) -> None:
        """Nothing."""


IGNORED: Final = _Ignored()


class Outgoing:
    """See the module. Every method does nothing once the exchange is over.

    Arguments:
        upstream: where it goes.
        method: a token.
        target: as it is to stand in the request line.
        fields: with one Host; see `ClientMachine`.
        receiver: gets the response.
    """

    __slots__ = (
        "_connection", "_pieces", "_size", "_upstream", "deadline", "fields", "is_answered",
        "is_complete", "is_over", "method", "receiver", "target", "total_deadline", "trailers",
        "tries",
    )  # fmt: skip

    def __init__(
        self,
        upstream: Upstream,
        method: bytes,
        target: bytes,
        fields: Sequence[Field],
        receiver: ResponseReceiver,
    ) -> None:
        self._upstream = upstream
        self._connection: ClientConnection | None = None
        self._pieces: list[bytes] | None = None
        self._size = 0
        self.method = method
        self.target = target
        self.fields = fields
        self.receiver = receiver
        self.trailers: Sequence[Field] = ()
        self.is_complete = False
        "Whether the whole body was given."
        self.is_answered = False
        "Whether the upstream has said all, after a switch of protocols."
        self.is_over = False
        self.tries = 0
        "How often it was sent, or begun to be."
        self.deadline = math.inf  # of waiting for a connection
        self.total_deadline = math.inf

    # What the caller calls.

    def write(self, data: bytes) -> None:
        """A piece of the body, or of what follows a switch of protocols.

        Raises:
            Unsendable: it does not fit the head.
        """
        if self.is_over:
            return
        self._keep(data)
        if self._connection is not None:
            self._connection.send_data(data)
        else:
            self.receiver.pause_request()

    def flush(self) -> None:
        """Send what waits: a head, and small pieces, wait for what follows them, up to the end."""
        if self._connection is not None:
            self._connection.flush()

    def end(self, trailers: Sequence[Field] = ()) -> None:
        """The request is complete.

        Raises:
            Unsendable: the body is shorter than announced; the connection is aborted.
        """
        if self.is_over or self.is_complete:
            return
        self.is_complete = True
        self.trailers = trailers
        if self._connection is not None:
            self._connection.send_end(trailers)

    def pause(self) -> None:
        """Read no more of the response for now."""
        if self._connection is not None:
            self._connection.pause_response()

    def resume(self) -> None:
        """Go on reading the response."""
        if self._connection is not None:
            self._connection.resume_response()

    def cancel(self) -> None:
        """Nobody wants the response any more; its connection is closed."""
        if not self.is_over:
            connection = self._connection
            self.finish()
            if connection is not None:
                connection.abandon()
            else:
                self._upstream.withdraw(self)

    # What the pool and the connection call.

    @property
    def body(self) -> Sequence[bytes]:
        """What was given of the body so far."""
        return self._pieces or ()

    @property
    def is_replayable(self) -> bool:
        """Whether all that was given is still here, to be sent once more."""
        return self._size == 0 or self._pieces is not None

    def _keep(self, data: bytes) -> None:
        """Keep what may have to be sent later, or once more."""
        self._size += len(data)
        if self._connection is not None and self._size > self._upstream.pool.options.replayed:
            self._pieces = None
        elif self._pieces is not None:
            self._pieces.append(data)
        elif self._size == len(data):
            self._pieces = [data]

    def hold(self, body: bytes) -> None:
        """The whole body, before it is sent."""
        self._pieces, self._size = [body], len(body)

    def attach(self, connection: ClientConnection) -> None:
        """It is sent on this connection."""
        self._connection = connection
        self.tries += 1

    def detach(self) -> None:
        """The connection is no more."""
        self._connection = None

    def finish(self) -> None:
        """The exchange is over."""
        self.is_over = True
        self._connection = None
        self.receiver = IGNORED  # which may refer to this

    def fail(self, error: HttpError) -> None:
        """There will be no response."""
        if not self.is_over:
            receiver = self.receiver
            self.finish()
            if not self.is_answered:
                receiver.request_failed(error)

    def is_overdue(self, now: float) -> bool:
        """Whether it has waited for a connection for too long."""
        return now >= self.deadline

    def give_up(self) -> None:
        """It has."""
        self._upstream.waited_too_long(self)
