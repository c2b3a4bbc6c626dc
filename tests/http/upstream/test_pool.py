"""The pool over real sockets: kept connections, limits, retries, broken upstreams, time."""

from __future__ import annotations

import socket
import threading
import time
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.task import deferLater

from netserve.http import HttpError
from netserve.http import errors as wrong
from netserve.http.h1 import Limits, make_field
from netserve.http.upstream import CannotSend, PoolBusy, PoolClosed
from tests.http.upstream.peers import OK, PoolOfTest, ScriptedUpstream, Talk, reactor, until

SIZED = (make_field(b"Content-Length", b"4"),)


@ensureDeferred
async def test_a_connection_is_kept_and_used_again() -> None:
    upstream, pool = ScriptedUpstream(), PoolOfTest()
    to = pool.to(upstream.port)
    for _ in range(3):
        answer = await pool.ask(to).done
        assert (answer.head.status, answer.body) == (200, b"ok")
    assert upstream.requests == 3
    assert len(upstream.talks) == 1
    assert pool.pool.idle == pool.pool.connections == 1
    assert upstream.talks[0].said == b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 3
    await pool.stop()
    await upstream.stop()


@ensureDeferred
async def test_equal_origins_share_connections() -> None:
    upstream, pool = ScriptedUpstream(), PoolOfTest()
    for _ in range(2):
        await pool.ask(pool.to(upstream.port)).done
    assert len(upstream.talks) == 1
    await pool.stop()
    await upstream.stop()


@ensureDeferred
async def test_a_share_that_was_forgotten_goes_by_the_one_that_counts() -> None:
    upstream, pool = ScriptedUpstream(), PoolOfTest(keep_alive=0.1)
    first = pool.to(upstream.port)
    await pool.ask(first).done
    await until(lambda: pool.pool.connections == 0)
    second = pool.to(upstream.port)
    await pool.ask(second).done
    await pool.ask(first).done
    assert len(upstream.talks) == 2
    await pool.stop()
    await upstream.stop()


@ensureDeferred
async def test_no_request_goes_before_the_response_to_the_one_before() -> None:
    """Pipelining is off."""
    upstream = ScriptedUpstream(lambda talk: reactor.callLater(0.02, talk.transport.write, OK))
    pool = PoolOfTest(connections_per_origin=2)
    to = pool.to(upstream.port)
    waiting = [pool.ask(to) for _ in range(6)]
    await until(lambda: upstream.requests == 2)
    assert pool.pool.waiting == 4
    for each in waiting:
        await each.done
    assert len(upstream.talks) == 2
    assert upstream.requests == 6
    await pool.stop()
    await upstream.stop()


@ensureDeferred
async def test_the_limit_in_all() -> None:
    """A free connection to one origin makes way for another origin."""
    one, other = ScriptedUpstream(), ScriptedUpstream()
    pool = PoolOfTest(connections=1)
    await pool.ask(pool.to(one.port)).done
    await pool.ask(pool.to(other.port)).done
    assert pool.pool.connections == 1
    await until(lambda: one.open == 0)
    first, second = pool.ask(pool.to(other.port)), pool.ask(pool.to(one.port))
    await first.done
    await second.done
    await pool.stop()
    await one.stop()
    await other.stop()


@ensureDeferred
async def test_too_many_requests_wait() -> None:
    """S8."""
    upstream = ScriptedUpstream(lambda _: None)
    pool = PoolOfTest(connections=1, waiting=2)
    to = pool.to(upstream.port)
    under_way = pool.ask(to)
    await until(lambda: upstream.requests == 1)
    waiting = [pool.ask(to) for _ in range(2)]
    with pytest.raises(PoolBusy, match="too many"):
        await pool.ask(to).done
    waiting[0].outgoing.cancel()
    assert pool.pool.waiting == 1
    upstream.talks[0].transport.write(OK)
    await under_way.done
    await until(lambda: upstream.requests == 2)
    upstream.talks[0].transport.write(OK)
    await waiting[1].done
    await pool.stop()
    await upstream.stop()


@ensureDeferred
async def test_a_request_waits_within_its_time() -> None:
    """S10."""
    upstream = ScriptedUpstream(lambda _: None)
    pool = PoolOfTest(connections=1, wait_timeout=0.1, connect_timeout=0.1)
    to = pool.to(upstream.port)
    under_way = pool.ask(to)
    await until(lambda: upstream.requests == 1)
    with pytest.raises(PoolBusy, match="in time"):
        await pool.ask(to).done
    under_way.outgoing.cancel()
    await pool.stop()
    await upstream.stop()


@ensureDeferred
async def test_an_idle_connection_is_closed_in_time() -> None:
    upstream, pool = ScriptedUpstream(), PoolOfTest(keep_alive=0.1)
    await pool.ask(pool.to(upstream.port)).done
    await until(lambda: upstream.open == 0 and pool.pool.connections == 0)
    await pool.stop()
    await upstream.stop()


@pytest.mark.parametrize("told", [b"timeout=1", b"timeout=1, max=100", b"max=5, Timeout=0"])
@ensureDeferred
async def test_the_upstreams_keep_alive_counts_where_it_is_shorter(told: bytes) -> None:
    answer = b"HTTP/1.1 200 OK\r\nKeep-Alive: " + told + b"\r\nContent-Length: 2\r\n\r\nok"
    upstream, pool = ScriptedUpstream(answer), PoolOfTest(wait_timeout=0.2)
    await pool.ask(pool.to(upstream.port)).done
    await until(lambda: upstream.open == 0)
    await pool.stop()
    await upstream.stop()


@ensureDeferred
async def test_excess_bytes_spoil_only_the_connection() -> None:
    upstream, pool = ScriptedUpstream(OK + b"excess"), PoolOfTest()
    for _ in range(2):
        assert (await pool.ask(pool.to(upstream.port)).done).body == b"ok"
    assert len(upstream.talks) == 2
    await pool.stop()
    await upstream.stop()


@ensureDeferred
async def test_bytes_between_responses_spoil_it_too() -> None:
    upstream, pool = ScriptedUpstream(), PoolOfTest()
    await pool.ask(pool.to(upstream.port)).done
    upstream.talks[0].transport.write(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
    await until(lambda: pool.pool.connections == 0)
    await pool.ask(pool.to(upstream.port)).done
    assert len(upstream.talks) == 2
    await pool.stop()
    await upstream.stop()


@ensureDeferred
async def test_a_body_that_ends_with_the_connection() -> None:
    def answer(talk: Talk) -> None:
        talk.transport.write(b"HTTP/1.1 200 OK\r\n\r\nall of it")
        reactor.callLater(0.02, talk.transport.loseConnection)

    upstream, pool = ScriptedUpstream(answer), PoolOfTest()
    assert (await pool.ask(pool.to(upstream.port)).done).body == b"all of it"
    await pool.stop()
    await upstream.stop()


@pytest.mark.parametrize("size", [10, 100, 1_000_000])
@ensureDeferred
async def test_it_is_taken_to_its_end_by_one_who_pauses(size: int) -> None:
    """The connection is gone by then."""

    def answer(talk: Talk) -> None:
        pieces = b"".join(b"1\r\nx\r\n" * 10 for _ in range(size // 10))
        talk.transport.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n")
        if size == 100:
            talk.transport.write(b"Transfer-Encoding: chunked\r\n\r\n" + pieces + b"0\r\n\r\n")
        else:
            talk.transport.write(b"\r\n" + b"x" * size)
        talk.transport.loseConnection()

    upstream, pool = ScriptedUpstream(answer), PoolOfTest(turn=2)
    asked = pool.ask(pool.to(upstream.port))
    taken = asked.response_data

    def pause(data: bytes) -> None:
        taken(data)
        asked.outgoing.pause()
        reactor.callLater(0.02, asked.outgoing.resume)

    asked.response_data = pause
    assert (await asked.done).body == b"x" * size
    await pool.stop()
    await upstream.stop()


@ensureDeferred
async def test_a_reset_is_no_end_of_a_body() -> None:
    def answer(talk: Talk) -> None:
        talk.transport.write(b"HTTP/1.1 200 OK\r\n\r\nhalf of it")
        reactor.callLater(0.05, talk.transport.abortConnection)

    upstream, pool = ScriptedUpstream(answer), PoolOfTest()
    with pytest.raises(wrong.Reset):
        await pool.ask(pool.to(upstream.port)).done
    await pool.stop()
    await upstream.stop()


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (b"", wrong.Reset),
        (b"HTTP/1.1 200 OK\r\n", wrong.Reset),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", wrong.Reset),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", wrong.Reset),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", wrong.BadAnswer),
        (b"220 mx.example ESMTP\r\n", wrong.BadAnswer),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", wrong.BadAnswer),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n", wrong.TooLarge),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 9000, wrong.TooLarge),
        (b"HTTP/1.1 101 x\r\n\r\n", wrong.BadAnswer),
    ],
)
@ensureDeferred
async def test_broken_responses(said: bytes, error: type[HttpError]) -> None:
    def answer(talk: Talk) -> None:
        talk.transport.write(said)
        talk.transport.loseConnection()

    upstream, pool = ScriptedUpstream(answer), PoolOfTest(limits=Limits(body=100))
    with pytest.raises(error) as caught:
        await pool.ask(pool.to(upstream.port)).done
    assert f"127.0.0.1:{upstream.port}" in str(caught.value)
    await pool.stop()
    await upstream.stop()


@pytest.mark.parametrize("at", range(0, len(OK), 3))
@ensureDeferred
async def test_an_upstream_that_resets_at_each_byte(at: int) -> None:
    def answer(talk: Talk) -> None:
        talk.transport.write(OK[:at])
        reactor.callLater(0.01, talk.transport.abortConnection)

    upstream, pool = ScriptedUpstream(answer), PoolOfTest()
    with pytest.raises(wrong.Reset):
        await pool.ask(pool.to(upstream.port)).done
    await pool.stop()
    await upstream.stop()


@ensureDeferred
async def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    pool = PoolOfTest()
    with pytest.raises(wrong.Refused):
        await pool.ask(pool.to(port)).done
    await pool.stop()


# Requests that an upstream never saw.


def closing_once(answer: bytes = OK) -> Any:
    """Answers one request on each connection, and closes it when the next one comes."""

    def say(talk: Talk) -> None:
        if talk.heads == 1:
            talk.transport.write(answer)
        else:
            talk.transport.abortConnection()

    return say


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"PUT", b"DELETE", b"OPTIONS"])
@ensureDeferred
async def test_an_idempotent_request_is_sent_once_more(method: bytes) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    upstream, pool = ScriptedUpstream(closing_once(answer)), PoolOfTest()
    to = pool.to(upstream.port)
    await pool.ask(to, method=method).done
    await pool.ask(to, method=method).done
    assert len(upstream.talks) == 2
    await pool.stop()
    await upstream.stop()


@ensureDeferred
async def test_with_its_body_where_that_is_small() -> None:
    upstream, pool = ScriptedUpstream(closing_once()), PoolOfTest(replayed=10)
    to = pool.to(upstream.port)
    await pool.ask(to).done
    asked = pool.ask(to, method=b"PUT", more=SIZED, body=None)
    asked.outgoing.write(b"ab")
    asked.outgoing.write(b"cd")
    asked.outgoing.end()
    await asked.done
    assert upstream.talks[1].said.endswith(b"\r\n\r\nabcd")
    large = pool.ask(to, method=b"PUT", more=[make_field(b"Content-Length", b"11")], body=None)
    large.outgoing.write(b"a" * 11)
    large.outgoing.end()
    with pytest.raises(wrong.Reset):
        await large.done
    await pool.stop()
    await upstream.stop()


@ensureDeferred
async def test_not_on_a_new_connection() -> None:
    upstream, pool = ScriptedUpstream(lambda talk: talk.transport.abortConnection()), PoolOfTest()
    with pytest.raises(wrong.Reset):
        await pool.ask(pool.to(upstream.port)).done
    assert len(upstream.talks) == 1
    await pool.stop()
    await upstream.stop()


@ensureDeferred
async def test_not_for_ever() -> None:
    """An upstream that closes every kept connection gets a request `tries` times."""
    upstream, pool = ScriptedUpstream(closing_once()), PoolOfTest(tries=1)
    to = pool.to(upstream.port)
    await pool.ask(to).done
    with pytest.raises(wrong.Reset):
        await pool.ask(to).done
    await pool.stop()
    await upstream.stop()


@ensureDeferred
async def test_not_once_a_response_has_begun() -> None:
    def answer(talk: Talk) -> None:
        talk.transport.write(OK if talk.heads == 1 else b"H")
        if talk.heads > 1:
            reactor.callLater(0.02, talk.transport.abortConnection)

    upstream, pool = ScriptedUpstream(answer), PoolOfTest()
    to = pool.to(upstream.port)
    await pool.ask(to).done
    with pytest.raises(wrong.Reset):
        await pool.ask(to).done
    assert len(upstream.talks) == 1
    await pool.stop()
    await upstream.stop()


@ensureDeferred
async def test_a_post_that_was_seen_is_not_sent_twice() -> None:
    upstream, pool = ScriptedUpstream(closing_once()), PoolOfTest()
    to = pool.to(upstream.port)
    await pool.ask(to).done
    with pytest.raises(wrong.Reset):
        await pool.ask(to, method=b"POST").done
    assert upstream.requests == 2
    await pool.stop()
    await upstream.stop()


@ensureDeferred
async def test_a_post_that_nobody_has_seen_is_sent_again() -> None:
    """The upstream closed the connection just before, and our loop has not told us yet."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        closed, posts = threading.Event(), []

        def serve() -> None:
            first, _ = server.accept()
            first.recv(1000)
            first.sendall(OK)
            asked.wait(10)
            first.close()
            closed.set()
            second, _ = server.accept()
            posts.append(second.recv(1000))
            second.sendall(OK)
            over.wait(10)
            second.close()

        asked, over = threading.Event(), threading.Event()
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        pool = PoolOfTest()
        to = pool.to(server.getsockname()[1])
        await pool.ask(to).done
        asked.set()
        closed.wait(10)
        time.sleep(0.05)  # noqa: ASYNC251 - the end of the connection is here, and the loop has not seen it
        answer = await pool.ask(to, method=b"POST", more=SIZED, body=b"once").done
        assert answer.body == b"ok"
        assert posts[0].endswith(b"\r\n\r\nonce")
        over.set()
        thread.join(10)
        await pool.stop()


# Time.


@ensureDeferred
async def test_no_response_in_time() -> None:
    upstream, pool = ScriptedUpstream(lambda _: None), PoolOfTest(response_timeout=0.1)
    with pytest.raises(wrong.ReadTimedOut):
        await pool.ask(pool.to(upstream.port)).done
    await until(lambda: upstream.open == 0)
    await pool.stop()
    await upstream.stop()


@ensureDeferred
async def test_a_response_that_stops() -> None:
    upstream = ScriptedUpstream(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab")
    pool = PoolOfTest(idle_timeout=0.1)
    with pytest.raises(wrong.ReadTimedOut):
        await pool.ask(pool.to(upstream.port)).done
    await pool.stop()
    await upstream.stop()


def drip(talk: Talk) -> None:
    """A stream of events that is alive: a piece every 50 ms, for a second."""
    talk.transport.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for number in range(20):
        reactor.callLater(number / 20, talk.transport.write, b"1\r\nx\r\n")
    reactor.callLater(1.05, talk.transport.write, b"0\r\n\r\n")


@ensureDeferred
async def test_a_stream_that_is_alive_is_not_cut() -> None:
    upstream, pool = ScriptedUpstream(drip), PoolOfTest(idle_timeout=0.3, response_timeout=0.3)
    assert (await pool.ask(pool.to(upstream.port)).done).body == b"x" * 20
    await pool.stop()
    await upstream.stop()


@ensureDeferred
async def test_the_total_time_cuts_it_where_it_is_set() -> None:
    upstream, pool = ScriptedUpstream(drip), PoolOfTest(total_timeout=0.3)
    with pytest.raises(wrong.TotalTimedOut):
        await pool.ask(pool.to(upstream.port)).done
    await pool.stop()
    await upstream.stop()


@ensureDeferred
async def test_a_response_that_is_paused_is_not_too_slow() -> None:
    upstream = ScriptedUpstream(lambda talk: reactor.callLater(0.1, talk.transport.write, OK))
    pool = PoolOfTest(idle_timeout=0.2, response_timeout=0.2)
    asked = pool.ask(pool.to(upstream.port))
    await until(lambda: asked.outgoing._connection is not None)
    asked.outgoing.pause()
    await deferLater(reactor, 0.4)
    assert asked.head is None
    asked.outgoing.resume()
    assert (await asked.done).body == b"ok"
    await pool.stop()
    await upstream.stop()


# Requests with bodies, and callers that change their mind.


@ensureDeferred
async def test_a_body_that_is_written_before_there_is_a_connection() -> None:
    upstream = ScriptedUpstream(lambda talk: None)
    pool = PoolOfTest()
    asked = pool.ask(
        pool.to(upstream.port),
        method=b"POST",
        more=[make_field(b"Transfer-Encoding", b"chunked")],
        body=None,
    )
    asked.outgoing.write(b"early")
    assert asked.pauses == 1
    await until(lambda: asked.resumes == 1)
    asked.outgoing.write(b"late")
    asked.outgoing.end([make_field(b"X", b"y")])
    await until(lambda: bool(upstream.talks) and upstream.talks[0].said.endswith(b"y\r\n\r\n"))
    assert upstream.talks[0].said.endswith(b"5\r\nearly\r\n4\r\nlate\r\n0\r\nX: y\r\n\r\n")
    upstream.talks[0].transport.write(OK)
    await asked.done
    await pool.stop()
    await upstream.stop()


@ensureDeferred
async def test_an_upstream_that_does_not_read_pauses_the_request() -> None:
    """S8."""
    upstream = ScriptedUpstream(lambda talk: talk.transport.pauseProducing())
    pool = PoolOfTest(idle_timeout=0.3)
    asked = pool.ask(
        pool.to(upstream.port),
        method=b"POST",
        more=[make_field(b"Content-Length", b"100000000")],
        body=None,
    )
    asked.outgoing.flush()
    await until(lambda: asked.outgoing._connection is not None)
    written = 0
    while not asked.done.called:
        if asked.pauses == asked.resumes or not written:
            asked.outgoing.write(b"x" * 100_000)
            written += 100_000
        await deferLater(reactor, 0)
    with pytest.raises(wrong.ReadTimedOut):
        await asked.done
    assert written < 20_000_000
    await pool.stop()
    await upstream.stop()


@ensureDeferred
async def test_an_early_response_ends_the_connection() -> None:
    said = b"HTTP/1.1 413 x\r\nContent-Length: 2\r\n\r\nno"
    upstream = ScriptedUpstream(lambda talk: reactor.callLater(0.1, talk.transport.write, said))
    pool = PoolOfTest()
    asked = pool.ask(pool.to(upstream.port), method=b"POST", more=SIZED, body=None)
    asked.outgoing.flush()
    await until(lambda: asked.outgoing._connection is not None)
    asked.outgoing.write(b"a")
    asked.outgoing.flush()
    assert (await asked.done).body == b"no"
    asked.outgoing.write(b"bcd")
    asked.outgoing.end()
    await until(lambda: pool.pool.connections == 0)
    await pool.stop()
    await upstream.stop()


@ensureDeferred
async def test_a_caller_that_gives_up() -> None:
    upstream, pool = ScriptedUpstream(lambda _: None), PoolOfTest()
    asked = pool.ask(pool.to(upstream.port))
    await until(lambda: upstream.requests == 1)
    asked.outgoing.cancel()
    await until(lambda: upstream.open == 0)
    assert not asked.done.called
    unconnected = pool.ask(pool.to(upstream.port))
    unconnected.outgoing.cancel()
    await deferLater(reactor, 0.05)
    assert not unconnected.done.called
    await pool.stop()
    await upstream.stop()


@pytest.mark.parametrize(
    ("target", "more"),
    [(b"/a b", ()), (b"/", SIZED + SIZED), (b"", ()), (b"/", (make_field(b"Host", b"b"),))],
)
@ensureDeferred
async def test_what_cannot_be_sent(target: bytes, more: Any) -> None:
    upstream, pool = ScriptedUpstream(), PoolOfTest()
    for _ in range(2):
        with pytest.raises(CannotSend):
            await pool.ask(pool.to(upstream.port), target=target, more=more).done
    await pool.ask(pool.to(upstream.port)).done
    assert len(upstream.talks) == 1, "the connection is as it was"
    await pool.stop()
    await upstream.stop()


@ensureDeferred
async def test_a_pool_that_is_closed() -> None:
    upstream, pool = ScriptedUpstream(lambda _: None), PoolOfTest(connections=1)
    to = pool.to(upstream.port)
    under_way = pool.ask(to)
    await until(lambda: upstream.requests == 1)
    waiting = pool.ask(to)
    pool.pool.close()
    for each in (under_way, waiting, pool.ask(to)):
        with pytest.raises(PoolClosed):
            await each.done
    await pool.stop()
    await upstream.stop()


@ensureDeferred
async def test_informational_responses_and_trailers() -> None:
    upstream = ScriptedUpstream(
        b"HTTP/1.1 103 x\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"1\r\nx\r\n0\r\nA: b\r\n\r\n"
    )
    pool = PoolOfTest()
    answer = await pool.ask(pool.to(upstream.port)).done
    assert answer.informed == [103]
    assert [field.line for field in answer.trailers] == [b"A: b"]
    await pool.stop()
    await upstream.stop()


@ensureDeferred
async def test_a_switch_of_protocols() -> None:
    def answer(talk: Talk) -> None:
        talk.transport.write(b"HTTP/1.1 101 x\r\nUpgrade: x\r\n\r\nraw")

    upstream, pool = ScriptedUpstream(answer), PoolOfTest(tunnel_timeout=5)
    more = [make_field(b"Connection", b"upgrade"), make_field(b"Upgrade", b"x")]
    asked = pool.ask(pool.to(upstream.port), more=more)
    await until(lambda: asked.body == b"raw")
    assert asked.head.switched
    asked.outgoing.write(b"up")
    asked.outgoing.flush()
    await until(lambda: upstream.talks[0].said.endswith(b"up"))
    upstream.talks[0].transport.loseConnection()
    await asked.done
    await pool.stop()
    await upstream.stop()


@ensureDeferred
async def test_a_bug_in_a_receiver() -> None:
    upstream, pool = ScriptedUpstream(), PoolOfTest()
    asked = pool.ask(pool.to(upstream.port))

    def broken(_: Any) -> None:
        raise RuntimeError("a bug")

    asked.response_started = broken
    with pytest.raises(HttpError) as caught:
        await asked.done
    assert (caught.value.kind, caught.value.status) == ("internal", 500)
    assert pool.events.pop()["log_failure"].check(RuntimeError)
    await pool.stop()
    await upstream.stop()
