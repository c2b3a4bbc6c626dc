"""The HTTP server behind the gates of a service."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import web
from pytest_twisted import ensureDeferred
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger, formatEvent

from netserve.http.server import HttpServer
from netserve.plugin import Hosted
from netserve.testing.hosting import connect, exchange, serve
from netserve.testing.queue import until
from netserve.testing.turns import share_of_turns

reactor: Any = _reactor


def server(handler: Any, **options: Any) -> HttpServer:
    return HttpServer(handler, turns=share_of_turns(), **options)


async def answer(request: web.BaseRequest) -> web.StreamResponse:
    return web.Response(text=str(len(await request.read())))


@ensureDeferred
async def test_headers_that_drip_are_not_waited_for() -> None:
    """S8: and each byte would keep the idle sweep away."""
    service = await serve(Hosted(stream=server(answer, head_time=0.1)))
    client = await connect(service.port)
    client.write(b"GET / HTTP/1.1\r\n")
    for _ in range(200):
        if client.closed.called:
            break
        client.write(b"X: y\r\n")
        await deferLater(reactor, 0.02)
    assert (await client.closed).startswith(b"HTTP/1.1 408 ")
    await service.stop()


@ensureDeferred
async def test_headers_are_limited_in_all() -> None:
    """S8: each is short enough, and there are not too many; whoever connects may send them."""
    service = await serve(Hosted(stream=server(answer, head_size=20_000)))
    for size, status in ((2000, b"200"), (2500, b"431")):
        client = await connect(service.port)
        client.write(b"GET / HTTP/1.1\r\nHost: x\r\n")
        for number in range(8):
            client.write(b"X-%d: %s\r\n" % (number, b"x" * size))
            await deferLater(reactor, 0)
        client.write(b"\r\n")
        await client.until(b"HTTP/1.1 " + status)
        client.transport.loseConnection()
        await client.closed
    await service.stop()


@ensureDeferred
async def test_a_long_body_that_comes_with_its_headers_is_no_header() -> None:
    service = await serve(Hosted(stream=server(answer, head_size=1000)))
    client = await connect(service.port)
    for turn in range(1, 4):
        head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 50000\r\n\r\n"
        client.write(head[:10])
        await deferLater(reactor, 0)
        client.write(head[10:] + bytes(50_000))
        await until(lambda: client.received.count(b"\r\n\r\n50000") == turn, reactor=reactor)  # noqa: B023
    client.transport.loseConnection()
    await client.closed
    await service.stop()


@ensureDeferred
async def test_bodies_and_pauses_between_requests_have_other_limits() -> None:
    service = await serve(Hosted(stream=server(answer, head_time=0.1)))
    client = await connect(service.port)
    for turn in range(1, 3):
        client.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\n")
        for _ in range(20):
            client.write(b"x")
            await deferLater(reactor, 0.02)
        await until(lambda: client.received.count(b"\r\n\r\n20") == turn, reactor=reactor)  # noqa: B023
        await deferLater(reactor, 0.2)
    client.transport.loseConnection()
    await client.closed
    await service.stop()


async def slowly(request: web.BaseRequest) -> web.StreamResponse:
    await asyncio.sleep(0.05)
    return web.Response(text=request.path)


@ensureDeferred
async def test_a_client_that_closes_its_sending_side_gets_its_answers() -> None:
    """All of them, and then the end: `printf 'GET …' | nc -N` is a client like others."""
    service = await serve(Hosted(stream=server(slowly)))
    asked = b"GET /one HTTP/1.1\r\nHost: x\r\n\r\nGET /two HTTP/1.1\r\nHost: x\r\n\r\n"
    answers = await exchange(service.port, asked)
    assert [answers.count(path) for path in (b"/one", b"/two")] == [1, 1]
    assert b"Server: netserve\r\n" in answers
    assert (await exchange(service.port, b"GET / HTTP/1.0\r\n\r\n")).endswith(b"\r\n\r\n/")
    assert (await exchange(service.port, b"no HTTP\r\n\r\n")).startswith(b"HTTP/1.0 400 ")
    await service.stop()


@ensureDeferred
async def test_a_client_that_ends_in_a_request_is_closed() -> None:
    """Before anything, in its headers, in its body: there is nothing to wait for."""
    service = await serve(Hosted(stream=server(answer)))
    upload = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\n"
    for start in (b"", b"GET / HT", upload, upload + b"some"):
        assert await exchange(service.port, start) == b""
    client = await connect(service.port)
    client.write(upload + b"x" * 20)
    await client.until(b"\r\n\r\n20")
    client.transport.loseWriteConnection()  # behind its last answer
    await client.closed
    await service.stop()


@ensureDeferred
async def test_a_client_may_be_given_up_when_it_closes_its_sending_side() -> None:
    service = await serve(Hosted(stream=server(slowly, give_up=True)))
    assert await exchange(service.port, b"GET / HTTP/1.0\r\n\r\n") == b""
    await service.stop()


@ensureDeferred
async def test_a_request_that_comes_just_before_the_stop_is_answered() -> None:
    service = await serve(Hosted(stream=server(slowly)))
    client = await connect(service.port)
    await until(lambda: service.metrics.connections_open == 1, reactor=reactor)
    (gate,) = service.hosted_service.current.gates.open
    gate.dataReceived(b"GET /last HTTP/1.1\r\nHost: x\r\n\r\n")
    stopping = Deferred.fromCoroutine(service.stop())
    assert (await client.closed).endswith(b"/last")
    await stopping


@ensureDeferred
async def test_requests_that_are_sent_ahead_are_bounded() -> None:
    """S8: while one is handled, few of those behind it are read."""
    held = server(lambda _: asyncio.get_running_loop().create_future())
    made: list[Any] = []

    def build() -> asyncio.Protocol:
        made.append(held())
        return made[-1]

    service = await serve(Hosted(stream=build))
    client = await connect(service.port)
    client.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 2000)
    await until(lambda: made and not made[0].transport.is_reading(), reactor=reactor)
    await service.stop(drain=0.1)
    await client.closed


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"GARBAGE\r\n\r\n", "Invalid method encountered: b'GARBAGE'"),
        (b"GET / HTTP/9.9\r\n\r\n", "Bad status line: Invalid HTTP version: b'GET / HTTP/9.9'"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "Received HTTPS traffic on an HTTP port"),
        (b"G" * 5000 + b"\r\n\r\n", "Invalid method encountered: b'" + "G" * 170 + "..."),
    ],
    ids=["garbage", "version", "TLS", "long"],
)
@ensureDeferred
async def test_what_is_not_http_is_told_in_one_line_and_answered(said: bytes, reason: str) -> None:
    lines: list[str] = []
    log = Logger(observer=lambda event: lines.append(formatEvent(event)))
    service = await serve(Hosted(stream=server(answer, log=log)))
    client = await connect(service.port)
    client.write(said)
    received = await client.closed
    await service.stop()
    code = b"505" if b"HTTP/9" in said else b"400"
    assert received.startswith(b"HTTP/1.0 " + code)
    assert lines == [f"a request of 127.0.0.1 is not HTTP: {reason}"]
