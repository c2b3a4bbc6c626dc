"""Framed connections over real sockets: every protocol that has them behaves the same."""

from __future__ import annotations

import re
import sys
from types import ModuleType
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.logger import formatEvent, globalLogPublisher

from netserve.protocols.http_bridge import plugin as http_bridge
from netserve.protocols.request_response import plugin as request_response
from netserve.reactor import lingering
from netserve.testing.hosting import RunningService, connect, serve

HELD = 0.1
"""Seconds until a request is answered."""
MODULE = "tests_streams_slow_handler"


async def _answer(request: Any) -> bytes:
    from twisted.internet import reactor

    await deferLater(reactor, HELD)
    return b"ok"


class Upstream(Protocol):
    """Answers each request a while later."""

    transport: Any

    def dataReceived(self, data: bytes) -> None:
        from twisted.internet import reactor

        if data.endswith(b"\r\n\r\n"):
            answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
            reactor.callLater(HELD, self.transport.write, answer)


@pytest.fixture(params=["request-response", "http-bridge"])
def protocol(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Starts a service that answers ``ok`` to each request after a while."""
    from twisted.internet import reactor

    module = ModuleType(MODULE)
    module.answer = _answer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, MODULE, module)
    upstream = reactor.listenTCP(0, Factory.forProtocol(Upstream), interface="127.0.0.1")

    async def start(pipeline: int = 1, **options: Any) -> RunningService:
        if request.param == "request-response":
            limits = {"pipeline": pipeline, "request_size": 1000}
            return await serve(
                request_response,
                handler=f"{MODULE}:answer", error="wrong", oversized="wrong", limits=limits,
                **options,
            )  # fmt: skip
        limits = {"requests_per_connection": pipeline, "request_size": 1000}
        url = f"http://127.0.0.1:{upstream.getHost().port}/"
        return await serve(
            http_bridge,
            request={"url": url}, error="wrong", limits=limits, allow_upstreams="127.0.0.1",
            **options,
        )  # fmt: skip

    yield start
    pytest_twisted.blockon(upstream.stopListening())


def requests(count: int) -> bytes:
    return b"\0\0\0\1a" * count


async def until_closed(service: RunningService) -> None:
    """Until the service has no connection; at most 10 s, which is less than it would linger."""
    from twisted.internet import reactor

    for _ in range(1000):
        if service.metrics.connections_open == 0:
            return
        await deferLater(reactor, 0.01)
    raise AssertionError("the connection is still open")


REPLY = b"\0\0\0\2ok"
WRONG = b"\0\0\0\5wrong"
BROKEN = b"\xff\xff\xff\xff"


@pytest.mark.parametrize("waiting", [0, 1, 3])
@pytest.mark.parametrize("pipeline", [1, 10])
@pytest.mark.parametrize("behind", [0, 300_000])
@pytest_twisted.ensureDeferred
async def test_a_broken_frame_lingers_no_longer_than_the_client(
    protocol: Any, monkeypatch: pytest.MonkeyPatch, waiting: int, pipeline: int, behind: int
) -> None:
    """Earlier requests are answered, and the connection ends as soon as the client closes."""
    from twisted.internet import reactor

    monkeypatch.setattr(lingering, "LINGER", 300.0)
    service = await protocol(framing="length-prefix", pipeline=pipeline)
    try:
        client = await connect(service.port)
        client.readConnectionLost = lambda: None  # type: ignore[method-assign]  # it goes on
        client.write(requests(waiting) + BROKEN + b"x" * behind)
        said = await client.until(WRONG).addTimeout(10, reactor)
        assert said == REPLY * waiting + WRONG
        client.transport.loseConnection()
        await until_closed(service)
        assert service.metrics.requests == waiting + 1
        assert service.metrics.errors == {"oversized": 1}
    finally:
        await service.stop()


@pytest.mark.parametrize(
    ("framing", "sent", "errors"),
    [
        ("length-prefix", BROKEN, {"oversized": 1}),
        ({"kind": "length-prefix", "inclusive": True}, b"\0\0\0\1", {"framing": 1}),
        ("netstring", b"1;", {"framing": 1}),
        ("netstring", b"99999:", {"oversized": 1}),
        ("line", b"x" * 1001 + b"\n" + b"x" * 5000 + b"\n", {"oversized": 2}),
    ],
)
@pytest_twisted.ensureDeferred
async def test_wrong_frames_are_counted_by_one_name(
    protocol: Any, framing: Any, sent: bytes, errors: dict[str, int]
) -> None:
    from twisted.internet import reactor

    service = await protocol(framing=framing)
    try:
        client = await connect(service.port)
        client.write(sent)
        client.transport.loseWriteConnection()
        await client.closed.addTimeout(10, reactor)
        assert service.metrics.errors == errors
        assert service.metrics.requests == sum(errors.values())
    finally:
        await service.stop()


@pytest_twisted.ensureDeferred
async def test_the_log_names_a_client_by_address_and_port(protocol: Any) -> None:
    from twisted.internet import reactor

    lines: list[str] = []

    def observe(event: Any) -> None:
        lines.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    service = await protocol(framing="netstring")
    try:
        client = await connect(service.port)
        port = client.transport.getHost().port
        client.write(b"nonsense")
        client.transport.loseWriteConnection()
        await client.closed.addTimeout(10, reactor)
    finally:
        globalLogPublisher.removeObserver(observe)
        await service.stop()
    found = [line for line in lines if "a netstring begins with" in line]
    assert len(found) == 1
    assert re.search(rf" of 127\.0\.0\.1:{port}: ", found[0])


@pytest_twisted.ensureDeferred
async def test_a_stop_does_not_wait_for_a_client_that_lingers(
    protocol: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from twisted.internet import reactor

    monkeypatch.setattr(lingering, "LINGER", 300.0)
    service = await protocol(framing="length-prefix")
    client = await connect(service.port)
    client.readConnectionLost = lambda: None  # type: ignore[method-assign]
    client.write(BROKEN)
    await client.until(WRONG).addTimeout(10, reactor)
    stopping = Deferred.fromCoroutine(service.stop(drain=100.0))
    await until_closed(service)
    client.transport.loseConnection()
    await stopping
