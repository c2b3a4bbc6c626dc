"""Requests by a framing, over real sockets: order, limits, and upstreams that fail."""

import asyncio
import gc
import gzip
import json
import re
import socket
import struct
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any
from unittest.mock import Mock, patch

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from netserve.crossing import turn_of
from netserve.fairness.turns import Share
from netserve.http import Answer
from netserve.protocols.http_bridge.bridge import Request
from netserve.protocols.http_bridge.upstream import Upstream
from netserve.testing.upstream import in_asyncio, raw_upstream, upstream
from netserve.wire.framing import Delimiter, Event, Fixed, Framing, Line, Netstring

Bridge = Callable[..., Any]


async def tell(request: web.BaseRequest) -> web.StreamResponse:
    body = (await request.read()).decode()
    return web.Response(text=" ".join(filter(None, [request.method, request.raw_path, body])))


def reset(writer: asyncio.StreamWriter) -> None:
    """Close without a goodbye: a client that only closes its sending side still listens."""
    no_goodbye = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_goodbye)
    writer.transport.abort()


def named(lines: list[str]) -> list[str]:
    """The log with PEER for the client, which has a port of the system's choice."""
    client = re.compile(r"(?<=of |or )127\.0\.0\.1:\d+(?=: | failed)")
    return [client.sub("PEER", line, count=1) for line in lines]


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - it waits for what has no event
            await asyncio.sleep(0.005)


@in_asyncio
async def test_a_line_becomes_a_request(bridge: Bridge) -> None:
    async with (
        upstream(tell) as url,
        bridge(
            framing="line", request={"url": f"{url}/{{request}}"}, response="{status} {body}"
        ) as web_service,
    ):
        assert await web_service.exchange(b"healthz\r\n") == b"200 GET /healthz\r\n"
        assert await web_service.exchange(b"a/b?c\n") == b"200 GET /a%2Fb%3Fc\r\n"
        assert await web_service.exchange(b"no end") == b"200 GET /no%20end\r\n"
        assert web_service.metrics.requests == 3
        assert not web_service.lines


@pytest.mark.parametrize(
    ("framing", "sent", "received"),
    [
        ("netstring", b"1:a,1:b,", b"6:GET /a,6:GET /b,"),
        ("length-prefix", b"\0\0\0\1a\0\0\0\1b", b"\0\0\0\6GET /a\0\0\0\6GET /b"),
        ({"kind": "delimiter", "delimiter": "|"}, b"a|b|", b"GET /a|GET /b|"),
        ({"kind": "fixed", "size": 6, "pad": " "}, b"aaaaaa", b"no    "),
        ({"kind": "until-idle", "idle": "50ms"}, b"a", b"GET /a"),
    ],
)  # fmt: skip
@in_asyncio
async def test_other_framings(bridge: Bridge, framing: Any, sent: bytes, received: bytes) -> None:
    async with (
        upstream(tell) as url,
        bridge(framing=framing, request={"url": f"{url}/{{request}}"}, error="no") as web_service,
    ):
        assert await web_service.exchange(sent) == received


@in_asyncio
async def test_a_json_api(bridge: Bridge) -> None:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        assert request.headers["Content-Type"] == "application/json"
        assert request.headers["X-From"] == "127.0.0.1"
        return web.json_response({"got": json.loads(await request.read())}, status=201)

    request = {"json": {"text": "{request}", "n": [1]}, "headers": {"X-From": "{peer}"}}
    async with (
        upstream(answer) as url,
        bridge(
            framing="line",
            request={"url": f"{url}/", **request},
            response="{status} {reason} {header_content_type}: {body}",
        ) as web_service,
    ):
        received = await web_service.exchange(b'say "hi", {"x": 1}\n\xff\n')
    first, second = received.splitlines()
    head, _, body = first.partition(b": ")
    assert head == b"201 Created application/json; charset=utf-8"
    assert json.loads(body) == {"got": {"text": 'say "hi", {"x": 1}', "n": [1]}}
    assert second == b"error: bytes that are not UTF-8"


@in_asyncio
async def test_replies_keep_the_order_of_pipelined_requests(bridge: Bridge) -> None:
    """S13: the first answer comes last, and is the first reply all the same."""
    begun: list[str] = []

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        number = int(request.path[1:])
        begun.append(request.path)
        await asyncio.sleep(0.01 * (8 - number))
        return web.Response(text=str(number))

    async with (
        upstream(answer) as url,
        bridge(framing="line", request={"url": f"{url}/{{request}}"}) as web_service,
    ):
        sent = b"".join(b"%d\n" % number for number in range(8))
        assert (await web_service.exchange(sent)).split() == [b"%d" % n for n in range(8)]
        assert len(begun) == 8


@pytest.mark.parametrize("at_one_time", [1, 3])
@in_asyncio
async def test_no_more_requests_of_a_connection_at_one_time(
    bridge: Bridge, at_one_time: int
) -> None:
    """S8: further ones are not begun, and lose nothing."""
    most = now = 0

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        nonlocal most, now
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.002)
        now -= 1
        return web.Response(text=request.path[1:])

    async with (
        upstream(answer) as url,
        bridge(
            framing="line",
            request={"url": f"{url}/{{request}}"},
            limits={"requests_per_connection": at_one_time},
        ) as web_service,
    ):
        sent = [b"%d\n" % number for number in range(50)]
        assert (await web_service.exchange(*sent)).split() == [b"%d" % n for n in range(50)]
        assert most == at_one_time


@in_asyncio
async def test_no_more_requests_in_all_at_one_time(bridge: Bridge) -> None:
    """S8: further ones wait for their turn, whichever connection they are of."""
    most = now = 0

    async def answer(_: web.BaseRequest) -> web.StreamResponse:
        nonlocal most, now
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.005)
        now -= 1
        return web.Response(text="ok")

    async with (
        upstream(answer) as url,
        bridge(
            framing="line",
            request={"url": str(url)},
            limits={"requests": 2, "requests_per_address": 2},
        ) as web_service,
    ):
        results = await asyncio.gather(*(web_service.exchange(b"a\nb\n") for _ in range(5)))
        assert results == [b"ok\r\nok\r\n"] * 5
        assert most == 2


class Held:
    """An upstream that answers when it is let go, and counts who asks meanwhile."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.asked = 0

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path.startswith("/quick"):
            return web.Response(text="quick")
        self.asked += 1
        await self.go.wait()
        return web.Response(text="slow")


@pytest.mark.parametrize(("limit", "of_one"), [(None, 5), (3, 3), (10, 10)])
@in_asyncio
async def test_one_address_leaves_slots_to_the_others(
    bridge: Bridge, limit: int | None, of_one: int
) -> None:
    """S24: a hundred requests of one address do not take the bridge from another."""
    held = Held()
    limits = {"requests": 10, "requests_per_address": limit}
    async with (
        upstream(held) as url,
        bridge(framing="line", request={"url": f"{url}/{{request}}"}, limits=limits) as service,
    ):
        hogs = [asyncio.create_task(service.exchange(b"slow\n" * 10)) for _ in range(10)]
        await until(lambda: service.metrics.requests == 100)
        await until(lambda: held.asked == of_one)
        other = asyncio.create_task(service.exchange(b"quick\n", source="127.0.0.2"))
        if of_one < 10:
            assert await asyncio.wait_for(other, 5) == b"quick\r\n"
        assert held.asked == of_one
        held.go.set()
        assert await other == b"quick\r\n"
        assert await asyncio.gather(*hogs) == [b"slow\r\n" * 10] * 10


@in_asyncio
async def test_those_that_wait_for_a_slot_are_served_in_turn_by_address(bridge: Bridge) -> None:
    """S24: who comes after a hundred requests of another address is the next but one."""
    order: list[str] = []

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        order.append(request.path)
        await asyncio.sleep(0.002)
        return web.Response(text="ok")

    async with (
        upstream(answer) as url,
        bridge(
            framing="line", request={"url": f"{url}/{{request}}"}, limits={"requests": 1}
        ) as service,
    ):
        hogs = [asyncio.create_task(service.exchange(b"hog\n" * 10)) for _ in range(10)]
        await until(lambda: service.metrics.requests == 100)
        before = len(order)
        assert await service.exchange(b"polite\n", source="127.0.0.2") == b"ok\r\n"
        assert order.index("/polite") <= before + 3
        await asyncio.gather(*hogs)


@in_asyncio
async def test_a_client_that_is_gone_gives_back_its_place_in_the_queue(bridge: Bridge) -> None:
    held = Held()
    async with (
        upstream(held) as url,
        bridge(
            framing="line", request={"url": f"{url}/{{request}}"}, limits={"requests": 1}
        ) as service,
    ):
        first = asyncio.create_task(service.exchange(b"slow\n"))
        await until(lambda: held.asked == 1)
        _, waiting = await service.connect()
        waiting.write(b"slow\n" * 5)
        await until(lambda: service.metrics.requests == 6)
        reset(waiting)
        await until(lambda: service.hosted.state() == "1 request under way")
        held.go.set()
        assert await first == b"slow\r\n"
        assert await service.exchange(b"quick\n") == b"quick\r\n"


@pytest.mark.parametrize("place", ["url", "query", "header"])
@pytest.mark.parametrize("value", [b"%", b"a", b"\xff", "é".encode()], ids=repr)
@in_asyncio
async def test_a_long_value_is_refused_before_it_is_encoded(
    bridge: Bridge, place: str, value: bytes
) -> None:
    """S8, S23: a million bytes for a part of a URL or of a header cost next to nothing."""
    request = {
        "url": {"url": "{url}/{{request}}", "query": "{url}/?q={{request}}", "header": "{url}/"},
    }["url"][place]
    options: dict[str, Any] = {"headers": {"X": "{request}"}} if place == "header" else {}
    async with (
        upstream(tell) as url,
        bridge(
            framing="line", request={"url": request.format(url=url), **options}, error="{kind}"
        ) as service,
    ):
        long = value * (1_000_000 // len(value))
        assert await service.exchange(long + b"\n") == b"request\r\n"
        assert service.metrics.errors == {"request": 1}
        what = "more than 16384 bytes for a part of the URL or of a header"
        assert named(service.lines) == [f"refused a request of PEER: {what}"]


@in_asyncio
async def test_the_longest_value_is_a_setting(bridge: Bridge) -> None:
    async with (
        upstream(tell) as url,
        bridge(
            framing="line",
            request={"url": f"{url}/{{request}}"},
            limits={"value_size": "10"},
            error="{error}",
        ) as service,
    ):
        assert await service.exchange(b"x" * 10 + b"\n") == b"GET /" + b"x" * 10 + b"\r\n"
        assert (await service.exchange(b"x" * 11 + b"\n")).startswith(b"more than 10 bytes")


@in_asyncio
async def test_a_long_value_may_stand_in_a_body(bridge: Bridge) -> None:
    """S23: encoded a piece at a time, and the same as in one go."""
    bodies: list[bytes] = []

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        bodies.append(await request.read())
        return web.Response(text="ok")

    async with (
        upstream(answer) as url,
        bridge(framing="line", request={"url": f"{url}/", "form": {"v": "{request}"}}) as service,
    ):
        assert await service.exchange(b"%a \xff" * 100_000 + b"\n") == b"ok\r\n"
    assert bodies == [b"v=" + b"%25a+%FF" * 100_000]


@in_asyncio
async def test_unfinished_requests_share_a_budget(bridge: Bridge) -> None:
    """S8, S24: one address holds no more of it than it leaves free, another one is served."""
    async with (
        upstream(tell) as url,
        bridge(
            framing="line",
            request={"url": f"{url}/", "body": "{request}", "method": "PUT"},
            limits={"memory": "1MiB"},
            error="{status} {kind}",
        ) as service,
    ):
        memory = service.memory
        clients = [await service.connect() for _ in range(30)]
        for _, writer in clients:
            writer.write(b"x" * 100_000)
        refused = [asyncio.create_task(reader.readline()) for reader, _ in clients]
        await until(lambda: sum(task.done() for task in refused) == 25)
        assert {task.result() for task in refused if task.done()} == {b"503 busy\r\n"}
        assert 400_000 < memory.used <= 512 * 1024
        long = b"y" * 200_000
        reply = await service.exchange(long + b"\n", source="127.0.0.2")
        assert reply == b"PUT / " + long + b"\r\n"
        for task, (_, writer) in zip(refused, clients, strict=True):
            task.cancel()
            writer.close()
        await until(lambda: memory.used == 0)


@in_asyncio
async def test_replies_that_are_not_taken_count_as_held(bridge: Bridge) -> None:
    """S24: an address that does not read has its further requests refused, others have not."""

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=b"x" * 3_000_000)

    async with (
        upstream(answer) as url,
        bridge(
            framing="line",
            request={"url": str(url)},
            limits={"memory": "8MiB", "requests": 4},
            error="{status} {kind}",
        ) as service,
    ):
        clients = []
        for _ in range(8):
            reader, writer = await service.connect()
            writer.transport.pause_reading()
            writer.write(b"a\n" * 16)
            clients.append((reader, writer))
        await until(lambda: service.metrics.errors["busy"] > 10)
        assert service.memory.used < 24_000_000
        other = await service.exchange(b"a\n", source="127.0.0.2")
        assert len(other) == 3_000_002
        for _, writer in clients:
            writer.transport.abort()
        await until(lambda: service.memory.used == 0)


@pytest.mark.parametrize("size", [300_000, 600_000, 2_000_000])
@in_asyncio
async def test_answers_that_wait_for_their_turn_count_as_held(bridge: Bridge, size: int) -> None:
    """S24: their slots are free again, so nothing else would bound what has come by then."""
    asked, go_on = [], asyncio.Event()

    async def fetch(*arguments: Any, **options: Any) -> Answer:
        asked.append(arguments)
        await asyncio.sleep(0)
        return Answer(200, "OK", CIMultiDictProxy(CIMultiDict()), b"x" * size)

    async def turn(self: Upstream, address: str) -> None:
        await go_on.wait()

    async with bridge(
        framing="line",
        request={"url": "http://127.0.0.1:1/"},
        limits={"memory": "1MiB", "requests": 4},
        error="{status} {kind}",
    ) as service:
        reader, writer = await service.connect()
        await until(lambda: service.protocols)
        shared = service.protocols[0].factory.options.answers.bridge
        with patch.object(shared, "http", Mock(fetch=fetch)), patch.object(Upstream, "turn", turn):
            writer.write(b"a\n" * 16)
            await until(lambda: len(asked) + service.metrics.errors["busy"] >= 16)
            assert len(asked) <= 4
            go_on.set()
            writer.write_eof()
            replies = (await reader.read()).splitlines()
        assert len(replies) == 16
        assert replies.count(b"x" * size) == len(asked)
        writer.close()
        await until(lambda: service.memory.used == 0)


@pytest.mark.parametrize("framing", ["line", "netstring", {"kind": "delimiter", "delimiter": "|"}])
@in_asyncio
async def test_slices_do_not_matter(bridge: Bridge, framing: Any) -> None:
    """S23: the replies are the same where a turn of the reactor has time for one piece of work."""
    encode = {"line": b"%b\n", "netstring": b"%d:%b,"}.get(str(framing), b"%b|")
    requests = [b"x" * (number * 7 % 50 + 1) for number in range(300)]
    sent = b"".join(encode % ((len(one), one) if b"%d" in encode else one) for one in requests)
    async with (
        upstream(tell) as url,
        bridge(framing=framing, request={"url": f"{url}/{{request}}"}, in_slices=True) as service,
    ):
        reply = await service.exchange(sent[:1000], sent[1000:1001], sent[1001:])
        others = await asyncio.gather(*(service.exchange(sent) for _ in range(5)))
    end = {b"%b\n": b"\r\n", b"%b|": b"|"}.get(encode, b"")
    wanted = [b"GET /" + one for one in requests]
    told = b"".join(b"%d:%b," % (len(one), one) if not end else one + end for one in wanted)
    assert [reply, *others] == [told] * 6


@in_asyncio
async def test_a_client_that_reads_nothing_is_not_read(bridge: Bridge) -> None:
    """S8: replies that pile up stop the reading, so what waits is bounded."""
    count = 0

    async def answer(_: web.BaseRequest) -> web.StreamResponse:
        nonlocal count
        count += 1
        return web.Response(body=b"x" * 200_000)

    async with (
        upstream(answer) as url,
        bridge(framing="line", request={"url": str(url)}) as web_service,
    ):
        reader, writer = await web_service.connect()
        writer.transport.pause_reading()
        total = 500
        writer.write(b"a\n" * total)
        seen = -1
        while seen != count:
            seen = count
            await asyncio.sleep(0.3)
        assert count < 200
        writer.transport.resume_reading()
        for _ in range(total):
            assert (await reader.readexactly(200_002)).endswith(b"x\r\n")
        writer.close()


@in_asyncio
async def test_a_client_that_closes_its_side_gets_what_is_due(bridge: Bridge) -> None:
    released = asyncio.Event()

    async def answer(_: web.BaseRequest) -> web.StreamResponse:
        await released.wait()
        return web.Response(text="late")

    async with (
        upstream(answer) as url,
        bridge(framing="line", request={"url": str(url)}) as web_service,
    ):
        reader, writer = await web_service.connect()
        writer.write(b"a\nb")
        writer.write_eof()
        await until(lambda: web_service.metrics.requests == 2)
        released.set()
        assert await reader.read() == b"late\r\nlate\r\n"
        writer.close()


@in_asyncio
async def test_a_client_that_is_gone_has_its_request_given_up(bridge: Bridge) -> None:
    gone = asyncio.Event()

    async def answer(_: web.BaseRequest) -> web.StreamResponse:
        try:
            await asyncio.sleep(20)
        finally:
            gone.set()
        return web.Response()

    async with (
        upstream(answer) as url,
        bridge(framing="line", request={"url": str(url)}) as web_service,
    ):
        _, writer = await web_service.connect()
        writer.write(b"a\n")
        await until(lambda: web_service.hosted.state() == "1 request under way")
        await asyncio.sleep(0.05)
        reset(writer)
        await asyncio.wait_for(gone.wait(), 5)
        await until(lambda: web_service.hosted.state() == "0 requests under way")


@pytest.mark.parametrize("waits", ["for its upstream", "for its turn"])
@in_asyncio
async def test_what_has_come_for_a_client_that_is_gone_is_freed_at_once(
    bridge: Bridge, waits: str
) -> None:
    """S24: the garbage collector, which counts objects only, may let hundreds of megabytes wait."""
    sent = asyncio.Event()

    async def half(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "4000000"})
        await response.prepare(request)
        await response.write(bytes(1_000_000))
        sent.set()
        await asyncio.sleep(30)
        return response

    async def no_turn(_: Share, address: str) -> None:
        share = Mock(spec=Share, turns=Mock(is_young=Mock(return_value=False)))
        await turn_of(share, address)

    def requests() -> int:
        return sum(type(each) is Request for each in gc.get_objects())

    never = patch("netserve.protocols.http_bridge.upstream.turn_of", no_turn)
    async with (
        upstream(half) as url,
        bridge(framing="line", request={"url": f"{url}/{{request}}"}) as web_service,
    ):
        gc.collect()
        others = requests()  # of earlier tests, which something still has
        gc.disable()
        try:
            with never if waits == "for its turn" else nullcontext():
                _, writer = await web_service.connect()
                writer.write(b"a\n")
                await asyncio.wait_for(sent.wait(), 10)
                assert requests() == others + 1
                reset(writer)
                await until(lambda: web_service.metrics.connections_open == 0)
            await until(lambda: requests() == others)
        finally:
            gc.enable()


@in_asyncio
async def test_drain_answers_what_is_in_flight_and_closes(bridge: Bridge) -> None:
    released = asyncio.Event()

    async def answer(_: web.BaseRequest) -> web.StreamResponse:
        await released.wait()
        return web.Response(text="done")

    async with (
        upstream(answer) as url,
        bridge(framing="line", request={"url": str(url)}) as web_service,
    ):
        busy_reader, busy = await web_service.connect()
        quiet_reader, quiet = await web_service.connect()
        busy.write(b"a\n")
        await until(lambda: web_service.metrics.requests == 1 and len(web_service.protocols) == 2)
        for protocol in web_service.protocols:
            protocol.drain()
        assert await quiet_reader.read() == b""
        busy.write(b"too late\n")
        released.set()
        assert await busy_reader.read() == b"done\r\n"
        busy.close()
        quiet.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


@in_asyncio
async def test_nothing_listens(bridge: Bridge) -> None:
    port = free_port()
    async with bridge(
        framing="line",
        request={"url": f"http://127.0.0.1:{port}/{{request}}"},
        error="{status} {kind}: {error}",
    ) as web_service:
        received = await web_service.exchange(b"secret\n")
        assert received == b"502 refused: the upstream refused the connection\r\n"
        assert named(web_service.lines) == [
            f"no answer for PEER: 127.0.0.1:{port}: refused the connection"
        ]
        assert web_service.metrics.errors == {"refused": 1}


@pytest.mark.parametrize(
    ("said", "reply", "kind"),
    [
        (None, b"error: the upstream took too long", "total-timeout"),
        (b"", b"error: the upstream broke the connection", "reset"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
         b"error: the upstream broke the connection", "reset"),
        (b"nonsense\r\n\r\n", b"error: the upstream's answer makes no sense", "bad-answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n",
         b"error: the upstream's answer is too large", "too-large"),
    ],
)  # fmt: skip
@in_asyncio
async def test_upstreams_that_fail(
    bridge: Bridge, said: bytes | None, reply: bytes, kind: str
) -> None:
    """Slow, closed, broken off, nonsense, huge: the error reply in time, and one log line."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if said is None:
            await asyncio.sleep(20)
        writer.write(said)

    async with (
        raw_upstream(talk) as url,
        bridge(framing="line", request={"url": str(url), "timeout": "300ms"}) as web_service,
    ):
        assert await web_service.exchange(b"a\n") == reply + b"\r\n"
        assert len(web_service.lines) == 1
        assert web_service.metrics.errors == {kind: 1}
        assert await web_service.exchange(b"..\n") != b""


@in_asyncio
async def test_a_bomb(bridge: Bridge) -> None:
    """S12: 200 KB that unpack to 200 MB are an error reply; a packed answer is unpacked."""
    packed = {"/bomb": gzip.compress(bytes(200_000_000)), "/good": gzip.compress(b"good")}

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=packed[request.path], headers={"Content-Encoding": "gzip"})

    async with (
        upstream(answer) as url,
        bridge(framing="line", request={"url": f"{url}/{{request}}"}) as web_service,
    ):
        assert await web_service.exchange(b"bomb\ngood\n") == (
            b"error: the upstream's answer is too large\r\ngood\r\n"
        )


@in_asyncio
async def test_a_frame_that_is_too_long_has_an_error_reply_in_its_turn(bridge: Bridge) -> None:
    """S8: past the limit of a request."""
    async with (
        upstream(tell) as url,
        bridge(
            framing="line",
            request={"url": f"{url}/{{request}}"},
            limits={"request_size": 10},
        ) as web_service,
    ):
        received = await web_service.exchange(b"a\n" + b"x" * 11 + b"\nb\n")
        assert received == b"GET /a\r\nerror: a frame of more than 10 bytes\r\nGET /b\r\n"


@in_asyncio
async def test_what_does_not_fit_the_framing_ends_the_connection(bridge: Bridge) -> None:
    async with (
        upstream(tell) as url,
        bridge(framing="netstring", request={"url": f"{url}/{{request}}"}) as web_service,
    ):
        received = await web_service.exchange(b"1:a,nonsense")
        assert received.startswith(b"6:GET /a,")
        assert b"error: a netstring begins with" in received
        assert named(web_service.lines) == [
            "refused a request of PEER: a netstring begins with its length in digits, not b'n'"
        ]


@in_asyncio
async def test_a_client_that_goes_on_behind_a_broken_frame_gets_its_reply(bridge: Bridge) -> None:
    """What it sends is read for a moment: a reset could take the reply away from it."""
    async with (
        upstream(tell) as url,
        bridge(framing="netstring", request={"url": f"{url}/{{request}}"}) as web_service,
    ):
        received = await web_service.exchange(b"nonsense", *[b"x" * 100_000] * 50)
        assert b"error: a netstring begins with" in received
        reader, writer = await web_service.connect()
        writer.write(b"nonsense")
        assert b"error: a netstring" in await reader.read()  # up to its end, which does not wait
        web_service.protocols[-1].drain()  # nor does the stop
        writer.write(b"more")
        await until(lambda: web_service.protocols[-1].transport.disconnected)
        writer.close()


@in_asyncio
async def test_a_value_that_is_refused_is_told_in_the_log_now_and_then(bridge: Bridge) -> None:
    async with (
        upstream(tell) as url,
        bridge(framing="line", request={"url": f"{url}/{{path}}"}) as web_service,
    ):
        received = await web_service.exchange(b"a/../b\n" * 100)
        assert received.count(b"error: a path with . or .. in it") == 100
        assert named(web_service.lines) == ["refused a request of PEER: a path with . or .. in it"]


@in_asyncio
async def test_an_answer_that_the_framing_has_no_place_for(bridge: Bridge) -> None:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=b"x" * int(request.path[1:]))

    async with (
        upstream(answer) as url,
        bridge(
            framing={"kind": "length-prefix", "bytes": 1},
            request={"url": f"{url}/{{request}}"},
            error="no",
        ) as web_service,
    ):
        received = await web_service.exchange(b"\x03255\x03256")
        assert received == b"\xff" + b"x" * 255 + b"\x02no"
        assert len(web_service.lines) == 1
        assert web_service.lines[0].startswith("an answer does not fit the framing: ")


@in_asyncio
async def test_a_bug_of_ours_is_a_reply_and_in_the_log(
    bridge: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    from netserve.protocols.http_bridge.plan import Plan

    monkeypatch.setattr(Plan, "reply", lambda *_: 1 / 0)
    async with (
        upstream(tell) as url,
        bridge(framing="line", request={"url": str(url)}) as web_service,
    ):
        assert await web_service.exchange(b"a\n") == b"error: an internal error\r\n"
        assert named(web_service.lines) == ["the request of PEER failed"]


@in_asyncio
async def test_an_upstream_that_is_not_allowed_stops_the_start(bridge: Bridge) -> None:
    """S11: said when the service is built, where the file itself names the address."""
    with pytest.raises(ValueError, match=r"127\.0\.0\.1 is loopback; list it in allow_upstreams"):
        async with bridge(
            framing="line", request={"url": "http://127.0.0.1:1/"}, allow_upstreams=[]
        ):
            pass


@pytest.mark.parametrize(
    ("framing", "reply", "fitted"),
    [
        (Delimiter(b"a b"), b"a" * 1_000_000 + b" b" * 1_000_000, None),
        (Delimiter(b"a" * 256), b"x" * 4_000_000 + b"a" * 255, b"x" * 4_000_000),
        (Delimiter(b"ab" * 128), b"x" * 4_000_000 + b"ab" * 127, None),
        (Line(), b"\n" * 4_000_000, b""),
        (Line(), b"x" + b"\r\n" * 2_000_000 + b"x", b"x" + b" " * 2_000_000 + b"x"),
        (Line(), b"a\n" * 2_000_000, b"a " * 1_999_999 + b"a"),
    ],
    ids=["nested", "repeated", "periodic", "empty lines", "CRLF", "short lines"],
)
def test_the_worst_replies_are_fitted_in_linear_time(
    framing: Framing, reply: bytes, fitted: bytes | None
) -> None:
    """S23: whatever an upstream sends; one of these took longer than a day."""
    made = framing.fit(reply)
    assert fitted is None or made == fitted
    assert framing.decoder(len(made) + 10).feed(framing.encode(made)) == [made]


FRAMINGS = [Line(), Delimiter(b"|"), Delimiter(b"\r\n"), Delimiter(b"aa"), Delimiter(b" "),
            Delimiter(b"a b"), Netstring()]  # fmt: skip


@pytest.mark.parametrize("framing", FRAMINGS, ids=repr)
@given(reply=st.one_of(st.binary(max_size=30), st.text("a b|\r\n", max_size=12).map(str.encode)))
def test_a_reply_is_one_frame_whatever_the_body_has_in_it(framing: Framing, reply: bytes) -> None:
    """A body with line ends can't become two replies."""
    fitted = framing.fit(reply)
    frames: list[Event] = framing.decoder(1000).feed(framing.encode(fitted))
    assert len(frames) == 1
    assert isinstance(frames[0], bytes)


def test_a_body_of_several_lines_becomes_one_line() -> None:
    fit = Line().fit
    assert fit(b'200 {\r\n  "a": 1\r\n}\r\n') == b'200 {   "a": 1 }'
    assert fit(b"plain") == b"plain"
    assert Fixed(3).fit(b"\r\n") == b"\r\n"
