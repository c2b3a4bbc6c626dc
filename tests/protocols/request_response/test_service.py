"""Request-response over real sockets."""

from __future__ import annotations

import random
import shutil
import socket
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXClientEndpoint, connectProtocol
from twisted.internet.task import deferLater
from twisted.internet.utils import getProcessOutputAndValue

from netserve.protocols.request_response import Request, plugin
from netserve.testing.datagrams import DatagramClient
from netserve.testing.hosting import Client, RunningService, connect, exchange, serve

HELLO: dict[str, Any] = {
    "framing": "line",
    "rules": ({"match": {"regex": r"^my name is (?P<name>\w+)$"}, "reply": "Hello, {name}!"},),
    "reply": "Hello, client!",
}
UDP = "udp:0:interface=127.0.0.1"
HANDLER = f"{__name__}:handler"

work: dict[bytes, Deferred[Any]] = {}


def handler(request: Request) -> Any:
    """Replies at once to what begins with ``now``, raises, or waits for the test."""
    if request.data.startswith(b"now"):
        return request.data
    if request.data == b"raise":
        raise RuntimeError("a detail for the log only")
    return work.setdefault(request.data, Deferred())


@pytest.fixture(autouse=True)
def _findable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__) or _this_module())
    work.clear()


def _this_module() -> Any:
    module = ModuleType(__name__)
    module.__dict__.update(globals())
    return module


async def until(condition: Any, seconds: float = 5.0) -> None:
    from twisted.internet import reactor

    for _ in range(int(seconds / 0.01)):
        if condition():
            return
        await deferLater(reactor, 0.01)
    raise AssertionError("it did not come to it")


async def answers(service: RunningService, data: bytes) -> bytes:
    try:
        return await exchange(service.port, data)
    finally:
        await service.stop()


@pytest_twisted.ensureDeferred
async def test_hello() -> None:
    r"""`printf 'x\r\n' | nc` is answered, and ends."""
    said = await answers(await serve(plugin, **HELLO), b"x\r\nmy name is Bob\n")
    assert said == b"Hello, client!\r\nHello, Bob!\r\n"


@pytest_twisted.ensureDeferred
async def test_a_last_line_without_its_end_is_answered() -> None:
    assert await answers(await serve(plugin, **HELLO), b"my name is Bob") == b"Hello, Bob!\r\n"


@pytest_twisted.ensureDeferred
async def test_nothing_asked_nothing_said() -> None:
    assert await answers(await serve(plugin, **HELLO), b"") == b""


@pytest.mark.parametrize(
    ("framing", "asked", "said"),
    [
        ({"kind": "line", "ending": "lf"}, b"a\r\nb\n", b"<a>\n<b>\n"),
        ({"kind": "delimiter", "delimiter": "--"}, b"a--b--", b"<a>--<b>--"),
        ({"kind": "fixed", "size": 3}, b"abcdef", None),
        ("length-prefix", b"\0\0\0\1a", b"\0\0\0\3<a>"),
        (
            {"kind": "length-prefix", "bytes": 2, "order": "little", "inclusive": True},
            b"\3\0a",
            b"\5\0<a>",
        ),
        ("netstring", b"1:a,0:,", b"3:<a>,2:<>,"),
        ("until-idle", b"abc", b"<abc>"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_framings(framing: Any, asked: bytes, said: bytes | None) -> None:
    if said is None:
        options = {"framing": framing, "reply_framing": "line", "reply": "<{request}>"}
        said = b"<abc>\r\n<def>\r\n"
    else:
        options = {"framing": framing, "reply": "<{request}>"}
    assert await answers(await serve(plugin, **options), asked) == said


@pytest_twisted.ensureDeferred
async def test_a_pause_ends_a_request() -> None:
    service = await serve(
        plugin, framing={"kind": "until-idle", "idle": "50ms"}, reply="<{request}>"
    )
    try:
        client = await connect(service.port)
        client.write(b"ab")
        assert await client.until(b">") == b"<ab>"
        client.write(b"cd")
        assert await client.until(b"<cd>") == b"<ab><cd>"
        client.transport.loseConnection()
    finally:
        await service.stop()


@pytest_twisted.ensureDeferred
async def test_an_oversized_line_gets_its_reply_and_the_next_is_answered() -> None:
    """S8: a request is limited in size."""
    service = await serve(plugin, **HELLO, limits={"request_size": 20})
    metrics = service.metrics
    said = await answers(service, b"x" * 100_000 + b"\r\nmy name is Bob\r\n")
    assert said == b"request too long\r\nHello, Bob!\r\n"
    assert (metrics.requests, metrics.errors["oversized"]) == (2, 1)


@pytest.mark.parametrize(
    ("framing", "garbage", "said"),
    [
        ("netstring", b"GET / HTTP/1.0\r\n\r\n", b"5:error,"),
        ("netstring", b"1:a,99:" + b"x" * 99 + b",", b"3:<a>,16:request too long,"),
        ("length-prefix", b"\xff" * 200_000, b"\0\0\0\x10request too long"),
        ("length-prefix", b"\0\0\0\1a\0\0", b"\0\0\0\3<a>\0\0\0\5error"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_broken_stream_gets_its_reply_and_its_end(
    framing: str, garbage: bytes, said: bytes
) -> None:
    """S8: and the reply is not lost by the bytes that are still on their way."""
    from twisted.internet import reactor

    service = await serve(plugin, framing=framing, reply="<{request}>", limits={"request_size": 50})
    try:
        assert await exchange(service.port, garbage) == said
        client = await connect(service.port)
        client.write(garbage[:6])
        client.write(garbage[6:])
        if garbage.endswith(b"\0\0"):
            client.transport.loseWriteConnection()
        assert await client.closed.addTimeout(5, reactor) == said
    finally:
        await service.stop()


@pytest_twisted.ensureDeferred
async def test_pipelined_requests_keep_their_order() -> None:
    """S13: replies to pipelined requests keep their order."""
    service = await serve(plugin, framing="line", handler=HANDLER)
    try:
        client = await connect(service.port)
        client.write(b"a\nb\nnow\nc\nraise\n")
        await until(lambda: len(work) == 3)
        work[b"c"].callback("C")
        work[b"b"].callback("B")
        await deferLater(client.transport.reactor, 0.05)
        assert client.received == b""
        work[b"a"].callback("A")
        assert await client.until(b"error") == b"A\r\nB\r\nnow\r\nC\r\nerror\r\n"
        assert service.metrics.errors["handler"] == 1
        client.transport.loseConnection()
    finally:
        await service.stop()


@pytest_twisted.ensureDeferred
async def test_a_slow_request_times_out_and_the_next_does_not() -> None:
    service = await serve(plugin, framing="line", handler=HANDLER, timeout="100ms")
    metrics = service.metrics
    assert await answers(service, b"slow\nnow\n") == b"error\r\nnow\r\n"
    assert metrics.errors["timeout"] == 1


@pytest_twisted.ensureDeferred
async def test_no_more_than_the_pipeline_allows_is_begun() -> None:
    """S8: beyond the limit nothing more is read; all are answered in the end."""
    service = await serve(plugin, framing="line", handler=HANDLER, limits={"pipeline": 3})
    try:
        client = await connect(service.port)
        client.write(b"".join(b"%d\n" % number for number in range(10)))
        client.transport.loseWriteConnection()
        await until(lambda: len(work) == 3)
        await deferLater(client.transport.reactor, 0.05)
        assert sorted(work) == [b"0", b"1", b"2"]
        for number in range(10):
            key = b"%d" % number
            await until(lambda key=key: key in work)
            work[key].callback(key)
        said = await client.closed
        assert said == b"".join(b"%d\r\n" % number for number in range(10))
    finally:
        await service.stop()


@pytest_twisted.ensureDeferred
async def test_a_peer_that_does_not_read_is_not_read_from() -> None:
    """S8: replies are not held without bound, and none is lost."""
    from twisted.internet import reactor

    service = await serve(plugin, framing="line", reply="x" * 1000)
    try:
        client = await connect(service.port)
        client.transport.pauseProducing()
        sizes: list[int] = []
        client.dataReceived = lambda data: sizes.append(len(data))  # type: ignore[method-assign]
        client.write(b"\n" * 50_000)
        client.transport.loseWriteConnection()
        await deferLater(reactor, 0.5)
        assert service.metrics.requests < 50_000
        client.transport.resumeProducing()
        await client.closed.addTimeout(20, reactor)
        assert sum(sizes) == 50_000 * 1002
        assert service.metrics.requests == 50_000
    finally:
        await service.stop()


@pytest_twisted.ensureDeferred
async def test_a_drain_finishes_what_is_in_flight() -> None:
    service = await serve(plugin, framing="line", handler=HANDLER)
    client, quiet = await connect(service.port), await connect(service.port)
    client.write(b"a\n")
    await until(lambda: work)
    stopping = Deferred.fromCoroutine(service.stop(5.0))
    assert await quiet.closed == b""
    work[b"a"].callback("A")
    assert await client.closed == b"A\r\n"
    await stopping


@pytest_twisted.ensureDeferred
async def test_work_for_a_peer_that_left_is_cancelled() -> None:
    service = await serve(plugin, framing="line", handler=HANDLER)
    try:
        client = await connect(service.port)
        client.write(b"a\n")
        await until(lambda: work)
        client.transport.abortConnection()
        await until(lambda: work[b"a"].called)
        assert service.metrics.errors == {}
    finally:
        await service.stop()


@pytest_twisted.ensureDeferred
async def test_over_a_unix_socket(tmp_path: Path) -> None:
    from twisted.internet import reactor

    path = tmp_path / "hello.sock"
    service = await serve(
        plugin, listen=f"unix:{path}", framing="line", reply="{request} from {peer}"
    )
    try:
        endpoint = UNIXClientEndpoint(reactor, str(path))
        client: Client = await connectProtocol(endpoint, Client())
        client.write(b"x\n")
        assert await client.until(b"\n") == b"x from unix\r\n"
        client.transport.loseConnection()
    finally:
        await service.stop()


@pytest_twisted.ensureDeferred
async def test_over_udp() -> None:
    """S14: a reply is no larger than its request; a datagram is a request, with a line's end or
    without.
    """
    service = await serve(
        plugin,
        listen=UDP,
        framing="line",
        rules=(
            {"match": "ping", "reply": "pong"},
            {"match": "more", "reply": "much more"},
        ),
        reply="{request}",
        limits={"request_size": 10},
        oversized="long",
    )
    client = DatagramClient()
    client.open()
    try:
        for data in (b"ping", b"ping\r\n", b"more", b"same", b"x" * 11):
            client.send(data, service.port)
        assert await client.until(4) == [b"pong", b"pong\r\n", b"same", b"long"]
        assert service.metrics.errors == {"reply_refused": 1, "oversized": 1}
        assert service.metrics.requests == 5
    finally:
        await client.close()
        await service.stop()


@pytest_twisted.ensureDeferred
async def test_larger_replies_over_udp_where_the_file_says_so() -> None:
    service = await serve(plugin, listen=UDP, reply="Hello, client!", amplify=True)
    client = DatagramClient()
    client.open()
    try:
        client.send(b"", service.port)
        assert await client.until(1) == [b"Hello, client!"]
    finally:
        await client.close()
        await service.stop()


@pytest_twisted.ensureDeferred
async def test_handlers_over_udp_are_bounded() -> None:
    """S8: datagrams that wait for their handler are limited; further ones are dropped."""
    service = await serve(plugin, listen=UDP, handler=HANDLER, limits={"datagrams": 2})
    client = DatagramClient()
    client.open()
    try:
        for data in (b"a", b"b", b"c"):
            client.send(data, service.port)
        await until(lambda: service.metrics.errors["overload"] == 1)
        work[b"b"].callback("B")
        assert await client.until(1) == [b"B"]
        client.send(b"now", service.port)
        assert await client.until(2) == [b"B", b"now"]
    finally:
        await client.close()
        await service.stop()
    assert work[b"a"].called


@pytest_twisted.ensureDeferred
async def test_udp_replies_cannot_be_set_to_loop() -> None:
    """S14: nothing is sent to ports 7, 13, 17, 19 or its own; the handler is not even asked."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        own = free.getsockname()[1]
    service = await serve(
        plugin, listen=f"udp:{own}:interface=127.0.0.1", handler=HANDLER, amplify=True
    )
    try:
        make = service.hosted_service.hosted.datagram
        assert make is not None
        protocol: Any = make()
        sent: list[Any] = []
        protocol.transport = SimpleNamespace(write=lambda *what: sent.append(what))
        for port in (7, 13, 17, 19, own):
            protocol.datagramReceived(b"now", ("192.0.2.1", port))
            protocol.datagramReceived(b"a", ("192.0.2.1", port))
        assert (sent, work) == ([], {})
        protocol.datagramReceived(b"now", ("192.0.2.1", 4711))
        assert sent == [(b"now", ("192.0.2.1", 4711))]
    finally:
        await service.stop()


@pytest_twisted.ensureDeferred
async def test_garbage_harms_nobody() -> None:
    """Any bytes, in any framing: the service answers the next client as before."""
    source = random.Random(20)
    for framing in ("line", "netstring", "length-prefix", "until-idle"):
        service = await serve(plugin, framing=framing, reply="{request}")
        try:
            for _ in range(5):
                await exchange(service.port, source.randbytes(source.randint(1, 20_000)))
            good = {"netstring": b"1:a,", "length-prefix": b"\0\0\0\1a"}.get(framing, b"a\r\n")
            assert await exchange(service.port, good) == good
        finally:
            await service.stop()


@pytest.mark.skipif(shutil.which("nc") is None, reason="no nc here")
@pytest_twisted.ensureDeferred
async def test_nc() -> None:
    """The line of the README, with the shell's own tools."""
    service = await serve(plugin, **HELLO)
    try:
        command = f"printf 'x\\r\\n' | nc -N 127.0.0.1 {service.port}"
        out, _, code = await getProcessOutputAndValue("/bin/sh", ["-c", command])
    finally:
        await service.stop()
    assert (out, code) == (b"Hello, client!\r\n", 0)
