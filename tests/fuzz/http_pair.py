"""Both HTTP/1.1 machines against each other, with any messages, however the network cuts.

An input is a list of small numbers that say what is sent: method, target, fields, the pieces of a
body, how it is framed, trailers; the same for the response; and how many bytes the network passes
on at a time. What must hold: what arrives is what was sent, byte for byte, at both ends, for each of
several exchanges on one connection, and both sides agree whether it lives on.
"""

from __future__ import annotations

from typing import Any, Final

from netserve.http.h1 import (
    ClientMachine,
    End,
    Field,
    Fields,
    Informational,
    Request,
    Response,
    ServerMachine,
    Signal,
    State,
    Violation,
    make_field,
)

NAME: Final = "http_pair"

_METHODS: Final = (b"GET", b"HEAD", b"POST", b"OPTIONS", b"M-X")
_TARGETS: Final = (b"/", b"/a%2F..//\xff?b=%zz", b"http://b:1/c", b"*", b'/?x={}|"')
_FIELDS: Final = (
    (), (make_field(b"X-a", b"1"),),
    (make_field(b"A", b""), make_field(b"a", b"r\xf4le \xff"), make_field(b"A", b"2")),
    (make_field(b"Connection", b"close"),), (make_field(b"X" * 30, b"y" * 300),),
)  # fmt: skip
_BODIES: Final = (
    (), (b"x",), (b"ab", b"c"), (b"\r\n\r\n0\r\n\r\n",), (b"z" * 2100, b"", b"w"), (b"1",) * 9,
)  # fmt: skip
_STATUSES: Final = (200, 204, 304, 404, 999, 206)
_TRAILERS: Final = ((), (make_field(b"X-Sum", b"1"), make_field(b"y", b"")))
_HOST: Final = make_field(b"Host", b"a")


def seeds() -> list[bytes]:
    """Sessions to begin with."""
    return [
        bytes([3, *([0] * 12), *([1] * 12)]),
        bytes([1, 2, 1, 2, 2, 1, 0, 0, 2, 2, 1, 1, 1]),
        bytes([200, 1, 0, 1, 0, 0, 0, 4, 1, 4, 0, 0, 2]),
        bytes([7, 2, 4, 4, 4, 0, 1, 1, 4, 4, 0, 1, 0] * 2),
    ]


class Choices:
    """The numbers of an input, one after the other; then nothing but noughts."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> bool:
        return self._at < len(self._data)

    def among(self, options: Any) -> Any:
        number = self._data[self._at] if self.left else 0
        self._at += 1
        return options[number % len(options)]


def framed(choices: Choices, fields: tuple[Field, ...], body: tuple[bytes, ...]) -> list[Field]:
    """The fields with those of framing; the last choice is none, where a body may go without."""
    way = choices.among(("sized", "chunked"))
    if way == "sized":
        return [*fields, make_field(b"Content-Length", b"%d" % len(b"".join(body)))]
    return [*fields, make_field(b"Transfer-Encoding", b"chunked")]


class Ends:
    """Collects one side's events."""

    def __init__(self, machine: Any) -> None:
        self.machine = machine
        self.head: Any = None
        self.body = b""
        self.end: End | None = None
        self.informed = 0
        self.closed = False

    def receive(self, data: bytes) -> None:
        self.machine.receive(data)
        self.run()

    def run(self) -> None:
        while True:
            event = self.machine.next_event()
            kind = event.__class__
            assert kind is not Violation, event
            if kind is Signal:
                self.closed = event is Signal.CLOSED
                return
            if kind is bytes:
                self.body += event
            elif kind is End:
                assert self.end is None
                self.end = event
            elif kind is Informational:
                self.informed += 1
            else:
                assert self.head is None
                self.head = event

    def clear(self) -> None:
        self.head, self.body, self.end, self.informed = None, b"", None, 0


def passed(data: bytes, size: int, to: Ends) -> None:
    """The network; it passes on a large message in fifty pieces at the most."""
    size = max(size, len(data) // 50)
    for at in range(0, len(data), size):
        to.receive(data[at : at + size])


def run_one(data: bytes) -> None:
    """One input."""
    choices = Choices(data)
    size = choices.among(range(1, 256))
    client, server = Ends(ClientMachine()), Ends(ServerMachine())
    for _ in range(4):
        exchange(choices, client, server, size)
        if server.machine.request_state is State.CLOSED or not choices.left:
            break
        client.clear()
        server.clear()


def exchange(choices: Choices, client: Ends, server: Ends, size: int) -> None:
    """One request and its response."""
    method, target = choices.among(_METHODS), choices.among(_TARGETS)
    if target == b"*":
        method = b"OPTIONS"
    body = choices.among(_BODIES)
    fields = Fields(framed(choices, (_HOST, *choices.among(_FIELDS)), body))
    trailers = choices.among(_TRAILERS)
    sender = client.machine
    stream = sender.send_request(method, target, fields)
    stream += b"".join(b"".join(sender.send_data(piece)) for piece in body)
    stream += sender.send_end(trailers)
    passed(stream, size, server)
    request = server.head
    assert isinstance(request, Request)
    assert (request.method, request.target) == (method, target)
    assert list(request.fields) == list(fields)
    assert server.body == b"".join(body)
    chunked = fields[-1].key == b"transfer-encoding"
    assert server.end is not None
    assert list(server.end.trailers) == (list(trailers) if chunked else [])

    status, answer = choices.among(_STATUSES), choices.among(_BODIES)
    back = list(choices.among(_FIELDS))
    if choices.among((True, True, False)):
        back = framed(choices, tuple(back), answer)
    after = choices.among(_TRAILERS)
    hints = choices.among((0, 0, 2))
    sender = server.machine
    stream = b"".join(sender.send_informational(103, b"x", back) for _ in range(hints))
    stream += sender.send_response(status, b"Gr\xfc\xdf", back)
    bodiless = method == b"HEAD" or status in {204, 304}
    if not bodiless:
        stream += b"".join(b"".join(sender.send_data(piece)) for piece in answer)
    stream += sender.send_end(after)
    passed(stream, size, client)
    response = client.head
    assert isinstance(response, Response)
    assert (response.status, response.reason) == (status, b"Gr\xfc\xdf")
    assert client.informed == hints
    got = [field for field in response.fields if field.key not in _OURS]
    assert got == [field for field in back if field.key not in _OURS]
    assert client.body == (b"" if bodiless else b"".join(answer))
    assert client.end is not None
    server.run()
    lives = server.machine.request_state is State.IDLE
    assert lives is client.machine.is_idle
    assert client.closed is not lives


_OURS: Final = frozenset({b"content-length", b"transfer-encoding", b"connection"})
