"""A line bridge, line to HTTP to line, on netserve's own HTTP/1.1.

The arguments are the port and the upstream's port; each line is a path.
"""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet.protocol import Factory, Protocol
from twisted.logger import Logger

from netserve.http import AddressGuard
from netserve.http.h1 import Fields, make_field
from netserve.http.upstream import Origin, Pool, PoolOptions, Upstream
from netserve.http.upstream.whole import WholeResponse, fetch
from netserve.reactor import install


class Bridge(Protocol):
    """The lines of a connection are answered in order, one after another."""

    transport: Any

    def __init__(self, upstream: Upstream, fields: Fields) -> None:
        self._upstream = upstream
        self._fields = fields
        self._rest = b""
        self._waiting: list[bytes] = []
        self._busy = False

    def dataReceived(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._waiting += lines
        if not self._busy:
            self._next()

    def _next(self) -> None:
        self._busy = bool(self._waiting)
        if self._busy:
            target = b"/" + self._waiting.pop(0).rstrip(b"\r")
            asked = fetch(self._upstream, b"GET", target, self._fields, limit=4_000_000)
            asked.addCallbacks(self._answered, lambda _: self.transport.loseConnection())

    def _answered(self, response: WholeResponse) -> None:
        self.transport.write(b"%d %b\r\n" % (response.status, response.body))
        self._next()


def main(port: int, upstream_port: int) -> None:
    reactor: Any = install()
    options = PoolOptions(guard=AddressGuard.parse(["127.0.0.1"]))
    pool = Pool(reactor=reactor, log=Logger(), options=options)
    upstream = pool.upstream(Origin(host="127.0.0.1", port=upstream_port))
    fields = Fields(
        [
            make_field(b"Host", b"127.0.0.1:%d" % upstream_port),
            make_field(b"User-Agent", b"netserve"),
            make_field(b"Accept-Encoding", b"gzip, deflate"),
        ]
    )
    factory: Any = Factory()
    factory.noisy = False
    factory.buildProtocol = lambda _: Bridge(upstream, fields)
    reactor.listenTCP(port, factory, interface="127.0.0.1", backlog=500)
    reactor.run()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
