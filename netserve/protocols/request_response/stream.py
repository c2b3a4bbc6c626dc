"""The replies of a service to the requests of its connections (`netserve.streams.framed`)."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from netserve.protocols.request_response.handling import wait
from netserve.protocols.request_response.responder import Pending, Responder
from netserve.streams.framed import Done
from netserve.wire.peer import peer_name


def _name(transport: Any) -> str:
    """The name of the peer of a connection."""
    return peer_name(transport.getPeer())


class StreamAnswers:
    """Gives a responder's replies, and waits for its handler; a client is the peer's name.

    Arguments:
        responder: gives replies with their framing.
        clock: the reactor.
        timeout: seconds for a handler.
    """

    client = staticmethod(_name)

    def __init__(self, responder: Responder, *, clock: Any, timeout: float) -> None:
        self._responder = responder
        self._clock = clock
        self._timeout = timeout
        # Nothing stands between a connection and what is called for each request.
        self.respond = responder.respond
        self.refuse = responder.refuse
        self.constants = responder.constants

    def begin(self, pending: Pending, done: Done) -> Callable[[], None]:
        """Wait for a handler's reply; gives what ends the waiting."""
        return wait(pending, self._responder, done, clock=self._clock, timeout=self._timeout)

    def discard(self, pending: Pending) -> None:
        """Do not wait for a handler, which is not to go on either."""
        work: Any = pending.work
        if inspect.iscoroutine(work):
            work.close()
        elif hasattr(work, "cancel"):
            work.cancel()
