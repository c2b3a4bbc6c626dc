"""A plain proxy on netserve's own HTTP/1.1: one upstream, bodies streamed both ways.

The arguments are the port and the upstream's port; a third one, ``profile``, prints where the time
went when the process is ended.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from twisted.logger import Logger

from netserve.http import AddressGuard, HttpError
from netserve.http.h1 import Field, Informational, Response, Unsendable
from netserve.http.serving import Exchange, HttpServerFactory
from netserve.http.upstream import Origin, Pool, PoolOptions, Upstream
from netserve.reactor import install


class Relay:
    """One exchange on its way through."""

    __slots__ = ("exchange", "outgoing")

    def __init__(self, exchange: Exchange, upstream: Upstream) -> None:
        self.exchange = exchange
        exchange.receiver = self
        request = exchange.request
        body = b"" if request.length == 0 else None
        self.outgoing = upstream.send(
            request.method, request.target, request.fields.end_to_end, self, body=body
        )

    # From the client.

    def request_data(self, data: bytes) -> None:
        self.outgoing.write(data)

    def request_end(self, trailers: Sequence[Field]) -> None:
        self.outgoing.end(trailers)

    def request_flush(self) -> None:
        self.outgoing.flush()

    def client_gone(self, reason: str) -> None:
        self.outgoing.cancel()

    def pause_response(self) -> None:
        self.outgoing.pause()

    def resume_response(self) -> None:
        self.outgoing.resume()

    # From the upstream.

    def response_informed(self, response: Informational) -> None:
        self.exchange.inform(response.status, response.reason, response.fields.end_to_end)

    def response_started(self, response: Response) -> None:
        try:
            self.exchange.respond(response.status, response.reason, response.fields.end_to_end)
        except Unsendable:
            self.outgoing.cancel()
            self.exchange.reply(502, b"Bad Gateway", (), b"")

    def response_data(self, data: bytes) -> None:
        self.exchange.write(data)

    def response_end(self, trailers: Sequence[Field]) -> None:
        self.exchange.end(trailers)

    def response_flush(self) -> None:
        self.exchange.flush()

    def request_failed(self, error: HttpError) -> None:
        try:
            self.exchange.reply(error.status, b"", (), error.told.encode())
        except Unsendable:
            self.exchange.abort()

    def pause_request(self) -> None:
        self.exchange.pause()

    def resume_request(self) -> None:
        self.exchange.resume()


def main(port: int, upstream_port: int, *, profile: bool) -> None:
    reactor: Any = install()
    log = Logger()
    options = PoolOptions(guard=AddressGuard.parse(["127.0.0.1"]), connections=1000)
    pool = Pool(reactor=reactor, log=log, options=options)
    upstream = pool.upstream(Origin(host="127.0.0.1", port=upstream_port))
    server = HttpServerFactory(lambda it: Relay(it, upstream) and None, reactor=reactor, log=log)
    reactor.listenTCP(port, server, interface="127.0.0.1", backlog=500)
    if not profile:
        reactor.run()
        return
    import cProfile
    import pstats

    profiler = cProfile.Profile()
    profiler.runcall(reactor.run)
    pstats.Stats(profiler).sort_stats("tottime").print_stats(45)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), profile="profile" in sys.argv[3:])
