"""A proxy made of both drivers (the one that is measured in bench/), between raw sockets."""

from __future__ import annotations

import socket
import threading
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.logger import Logger, formatEvent

from bench.peers.proxy_netserve import Relay
from netserve.http.serving import HttpServerFactory, ServerOptions
from netserve.testing.hosting import connect, exchange
from tests.http.upstream.peers import OK, PoolOfTest, ScriptedUpstream, Talk, reactor, until

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
MIB = 1024 * 1024


class Proxy:
    """A proxy to one upstream."""

    def __init__(
        self,
        answer: Callable[[Talk], Any] | bytes = OK,
        *,
        port: int = 0,
        gives_up: bool = False,
        **options: Any,
    ) -> None:
        self.events: list[dict[str, Any]] = []
        self.upstream = ScriptedUpstream(answer)
        self.pool = PoolOfTest(**options)
        to = self.pool.to(port or self.upstream.port)
        self.server = HttpServerFactory(
            lambda it: Relay(it, to) and None,
            reactor=reactor,
            log=Logger(observer=self.events.append),
            options=ServerOptions(gives_up=gives_up),
        )
        self._port = reactor.listenTCP(0, self.server, interface="127.0.0.1")
        self.port = self._port.getHost().port

    @property
    def said(self) -> bytes:
        """What the upstream got."""
        return b"".join(talk.said for talk in self.upstream.talks)

    async def stop(self) -> None:
        await self._port.stopListening()
        for connection in list(self.server.connections):
            connection.transport.abortConnection()
        await until(lambda: not self.server.connections)
        await self.pool.stop()
        await self.upstream.stop()


@ensureDeferred
async def test_bytes_pass_as_they_came() -> None:
    """S27: targets, fields, reasons and bodies, both ways."""
    answer = (
        b"HTTP/1.1 299 Gr\xfc\xdf \xff\r\nlocation:http://x/%zz?a=b c\r\nX-Odd:\t \xe9 \r\n"
        b"Set-Cookie: a=1\r\nset-cookie: b=2\r\nContent-Length: 3\r\n\r\n\x00\xff\n"
    )
    proxy = Proxy(answer)
    request = (
        b'M-THOD /a%2F../\xff?x=%zz&y=|{}" HTTP/1.1\r\nhOST:a\r\nrole: us\xffer\r\n'
        b"X_Forwarded_For: 1\r\nCookie: r\xf4le\r\nContent-Length: 2\r\n\r\n\x00\xfe"
    )
    assert await exchange(proxy.port, request) == answer
    assert proxy.said == request
    await proxy.stop()


@ensureDeferred
async def test_fields_of_the_connection_stay_behind() -> None:
    """RFC 9110, 7.6.1; and Connection takes no framing away."""
    answer = b"HTTP/1.1 200 OK\r\nConnection: x-y\r\nX-Y: 1\r\nKeep-Alive: timeout=9\r\nContent-Length: 0\r\n\r\n"
    proxy = Proxy(answer)
    request = (
        b"PUT / HTTP/1.1\r\nHost: a\r\nConnection: close, X-Hop, Host, Content-Length\r\nX-Hop: 1\r\n"
        b"TE: trailers\r\nProxy-Connection: keep-alive\r\nX-End: 2\r\nContent-Length: 1\r\n\r\nz"
    )
    got = await exchange(proxy.port, request)
    assert got == b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    assert proxy.said == b"PUT / HTTP/1.1\r\nHost: a\r\nX-End: 2\r\nContent-Length: 1\r\n\r\nz"
    await proxy.stop()


@pytest.mark.parametrize(
    ("request_", "answer", "got"),
    [
        (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nnot a body",
         b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"),
        (b"GET", b"HTTP/1.1 204 x\r\n\r\nexcess", b"HTTP/1.1 204 x\r\n\r\n"),
        (b"GET", b"HTTP/1.1 304 x\r\nContent-Length: 9\r\n\r\nexcess",
         b"HTTP/1.1 304 x\r\nContent-Length: 9\r\n\r\n"),
        (b"GET", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokexcess", OK),
        (b"GET", b"HTTP/1.1 103 x\r\nLink: a\r\n\r\n" + OK, b"HTTP/1.1 103 x\r\nLink: a\r\n\r\n" + OK),
        (b"GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nok\r\n0\r\nA: b\r\n\r\n",
         b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nA: b\r\n\r\n"),
    ],
)  # fmt: skip
@ensureDeferred
async def test_responses(request_: bytes, answer: bytes, got: bytes) -> None:
    proxy = Proxy(answer)
    head = request_ + b" / HTTP/1.1\r\nHost: a\r\n\r\n"
    assert await exchange(proxy.port, head + head) == got * 2
    await proxy.stop()


@pytest.mark.parametrize(
    "answer",
    [
        b"220 mx ESMTP\r\n", b"HTTP/1.1 200 OK\nX: y\n\n", b"HTTP/1.1 200 OK\r\nX : y\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 O\0K\r\n\r\n", b"HTTP/1.1 101 x\r\n\r\n", b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n",
    ],
)  # fmt: skip
@ensureDeferred
async def test_what_makes_no_sense_is_502(answer: bytes) -> None:
    """Never 500, and never a traceback."""
    proxy = Proxy(answer)
    assert (await exchange(proxy.port, GET)).startswith(b"HTTP/1.1 502 ")
    assert not [event for event in proxy.events if "log_failure" in event]
    await proxy.stop()


@ensureDeferred
async def test_a_response_that_breaks_off_is_broken_off() -> None:
    def answer(talk: Talk) -> None:
        talk.transport.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")
        reactor.callLater(0.05, talk.transport.abortConnection)

    proxy = Proxy(answer)
    client = await connect(proxy.port)
    client.write(GET)
    got = await client.closed
    assert got.endswith(b"2\r\nok\r\n")
    assert client.reason is not None
    await proxy.stop()


@ensureDeferred
async def test_a_stream_passes_as_it_comes() -> None:
    """Each piece goes out when it is there, and not with the next one."""
    talks: list[Talk] = []
    proxy = Proxy(talks.append, gives_up=True)
    client = await connect(proxy.port)
    client.write(GET)
    await until(lambda: bool(talks))
    talks[0].transport.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    await client.until(b"chunked\r\n\r\n")
    for number in range(3):
        talks[0].transport.write(b"7\r\ndata: %d\r\n" % number)
        await client.until(b"data: %d" % number)
    client.transport.loseConnection()
    await until(lambda: proxy.upstream.open == 0)
    await proxy.stop()


@ensureDeferred
async def test_an_upload_passes_as_it_comes() -> None:
    proxy = Proxy(lambda talk: None)
    client = await connect(proxy.port)
    client.write(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    await until(lambda: proxy.said.endswith(b"\r\n\r\n"))
    client.write(b"3\r\nabc\r\n")
    await until(lambda: proxy.said.endswith(b"3\r\nabc\r\n"))
    client.write(b"0\r\n\r\n")
    await until(lambda: proxy.said.endswith(b"0\r\n\r\n"))
    proxy.upstream.talks[0].transport.write(OK)
    await client.until(b"ok")
    client.transport.loseConnection()
    await proxy.stop()


@ensureDeferred
async def test_a_client_that_goes_away_frees_the_upstream() -> None:
    proxy = Proxy(lambda talk: None)
    client = await connect(proxy.port)
    client.write(GET)
    await until(lambda: proxy.upstream.open == 1)
    client.transport.abortConnection()
    await until(lambda: proxy.upstream.open == 0)
    (line,) = [formatEvent(event) for event in proxy.events]
    assert "disconnected before its response was complete" in line
    await proxy.stop()


def pour(port: int, head: bytes, size: int) -> bytes:
    """Send a body, in a thread, and give what comes back."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        client.sendall(head)
        piece = bytes(MIB)
        for _ in range(size // MIB):
            client.sendall(piece)
        return client.recv(1000)


def drain(port: int, head: bytes) -> int:
    """Ask, in a thread, and read to the end; the size of what came."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        client.sendall(head)
        size = 0
        while data := client.recv(MIB):
            size += len(data)
        return size


@ensureDeferred
async def test_a_large_body_upwards_costs_little_memory() -> None:
    """S8: 256 MiB pass through, and the pauses of both sides are tied."""
    size = 256 * MIB
    head = b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size
    with socket.create_server(("127.0.0.1", 0)) as server:

        def take() -> int:
            talk, _ = server.accept()
            with talk:
                taken = 0
                while taken < len(head) + size:
                    taken += len(talk.recv(MIB))
                talk.sendall(OK)
                talk.recv(1)
                return taken

        taking = deferToThread(take)
        proxy = Proxy(port=server.getsockname()[1])
        tracemalloc.start()
        assert await deferToThread(pour, proxy.port, head, size) == OK
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        await proxy.stop()
        assert await taking == len(head) + size
        assert peak < 32 * MIB


@ensureDeferred
async def test_a_large_body_downwards_costs_little_memory() -> None:
    size = 256 * MIB
    with socket.create_server(("127.0.0.1", 0)) as server:

        def give() -> None:
            talk, _ = server.accept()
            with talk:
                talk.recv(1000)
                talk.sendall(
                    b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % size
                )
                piece = bytes(MIB)
                for _ in range(size // MIB):
                    talk.sendall(piece)

        thread = threading.Thread(target=give, daemon=True)
        thread.start()
        proxy = Proxy(port=server.getsockname()[1])
        tracemalloc.start()
        head = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        assert await deferToThread(drain, proxy.port, head) > size
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        thread.join(10)
        await proxy.stop()
        assert peak < 32 * MIB


@ensureDeferred
async def test_a_slow_client_pauses_the_upstream() -> None:
    written = 0

    def answer(talk: Talk) -> None:
        talk.transport.write(b"HTTP/1.1 200 OK\r\n\r\n")

        class Source:
            def resumeProducing(self) -> None:
                nonlocal written
                written += 100_000
                talk.transport.write(b"x" * 100_000)

            def stopProducing(self) -> None:
                pass

        talk.transport.registerProducer(Source(), False)

    proxy = Proxy(answer)
    client = await connect(proxy.port)
    client.transport.pauseProducing()
    client.write(GET)
    await until(lambda: written > 0)
    before = -1
    while before != written:
        before = written
        await deferLater(reactor, 0.2)
    assert written < 30_000_000, "what the sockets' buffers hold"
    client.transport.abortConnection()
    await proxy.stop()
