"""Attacks on one service of a netserve on loopback: many connections that cost it much.

``python -m bench.load.attacks NAME PORT SECONDS`` runs one and ends; `bench.neighbours` and the
tests start it beside a probe of another service.
"""

from __future__ import annotations

import resource
import selectors
import socket
import ssl
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

SOURCE = "127.0.0.1"
"""The address that all attacks come from; the probe has another one."""


Attack = Callable[[int, float], None]
"""Attacks a port of loopback for so many seconds."""


@dataclass(frozen=True, slots=True)
class Flood:
    """Connections that send as fast as they may.

    Arguments:
        count: how many at one time.
        data: what each sends.
        first: what it sends before.
        again: send the data again and again.
        reads: read what comes back; else nothing is read.
        reconnect: replace a connection that the server has closed.
        pace: seconds between two pieces of one connection.
        piece: bytes of one piece.
    """

    count: int
    data: bytes
    first: bytes = b""
    again: bool = True
    reads: bool = True
    reconnect: bool = True
    pace: float = 0.0
    piece: int = 1 << 20

    def __call__(self, port: int, seconds: float) -> None:
        """Attack a port of loopback for so long."""
        end = time.monotonic() + seconds
        selector = selectors.DefaultSelector()
        waiting: list[tuple[float, _Attacker]] = []
        for _ in range(self.count):
            _Attacker(self, port).connect(selector)
            if time.monotonic() > end:
                break
        while (now := time.monotonic()) < end:
            for key, events in selector.select(0.05):
                attacker: _Attacker = key.data
                if not attacker.act(events):
                    selector.unregister(attacker.socket)
                    attacker.socket.close()
                    if self.reconnect:
                        attacker.connect(selector)
                elif self.pace and events & selectors.EVENT_WRITE:
                    attacker.watch(selector, writing=False)
                    waiting.append((now + self.pace, attacker))
                elif not attacker.left:
                    attacker.watch(selector, writing=False)
            while waiting and waiting[0][0] <= now:
                attacker = waiting.pop(0)[1]
                with suppress(KeyError, ValueError):
                    attacker.watch(selector, writing=True)


class _Attacker:
    """One connection of a flood."""

    socket: socket.socket
    left: memoryview

    def __init__(self, flood: Flood, port: int) -> None:
        self._flood = flood
        self._port = port

    def connect(self, selector: selectors.BaseSelector) -> None:
        self.socket = socket.socket()
        self.socket.setblocking(False)
        # A port in TIME_WAIT does not hold up the next connection.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind((SOURCE, 0))
        with suppress(BlockingIOError):
            self.socket.connect((SOURCE, self._port))
        self.left = memoryview(self._flood.first + self._flood.data)
        selector.register(self.socket, self._events(writing=True), self)

    def _events(self, *, writing: bool) -> int:
        reading = selectors.EVENT_READ if self._flood.reads else 0
        return (selectors.EVENT_WRITE if writing else 0) | reading or selectors.EVENT_WRITE

    def watch(self, selector: selectors.BaseSelector, *, writing: bool) -> None:
        if not writing and not self._flood.reads:
            selector.unregister(self.socket)  # it stays open, and does nothing more
            return
        selector.modify(self.socket, self._events(writing=writing), self)

    def act(self, events: int) -> bool:
        """Send and read; whether the connection goes on."""
        try:
            if events & selectors.EVENT_READ and not self.socket.recv(1 << 18):
                return False
            if events & selectors.EVENT_WRITE and self.left:
                sent = self.socket.send(self.left[: self._flood.piece])
                self.left = self.left[sent:]
                if not self.left and self._flood.again:
                    self.left = memoryview(self._flood.data)
        except BlockingIOError:
            pass
        except OSError:
            return False
        return True


def _datagrams(size: int) -> Callable[[int, float], None]:
    def run(port: int, seconds: float) -> None:
        end = time.monotonic() + seconds
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.bind((SOURCE, 0))
            sender.connect((SOURCE, port))
            data = b"x" * size
            while time.monotonic() < end:
                for _ in range(1000):
                    with suppress(OSError):
                        sender.send(data)

    return run


def _connects(port: int, seconds: float) -> None:
    """Connect and reset, hundreds at one time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        clients = []
        for _ in range(300):
            client = socket.socket()
            client.setblocking(False)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            client.bind((SOURCE, 0))
            with suppress(BlockingIOError):
                client.connect((SOURCE, port))
            clients.append(client)
        for client in clients:
            client.close()


def _client_hello() -> bytes:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    tls = context.wrap_bio(incoming, outgoing)
    with suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


def _handshakes(port: int, seconds: float) -> None:
    """Say the first word of a handshake, hundreds at one time; the server does all the work."""
    hello, end = _client_hello(), time.monotonic() + seconds
    while time.monotonic() < end:
        clients = []
        for _ in range(400):
            client = socket.create_connection((SOURCE, port), source_address=(SOURCE, 0))
            clients.append(client)
        for client in clients:
            with suppress(OSError):
                client.sendall(hello)
        for client in clients:
            with suppress(OSError):
                client.settimeout(2)
                client.recv(1)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            client.close()


_RCPT = b"".join(b"RCPT TO:<user%d@example.org>\r\n" % number for number in range(999))
_GET = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
_POST = b"POST /x HTTP/1.1\r\nHost: 127.0.0.1\r\n"


def _mail(body: bytes) -> bytes:
    """A message in JSON, posted with the token of `bench.neighbours`."""
    return (
        b"POST /messages HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer 0123456789abcdef\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    )


def _draft(part: bytes) -> bytes:
    return _mail(b'{"from":"a@b.example","to":"c@d.example",' + part + b"}")


def _numbers() -> bytes:
    return _draft(b'"x":[' + (b"9" * 4000 + b",") * 6000 + b"1]")


def _file() -> bytes:
    return _draft(b'"attachments":[{"content":"' + b"QUJD" * 8_000_000 + b'"}]')


def _keys() -> bytes:
    return _mail(b"{" + b",".join(b'"%d":1' % number for number in range(90_000)) + b"}")


ATTACKS: dict[str, tuple[str, Callable[[], Attack]]] = {
    "rcpt": (
        "mail",
        lambda: Flood(100, b"MAIL FROM:<a@b.example>\r\n" + _RCPT + b"RSET\r\n", b"EHLO me\r\n"),
    ),
    "bad-bytes": (
        "mail",
        lambda: Flood(5000, b"\xff\xfe\x00 bad\r\n" * 3000, again=False, reconnect=False),
    ),
    "percent-10": ("bridge", lambda: Flood(10, b"%" * 1_000_000 + b"\n", again=False)),
    "percent-100": ("bridge", lambda: Flood(100, b"%" * 1_000_000 + b"\n", again=False)),
    "percent-body": ("form", lambda: Flood(100, b"%a" * 500_000 + b"\n")),
    "misfits": ("bridge", lambda: Flood(100, b"a/../b\n" * 40_000)),
    "unfinished": ("bridge", lambda: Flood(900, b"%" * 1_000_000, again=False, reconnect=False)),
    "lines": ("lines", lambda: Flood(100, b"my name is x\n" * 20_000)),
    "empty-lines": ("lines", lambda: Flood(100, b"\n" * 256_000)),
    "long-lines": ("lines", lambda: Flood(100, (b"my name is " + b"01" * 32_000 + b"\n") * 4)),
    "echo": ("echo", lambda: Flood(100, b"x" * 1_000_000)),
    "discard": ("discard", lambda: Flood(100, b"x" * 1_000_000)),
    "datagrams": ("lines", lambda: _datagrams(1)),
    "datagrams-echo": ("echo", lambda: _datagrams(64)),
    "pipelined-gets": ("proxy", lambda: Flood(100, _GET * 6_000)),
    "pipelined-status": ("status", lambda: Flood(100, _GET * 6_000)),
    "metrics": ("status", lambda: Flood(100, _GET.replace(b"healthz", b"metrics"))),
    "pipelined-posts": ("posts", lambda: Flood(100, _GET * 6_000)),
    "mail-of-lines": ("posts", lambda: Flood(3, _draft(b'"text":"' + b"\\n" * 12_000_000 + b'"'))),
    "mail-of-numbers": ("posts", lambda: Flood(3, _numbers())),
    "mail-with-file": ("posts", lambda: Flood(3, _file())),
    "mail-of-keys": ("posts", lambda: Flood(3, _keys())),
    "chunks": (
        "proxy",
        lambda: Flood(100, b"1\r\nx\r\n" * 40_000, _POST + b"Transfer-Encoding: chunked\r\n\r\n"),
    ),
    "headers": ("proxy", lambda: Flood(100, b"X: y\r\n" * 10_000, _POST)),
    "connects": ("lines", lambda: _connects),
    "handshakes": ("tls", lambda: _handshakes),
    "slow-bodies": (
        "proxy",
        lambda: Flood(
            100, b"x" * 1_000, _POST + b"Content-Length: 1000000\r\n\r\n", piece=10, pace=0.5
        ),
    ),
    "unread": (
        "proxy",
        lambda: Flood(
            100, b"GET /large HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 20, again=False, reads=False
        ),
    ),
    "unread-frames": ("bridge", lambda: Flood(100, b"large\n" * 64, again=False, reads=False)),
}
"""By name: the service that is attacked, and what makes the attack."""


def names() -> Iterator[str]:
    """The attacks there are."""
    yield from ATTACKS


def main() -> None:
    """Run one attack."""
    name, port, seconds = sys.argv[1:]
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    ATTACKS[name][1]()(int(port), float(seconds))


if __name__ == "__main__":
    main()
