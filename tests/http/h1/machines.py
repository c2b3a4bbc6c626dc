"""Ways to play the machines in tests: what came out of them, in a form that can be compared."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from netserve.http.h1 import (
    ClientMachine,
    End,
    Field,
    Limits,
    ServerMachine,
    Signal,
    make_field,
)
from netserve.testing.machines import chunkings, cut, feed_all, join_bytes

OK = (make_field(b"Content-Length", b"2"),)


def fields(*pairs: tuple[bytes, bytes]) -> list[Field]:
    """Fields of ours."""
    return [make_field(name, value) for name, value in pairs]


def pairs(found: Iterable[Field]) -> list[tuple[bytes, bytes]]:
    """Names and values."""
    return [(field.name, field.value) for field in found]


class Answering:
    """A server machine that answers each request as soon as it is complete.

    Arguments:
        limits: of the machine.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self.machine = ServerMachine(limits or Limits())
        self.sent = b""

    def feed(self, data: bytes) -> list[Any]:
        """The events for it."""
        self.machine.receive(data)
        return self.run()

    def eof(self) -> list[Any]:
        """The events for the end of the input."""
        self.machine.receive_eof()
        return self.run()

    def run(self) -> list[Any]:
        """Events up to where there is nothing to be done."""
        machine, events = self.machine, []
        while True:
            event = machine.next_event()
            if event is Signal.PAUSED:
                self.answer()
            elif event.__class__ is Signal:
                if event is Signal.CLOSED and not (events and events[-1] is event):
                    events.append(event)
                return events
            else:
                events.append(event)

    def answer(self) -> None:
        """The same for all."""
        machine = self.machine
        self.sent += machine.send_response(200, b"OK", OK)
        if b"Content-Length" in self.sent and machine._writer._left:  # type: ignore[union-attr]
            self.sent += b"".join(machine.send_data(b"ok"))
        self.sent += machine.send_end()


class Asking:
    """A client machine with one request sent.

    Arguments:
        method: of the request.
        limits: of the machine.
        more: further fields of the request.
    """

    def __init__(
        self, method: bytes = b"GET", limits: Limits | None = None, more: Sequence[Field] = ()
    ) -> None:
        self.machine = ClientMachine(limits or Limits())
        self.ask(method, more)

    def ask(self, method: bytes = b"GET", more: Sequence[Field] = ()) -> bytes:
        """Send a request."""
        target = b"a:1" if method == b"CONNECT" else b"/"
        head = self.machine.send_request(method, target, [*fields((b"Host", b"a")), *more])
        return head + self.machine.send_end()

    def feed(self, data: bytes) -> list[Any]:
        """The events for it."""
        self.machine.receive(data)
        return self.run()

    def eof(self) -> list[Any]:
        """The events for the end of the input."""
        self.machine.receive_eof()
        return self.run()

    def run(self) -> list[Any]:
        """Events up to where there is nothing to be done."""
        events: list[Any] = []
        while True:
            event = self.machine.next_event()
            if event.__class__ is Signal:
                if event is Signal.CLOSED:
                    events.append(event)
                return events
            events.append(event)


def three_ways(make: Callable[[], Any], data: bytes, *, eof: bool = False) -> list[Any]:
    """What comes out, having made sure that it does not depend on how the input is cut.

    Arguments:
        make: makes an `Answering` or an `Asking`.
        data: the input.
        eof: whether the input ends then.
    """

    def feed(pieces: Iterable[bytes]) -> list[Any]:
        player = make()
        events = feed_all(player, pieces)
        return compared(events + player.eof() if eof else events)

    whole = feed([data])
    assert feed(cut(data, range(len(data)))) == whole, "byte by byte"
    for offset in range(1, len(data), max(1, len(data) // 40)):
        assert feed(cut(data, [offset])) == whole, f"cut at {offset}"
    return whole


def compared(events: list[Any]) -> list[Any]:
    """The events with neighbouring bytes joined; CLOSED counts once."""
    joined = join_bytes(events)
    closed = [event for event in joined if event is Signal.CLOSED]
    return [event for event in joined if event is not Signal.CLOSED] + closed[:1]


def body_of(events: Iterable[Any]) -> bytes:
    """All bytes of the bodies."""
    return b"".join(event for event in events if isinstance(event, bytes))


def trailers_of(events: Iterable[Any]) -> list[tuple[bytes, bytes]]:
    """The trailers of the last message."""
    return next(pairs(event.trailers) for event in reversed(list(events)) if isinstance(event, End))


__all__ = ["OK", "Answering", "Asking", "body_of", "chunkings", "compared", "fields", "pairs",
           "three_ways", "trailers_of"]  # fmt: skip
