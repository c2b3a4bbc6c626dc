"""The HTTP client that services share: one pool a service, bounded in time, size and addresses.

What holds for each request, whatever the service's settings:

- it goes to checked addresses only, at each redirect again (S11, see `netserve.http.resolver`);
- the certificate and its name are verified;
- nothing of the environment is looked at (no proxy variables, no ``.netrc``), no cookies are kept;
- what is held in memory of an answer is bounded, compressed or not (S12).

The inside is asyncio's: `HttpClient.fetch` and `HttpClient.stream` are for coroutines of asyncio;
others cross over by `netserve.crossing`.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias

import aiohttp
from aiohttp.abc import AbstractResolver
from multidict import CIMultiDictProxy
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from yarl import URL

from netserve.connection import Tracker
from netserve.crossing import from_asyncio
from netserve.errors import InvalidValue
from netserve.http import redirects as following
from netserve.http.decompress import ACCEPTED, DecompressError, Decompressor, ExpandsTooMuch
from netserve.http.errors import BadAnswer, HttpError, TooLarge, TooManyRedirects, as_http_error
from netserve.http.guard import PUBLIC_ONLY, AddressGuard
from netserve.http.octets import is_utf8, one_spelling
from netserve.http.resolver import GuardedConnector

Body: TypeAlias = bytes | AsyncIterable[bytes] | None
Pace: TypeAlias = Callable[[], Awaitable[None]]
"""Waits, where there is need, until others have been served."""

_NO_GUESSES: Final = ("Content-Type",)
"""What aiohttp is not to make up for a body."""
_FAILURES: Final = (aiohttp.ClientError, TimeoutError, OSError, HttpError)


async def at_once() -> None:
    """A pace that does not wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientOptions:
    """What one service's client may do.

    Arguments:
        guard: the addresses that are allowed beside public ones.
        connect_timeout: seconds for one connection, with its TLS handshake.
        read_timeout: seconds in which something has to come.
        total_timeout: seconds for all of a request, redirects and body included.
        redirects: how many are followed; with 0 a redirect is an answer like another.
        connections: the most that are open at a time, to all upstreams together.
        keepalive: seconds that an idle connection is kept for.
        response_size: the largest answer that is held in memory, in bytes.
        ratio: how many times its size a compressed answer may unpack to.
        ca: PEM file of the authorities that are trusted in place of the system's.
        user_agent: our ``User-Agent``.
    """

    guard: AddressGuard = PUBLIC_ONLY
    connect_timeout: float = 5.0
    read_timeout: float = 30.0
    total_timeout: float = 60.0
    redirects: int = 0
    connections: int = 100
    keepalive: float = 15.0
    response_size: int = 4 * 1024 * 1024
    ratio: int = 100
    ca: Path | None = None
    user_agent: str = "netserve"


@dataclass(frozen=True, slots=True)
class Answer:
    """An upstream's answer, whole.

    Arguments:
        status: the code.
        reason: the words behind it; may be empty.
        headers: as they came.
        body: unpacked.
    """

    status: int
    reason: str
    headers: CIMultiDictProxy[str]
    body: bytes


class HttpClient:
    """The HTTP client of one service; its pool opens with its first request.

    Arguments:
        options: what it may do.
        resolver: resolves names, unguarded; tests give one of their own.
        tracker: records each connection that is opened.

    Raises:
        ValueError: the file of authorities cannot be read.
    """

    def __init__(
        self,
        options: ClientOptions,
        *,
        resolver: AbstractResolver | None = None,
        tracker: Tracker | None = None,
    ) -> None:
        self.options = options
        self._tracker = tracker or Tracker()
        self._resolver = resolver
        self._ssl: ssl.SSLContext | bool = _verified_by(options.ca) if options.ca else True
        self._timeout = _timeouts(options, options.total_timeout)
        self._session: aiohttp.ClientSession | None = None
        self._closed = False

    async def fetch(
        self,
        method: str,
        url: URL,
        *,
        headers: Mapping[str, str] | None = None,
        body: Body = None,
        pace: Pace = at_once,
    ) -> Answer:
        """Send a request, and hold its answer.

        Arguments:
            method: in capitals.
            url: absolute, encoded as it is to be sent.
            headers: sent beside the client's own.
            body: bytes, or an iterable of them.
            pace: is awaited before each further piece of a long answer.

        Raises:
            HttpError: there is no complete answer; TooLarge among them.
        """
        try:
            response = await self._request(method, url, headers, body)
            try:
                content = await self._read(response, pace)
            except BaseException:
                response.close()
                raise
        except _FAILURES as error:
            raise as_http_error(error, place(url)) from error
        response.release()
        return Answer(response.status, response.reason or "", response.headers, content)

    @asynccontextmanager
    async def stream(
        self, method: str, url: URL, *, headers: Mapping[str, str] | None = None, body: Body = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a request, and give its answer before its body has come.

        The body is read by `pieces`, as it is, compressed or not; leaving the context before
        its end closes the connection.

        Raises:
            HttpError: there is no answer.
        """
        try:
            response = await self._request(method, url, headers, body)
        except _FAILURES as error:
            raise as_http_error(error, place(url)) from error
        try:
            yield response
        finally:
            # A body that came whole has given its connection back already.
            response.close()

    async def pieces(self, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        """The body of a streamed answer, piece by piece, as it comes.

        Raises:
            HttpError: it did not come whole.
        """
        content = response.content
        try:
            while piece := await content.readany():
                yield piece
        except _FAILURES as error:
            raise as_http_error(error, place(response.url)) from error

    @property
    def is_closed(self) -> bool:
        """Whether it takes no more requests."""
        return self._closed

    def close(self) -> Deferred[None]:
        """Close all connections; requests under way fail."""
        self._closed = True
        session, self._session = self._session, None
        return from_asyncio(_close(session))

    def _open(self) -> aiohttp.ClientSession:
        if self._closed:
            raise HttpError("the client is closed")
        options = self.options
        connector = GuardedConnector(
            options.guard,
            self._resolver or aiohttp.ThreadedResolver(),
            self._tracker,
            ssl=self._ssl,
            limit=options.connections,
            keepalive_timeout=options.keepalive,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=self._timeout,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": options.user_agent, "Accept-Encoding": ACCEPTED},
            auto_decompress=False,
            trust_env=False,
        )
        return self._session

    async def _request(
        self, method: str, url: URL, headers: Mapping[str, str] | None, body: Body
    ) -> aiohttp.ClientResponse:
        if headers:
            if not all(map(is_utf8, headers.values())):
                raise HttpError(f"{place(url)}: a header has bytes that are not UTF-8")
            headers = one_spelling(headers)
        session = self._session or self._open()
        follows = self.options.redirects > 0
        began = asyncio.get_running_loop().time() if follows else 0.0
        response = await session.request(
            method,
            url,
            headers=headers,
            data=body,
            allow_redirects=False,
            skip_auto_headers=None if body is None else _NO_GUESSES,
        )
        if follows and response.status in following.STATUSES:
            hop = following.Hop(method, url, headers or {})
            deadline = began + self.options.total_timeout
            response = await self._follow(session, response, hop, body, deadline)
        if not 200 <= response.status <= 599:
            # 101 among them: we never ask for another protocol.
            response.close()
            raise BadAnswer(f"{place(url)}: its answer has the status {response.status}")
        return response

    async def _follow(
        self,
        session: aiohttp.ClientSession,
        response: aiohttp.ClientResponse,
        hop: following.Hop,
        body: Body,
        deadline: float,
    ) -> aiohttp.ClientResponse:
        """Follow redirects, until a deadline on the loop's clock."""
        loop = asyncio.get_running_loop()
        for _ in range(self.options.redirects):
            location = response.headers.get("Location")
            if response.status not in following.STATUSES or location is None:
                return response
            response.close()
            try:
                hop = following.next_hop(hop, response.status, location)
            except ValueError as error:
                raise TooManyRedirects(f"{place(hop.url)}: {error}") from None
            if hop.keeps_body and body is not None and not isinstance(body, bytes):
                raise TooManyRedirects(f"{place(hop.url)}: a body that is passed on is sent once")
            response = await session.request(
                hop.method,
                hop.url,
                headers=hop.headers,
                data=body if hop.keeps_body else None,
                allow_redirects=False,
                skip_auto_headers=_NO_GUESSES,
                timeout=_timeouts(self.options, max(deadline - loop.time(), 0.001)),
            )
        if response.status in following.STATUSES and "Location" in response.headers:
            response.close()
            raise TooManyRedirects(
                f"{place(hop.url)}: more than {self.options.redirects} redirects"
            )
        return response

    async def _read(self, response: aiohttp.ClientResponse, pace: Pace) -> bytes:
        """The body, unpacked; bounded before, during and after."""
        limit = self.options.response_size
        if (response.content_length or 0) > limit and response.method != "HEAD":
            raise TooLarge(f"{place(response.url)}: its answer is larger than {limit} bytes")
        encoding = response.headers.get("Content-Encoding")
        content = response.content
        if encoding is None or encoding == "identity":
            body = await content.readany()
            if content.at_eof() and len(body) <= limit:
                return body
            return await self._read_plain(response, body, pace)
        return await self._read_compressed(response, encoding, pace)

    async def _read_plain(
        self, response: aiohttp.ClientResponse, begun: bytes, pace: Pace
    ) -> bytes:
        limit, held = self.options.response_size, bytearray(begun)
        while len(held) <= limit:
            await pace()
            piece = await response.content.readany()
            if not piece:
                return bytes(held)
            held += piece
        raise TooLarge(f"{place(response.url)}: its answer is larger than {limit} bytes")

    async def _read_compressed(
        self, response: aiohttp.ClientResponse, encoding: str, pace: Pace
    ) -> bytes:
        held = bytearray()
        try:
            unpack = Decompressor(
                encoding, limit=self.options.response_size, ratio=self.options.ratio
            )
            while data := await response.content.readany():
                for piece in unpack.feed(data):
                    held += piece
                    await pace()
            unpack.end()
        except ExpandsTooMuch as error:
            raise TooLarge(f"{place(response.url)}: its answer {error}") from None
        except DecompressError as error:
            raise BadAnswer(f"{place(response.url)}: its answer {error}") from None
        return bytes(held)


@dataclass(slots=True)
class HttpClients:
    """Gives HTTP clients to services, and closes them all when the process stops.

    Arguments:
        reactor: the reactor, which has to run on asyncio's loop.
        log: the process's logger.
        resolver: resolves names for all clients, in place of the system's.
        tracker: records each connection that the clients open.
    """

    reactor: Any
    log: Logger
    resolver: AbstractResolver | None = None
    tracker: Tracker = field(default_factory=Tracker)
    _clients: list[HttpClient] = field(default_factory=list)
    _keeper: HttpClients | None = field(default=None, repr=False)

    def branch(self, tracker: Tracker) -> HttpClients:
        """The same, for one service; these close its clients once they have adopted it.

        Arguments:
            tracker: of the service.
        """
        return HttpClients(self.reactor, self.log, self.resolver, tracker)

    def adopt(self, branch: HttpClients) -> None:
        """Close the clients of a branch with these, including clients that it gives later.

        Arguments:
            branch: of a service that was built.
        """
        clients, branch._clients = branch._clients, []
        branch._keeper = self
        self._clients += clients

    def client(
        self, options: ClientOptions, *, resolver: AbstractResolver | None = None
    ) -> HttpClient:
        """A client with a pool of its own; whoever asked for it may close it early.

        Arguments:
            options: what it may do.
            resolver: resolves names for this client, unguarded.

        Raises:
            ValueError: the options cannot work, such as a missing file of authorities.
        """
        client = HttpClient(options, resolver=resolver or self.resolver, tracker=self.tracker)
        if self._keeper is not None:
            self._keeper.adopt(HttpClients(self.reactor, self.log, _clients=[client]))
            return client
        self._clients = [*(each for each in self._clients if not each.is_closed), client]
        return client

    def close(self) -> Deferred[None]:
        """Close all clients."""
        return Deferred.fromCoroutine(self._close())

    async def _close(self) -> None:
        clients, self._clients = self._clients, []
        for client in clients:
            await client.close()


def place(url: URL) -> str:
    """A URL's host and port, for logs and errors."""
    host = url.raw_host or "?"
    return f"[{host}]:{url.port}" if ":" in host else f"{host}:{url.port}"


def _timeouts(options: ClientOptions, total: float) -> aiohttp.ClientTimeout:
    # sock_connect and not connect: to wait for the pool is not the upstream's slowness.
    # A read timeout that the total one comes before is left out: its timer costs, and never ends.
    read = options.read_timeout if options.read_timeout < total else None
    return aiohttp.ClientTimeout(total=total, sock_connect=options.connect_timeout, sock_read=read)


def _verified_by(ca: Path) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=str(ca))
    except OSError as error:
        reason = "no certificate in PEM form in it"
        if not isinstance(error, ssl.SSLError):
            reason = (error.strerror or str(error)).lower()
        raise InvalidValue(
            "cannot read the authorities in {ca}: " + reason, at=("ca",), ca=ca
        ) from None


async def _close(session: aiohttp.ClientSession | None) -> None:
    if session is not None:
        await session.close()
