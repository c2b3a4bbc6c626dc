"""The shared HTTP client over real sockets: slow, broken, huge, redirecting, rebinding peers."""

import asyncio
import gzip
import socket
import tracemalloc
from pathlib import Path

import aiohttp
import pytest
import trustme
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from twisted.logger import Logger
from yarl import URL

from netserve.http import AddressGuard, ClientOptions, HttpClient, HttpClients, HttpError
from netserve.http import errors as wrong
from netserve.testing.upstream import in_asyncio, raw_upstream, upstream

LOOPBACK = AddressGuard.parse(["127.0.0.1"])
MIB = 1024 * 1024


def client(resolver: AbstractResolver | None = None, **options: object) -> HttpClient:
    return HttpClient(ClientOptions(**{"guard": LOOPBACK, **options}), resolver=resolver)


async def failure(asked: HttpClient, url: URL, **options: object) -> HttpError:
    """What fetching gives when it has to fail; the client is closed."""
    with pytest.raises(HttpError) as caught:
        await asked.fetch("GET", url, **options)
    await asked.close().asFuture(asyncio.get_running_loop())
    return caught.value


async def close(asked: HttpClient) -> None:
    await asked.close().asFuture(asyncio.get_running_loop())


class FakeNames(AbstractResolver):
    """Gives each name's answers in turn; the last one for ever."""

    def __init__(self, **answers: list[str]) -> None:
        self.answers = answers
        self.asked = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked += 1
        known = self.answers[host.replace(".", "_")]
        address = known.pop(0) if len(known) > 1 else known[0]
        return [
            ResolveResult(
                hostname=host, host=address, port=port, family=socket.AF_INET, proto=0, flags=0
            )
        ]

    async def close(self) -> None:
        pass


async def hello(request: web.BaseRequest) -> web.StreamResponse:
    return web.Response(text=f"{request.method} {request.raw_path}")


@in_asyncio
async def test_an_answer_and_a_kept_connection() -> None:
    ports = set()

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        ports.add(request.transport.get_extra_info("peername"))
        assert request.headers["User-Agent"] == "netserve"
        assert "Cookie" not in request.headers
        return web.Response(text=await request.text(), headers={"Set-Cookie": "a=b", "X-Y": "z"})

    async with upstream(answer) as url:
        asked = client()
        for _ in range(3):
            got = await asked.fetch("POST", url / "p", body=b"hi")
            assert (got.status, got.reason, got.body, got.headers["X-Y"]) == (200, "OK", b"hi", "z")
        assert len(ports) == 1
        await close(asked)


@in_asyncio
async def test_nothing_of_the_environment_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    async with upstream(hello) as url:
        asked = client()
        assert (await asked.fetch("GET", url)).body == b"GET /"
        await close(asked)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1", "127.1", "0"]
)
@in_asyncio
async def test_loopback_is_refused_by_default_in_every_form(host: str) -> None:
    """S11: a literal address does not pass the resolver, and is checked all the same."""
    connected = []

    async def talk(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        connected.append(1)

    async with raw_upstream(talk) as url:
        text = f"http://{host}:{url.port}/"
        error = await failure(client(guard=AddressGuard()), URL(text, encoded=True))
    assert isinstance(error, wrong.AddressForbidden)
    assert "not allowed" in str(error)
    assert not connected


@pytest.mark.parametrize("location", ["http://127.0.0.2:{port}/", "http://[::1]:{port}/",
                                      "http://0x7f000001:{port}/", "http://inner.test:{port}/",
                                      "http://169.254.169.254/latest/meta-data/"])  # fmt: skip
@in_asyncio
async def test_each_redirect_is_checked(location: str) -> None:
    """S11: the first address is allowed, the one that it redirects to is not."""
    asked_for = []

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        asked_for.append(request.path)
        port = request.transport.get_extra_info("sockname")[1]
        return web.Response(status=302, headers={"Location": location.format(port=port)})

    names = FakeNames(inner_test=["127.0.0.3"])
    async with upstream(answer) as url:
        error = await failure(client(resolver=names, redirects=5), url / "first")
    assert isinstance(error, wrong.AddressForbidden)
    assert asked_for == ["/first"]


@in_asyncio
async def test_a_name_that_changes_its_answer() -> None:
    """S11: each connection goes to an address that was checked for it, or nowhere."""
    names = FakeNames(rebind_test=["127.0.0.1", "127.0.0.2", "10.0.0.1"])
    async with upstream(hello) as url:
        asked = client(resolver=names, keepalive=0.0001)
        there = url.with_host("rebind.test")
        assert (await asked.fetch("GET", there)).body == b"GET /"
        asked._session.connector.clear_dns_cache()
        await asyncio.sleep(0.01)
        for _ in range(2):
            with pytest.raises(wrong.AddressForbidden, match=r"127\.0\.0\.2|10\.0\.0\.1"):
                await asked.fetch("GET", there)
        assert names.asked == 3
        await close(asked)


@in_asyncio
async def test_a_name_that_the_file_lists() -> None:
    names = FakeNames(inner_test=["127.0.0.1"], other_test=["127.0.0.1"])
    async with upstream(hello) as url:
        asked = client(resolver=names, guard=AddressGuard.parse(["inner.test"]))
        assert (await asked.fetch("GET", url.with_host("inner.test"))).status == 200
        error = await failure(asked, url.with_host("other.test"))
    assert isinstance(error, wrong.AddressForbidden)
    assert str(error).startswith("other.test: not allowed: 127.0.0.1 is loopback")


@in_asyncio
async def test_redirects_are_followed_within_their_number() -> None:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        left = int(request.path[1:])
        if left == 0:
            return web.Response(text=f"{request.method} {await request.text()}")
        return web.Response(status=307, headers={"Location": f"/{left - 1}"})

    async with upstream(answer) as url:
        asked = client(redirects=3)
        assert (await asked.fetch("POST", url / "3", body=b"text")).body == b"POST text"
        assert isinstance(await failure(asked, url / "4"), wrong.TooManyRedirects)
        plain = client(redirects=0)
        assert (await plain.fetch("GET", url / "1")).status == 307
        await close(plain)


@in_asyncio
async def test_nothing_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    error = await failure(client(), URL(f"http://127.0.0.1:{port}/secret?token=1"))
    assert isinstance(error, wrong.Refused)
    assert str(error) == f"127.0.0.1:{port}: refused the connection"


@in_asyncio
async def test_a_name_without_an_address() -> None:
    class NoNames(FakeNames):
        async def resolve(self, *_: object, **__: object) -> list[ResolveResult]:
            raise OSError(None, "no such name")

    error = await failure(client(resolver=NoNames()), URL("http://nowhere.test/"))
    assert isinstance(error, wrong.NameUnknown)
    assert str(error) == "nowhere.test:80: its name has no address: no such name"


@in_asyncio
async def test_an_upstream_that_does_not_take_the_connection() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = [socket.socket() for _ in range(3)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        await asyncio.sleep(0.05)
        url = URL(f"http://127.0.0.1:{full.getsockname()[1]}/")
        error = await failure(client(connect_timeout=0.1), url)
        for filler in fillers:
            filler.close()
    assert isinstance(error, wrong.ConnectTimedOut)
    assert error.status == 504


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"read_timeout": 0.1}, wrong.ReadTimedOut),
        ({"total_timeout": 0.1}, wrong.TotalTimedOut),
    ],
)
@pytest.mark.parametrize("begun", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab"])
@in_asyncio
async def test_a_slow_upstream(options: dict[str, float], kind: type, begun: bytes) -> None:
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(begun)
        await asyncio.sleep(20)

    async with raw_upstream(talk) as url:
        assert isinstance(await failure(client(**options), url), kind)


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (b"", wrong.Reset),
        (b"HTTP/1.1 200 OK\r\nContent-Le", wrong.Reset),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", wrong.Reset),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", wrong.Reset),
        (b"220 smtp.example.org ESMTP\r\n", wrong.BadAnswer),
        (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", wrong.BadAnswer),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100000 + b"\r\n", wrong.BadAnswer),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nhi",
         wrong.BadAnswer),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 2\r\n\r\nhi",
         wrong.BadAnswer),
    ],
)  # fmt: skip
@in_asyncio
async def test_answers_that_are_none(said: bytes, kind: type) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)

    async with raw_upstream(talk) as url:
        error = await failure(client(read_timeout=5.0), url)
    assert type(error) is kind
    assert "\n" not in str(error)


@in_asyncio
async def test_a_reset_inside_the_answer() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab")
        await writer.drain()
        writer.transport.abort()

    async with raw_upstream(talk) as url:
        assert isinstance(await failure(client(), url), wrong.Reset)


@pytest.mark.parametrize("told", [True, False])
@in_asyncio
async def test_an_answer_that_is_too_large(told: bool) -> None:
    """S12: whether or not its length is told in front; what was sent by then is not held."""

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        if told:
            response.content_length = 100 * MIB
        await response.prepare(request)
        for _ in range(100):
            await response.write(bytes(MIB))
        return response

    async with upstream(answer) as url:
        error = await failure(client(response_size=MIB), url)
    assert isinstance(error, wrong.TooLarge)


@in_asyncio
async def test_an_answer_of_just_the_limit() -> None:
    async def answer(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=bytes(MIB))

    async with upstream(answer) as url:
        asked = client(response_size=MIB)
        assert len((await asked.fetch("GET", url)).body) == MIB
        assert isinstance(await failure(client(response_size=MIB - 1), url), wrong.TooLarge)
        await close(asked)


@in_asyncio
async def test_compressed_answers() -> None:
    """S12: a good one is unpacked; a bomb is stopped, and costs less than 10 MB."""
    packed = {"/good": gzip.compress(b"text " * 1000), "/bomb": gzip.compress(bytes(200_000_000))}

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        assert request.headers["Accept-Encoding"] == "gzip, deflate"
        return web.Response(body=packed[request.path], headers={"Content-Encoding": "gzip"})

    async with upstream(answer) as url:
        asked = client()
        assert (await asked.fetch("GET", url / "good")).body == b"text " * 1000
        tracemalloc.start()
        try:
            error = await failure(asked, url / "bomb")
            assert tracemalloc.get_traced_memory()[1] < 10 * MIB
        finally:
            tracemalloc.stop()
    assert isinstance(error, wrong.TooLarge)


@in_asyncio
async def test_a_head_has_no_body_whatever_it_says() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n")
        await asyncio.sleep(5)

    async with raw_upstream(talk) as url:
        asked = client()
        assert (await asked.fetch("HEAD", url)).body == b""
        await close(asked)


@in_asyncio
async def test_tls_is_verified_with_its_name(tmp_path: Path) -> None:
    """S19: TLS to others checks the name, and who signed the certificate."""
    import ssl

    authority = trustme.CA()
    ca = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(ca)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("good.test").configure_cert(context)
    names = FakeNames(good_test=["127.0.0.1"], bad_test=["127.0.0.1"])
    async with upstream(hello, ssl=context) as url:
        asked = client(resolver=names, ca=ca)
        assert (await asked.fetch("GET", url.with_host("good.test"))).body == b"GET /"
        by_name = await failure(asked, url.with_host("bad.test"))
        by_authority = await failure(client(resolver=names), url.with_host("good.test"))
        plain = await failure(client(), url.with_scheme("http"))
    assert isinstance(by_name, wrong.TlsFailed)
    assert "Hostname mismatch" in str(by_name)
    assert isinstance(by_authority, wrong.TlsFailed)
    assert not isinstance(plain, wrong.TlsFailed)


def test_a_missing_file_of_authorities(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot read the authorities in"):
        client(ca=tmp_path / "none.pem")
    (tmp_path / "empty.pem").write_text("no certificate")
    with pytest.raises(ValueError, match="cannot read the authorities in"):
        client(ca=tmp_path / "empty.pem")


@in_asyncio
async def test_a_stream_is_given_before_its_end_and_left_early() -> None:
    gone = asyncio.Event()

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"first")
        try:
            await asyncio.sleep(20)
        finally:
            gone.set()
        return response

    async with upstream(answer) as url:
        asked = client()
        async with asked.stream("GET", url) as response:
            assert await anext(asked.pieces(response)) == b"first"
        await asyncio.wait_for(gone.wait(), 5)
        await close(asked)


@in_asyncio
async def test_a_request_that_is_given_up_closes_its_connection() -> None:
    begun, gone = asyncio.Event(), asyncio.Event()

    async def answer(_: web.BaseRequest) -> web.StreamResponse:
        begun.set()
        try:
            await asyncio.sleep(20)
        finally:
            gone.set()
        return web.Response()

    async with upstream(answer) as url:
        asked = client()
        task = asyncio.create_task(asked.fetch("GET", url))
        await begun.wait()
        task.cancel()
        await asyncio.wait_for(gone.wait(), 5)
        await close(asked)


@in_asyncio
async def test_no_more_connections_than_allowed() -> None:
    most = now = 0

    async def answer(_: web.BaseRequest) -> web.StreamResponse:
        nonlocal most, now
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.01)
        now -= 1
        return web.Response()

    async with upstream(answer) as url:
        asked = client(connections=3)
        await asyncio.gather(*(asked.fetch("GET", url) for _ in range(20)))
        assert most == 3
        await close(asked)


@in_asyncio
async def test_closing_all_clients() -> None:
    async with upstream(hello) as url:
        clients = HttpClients(reactor=None, log=Logger())
        asked = clients.client(ClientOptions(guard=LOOPBACK))
        await asked.fetch("GET", url)
        await clients.close().asFuture(asyncio.get_running_loop())
        assert "closed" in str(await failure(asked, url))


def test_every_error_of_aiohttp_has_a_meaning() -> None:
    """No exception of aiohttp's falls through to an error without words."""
    key = aiohttp.client_reqrep.ConnectionKey("h", 1, False, True, None, None, None)
    for error, kind in [
        (aiohttp.ClientConnectorError(key, ConnectionRefusedError(111, "refused")), wrong.Refused),
        (aiohttp.ClientConnectorError(key, OSError(113, "No route")), wrong.Unreachable),
        (aiohttp.ServerDisconnectedError(), wrong.Reset),
        (aiohttp.ClientPayloadError(), wrong.Reset),
        (aiohttp.ClientOSError(104, "Connection reset by peer"), wrong.Reset),
        (aiohttp.InvalidURL("x"), wrong.BadAnswer),
        (aiohttp.ClientError(), wrong.BadAnswer),
        (TimeoutError(), wrong.TotalTimedOut),
        (OSError(101, "Network is unreachable"), wrong.Unreachable),
        (wrong.TooLarge("x"), wrong.TooLarge),
    ]:
        assert type(wrong.as_http_error(error, "h:1")) is kind
