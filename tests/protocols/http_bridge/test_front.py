"""Requests over HTTP, as bytes on real sockets: passing on, ambiguity, streaming, failures."""

import asyncio
import contextlib
import re
import socket
import struct
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

from netserve.protocols.http_bridge.front import READ_AHEAD
from netserve.testing.upstream import in_asyncio, raw_upstream, upstream

Bridge = Callable[..., Any]


async def echo_request(request: web.BaseRequest) -> web.StreamResponse:
    """Tells the request as it came."""
    headers = "".join(f"{name}: {value}\n" for name, value in request.headers.items())
    text = f"{request.method} {request.raw_path}\n{headers}\n{await request.text()}"
    return web.Response(text=text, headers={"Connection": "X-Hop", "X-Hop": "1", "X-End": "2"})


def get(target: str = "/", *headers: str, method: str = "GET", version: str = "1.1") -> bytes:
    lines = [f"{method} {target} HTTP/{version}", "Host: front.example", *headers, "", ""]
    return "\r\n".join(lines).encode()


def status(reply: bytes) -> int:
    match = re.match(rb"HTTP/1\.[01] (\d{3})", reply)
    assert match, reply
    return int(match[1])


async def ask(front: Any, request: bytes) -> bytes:
    """Send a request whose connection ends with the reply, and give that.

    The sending side stays open: to close it means for HTTP's servers that nobody waits any more.
    """
    reply: bytes = await front.exchange(request, end=False)
    return reply


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - it waits for what has no event
            await asyncio.sleep(0.005)


@in_asyncio
async def test_a_request_is_passed_on(bridge: Bridge) -> None:
    async with (
        upstream(echo_request) as url,
        bridge(
            framing="http",
            request={"url": f"{url}{{path}}?{{query}}", "headers": {"X-Added": "{method}"}},
        ) as front,
    ):
        reply = await ask(front,
            get("/a%20b/c?d=e&f", "X-Mine: 1", "Connection: close, X-Secret", "X-Secret: 2",
                "Keep-Alive: 5", "TE: trailers", "X-Forwarded-For: 6.6.6.6", "X-Added: mine",
                "Upgrade: h2c")
        )  # fmt: skip
        head, _, body = reply.decode().partition("\r\n\r\n")
        assert body.splitlines()[0] == "GET /a%20b/c?d=e&f"
        got = dict(line.split(": ", 1) for line in body.splitlines()[1:] if line)
        assert got["X-Mine"] == "1"
        assert got["X-Added"] == "GET"
        assert got["Host"] == f"127.0.0.1:{url.port}"
        assert got["X-Forwarded-For"] == "127.0.0.1"
        assert got["X-Forwarded-Host"] == "front.example"
        assert got["X-Forwarded-Proto"] == "http"
        assert got["Via"].startswith("1.1 netserve-")
        assert got["Accept-Encoding"] == "identity"
        assert not {"X-Secret", "Keep-Alive", "TE", "Upgrade"} & set(got)
        assert "X-End: 2" in head
        assert "X-Hop" not in head
        assert front.metrics.requests == 1
        assert not front.lines


@pytest.mark.parametrize(
    ("forwarded", "expected"), [("append", "6.6.6.6, 127.0.0.1"), ("none", None)]
)
@in_asyncio
async def test_forwarded_for(bridge: Bridge, forwarded: str, expected: str | None) -> None:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(text=str(request.headers.get("X-Forwarded-For")))

    async with (
        upstream(answer) as url,
        bridge(framing="http", request={"url": f"{url}{{target}}"}, forwarded=forwarded) as front,
    ):
        request = get("/", "X-Forwarded-For: 6.6.6.6", "Connection: close")
        assert (await ask(front, request)).endswith(str(expected).encode())


LENGTH = "Content-Length: 3"
CHUNKED = "Transfer-Encoding: chunked"


@pytest.mark.parametrize(
    "request_bytes",
    [
        get("/", "Host: other.example"),
        b"GET / HTTP/1.1\r\n\r\n",
        get("/", LENGTH, LENGTH, method="POST") + b"abc",
        get("/", LENGTH, "Content-Length: 4", method="POST") + b"abcd",
        get("/", "Content-Length: 3, 3", method="POST") + b"abc",
        get("/", LENGTH, CHUNKED, method="POST") + b"0\r\n\r\n",
        get("/", CHUNKED, LENGTH, method="POST") + b"0\r\n\r\n",
        get("/", CHUNKED, CHUNKED, method="POST") + b"0\r\n\r\n",
        get("/", "Transfer-Encoding: gzip, chunked", method="POST") + b"0\r\n\r\n",
        get("/", "Transfer-Encoding: xchunked", method="POST") + b"0\r\n\r\n",
        get("/", "Transfer-Encoding: chunked", method="POST", version="1.0") + b"0\r\n\r\n",
        get("/", "Content-Length: -3", method="POST") + b"abc",
        get("/", "Content-Length: +3", method="POST") + b"abc",
        get("/", "Content-Length : 3", method="POST") + b"abc",
        get("/", "X: a\rb"),
        get("/", "X: a\0b"),
        get("/", "X: y\n z: folded", " more"),
        get("/", CHUNKED, method="POST") + b"x\r\nabc\r\n0\r\n\r\n",
        get("/a/../b"),
        get("/a/%2e%2e/b"),
        get("/a#b"),
        get("*", method="OPTIONS"),
        get("ftp://h/"),
        b"GET / HTTP/1.1 x\r\nHost: a\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"nonsense\r\n\r\n",
    ],
    ids=repr,
)
@in_asyncio
async def test_what_could_be_read_in_two_ways_is_400(bridge: Bridge, request_bytes: bytes) -> None:
    """S13: two Hosts, two lengths, a length with chunks, and their relatives: 400, once."""
    reached = []

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        reached.append(await request.read())
        return web.Response()

    async with (
        upstream(answer) as url,
        bridge(framing="http", request={"url": f"{url}{{target}}"}) as front,
    ):
        reply = await ask(front, request_bytes + get("/smuggled"))
        assert status(reply) == 400, reply
        assert len(re.findall(rb"^HTTP/1\.[01] \d{3} ", reply, re.MULTILINE)) == 1
        assert not reached
        assert all("\n" not in line for line in front.lines)
        assert b"aiohttp" not in reply


@pytest.mark.parametrize(
    "names",
    [("X-Role", "x-role"), ("x-role", "X-ROLE", "X-Role"), ("Cookie", "cookie"),
     ("X-User", "x-user"), ("accept-encoding", "Accept-Encoding")],
)  # fmt: skip
@pytest.mark.parametrize("framing", ["template", "stream"])
@in_asyncio
async def test_all_fields_of_a_name_are_passed_on(
    bridge: Bridge, names: tuple[str, ...], framing: str
) -> None:
    """S27: a filter in front sees them all, so the upstream must as well."""
    sent = [f"{name}: v{at}" for at, name in enumerate(names)]
    request: dict[str, Any] = {} if framing == "stream" else {"body": "{body}"}
    async with (
        upstream(echo_request) as url,
        bridge(framing="http", request={"url": f"{url}{{target}}", **request}) as front,
    ):
        reply = await ask(front, get("/", *sent, "Connection: close"))
        assert re.findall(rb"\n(?i:%b): (v\d)" % names[0].encode(), reply) == [
            b"v%d" % at for at in range(len(names))
        ]


@pytest.mark.parametrize("fields", [b"", b"Content-Type: text/x\r\n", b"Content-type:\r\n"])
@pytest.mark.parametrize("length", [b"Content-Length: 2\r\n", b"Connection: close\r\n"])
@in_asyncio
async def test_no_type_is_made_up_for_an_answer(
    bridge: Bridge, fields: bytes, length: bytes
) -> None:
    """S27: with `application/octet-stream`, browsers would save what they show without it."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n" + fields + length + b"\r\nok")
        writer.close()

    async with (
        raw_upstream(talk) as url,
        bridge(framing="http", request={"url": f"{url}{{target}}"}) as front,
    ):
        reply = await ask(front, get("/", "Connection: close"))
        assert status(reply) == 200
        found = re.findall(rb"^content-type:.*$", reply, re.MULTILINE | re.IGNORECASE)
        wanted = [fields.strip()] if fields else []
        assert [line.strip().lower() for line in found] == [line.lower() for line in wanted]


@pytest.mark.parametrize(
    "name", ["Transfer_Encoding", "transfer_encoding", "Content_Length", "Proxy_Authorization",
             "Keep_Alive", "Proxy_Connection"],
)  # fmt: skip
@in_asyncio
async def test_names_that_are_taken_for_hop_by_hop_fields_are_not_passed_on(
    bridge: Bridge, name: str
) -> None:
    """S13: an upstream that makes one name of both would find two framings."""
    async with (
        upstream(echo_request) as url,
        bridge(framing="http", request={"url": f"{url}{{target}}"}) as front,
    ):
        reply = await ask(front, get("/", f"{name}: chunked", "Connection: close"))
        assert status(reply) == 200
        assert name.encode() not in reply


NOT_UTF8 = [b"us\xffer", b"\xe9t\xe9", b"a\xc3", b"\xed\xa0\x80", bytes(range(0x80, 0x100))]


@pytest.mark.parametrize("value", [*NOT_UTF8, "été".encode(), "日本".encode()], ids=repr)
@in_asyncio
async def test_header_bytes_of_an_answer_are_passed_on(bridge: Bridge, value: bytes) -> None:
    """S27: as they came, whether or not they are UTF-8, in the words of the status as well."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            b"HTTP/1.1 200 O%bK\r\nX-One: %b\r\nContent-Length: 2\r\nX-Two: a%bb\r\n\r\nok"
            % (value, value, value)
        )

    async with (
        raw_upstream(talk) as url,
        bridge(framing="http", request={"url": f"{url}{{target}}"}) as front,
    ):
        reply = await ask(front, get("/", "Connection: close"))
        head, _, body = reply.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 O%bK\r\n" % value)
        assert b"\r\nX-One: %b\r\n" % value in head
        assert b"\r\nX-Two: a%bb" % value in head
        assert body == b"ok"


@pytest.mark.parametrize("value", NOT_UTF8, ids=repr)
@in_asyncio
async def test_header_bytes_of_a_request_that_are_not_utf8_are_refused(
    bridge: Bridge, value: bytes
) -> None:
    r"""S27: `role=us\xffer` does not arrive as `role=user`, by whatever header or template."""
    reached: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async with (
        raw_upstream(talk) as url,
        bridge(
            framing="http",
            request={"url": f"{url}{{target}}", "headers": {"X-Given": "{header_x_given}"}},
        ) as front,
    ):
        for name in (b"Cookie", b"X-Given", b"X-Forwarded-For", b"Via", b"Connection"):
            reply = await ask(
                front, b"GET / HTTP/1.1\r\nHost: a\r\n%b: role=%b\r\n\r\n" % (name, value)
            )
            assert status(reply) == 400, name
        good = "role=été".encode()
        for name in (b"Cookie", b"X-Given"):
            request = b"GET / HTTP/1.1\r\nHost: a\r\n%b: %b\r\nConnection: close\r\n\r\n"
            assert status(await ask(front, request % (name, good))) == 200
            assert b"\r\n%b: %b\r\n" % (name, good) in reached[-1]
        assert len(reached) == 2


@pytest.mark.parametrize(
    "name",
    ["X_Forwarded_For", "x_forwarded-for", "X-Forwarded_For", "X_FORWARDED_HOST",
     "X_Forwarded-Proto", "Forwarded", "X_User", "X-User", "x-user"],
)  # fmt: skip
@in_asyncio
async def test_names_that_are_taken_for_ours_are_not_passed_on(bridge: Bridge, name: str) -> None:
    """Many upstreams make one name of hyphens and underscores, so a client could speak for us."""
    async with (
        upstream(echo_request) as url,
        bridge(
            framing="http",
            request={"url": f"{url}{{target}}", "headers": {"X_User": "nobody"}},
        ) as front,
    ):
        reply = await ask(front, get("/", f"{name}: 6.6.6.6", "X_Other: 1", "Connection: close"))
        assert b"6.6.6.6" not in reply
        assert b"\nX_User: nobody\n" in reply
        assert b"\nX_Other: 1\n" in reply
        assert b"\nX-Forwarded-For: 127.0.0.1\n" in reply


@in_asyncio
async def test_forwarded_is_kept_beside_what_is_appended_to(bridge: Bridge) -> None:
    async with (
        upstream(echo_request) as url,
        bridge(framing="http", request={"url": f"{url}{{target}}"}, forwarded="append") as front,
    ):
        reply = await ask(front, get("/", "Forwarded: for=6.6.6.6", "Connection: close"))
        assert b"\nForwarded: for=6.6.6.6\n" in reply


@pytest.mark.parametrize("framing", ["http", "line"])
@pytest.mark.parametrize("code", [101, 199, 600, 999])
@in_asyncio
async def test_a_status_that_is_no_answer(bridge: Bridge, framing: str, code: int) -> None:
    """101 among them: we never ask for another protocol."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            b"HTTP/1.1 %d Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nsecret"
            % code
        )
        await asyncio.sleep(10)

    async with (
        raw_upstream(talk) as url,
        bridge(
            framing=framing,
            request={"url": str(url), "timeout": "2s"},
            error="{status} {kind}",
        ) as front,
    ):
        if framing == "http":
            reply = await ask(front, get("/", "Connection: close"))
            assert status(reply) in {502, 504}
        else:
            reply = await front.exchange(b"x\n")
        assert reply.rstrip().endswith((b"502 bad-answer", b"504 total-timeout"))
        assert b"secret" not in reply
        assert len(front.lines) == 1


@pytest.mark.parametrize(("method", "code"), [("CONNECT", 405), ("TRACE", 405)])
@in_asyncio
async def test_methods_that_are_not_passed_on(bridge: Bridge, method: str, code: int) -> None:
    target = "example.org:443" if method == "CONNECT" else "/"
    async with bridge(framing="http", request={"url": "http://127.0.0.1:1{target}"}) as front:
        assert status(await ask(front, get(target, method=method))) in {400, code}


@in_asyncio
async def test_a_target_with_a_host_of_its_own_is_asked_of_the_upstream(bridge: Bridge) -> None:
    """S11: who asks does not choose the host."""
    async with (
        upstream(echo_request) as url,
        bridge(framing="http", request={"url": f"{url}{{target}}"}) as front,
    ):
        for target, path in [
            ("http://169.254.169.254/latest?a=b", "/latest?a=b"),
            ("http://evil.example", "/"),
            ("http://evil.example?x=y/z", "/?x=y/z"),
            ("//evil.example/x", "//evil.example/x"),
            ("/@evil.example/", "/@evil.example/"),
        ]:
            reply = await ask(front, get(target, "Connection: close"))
            assert f"\r\n\r\nGET {path}\n" in reply.decode()


@in_asyncio
async def test_replies_keep_the_order_of_pipelined_requests(bridge: Bridge) -> None:
    """S13: over HTTP as well."""

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        await asyncio.sleep(0.05 if request.path == "/0" else 0)
        return web.Response(text=f"[{request.path}]")

    async with (
        upstream(answer) as url,
        bridge(framing="http", request={"url": f"{url}{{target}}"}) as front,
    ):
        reader, writer = await front.connect()
        writer.write(b"".join(get(f"/{number}") for number in range(10)))
        received = b""
        while b"[/9]" not in received:
            received += await reader.read(65536)
        assert re.findall(rb"\[/(\d)\]", received) == [b"%d" % number for number in range(10)]
        writer.close()


@pytest.mark.parametrize("chunked", [True, False])
@in_asyncio
async def test_a_long_body_is_streamed_up(bridge: Bridge, chunked: bool) -> None:
    """The upstream has the first part before the client has sent the last one."""
    began, came = asyncio.Event(), 0

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        nonlocal came
        assert ("Content-Length" in request.headers) is not chunked
        while part := await request.content.readany():
            began.set()
            came += len(part)
        return web.Response(text="done")

    async with (
        upstream(answer) as url,
        bridge(
            framing="http",
            request={"url": f"{url}{{target}}"},
            limits={"request_size": "4MiB"},
        ) as front,
    ):
        size = 2 * READ_AHEAD
        reader, writer = await front.connect()
        header = CHUNKED if chunked else f"Content-Length: {size + 5}"
        writer.write(get("/", header, "Connection: close", method="PUT"))
        writer.write(b"%x\r\n%b\r\n" % (size, b"x" * size) if chunked else b"x" * size)
        await asyncio.wait_for(began.wait(), 5)
        writer.write(b"5\r\nagain\r\n0\r\n\r\n" if chunked else b"again")
        assert (await reader.read()).endswith(b"done")
        assert came == size + 5
        writer.close()


@pytest.mark.parametrize("in_slices", [True, False])
@in_asyncio
async def test_small_chunks_and_pipelines_come_through(bridge: Bridge, in_slices: bool) -> None:
    """S23: the same, where each turn of the reactor has time for one piece of work only."""
    body = bytes(range(256)) * 40
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(one), one) for one in
                      (body[at : at + 3] for at in range(0, len(body), 3)))  # fmt: skip

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=request.path.encode() + await request.read())

    async with (
        upstream(answer) as url,
        bridge(framing="http", request={"url": f"{url}{{target}}"}, in_slices=in_slices) as front,
    ):
        sent = b"".join(get(f"/{number}") for number in range(50))
        sent += get("/chunks", CHUNKED, method="POST") + chunks + b"0\r\n\r\n"
        sent += get("/last", "Connection: close")
        reply = await ask(front, sent)
        bodies = [part.partition(b"\r\n\r\n")[2] for part in reply.split(b"HTTP/1.1 200 OK")[1:]]
        assert bodies == [b"/%d" % n for n in range(50)] + [b"/chunks" + body, b"/last"]


@pytest.mark.parametrize("chunked", [True, False])
@in_asyncio
async def test_a_slot_is_not_held_before_the_body_has_come(bridge: Bridge, chunked: bool) -> None:
    """S24: of clients that send slowly the upstream hears nothing; others are served meanwhile."""
    asked = 0

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        nonlocal asked
        asked += 1
        return web.Response(text=await request.text())

    async with (
        upstream(answer) as url,
        bridge(
            framing="http", request={"url": f"{url}{{target}}"}, limits={"requests": 1}
        ) as front,
    ):
        header = CHUNKED if chunked else "Content-Length: 10"
        slow = [await front.connect() for _ in range(20)]
        for _, writer in slow:
            writer.write(get("/", header, "Connection: close", method="POST"))
            writer.write(b"5\r\nfirst\r\n" if chunked else b"first")
        await until(lambda: front.metrics.requests == 20)
        assert (await ask(front, get("/", "Connection: close"))).startswith(b"HTTP/1.1 200")
        assert asked == 1
        for reader, writer in slow:
            writer.write(b"5\r\nagain\r\n0\r\n\r\n" if chunked else b"again")
            assert (await reader.read()).endswith(b"\r\n\r\nfirstagain")
            writer.close()


@pytest.mark.parametrize("template", [False, True])
@in_asyncio
async def test_a_client_that_sends_nothing_more_of_its_body_is_sent_away(
    bridge: Bridge, template: bool
) -> None:
    """S8: with 408; whether its body is streamed or held."""
    request = {"body": "{body}"} if template else {}
    async with bridge(
        framing="http",
        request={"url": "http://127.0.0.1:1/", **request},
        limits={"client_timeout": "100ms"},
    ) as front:
        reply = await ask(front, get("/", "Content-Length: 10", method="POST") + b"first")
        assert status(reply) == 408
        assert front.lines == ["refused a request of 127.0.0.1: the request is too slow"]


@in_asyncio
async def test_bodies_that_are_held_share_a_budget(bridge: Bridge) -> None:
    """S8, S24: an address that holds its share is refused with 503, another is served."""
    async with (
        upstream(echo_request) as url,
        bridge(
            framing="http", request={"url": f"{url}{{target}}"}, limits={"memory": "1MiB"}
        ) as front,
    ):
        slow = [await front.connect() for _ in range(20)]
        for _, writer in slow:
            writer.write(get("/", "Content-Length: 200000", method="POST") + b"x" * 100_000)
        refused = [asyncio.create_task(reader.readuntil(b"\r\n\r\n")) for reader, _ in slow]
        await until(lambda: sum(task.done() for task in refused) >= 15)
        assert {status(task.result()) for task in refused if task.done()} == {503}
        assert 400_000 < front.memory.used <= 512 * 1024
        request = get("/", "Content-Length: 200000", "Connection: close", method="POST")
        reply = await front.exchange(request + b"y" * 200_000, end=False, source="127.0.0.2")
        assert reply.endswith(b"y" * 200_000)
        for task, (_, writer) in zip(refused, slow, strict=True):
            task.cancel()
            writer.close()
        await until(lambda: front.memory.used == 0)


@pytest.mark.parametrize("size", [100_000, 3_000_000])
@pytest.mark.parametrize("template", [False, True])
@in_asyncio
async def test_a_client_that_does_not_read_gives_its_slot_back(
    bridge: Bridge, size: int, template: bool
) -> None:
    """S24: at once where the rest of its answer can wait for it, else when it has had its time."""

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=b"x" * (size if request.path == "/large" else 2))

    options = {"response": "{body}"} if template else {}
    async with (
        upstream(answer) as url,
        bridge(
            framing="http",
            request={"url": f"{url}{{target}}"},
            limits={"requests": 1, "client_timeout": "100ms"},
            **options,
        ) as front,
    ):
        unread = []
        for _ in range(5):
            _, writer = await front.connect()
            taken: socket.socket = writer.get_extra_info("socket")
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            writer.transport.pause_reading()
            writer.write(get("/large") * (100 if size < 1_000_000 else 10))
            unread.append(writer)
        await until(lambda: front.metrics.requests >= 5)
        reply = await front.exchange(get("/", "Connection: close"), end=False, source="127.0.0.2")
        assert reply.endswith(b"xx")
        await until(lambda: front.metrics.errors["slow-client"] == 5)
        assert front.lines[-1] == "closed 127.0.0.1: it does not take its answer"
        for writer in unread:
            writer.transport.abort()
        await until(lambda: front.memory.used == 0)


@in_asyncio
async def test_a_client_that_reads_slowly_gets_all_of_its_answer(bridge: Bridge) -> None:
    """As long as it takes 64 KiB in `client_timeout`; its slot is free meanwhile."""

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=bytes(range(256)) * 8_000)

    async with (
        upstream(answer) as url,
        bridge(
            framing="http",
            request={"url": f"{url}{{target}}", "timeout": "60s"},
            limits={"client_timeout": "5s"},
        ) as front,
    ):
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(client, ("127.0.0.1", front.port))
            await loop.sock_sendall(client, get("/", "Connection: close"))
            received = b""
            while piece := await loop.sock_recv(client, 20_000):
                received += piece
                await asyncio.sleep(0.001)
        assert received.endswith(bytes(range(256)) * 8_000)


@in_asyncio
async def test_an_answer_is_streamed_down_without_being_held(bridge: Bridge) -> None:
    """The client has the first part before the upstream has made the last one."""
    more = asyncio.Event()

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"first")
        await more.wait()
        for _ in range(64):
            await response.write(bytes(256 * 1024))
        return response

    async with (
        upstream(answer) as url,
        bridge(
            framing="http",
            request={"url": f"{url}{{target}}"},
            limits={"response_size": "64KiB"},
        ) as front,
    ):
        reader, writer = await front.connect()
        writer.write(get("/", "Connection: close"))
        assert b"chunked" in await reader.readuntil(b"\r\n\r\n")
        assert await reader.readuntil(b"first\r\n") == b"5\r\nfirst\r\n"
        more.set()
        assert (await reader.read()).count(b"\0") == 16 * 1024 * 1024
        writer.close()


@in_asyncio
async def test_a_slow_client_slows_the_upstream(bridge: Bridge) -> None:
    """S8: what the client does not take is not fetched."""
    written = 0

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        nonlocal written
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(1000):
            await response.write(bytes(100_000))
            written += 1
        return response

    async with (
        upstream(answer) as url,
        bridge(framing="http", request={"url": f"{url}{{target}}", "timeout": "20s"}) as front,
    ):
        reader, writer = await front.connect()
        writer.transport.pause_reading()
        writer.write(get("/", "Connection: close"))
        seen = -1
        while seen != written or not written:
            seen = written
            await asyncio.sleep(0.3)
        assert written < 500
        writer.transport.resume_reading()
        assert (await reader.read()).count(b"\0") == 100_000_000
        writer.close()


@pytest.mark.parametrize(
    ("method", "answered", "reply_has", "reply_lacks"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n", b"Content-Length: 99", b"chunk"),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", b" 204 No Content", b"Content-Length"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n", b"Etag: x", b"chunk"),
        ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"Content-Length: 0", b"chunk"),
        ("GET", b"HTTP/1.0 200 OK\r\n\r\nto the end", b"to the end", b"Content-Length"),
        ("GET", b"HTTP/1.1 302 Found\r\nLocation: http://10.0.0.1/\r\nContent-Length: 0\r\n\r\n",
         b"Location: http://10.0.0.1/", b"chunk"),
        ("GET", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Away\r\nContent-Length: 1\r\n\r\nx",
         b" 404 Away", b"100"),
    ],
)  # fmt: skip
@in_asyncio
async def test_answers_and_their_bodies(
    bridge: Bridge, method: str, answered: bytes, reply_has: bytes, reply_lacks: bytes
) -> None:
    """The next reply on the same connection is found, so each body has its right length."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answered)

    async with (
        raw_upstream(talk) as url,
        bridge(framing="http", request={"url": f"{url}{{target}}"}) as front,
    ):
        reader, writer = await front.connect()
        writer.write(get("/", method=method))
        first = await reader.readuntil(b"\r\n\r\n")
        writer.write(get("/..", "Connection: close"))
        reply = first + await reader.read()
        writer.close()
        own, _, last = reply.rpartition(b"HTTP/1.1 400")
        assert reply_has.lower() in own.lower()
        assert reply_lacks not in own
        assert last


@in_asyncio
async def test_a_client_that_waits_for_100(bridge: Bridge) -> None:
    async with (
        upstream(echo_request) as url,
        bridge(framing="http", request={"url": f"{url}{{target}}"}) as front,
    ):
        reader, writer = await front.connect()
        writer.write(get("/", "Expect: 100-continue", LENGTH, "Connection: close", method="POST"))
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"abc")
        reply = await reader.read()
        assert status(reply) == 200
        assert reply.endswith(b"\n\nabc")
        assert b"Expect" not in reply
        writer.close()


@pytest.mark.parametrize("header", ["Content-Length: 11", CHUNKED])
@in_asyncio
async def test_a_request_that_is_too_large(bridge: Bridge, header: str) -> None:
    """S8: past the limit of a request, whether its length is told or not."""
    async with (
        upstream(echo_request) as url,
        bridge(
            framing="http", request={"url": f"{url}{{target}}"}, limits={"request_size": 10}
        ) as front,
    ):
        body = b"b\r\nxxxxxxxxxxx\r\n0\r\n\r\n" if header == CHUNKED else b"x" * 11
        reply = await ask(front, get("/", header, method="POST") + body)
        assert status(reply) == 413
        assert reply.endswith(b"error: the request is too large")


@in_asyncio
async def test_a_packed_answer_is_passed_on_packed(bridge: Bridge) -> None:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        assert request.headers["Accept-Encoding"] == "zstd"
        return web.Response(body=b"packed", headers={"Content-Encoding": "zstd"})

    async with (
        upstream(answer) as url,
        bridge(framing="http", request={"url": f"{url}{{target}}"}) as front,
    ):
        reply = await ask(front, get("/", "Accept-Encoding: zstd", "Connection: close"))
        assert b"Content-Encoding: zstd" in reply
        assert reply.endswith(b"packed")


@in_asyncio
async def test_templates_over_http(bridge: Bridge) -> None:
    async with (
        upstream(echo_request) as url,
        bridge(
            framing="http",
            request={
                "url": f"{url}/api?from={{header_user_agent}}",
                "method": "POST",
                "json": {"text": "{body}", "who": "{peer}"},
            },
            response="{status}: {body}",
        ) as front,
    ):
        request = get("/ignored", LENGTH, "User-Agent: a&b", "Connection: close", method="PUT")
        reply = (await ask(front, request + b'a"b')).decode()
        assert "\r\n\r\n200: POST /api?from=a%26b\n" in reply
        assert "Content-Type: application/json\n" in reply
        assert reply.endswith('{"text": "a\\"b", "who": "127.0.0.1"}')


@pytest.mark.parametrize(
    ("answered", "code", "text"),
    [
        (None, 504, "the upstream took too long"),
        (b"", 502, "the upstream broke the connection"),
        (b"nonsense\r\n\r\n", 502, "the upstream's answer makes no sense"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", 502, "the upstream broke the connection"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\nx", 502,
         "the upstream's answer is too large"),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", 502,
         "the upstream's answer makes no sense"),
    ],
)  # fmt: skip
@in_asyncio
async def test_upstreams_that_fail(
    bridge: Bridge, answered: bytes | None, code: int, text: str
) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if answered is None:
            await asyncio.sleep(20)
        writer.write(answered)

    async with (
        raw_upstream(talk) as url,
        bridge(
            framing="http",
            request={"url": f"{url}{{target}}", "timeout": "300ms"},
            error="sorry, {error}",
            limits={"streamed_size": 1000},
        ) as front,
    ):
        reader, writer = await front.connect()
        for _ in range(2):  # the connection lives on
            writer.write(get("/"))
            head = await reader.readuntil(b"\r\n\r\n")
            assert status(head) == code
            told = int(re.search(rb"Content-Length: (\d+)", head)[1])
            assert (await reader.readexactly(told)).decode() == f"sorry, {text}"
        writer.close()
        assert len(front.lines) == 2


@in_asyncio
async def test_an_answer_that_breaks_off_is_broken_off(bridge: Bridge) -> None:
    """Nobody takes half an answer for a whole one: the end of its body does not come."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.transport.abort()

    async with (
        raw_upstream(talk) as url,
        bridge(framing="http", request={"url": f"{url}{{target}}"}) as front,
    ):
        reader, writer = await front.connect()
        writer.write(get("/"))
        await reader.readuntil(b"first\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()
        assert front.metrics.errors == {"reset": 1}
        assert [line.split(":")[0] for line in front.lines] == ["half an answer for 127.0.0.1"]


@in_asyncio
async def test_an_answer_past_the_limit_of_streams_is_broken_off(bridge: Bridge) -> None:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(100):
            await response.write(bytes(1000))
        return response

    async with (
        upstream(answer) as url,
        bridge(
            framing="http", request={"url": f"{url}{{target}}"}, limits={"streamed_size": "10kB"}
        ) as front,
    ):
        reader, writer = await front.connect()
        writer.write(get("/"))
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await reader.readuntil(b"\r\n0\r\n\r\n")
        writer.close()
        await until(lambda: front.metrics.errors == {"too-large": 1})


@in_asyncio
async def test_a_client_that_is_gone_has_its_request_given_up(bridge: Bridge) -> None:
    begun, gone = asyncio.Event(), asyncio.Event()

    async def answer(_: web.BaseRequest) -> web.StreamResponse:
        begun.set()
        try:
            await asyncio.sleep(20)
        finally:
            gone.set()
        return web.Response()

    async with (
        upstream(answer) as url,
        bridge(framing="http", request={"url": f"{url}{{target}}"}) as front,
    ):
        _, writer = await front.connect()
        writer.write(get("/"))
        await asyncio.wait_for(begun.wait(), 5)
        no_goodbye = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_goodbye)
        writer.transport.abort()
        await asyncio.wait_for(gone.wait(), 5)
        await until(lambda: front.hosted.state() == "0 requests under way")


@in_asyncio
async def test_a_client_that_leaves_inside_its_body(bridge: Bridge) -> None:
    async with (
        upstream(echo_request) as url,
        bridge(framing="http", request={"url": f"{url}{{target}}"}) as front,
    ):
        _, writer = await front.connect()
        writer.write(get("/", "Content-Length: 10", method="POST") + b"abc")
        await until(lambda: front.hosted.state() == "1 request under way")
        writer.close()
        await until(lambda: front.hosted.state() == "0 requests under way")


@in_asyncio
async def test_a_circle_ends(bridge: Bridge) -> None:
    """A proxy that is its own upstream answers 508."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    async with bridge(
        framing="http", request={"url": f"http://127.0.0.1:{port}{{target}}"}
    ) as front:
        server = await asyncio.get_running_loop().create_server(
            front.hosted.stream, "127.0.0.1", port
        )
        assert status(await ask(front, get("/", "Connection: close"))) == 508
        server.close()


@in_asyncio
async def test_a_bug_of_ours_is_500_and_in_the_log(
    bridge: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    from netserve.protocols.http_bridge.plan import Plan

    monkeypatch.setattr(Plan, "headers_for", lambda *_: 1 / 0)
    async with bridge(framing="http", request={"url": "http://127.0.0.1:1/"}) as front:
        assert status(await ask(front, get("/"))) == 500
        assert front.lines == ["a request of 127.0.0.1 failed"]


@in_asyncio
async def test_drain_finishes_what_is_in_flight(bridge: Bridge) -> None:
    released = asyncio.Event()

    async def answer(_: web.BaseRequest) -> web.StreamResponse:
        await released.wait()
        return web.Response(text="done")

    async with (
        upstream(answer) as url,
        bridge(framing="http", request={"url": f"{url}{{target}}"}) as front,
    ):
        made: list[Any] = []

        def remember() -> Any:
            made.append(front.hosted.stream())
            return made[-1]

        loop = asyncio.get_running_loop()
        server = await loop.create_server(remember, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        busy_reader, busy = await asyncio.open_connection("127.0.0.1", port)
        quiet_reader, quiet = await asyncio.open_connection("127.0.0.1", port)
        busy.write(get("/"))
        await until(lambda: front.hosted.state() == "1 request under way" and len(made) == 2)
        for protocol in made:
            protocol.drain()
        assert await quiet_reader.read() == b""
        released.set()
        assert (await busy_reader.read()).endswith(b"done")
        busy.close()
        quiet.close()
        server.close()
