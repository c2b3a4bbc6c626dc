"""The wiring of datagrams: each is one request, and gets at most one reply."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet.protocol import DatagramProtocol

from netserve.plugin import Metrics
from netserve.protocols.request_response.handling import Reporter, wait
from netserve.protocols.request_response.responder import Pending, Responder
from netserve.wire.framing import FrameTooLong, Framing
from netserve.wire.peer import peer_name
from netserve.wire.reply_guard import ReplyGuard


@dataclass(frozen=True, slots=True, kw_only=True)
class DatagramOptions:
    """What all datagrams of a service have in common.

    Arguments:
        responder: gives replies without framing.
        framing: of the requests; only a line's or delimiter's end matters here.
        reply_framing: of the replies.
        request_size: the most bytes of a request.
        waiting: how many may wait for their handler.
        timeout: seconds for a handler.
        guard: decides on replies.
        report: is told what went wrong.
        metrics: the service's counters.
        clock: the reactor.
    """

    responder: Responder
    framing: Framing
    reply_framing: Framing
    request_size: int
    waiting: int
    timeout: float
    guard: ReplyGuard
    report: Reporter
    metrics: Metrics
    clock: Any


class Datagrams(DatagramProtocol):
    """The requests of one address.

    Arguments:
        options: of the service.
    """

    noisy = False
    transport: Any

    def __init__(self, options: DatagramOptions) -> None:
        self._options = options
        self._cancels: dict[int, Callable[[], None]] = {}
        self._next_key = 0

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        options = self._options
        options.metrics.requests += 1
        port = addr[1] if isinstance(addr, tuple) else None
        peer = peer_name(addr)
        if reason := options.guard.refuses_port(port):
            options.report("reply_refused", peer, reason)
            return
        frame = options.framing.from_datagram(datagram)
        if len(frame) > options.request_size:
            error = FrameTooLong(options.request_size, fatal=False)
            reply: bytes | Pending | None = options.responder.refuse(error, peer)
        elif len(self._cancels) >= options.waiting:
            options.report("overload", peer, f"{options.waiting} wait for their reply already")
            return
        else:
            reply = options.responder.respond(frame, peer)
        if isinstance(reply, Pending):
            self._begin(reply, datagram, addr)
        else:
            self._send(reply, datagram, addr)

    def _begin(self, pending: Pending, datagram: bytes, addr: Any) -> None:
        options = self._options
        self._next_key += 1
        key = self._next_key
        finished = False

        def done(reply: bytes | None) -> None:
            nonlocal finished
            finished = True
            self._cancels.pop(key, None)
            self._send(reply, datagram, addr)

        cancel = wait(
            pending, options.responder, done, clock=options.clock, timeout=options.timeout
        )
        if not finished:
            self._cancels[key] = cancel

    def _send(self, reply: bytes | None, datagram: bytes, addr: Any) -> None:
        # A sender on a UNIX socket without a name cannot be answered.
        if reply is None or addr is None or self.transport is None:
            return
        options = self._options
        if options.framing.from_datagram(datagram) != datagram:
            # The request came with the end of a line or delimiter, and so does its reply.
            try:
                reply = options.reply_framing.encode(reply)
            except ValueError as error:
                options.report("reply", peer_name(addr), error)
                return
        if reason := options.guard.refuses_size(len(datagram), len(reply)):
            options.report("reply_refused", peer_name(addr), reason)
        else:
            self.transport.write(reply, addr)

    def stopProtocol(self) -> None:
        """The socket is closed: nobody is left to reply to."""
        cancels, self._cancels = self._cancels, {}
        for cancel in cancels.values():
            cancel()
