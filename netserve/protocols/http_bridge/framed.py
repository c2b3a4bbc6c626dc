"""The bridge's replies as frames, for connections with framed requests (`netserve.streams.framed`).

A reply is made to fit one frame of the framing, whatever the upstream has sent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from netserve.protocols.http_bridge.bridge import Bridge, Client, Request
from netserve.streams.framed import Done
from netserve.wire.frame_input import TooMuchHeld
from netserve.wire.framing import Framing, FramingError


class BridgeAnswers:
    """Gives the bridge's replies.

    Arguments:
        bridge: asks the upstream.
        framing: of the replies.
    """

    client = staticmethod(Client.of)

    def __init__(self, bridge: Bridge, framing: Framing) -> None:
        self.bridge = bridge
        self._framing = framing
        self._fit = framing.fit

    def respond(self, frame: bytes, client: Client) -> bytes | Request:
        """The request to the upstream, or the error reply where the frame makes none."""
        begun = self.bridge.begin(frame, client)
        return self.encode(begun) if isinstance(begun, bytes) else begun

    def refuse(self, error: FramingError, client: Client) -> bytes:
        """The error reply to a frame that is broken, too long, or cannot be held."""
        held = isinstance(error, TooMuchHeld)
        kind, status = ("busy", 503) if held else ("request", 400)
        self.bridge.refusals.request(client.peer, str(error))
        return self.encode(self.bridge.error(kind, str(error), status, counted=error.kind))

    def constants(self, frames: Sequence[bytes], most: int) -> None:
        """No reply is constant."""

    def begin(self, request: Request, done: Done) -> Callable[[], object]:
        """Ask the upstream; gives what gives the request up."""
        return self.bridge.ask(request, lambda reply: done(self.encode(reply)))

    def discard(self, request: Request) -> None:
        """The upstream is not asked."""

    def encode(self, reply: bytes) -> bytes:
        """A reply as a frame; one that the framing has no place for becomes an error reply."""
        try:
            return self._framing.encode(self._fit(reply))
        except ValueError as error:
            self.bridge.refusals.answer(str(error))
            told = self._fit(self.bridge.error("reply", str(error), 502))
        try:
            return self._framing.encode(told)
        except ValueError:
            return self._framing.encode(b"")
