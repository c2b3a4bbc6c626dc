"""Taps: observers of the bytes of a connection.

A tap is called on the reactor's thread for each read and write, in the middle of the data path. So
it has to return at once; it keeps what it is given in a bounded buffer, and counts what it has to
drop. `netserve.capture.recording` has such a tap, whose buffer is emptied by another thread.

`GuardedTap` holds a tap to that. A tap that raises an exception is dropped: the exception is
logged, once, and the connection goes on without it. So is one that has returned late several times.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from time import perf_counter
from typing import Any, Final, Protocol, TypeAlias

from twisted.python.failure import Failure

from netserve.connection.record import Connection

SLOW: Final = 0.05
"""Seconds after which a call of a tap has returned late."""
MOST_SLOW: Final = 3
"""Late calls after which a tap is dropped. The machine itself may be at fault for the first."""


class Tap(Protocol):
    """Observes a connection; see the module."""

    def received(self, data: bytes) -> None:
        """Bytes from the peer, outside of TLS; for datagrams, one datagram."""

    def sent(self, data: bytes) -> None:
        """Bytes that the service has written for the peer, likewise."""

    def half_closed(self, *, by_peer: bool) -> None:
        """One side will send no more, and the connection stays open."""

    def ended(self, reason: Failure) -> None:
        """The connection is over; called once, unless an exception has ended the tap before."""


OpenTap: TypeAlias = Callable[[Connection], Tap | None]
"""Asked when a connection begins; None leaves it alone."""


Failed: TypeAlias = Callable[[Connection, str, Failure | None], None]
"""Told of a tap that is dropped: its connection, the reason, and what it raised, if anything."""


class TapDropped(Exception):
    """The reason of `Tap.ended` where the tap is at fault and the connection goes on."""


class GuardedTap:
    """A tap that can do no harm; see the module.

    Arguments:
        tap: the tap.
        connection: what it observes.
        failed: is called when the tap is dropped.
    """

    __slots__ = ("_failed", "_slow", "_tap", "connection")

    def __init__(self, tap: Tap, connection: Connection, failed: Failed) -> None:
        self.connection = connection
        self._tap: Tap | None = tap
        self._failed = failed
        self._slow = 0

    def received(self, data: bytes) -> None:
        """See `Tap.received`."""
        if self._tap is not None:
            self._call(self._tap.received, data)

    def sent(self, data: bytes) -> None:
        """See `Tap.sent`."""
        if self._tap is not None:
            self._call(self._tap.sent, data)

    def half_closed(self, *, by_peer: bool) -> None:
        """See `Tap.half_closed`."""
        if self._tap is not None:
            self._call(self._tap.half_closed, by_peer=by_peer)

    def ended(self, reason: Failure) -> None:
        """See `Tap.ended`."""
        tap, self._tap = self._tap, None
        if tap is None:
            return
        try:
            tap.ended(reason)
        except Exception:
            self._failed(self.connection, "it raised an exception", Failure())

    def _call(self, call: Callable[..., None], *arguments: Any, **named: Any) -> None:
        began = perf_counter()
        try:
            call(*arguments, **named)
        except Exception:
            self._drop("it raised an exception", Failure())
        else:
            if perf_counter() - began > SLOW:
                self._slow += 1
                if self._slow >= MOST_SLOW:
                    self._drop(f"it took more than {SLOW:g} s for a call, {MOST_SLOW} times", None)

    def _drop(self, why: str, failure: Failure | None) -> None:
        tap, self._tap = self._tap, None
        self._failed(self.connection, why, failure)
        if tap is not None:
            with suppress(Exception):  # the first one is in the log
                tap.ended(Failure(TapDropped(why)))
