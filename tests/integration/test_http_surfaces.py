"""Everything that speaks HTTP answers odd requests in the same way, seen from a socket.

The surfaces are the bridge, the status port, the control socket, and the way in for mail. Each
request here gets one answer with its status, and one line in the log; then the connection ends, and
the next client is served.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from twisted.internet.defer import Deferred
from twisted.logger import Logger, LogLevel, formatEvent, globalLogPublisher

from netserve.config.listen import Listen
from netserve.metrics import ProcessMetrics
from netserve.ops.control import ControlSocket
from netserve.ops.status import status_service
from netserve.protocols.http_bridge import plugin as http_bridge
from netserve.testing.hosting import FREE_PORT, serve
from netserve.testing.mail import relay
from netserve.testing.turns import share_of_turns
from netserve.testing.upstream import in_asyncio, upstream

TOKEN = "0123456789abcdef"


@dataclass
class Surface:
    """Something that speaks HTTP.

    Arguments:
        connect: opens a connection.
        good: a request that it answers, and the status of that.
        gives_json: whether its refusals are JSON.
        reached: what has got past it.
    """

    connect: Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]
    good: tuple[bytes, int]
    gives_json: bool = False
    reached: list[Any] = field(default_factory=list)
    events: list[Any] = field(default_factory=list)

    @property
    def lines(self) -> list[str]:
        """What it has logged at `info` and above."""
        return [formatEvent(event) for event in self.events if event["log_level"] >= LogLevel.info]

    async def ask(self, data: bytes) -> bytes:
        """Send, and read to the end."""
        reader, writer = await self.connect()
        writer.write(data)
        reply = await reader.read()
        writer.close()
        return reply


async def awaited(deferred: Any) -> Any:
    """The result of something of Twisted's, in a coroutine of asyncio."""
    return await Deferred.fromCoroutine(deferred).asFuture(asyncio.get_running_loop())


def over_tcp(port: int) -> Callable[[], Any]:
    return lambda: asyncio.open_connection("127.0.0.1", port)


@asynccontextmanager
async def bridge(folder: Path) -> AsyncIterator[Surface]:
    reached = []

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        reached.append(request.path)
        return web.Response()

    async with upstream(answer) as url:
        service = await awaited(
            serve(
                http_bridge,
                framing="http",
                request={"url": f"{url}{{target}}"},
                allow_upstreams="127.0.0.1",
            )
        )
        try:
            yield Surface(over_tcp(service.port), (b"GET / HTTP/1.1\r\n", 200), reached=reached)
        finally:
            await awaited(service.stop())


@asynccontextmanager
async def status(folder: Path) -> AsyncIterator[Surface]:
    _, hosted = status_service(Listen(FREE_PORT), {}, ProcessMetrics(), share_of_turns())
    service = await awaited(serve(hosted))
    try:
        yield Surface(over_tcp(service.port), (b"GET /healthz HTTP/1.1\r\n", 200))
    finally:
        await awaited(service.stop())


@asynccontextmanager
async def control(folder: Path) -> AsyncIterator[Surface]:
    path = folder / "control"
    made = ControlSocket(path, turns=share_of_turns(), log=Logger(namespace="netserve.control"))

    async def hello(request: web.BaseRequest) -> web.StreamResponse:
        return web.json_response({})

    made.route("GET", "/", hello)
    await made.start().asFuture(asyncio.get_running_loop())
    good = b"GET / HTTP/1.1\r\n", 200
    try:
        yield Surface(lambda: asyncio.open_unix_connection(path), good, gives_json=True)
    finally:
        await made.stop().asFuture(asyncio.get_running_loop())


@asynccontextmanager
async def mail(folder: Path) -> AsyncIterator[Surface]:
    http = {"listen": FREE_PORT, "tokens": {"shop": TOKEN}}
    running = relay(folder, http=http)
    service = await awaited(running.__aenter__())
    good = f"POST /messages HTTP/1.1\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 0\r\n"
    try:
        port = service.addresses[1].port
        yield Surface(over_tcp(port), (good.encode(), 415), gives_json=True)
    finally:
        await awaited(running.__aexit__(None, None, None))


SURFACES = [bridge, status, control, mail]
HOST = b"Host: 127.0.0.1\r\n"
LENGTH, CHUNKED = b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n"

ODD: dict[str, tuple[bytes, set[int]]] = {
    "HTTP/0.9": (b"GET / HTTP/0.9\r\n" + HOST, {505}),
    "HTTP/2.0": (b"GET / HTTP/2.0\r\n" + HOST, {505}),
    "HTTP/9.9": (b"GET / HTTP/9.9\r\n" + HOST, {505}),
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n", {400, 505}),
    "no version": (b"GET /\r\n", {400, 505}),
    "a version of three": (b"GET / HTTP/1.1.1\r\n" + HOST, {400, 505}),
    "host with a path": (b"GET / HTTP/1.1\r\nHost: a/b\r\n", {400}),
    "host with a user": (b"GET / HTTP/1.1\r\nHost: a@b\r\n", {400}),
    "empty host": (b"GET / HTTP/1.1\r\nHost:\r\n", {400}),
    "blank host": (b"GET / HTTP/1.1\r\nHost:   \r\n", {400}),
    "host with a blank": (b"GET / HTTP/1.1\r\nHost: a b\r\n", {400}),
    "host of two": (b"GET / HTTP/1.1\r\nHost: a, b\r\n", {400}),
    "host with a query": (b"GET / HTTP/1.1\r\nHost: a?b\r\n", {400}),
    "host with a wrong port": (b"GET / HTTP/1.1\r\nHost: a:b\r\n", {400}),
    "host with half a bracket": (b"GET / HTTP/1.1\r\nHost: [::1\r\n", {400}),
    "host in Latin-1": (b"GET / HTTP/1.1\r\nHost: b\xfccher\r\n", {400}),
    "host with a large port": (b"GET / HTTP/1.1\r\nHost: a:65536\r\n", {400}),
    "host with a long port": (b"GET / HTTP/1.1\r\nHost: a:000080\r\n", {400}),
    "host with a coded slash": (b"GET / HTTP/1.1\r\nHost: a%2fb\r\n", {400}),
    "host with a coded NUL": (b"GET / HTTP/1.1\r\nHost: a%00\r\n", {400}),
    "host with no address in brackets": (b"GET / HTTP/1.1\r\nHost: [1:2]\r\n", {400}),
    "host with IPv4 in brackets": (b"GET / HTTP/1.1\r\nHost: [127.0.0.1]\r\n", {400}),
    "no host": (b"GET / HTTP/1.1\r\n", {400}),
    "two hosts": (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n", {400}),
    "header in Latin-1": (b"GET / HTTP/1.1\r\n" + HOST + b"X-Role: us\xffer\r\n", {400}),
    "name in Latin-1": (b"GET / HTTP/1.1\r\n" + HOST + b"X-R\xf6le: user\r\n", {400}),
    "broken UTF-8": (b"GET / HTTP/1.1\r\n" + HOST + b"X: \xc3(\r\n", {400}),
    "surrogate in UTF-8": (b"GET / HTTP/1.1\r\n" + HOST + b"X: \xed\xb3\xbf\r\n", {400}),
    "length and chunks": (b"POST /messages HTTP/1.1\r\n" + HOST + LENGTH + CHUNKED, {400}),
    "chunks and length": (b"POST /messages HTTP/1.1\r\n" + HOST + CHUNKED + LENGTH, {400}),
    "two lengths": (b"POST /messages HTTP/1.1\r\n" + HOST + LENGTH + LENGTH, {400}),
    "a length of two": (b"POST /messages HTTP/1.1\r\n" + HOST + b"Content-Length: 3, 3\r\n", {400}),
    "two codings": (b"POST /messages HTTP/1.1\r\n" + HOST + CHUNKED + CHUNKED, {400}),
    "chunks in HTTP/1.0": (b"POST /messages HTTP/1.0\r\n" + HOST + CHUNKED, {400}),
    "folded header": (b"GET / HTTP/1.1\r\n" + HOST + b"X: a\r\n b\r\n", {400}),
    "blank before the colon": (b"GET / HTTP/1.1\r\nHost : a\r\n", {400}),
    "NUL": (b"GET / HTTP/1.1\r\n" + HOST + b"X: a\0b\r\n", {400}),
    "bare CR": (b"GET / HTTP/1.1\r\n" + HOST + b"X: a\rb\r\n", {400}),
    "a long header": (b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"x" * 300_000 + b"\r\n", {400, 431}),
    "many headers": (b"GET / HTTP/1.1\r\n" + HOST + b"X: y\r\n" * 20_000, {400, 431}),
    "a long target": (b"GET /" + b"x" * 300_000 + b" HTTP/1.1\r\n" + HOST, {400, 414, 431}),
    "a long method": (b"G" * 300_000 + b" / HTTP/1.1\r\n" + HOST, {400, 431, 501}),
    "no HTTP": (b"EHLO me\r\n", {400}),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100), {400}),
    "zeros": (bytes(1000), {400}),
}  # fmt: skip


def statuses(reply: bytes) -> list[int]:
    return [int(found) for found in re.findall(rb"^HTTP/1\.[01] (\d{3}) ", reply, re.MULTILINE)]


@asynccontextmanager
async def watched(surface: Callable[..., Any], folder: Path) -> AsyncIterator[Surface]:
    """A surface, with its log."""
    async with surface(folder) as running:
        globalLogPublisher.addObserver(running.events.append)
        try:
            yield running
        finally:
            globalLogPublisher.removeObserver(running.events.append)


@pytest.mark.parametrize("surface", SURFACES, ids=lambda surface: surface.__name__)
@in_asyncio
async def test_odd_requests(surface: Callable[..., Any], tmp_path: Path) -> None:
    """S13, S27: one answer, one line of log, no traceback; and nothing got through."""
    async with watched(surface, tmp_path) as running:
        for name, (head, expected) in ODD.items():
            running.events.clear()
            reply = await running.ask(head + b"\r\n")
            found = statuses(reply)
            assert len(found) == 1, (name, reply[:300])
            assert found[0] in expected, (name, reply[:300])
            assert len(running.lines) == 1, (name, running.lines)
            assert "\n" not in running.lines[0]
            assert not any("log_failure" in event for event in running.events), name
            assert b"aiohttp" not in reply
            body = reply.partition(b"\r\n\r\n")[2]
            assert body, name
            if running.gives_json:
                assert set(json.loads(body)) == {"error"}, name
        assert running.reached == []
        request, wanted = running.good
        good = await running.ask(request + HOST + b"Connection: close\r\n\r\n")
        assert statuses(good) == [wanted], good


@pytest.mark.parametrize("surface", SURFACES, ids=lambda surface: surface.__name__)
@in_asyncio
async def test_what_follows_an_odd_request_is_not_looked_at(
    surface: Callable[..., Any], tmp_path: Path
) -> None:
    """S13: nothing behind it is taken for a request."""
    async with watched(surface, tmp_path) as running:
        request, _ = running.good
        smuggled = request + HOST + b"\r\n"
        for name in ("two hosts", "length and chunks", "header in Latin-1", "HTTP/2.0", "NUL"):
            reply = await running.ask(ODD[name][0] + b"\r\n" + smuggled)
            assert len(statuses(reply)) == 1, (name, reply)
        assert running.reached == []


@pytest.mark.parametrize("surface", SURFACES, ids=lambda surface: surface.__name__)
@in_asyncio
async def test_a_later_minor_version_is_as_ours_or_refused(
    surface: Callable[..., Any], tmp_path: Path
) -> None:
    """RFC 9110, 2.5 and 6.2: HTTP/1.2 may be spoken as 1.1."""
    async with watched(surface, tmp_path) as running:
        request, wanted = running.good
        request = request.replace(b"HTTP/1.1", b"HTTP/1.2")
        found = statuses(await running.ask(request + HOST + b"Connection: close\r\n\r\n"))
        assert found in ([wanted], [505])


@pytest.mark.parametrize("surface", SURFACES, ids=lambda surface: surface.__name__)
@in_asyncio
async def test_http_1_0_needs_no_host(surface: Callable[..., Any], tmp_path: Path) -> None:
    async with watched(surface, tmp_path) as running:
        request, wanted = running.good
        request = request.replace(b"HTTP/1.1", b"HTTP/1.0")
        assert statuses(await running.ask(request + b"\r\n")) == [wanted]


BAD_BODIES: dict[str, bytes] = {
    "gzip that is none": b"Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\nabcde",
    "deflate that is none": b"Content-Encoding: deflate\r\nContent-Length: 5\r\n\r\nabcde",
    "a coding that is not installed": b"Content-Encoding: br\r\nContent-Length: 5\r\n\r\nabcde",
    "an unknown coding": b"Content-Encoding: x\r\nContent-Length: 5\r\n\r\nabcde",
    "a chunk that is none": CHUNKED + b"\r\n3\r\nabc\r\nzz\r\n",
    "a chunk with a sign": CHUNKED + b"\r\n3\r\nabc\r\n-1\r\n",
    "a chunk with a longer end": CHUNKED + b"\r\n3\r\nabcd\r\n0\r\n\r\n",
    "a trailer that is none": CHUNKED + b"\r\n0\r\nnonsense\r\n\r\n",
}


@pytest.mark.parametrize("surface", SURFACES, ids=lambda surface: surface.__name__)
@pytest.mark.parametrize("late", [False, True])
@in_asyncio
async def test_bodies_that_are_malformed(
    surface: Callable[..., Any], late: bool, tmp_path: Path
) -> None:
    """S13: also those that come after the answer was sent: no traceback, and the next is served."""
    async with watched(surface, tmp_path) as running:
        for name, body in BAD_BODIES.items():
            running.events.clear()
            reader, writer = await running.connect()
            head, _, rest = (b"POST /messages HTTP/1.1\r\n" + HOST + body).partition(b"\r\n\r\n")
            writer.write(head + b"\r\n\r\n")
            if late:
                await writer.drain()
                await asyncio.sleep(0.05)
            writer.write(rest)
            if writer.can_write_eof():
                writer.write_eof()
            async with asyncio.timeout(5):
                with contextlib.suppress(ConnectionResetError):
                    reply = await reader.read()
                    assert len(statuses(reply)) <= 1, (name, reply)
            writer.close()
            assert not any("log_failure" in event for event in running.events), name
            assert len(running.lines) <= 2, (name, running.lines)
        request, wanted = running.good
        good = await running.ask(request + HOST + b"Connection: close\r\n\r\n")
        assert statuses(good) == [wanted], good


@pytest.mark.parametrize("surface", SURFACES, ids=lambda surface: surface.__name__)
@pytest.mark.parametrize(
    "request_bytes",
    [
        b"POST /nowhere HTTP/1.1\r\n" + HOST + b"Content-Length: 50\r\n\r\nabc",
        b"POST /messages HTTP/1.1\r\n" + HOST + CHUNKED + b"\r\n3\r\nabc\r\n",
        b"GET /healthz HTTP/1.1\r\n" + HOST + b"Content-Length: 50\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\n" + HOST,
        b"GET /",
    ],
    ids=repr,
)
@in_asyncio
async def test_a_client_that_ends_within_a_request_is_let_go(
    surface: Callable[..., Any], request_bytes: bytes, tmp_path: Path
) -> None:
    """Also where the answer did not need the body."""
    async with watched(surface, tmp_path) as running:
        reader, writer = await running.connect()
        writer.write(request_bytes)
        writer.write_eof()
        async with asyncio.timeout(3):
            await reader.read()
        writer.close()


@pytest.mark.parametrize("surface", SURFACES, ids=lambda surface: surface.__name__)
@in_asyncio
async def test_a_client_that_resets_within_a_body_that_nobody_needs(
    surface: Callable[..., Any], tmp_path: Path
) -> None:
    """S16: no traceback, wherever in the body it leaves."""
    async with watched(surface, tmp_path) as running:
        for more in (b"", b"3\r\nabc\r\n", b"3\r\na"):
            _, writer = await running.connect()
            writer.write(b"POST /nowhere HTTP/1.1\r\n" + HOST + CHUNKED + b"\r\n3\r\nabc\r\n")
            await writer.drain()
            await asyncio.sleep(0.05)
            writer.write(more)
            writer.transport.abort()
        request, wanted = running.good
        good = await running.ask(request + HOST + b"Connection: close\r\n\r\n")
        assert statuses(good) == [wanted], good
        assert not any("log_failure" in event for event in running.events)


@pytest.mark.parametrize(
    "host", [b"localhost:", b"localhost:65535", b"[::1]", b"[::1]:80", b"my_host-1.x.", b"10.0.0.1"]
)
@in_asyncio
async def test_hosts_of_every_kind(host: bytes, tmp_path: Path) -> None:
    """RFC 3986, 3.2.2 and 3.2.3."""
    async with watched(bridge, tmp_path) as running:
        reply = await running.ask(b"GET / HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n\r\n" % host)
        assert statuses(reply) == [200]


@pytest.mark.parametrize(
    ("host", "code"),
    [
        (b"localhost", 200), (b"LOCALHOST:7000", 200), (b"localhost.", 200), (b"x.localhost", 200),
        (b"127.0.0.1:7000", 200), (b"[::1]:7000", 200), (b"192.0.2.1", 200),
        (b"evil.example", 421), (b"evil.example:7000", 421), (b"127.0.0.1.evil.example", 421),
        (b"localhost.evil.example", 421), (b"notlocalhost", 421), (b"2130706433", 421),
    ],
)  # fmt: skip
@in_asyncio
async def test_the_status_port_answers_for_this_machine_only(
    host: bytes, code: int, tmp_path: Path
) -> None:
    """A page whose name was made to point here (DNS rebinding) reads nothing."""
    async with watched(status, tmp_path) as running:
        for path in (b"/", b"/metrics", b"/healthz", b"/readyz"):
            reply = await running.ask(
                b"GET %b HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n\r\n" % (path, host)
            )
            assert statuses(reply) == [code]
            assert code == 200 or b"netserve_" not in reply


@pytest.mark.parametrize(
    ("method", "path", "body", "code"),
    [
        ("POST", "/queue/drop", b"{", 400),
        ("POST", "/queue/drop", b"[" * 100_000, 400),
        ("POST", "/queue/drop", b'{"a":' * 50_000, 400),
        ("POST", "/queue/drop", b"\xff", 400),
        ("POST", "/queue/drop", b"[]", 400),
        ("POST", "/queue/drop", b'{"older": ' + b"9" * 10_000 + b"}", 400),
        ("POST", "/queue/drop", b'{"older": NaN}', 400),
        ("POST", "/queue/drop", b'{"older": {}}', 400),
        ("POST", "/queue/drop", b'{"ids": 5}', 400),
        ("POST", "/queue/drop", b'{"ids": [[1]]}', 400),
        ("POST", "/queue/drop", b'{"state": []}', 400),
        ("POST", "/queue/drop", b'{"color": "red"}', 400),
        ("POST", "/queue/drop", b"x" * 2_000_000, 413),
        ("POST", "/send", b"{}", 400),
        ("POST", "/send", b'{"message": 1}', 400),
        ("POST", "/send", b'{"service": [], "message": {}}', 400),
        ("POST", "/send", b'{"message": {"to": [[["x"]]]}}', 400),
        ("GET", "/queue?limit=x", b"", 400),
        ("GET", "/queue?limit=" + "9" * 5000, b"", 400),
        ("GET", "/queue?older=nan", b"", 400),
        ("GET", "/queue/%ff/why", b"", 404),
        ("GET", "/nowhere", b"", 404),
        ("DELETE", "/queue", b"", 405),
    ],
    ids=lambda value: repr(value)[:40],
)
@in_asyncio
async def test_requests_of_the_control_socket_that_make_no_sense(
    method: str, path: str, body: bytes, code: int, tmp_path: Path
) -> None:
    """400 and one line of log, and not a traceback."""
    async with relay_with_control(tmp_path) as running:
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        reply = await running.ask(head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        assert statuses(reply) == [code], reply
        assert set(json.loads(reply.partition(b"\r\n\r\n")[2])) == {"error"}
        lines = [line for line in running.lines if "listening" not in line]
        assert len(lines) == 1, lines
        assert not any("log_failure" in event for event in running.events)


@asynccontextmanager
async def relay_with_control(folder: Path) -> AsyncIterator[Surface]:
    """A control socket with the verbs of a queue."""
    running = relay(folder)
    service = await awaited(running.__aenter__())
    made = ControlSocket(
        folder / "control", turns=share_of_turns(), log=Logger(namespace="netserve.control")
    )
    made.add_queue(service.outbox)
    await made.start().asFuture(asyncio.get_running_loop())
    surface = Surface(lambda: asyncio.open_unix_connection(folder / "control"), (b"", 0))
    globalLogPublisher.addObserver(surface.events.append)
    try:
        yield surface
    finally:
        globalLogPublisher.removeObserver(surface.events.append)
        await made.stop().asFuture(asyncio.get_running_loop())
        await awaited(running.__aexit__(None, None, None))
