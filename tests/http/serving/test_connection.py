"""The server's connections over real sockets, behind the gates of a service."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger, formatEvent

from netserve.http.h1 import Field, Limits, Unsendable, make_field
from netserve.http.serving import IGNORED, Exchange, HttpServerFactory, ServerOptions
from netserve.plugin import Hosted
from netserve.testing.hosting import Client, RunningService, connect, exchange, serve
from netserve.testing.queue import until as until_on

reactor: Any = _reactor
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
LARGE = b"x" * 8_000_000


async def until(condition: Callable[[], Any]) -> None:
    await until_on(condition, reactor=reactor)


class Receiver:
    """Keeps what comes; whatever is not overridden does nothing."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.body = b""
        self.ended = False
        self.gone = ""
        self.trailers: Sequence[Field] = ()
        self.paused = 0
        exchange.receiver = self

    def request_data(self, data: bytes) -> None:
        self.body += data

    def request_end(self, trailers: Sequence[Field]) -> None:
        self.ended, self.trailers = True, trailers

    def request_flush(self) -> None:
        pass

    def client_gone(self, reason: str) -> None:
        self.gone = reason

    def pause_response(self) -> None:
        self.paused += 1

    def resume_response(self) -> None:
        pass


class Echo(Receiver):
    """Responds with the body, once it is complete."""

    def request_end(self, trailers: Sequence[Field]) -> None:
        super().request_end(trailers)
        self.exchange.reply(200, b"OK", (), self.exchange.request.target + b" " + self.body)


class Server:
    """A service that runs a handler; what it logged."""

    service: RunningService
    factory: HttpServerFactory

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    @property
    def port(self) -> int:
        return self.service.port

    @property
    def lines(self) -> list[str]:
        return [formatEvent(event) for event in self.events]


async def start(handler: Callable[[Exchange], Any], **options: Any) -> Server:
    server = Server()
    server.factory = HttpServerFactory(
        handler,
        reactor=reactor,
        log=Logger(observer=server.events.append),
        options=ServerOptions(**options),
    )
    server.service = await serve(Hosted(stream=server.factory))
    return server


def without_port(line: str) -> str:
    """A line of the log without the client's port, which the system chose."""
    return re.sub(r"(127\.0\.0\.1):\d+", r"\1", line)


def hello(exchange: Exchange) -> None:
    exchange.reply(200, b"OK", (), b"hello")


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


@ensureDeferred
async def test_requests_on_one_connection() -> None:
    server = await start(Echo)
    client = await connect(server.port)
    for number in range(3):
        client.write(b"PUT /%d HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nab" % number)
        await deferLater(reactor, 0)
        client.write(b"c")
        await client.until(b"/%d abc" % number)
    assert server.factory.requests == 3
    client.transport.loseConnection()
    await server.service.stop()
    await until(lambda: not server.factory.connections)


@ensureDeferred
async def test_pipelined_requests_are_answered_in_order() -> None:
    """S13: also where the answers are not ready in this order, and over many turns."""
    waiting: list[Exchange] = []

    def handler(exchange: Exchange) -> None:
        waiting.append(exchange)
        reactor.callLater(0, exchange.reply, 200, b"OK", (), exchange.request.target + b";")

    server = await start(handler, turn=2)
    data = b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(200))
    answer = await exchange(server.port, data)
    bodies = [part for part in answer.split(b"\r\n") if part.startswith(b"/")]
    assert b"".join(bodies).replace(b"HTTP/1.1 200 OK", b"") == b"".join(
        b"/%d;" % number for number in range(200)
    )
    await server.service.stop()


@ensureDeferred
async def test_what_a_turn_may_take_is_bounded() -> None:
    """S23: a flood of pipelined requests lets others in between."""
    turns: list[int] = []

    def handler(exchange: Exchange) -> None:
        hello(exchange)
        turns[-1] += 1

    server = await start(handler, turn=8)
    counting = True

    def count() -> None:
        if counting:
            turns.append(0)
            reactor.callLater(0, count)

    count()
    client = await connect(server.port)
    client.write(GET * 1000)
    await until(lambda: client.received.count(b"hello") == 1000)
    counting = False
    assert max(turns) <= 8
    client.transport.loseConnection()
    await server.service.stop()


@ensureDeferred
async def test_pipelined_bytes_are_held_within_bounds() -> None:
    """S8: what is sent ahead stays with the sender."""
    server = await start(Receiver, pipelined=10_000)
    client = await connect(server.port)
    client.write(GET + GET * 200_000)
    await until(lambda: bool(server.factory.connections))
    await deferLater(reactor, 0.3)
    (connection,) = server.factory.connections
    assert connection.machine.buffered < 10_000 + 300_000
    client.transport.abortConnection()
    await server.service.stop()


@pytest.mark.parametrize(
    ("data", "status", "logged"),
    [
        (
            b"GET / HTTP/1.1\r\n\r\n",
            b"400",
            "rejected a request from 127.0.0.1 with 400: missing Host",
        ),
        (b"\x16\x03\x01\x02\x00", b"400", "with 400: not an HTTP request"),
        (b"GET / HTTP/2.0\r\n\r\n", b"505", "with 505: unsupported HTTP version"),
        (b"GET /" + b"x" * 9000, b"414", "with 414: request line too long"),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 9000, b"431", "with 431: field line too long"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\nb\x1b\r\n\r\n", b"400", "bare LF"),
        (GET[:-2] + b"Expect: x\r\n\r\n", b"417", "with 417"),
        (b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na", b"400", "incomplete request"),
    ],
)
@ensureDeferred
async def test_what_breaks_the_protocol_is_answered(
    data: bytes, status: bytes, logged: str
) -> None:
    """S13, S16: the right status, one line in the log, and the end of the connection."""
    server = await start(Receiver)
    answer = await exchange(server.port, data + GET if status != b"400" else data)
    assert answer.startswith(b"HTTP/1.1 " + status + b" ")
    assert answer.count(b"HTTP/1.1") == 1
    assert b"Connection: close\r\n" in answer
    (line,) = server.lines
    assert logged in without_port(line)
    assert line.isprintable()
    await server.service.stop()


@ensureDeferred
async def test_a_large_request_that_is_refused_still_sees_why() -> None:
    """No reset takes the answer away from a client that is still sending."""
    server = await start(lambda it: it.reply(413, b"Content Too Large", (), b"no"), discarded=0)
    head = b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(LARGE)
    client = await connect(server.port)
    client.write(head + LARGE)
    await client.until(b"HTTP/1.1 413 ")
    assert (await client.closed).endswith(b"\r\n\r\nno")
    await server.service.stop()


@ensureDeferred
async def test_an_early_response_keeps_the_connection_where_little_is_left() -> None:
    server = await start(hello)
    client = await connect(server.port)
    client.write(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n")
    await client.until(b"hello")
    client.write(b"x" * 1000 + GET)
    await until(lambda: client.received.count(b"hello") == 2)
    client.transport.loseConnection()
    await server.service.stop()


@ensureDeferred
async def test_a_head_that_drips() -> None:
    """S8, S10: and each byte would keep other timeouts away."""
    server = await start(hello, head_timeout=0.2)
    client = await connect(server.port)
    client.write(b"GET / HTTP/1.1\r\n")
    for _ in range(200):
        if client.closed.called:
            break
        client.write(b"X: y\r\n")
        await deferLater(reactor, 0.02)
    assert (await client.closed).startswith(b"HTTP/1.1 408 ")
    await server.service.stop()


@ensureDeferred
async def test_a_body_that_stops() -> None:
    """S10."""
    receivers: list[Receiver] = []
    server = await start(lambda it: receivers.append(Receiver(it)), body_timeout=0.2)
    client = await connect(server.port)
    client.write(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
    assert (await client.closed).startswith(b"HTTP/1.1 408 ")
    assert receivers[0].body == b"abc"
    assert receivers[0].gone
    await server.service.stop()


@ensureDeferred
async def test_a_body_that_is_paused_is_not_too_slow() -> None:
    receivers: list[Receiver] = []

    def handler(exchange: Exchange) -> None:
        receivers.append(Echo(exchange))
        exchange.pause()

    server = await start(handler, body_timeout=0.1)
    client = await connect(server.port)
    client.write(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
    await deferLater(reactor, 0.4)
    assert receivers[0].body == b""
    receivers[0].exchange.resume()
    await client.until(b"/ abc")
    client.transport.loseConnection()
    await server.service.stop()


@ensureDeferred
async def test_idle_connections_are_closed_quietly() -> None:
    """S10: before the first request, and between two."""
    server = await start(hello, keep_alive=0.2)
    silent, used = await connect(server.port), await connect(server.port)
    used.write(GET)
    assert await silent.closed == b""
    assert await used.closed == OK
    assert not server.lines
    await server.service.stop()


@ensureDeferred
async def test_a_slow_answer_is_not_idle() -> None:
    server = await start(
        lambda it: reactor.callLater(0.5, it.reply, 200, b"OK", (), b"hello") and None,
        keep_alive=0.1, head_timeout=0.1, body_timeout=0.1, send_timeout=0.1,
    )  # fmt: skip
    client = await connect(server.port)
    client.write(GET)
    await client.until(b"hello")
    client.transport.loseConnection()
    await server.service.stop()


@ensureDeferred
async def test_a_client_that_does_not_read() -> None:
    """S9, S10: the sender is paused, and the connection ends in time."""
    receivers: list[Endless] = []

    class Endless(Receiver):
        written = 0

        def resume_response(self) -> None:
            while not self.exchange.is_slow and self.exchange.is_open:
                self.written += 100_000
                self.exchange.write(b"x" * 100_000)

    def handler(exchange: Exchange) -> None:
        receivers.append(Endless(exchange))
        exchange.respond(200, b"OK", ())
        receivers[0].resume_response()

    server = await start(handler, send_timeout=0.3)
    client = await connect(server.port)
    client.transport.pauseProducing()
    client.write(GET)
    await until(lambda: bool(receivers and receivers[0].gone))
    assert receivers[0].paused
    assert receivers[0].written < 20_000_000, "no more than the sockets' buffers hold"
    assert "stopped reading" in receivers[0].gone
    (line,) = server.lines
    assert "disconnected before its response was complete" in line
    client.transport.abortConnection()
    await server.service.stop()


@ensureDeferred
async def test_pipelining_without_reading_is_bounded() -> None:
    """S8: answers that nobody takes stop the requests."""
    served = 0

    def handler(exchange: Exchange) -> None:
        nonlocal served
        served += 1
        exchange.reply(200, b"OK", (), b"x" * 50_000)

    server = await start(handler, send_timeout=0.5)
    client = await connect(server.port)
    client.transport.pauseProducing()
    client.write(GET * 5000)
    await until(lambda: not server.factory.connections)
    assert 0 < served < 1000
    client.transport.abortConnection()
    await server.service.stop()


@ensureDeferred
async def test_a_client_that_goes_away_is_one_line() -> None:
    receivers: list[Receiver] = []
    server = await start(lambda it: receivers.append(Receiver(it)))
    for _ in range(2):
        client = await connect(server.port)
        client.write(GET)
        await until(lambda: bool(receivers))
        client.transport.abortConnection()
        await until(lambda: bool(receivers[0].gone))
        assert not receivers[0].exchange.is_open
        receivers[0].exchange.reply(200, b"OK", (), b"too late")
        receivers.clear()
    assert [event["log_level"].name for event in server.events] == ["info", "info"]
    assert all("127.0.0.1 disconnected before" in without_port(line) for line in server.lines)
    await server.service.stop()


@ensureDeferred
async def test_a_client_that_closes_its_side_is_answered() -> None:
    """As ``nc -N`` does."""
    server = await start(
        lambda it: reactor.callLater(0.05, it.reply, 200, b"OK", (), b"hello") and None
    )
    assert await exchange(server.port, GET + GET) == OK + OK
    await server.service.stop()


@ensureDeferred
async def test_or_it_is_taken_to_be_gone() -> None:
    receivers: list[Receiver] = []
    server = await start(lambda it: receivers.append(Receiver(it)), gives_up=True)
    assert await exchange(server.port, GET) == b""
    assert "closed its sending side" in receivers[0].gone
    await server.service.stop()


@ensureDeferred
async def test_continue() -> None:
    def handler(exchange: Exchange) -> None:
        Echo(exchange)
        assert exchange.request.expects_continue
        exchange.inform(100, b"Continue")

    server = await start(handler)
    client = await connect(server.port)
    client.write(b"PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
    await client.until(b"HTTP/1.1 100 Continue\r\n\r\n")
    client.write(b"ab")
    await client.until(b"/x ab")
    client.transport.loseConnection()
    await server.service.stop()


@ensureDeferred
async def test_early_hints_and_trailers() -> None:
    def handler(exchange: Exchange) -> None:
        exchange.inform(103, b"Early Hints", [make_field(b"Link", b"</a>")])
        exchange.respond(200, b"OK", ())
        exchange.write(b"body")
        exchange.end([make_field(b"X-Sum", b"1")])

    server = await start(handler)
    answer = await exchange(server.port, GET)
    assert answer == (
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nX-Sum: 1\r\n\r\n"
    )
    await server.service.stop()


@ensureDeferred
async def test_a_switch_of_protocols() -> None:
    class Shout(Receiver):
        def request_data(self, data: bytes) -> None:
            self.exchange.write(data.upper())
            self.exchange.flush()

        def request_end(self, trailers: Sequence[Field]) -> None:
            if self.exchange.is_raw:
                self.exchange.write(b"bye")
                self.exchange.end()
            else:
                self.exchange.respond(101, b"Switching", [make_field(b"Upgrade", b"shout")])

    server = await start(Shout)
    client = await connect(server.port)
    client.write(GET[:-2] + b"Connection: upgrade\r\nUpgrade: shout\r\n\r\nhel")
    await client.until(b"\r\n\r\nHEL")
    client.write(b"lo")
    await client.until(b"HELLO")
    client.transport.loseWriteConnection()
    assert (await client.closed).endswith(b"HELLObye")
    await server.service.stop()


@ensureDeferred
async def test_a_tunnel_on_which_nothing_moves() -> None:
    receivers: list[Receiver] = []

    def handler(exchange: Exchange) -> None:
        receivers.append(Receiver(exchange))
        exchange.respond(200, b"OK", ())

    server = await start(handler, tunnel_timeout=0.2, keep_alive=0.2)
    client = await connect(server.port)
    client.write(b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n")
    await client.closed
    assert "no data" in receivers[0].gone
    await server.service.stop()


@ensureDeferred
async def test_a_bug_in_the_handler_is_500() -> None:
    def handler(exchange: Exchange) -> None:
        raise RuntimeError("a bug, with a secret")

    server = await start(handler)
    answer = await exchange(server.port, GET)
    assert answer.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
    assert b"secret" not in answer
    (event,) = server.events
    assert event["log_failure"].check(RuntimeError)
    await server.service.stop()


@ensureDeferred
async def test_a_bug_after_the_head_breaks_the_response_off() -> None:
    def handler(exchange: Exchange) -> None:
        exchange.respond(200, b"OK", ())
        exchange.flush()
        raise RuntimeError("a bug")

    server = await start(handler)
    client = await connect(server.port)
    client.write(GET)
    assert b"0\r\n\r\n" not in await client.closed
    await server.service.stop()


@ensureDeferred
async def test_a_response_that_cannot_be_sent_leaves_room_for_another() -> None:
    def handler(exchange: Exchange) -> None:
        with pytest.raises(Unsendable):
            exchange.respond(200, b"O\nK", ())
        exchange.reply(502, b"Bad Gateway", (), b"")

    server = await start(handler)
    assert (await exchange(server.port, GET)).startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
    await server.service.stop()


@ensureDeferred
async def test_a_response_that_is_too_short_is_broken_off() -> None:
    def handler(exchange: Exchange) -> None:
        exchange.respond(200, b"OK", [make_field(b"Content-Length", b"10")])
        exchange.write(b"abc")
        with pytest.raises(Unsendable):
            exchange.end()

    server = await start(handler)
    client = await connect(server.port)
    client.write(GET + GET)
    assert (await client.closed).count(b"HTTP/1.1") <= 1
    await server.service.stop()


@ensureDeferred
async def test_a_drain_lets_the_request_in_flight_finish() -> None:
    exchanges: list[Exchange] = []
    server = await start(exchanges.append)
    idle, busy = await connect(server.port), await connect(server.port)
    busy.write(GET)
    await until(lambda: bool(exchanges))
    stopping = Deferred.fromCoroutine(server.service.stop(drain=5.0))
    assert await idle.closed == b""
    exchanges[0].reply(200, b"OK", (), b"hello")
    answer = await busy.closed
    assert b"Connection: close\r\n" in answer
    assert answer.endswith(b"hello")
    await stopping


@ensureDeferred
async def test_large_bodies_are_streamed_both_ways() -> None:
    class Back(Receiver):
        """Writes what comes, and pauses it as the client takes it."""

        def __init__(self, exchange: Exchange) -> None:
            super().__init__(exchange)
            exchange.respond(200, b"OK", ())

        def request_data(self, data: bytes) -> None:
            self.exchange.write(data)

        def request_flush(self) -> None:
            self.exchange.flush()

        def request_end(self, trailers: Sequence[Field]) -> None:
            self.exchange.end()

        def pause_response(self) -> None:
            self.exchange.pause()

        def resume_response(self) -> None:
            self.exchange.resume()

    server = await start(Back)
    client: Client = await connect(server.port)
    client.write(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(LARGE) + LARGE)
    await client.until(b"\r\n0\r\n\r\n")
    assert client.received.count(b"x") >= len(LARGE)
    client.transport.loseConnection()
    await server.service.stop()


@ensureDeferred
async def test_limits_are_the_servers() -> None:
    """S8."""
    server = await start(Receiver, limits=Limits(body=5))
    answer = await exchange(server.port, GET[:-2] + b"Content-Length: 6\r\n\r\nabcdef")
    assert answer.startswith(b"HTTP/1.1 413 ")
    await server.service.stop()


def test_a_receiver_that_wants_nothing() -> None:
    IGNORED.request_data(b"x")
    IGNORED.request_end(())
    IGNORED.request_flush()
    IGNORED.client_gone("x")
    IGNORED.pause_response()
    IGNORED.resume_response()
