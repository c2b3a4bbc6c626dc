"""Requests over HTTP: each is passed on as the settings say, and its answer comes back.

Bodies are streamed both ways, within the limits of the settings, unless a template asks for them
whole. A request waits for its body before it takes a slot to the upstream, or for the first MiB of
it, and an answer that its client does not read gives its slot back: neither slow senders nor slow
readers hold what others wait for.

What two servers could read in two ways is answered with 400 (S13), see `netserve.http.requests`.
Replies keep the order of pipelined requests: a connection has one request at a time, and the
parser waits.

An answer that breaks off after its headers were passed on is broken off here too: the connection
ends without the end of the body, so that nobody takes it for whole. A client that closes its
sending side is taken to be gone, as HTTP's servers do, and its request is given up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from aiohttp import ClientResponse, web
from multidict import CIMultiDict
from yarl import URL

from netserve.fairness.shares import Holding
from netserve.http import Body, HttpClient, HttpError, Pace
from netserve.http.errors import TooLarge
from netserve.http.octets import OctetResponse
from netserve.http.requests import BadRequest, Upload
from netserve.http.server import HttpServer
from netserve.protocols.http_bridge.encode import Misfit
from netserve.protocols.http_bridge.incoming import check_method, passed_on, target_of
from netserve.protocols.http_bridge.outlet import Outlet, TooSlow
from netserve.protocols.http_bridge.plan import Plan, header_values
from netserve.protocols.http_bridge.refusals import Refusals
from netserve.protocols.http_bridge.upstream import Busy, Slot, Upstream
from netserve.wire.frame_input import TooMuchHeld

if TYPE_CHECKING:
    from netserve.protocols.http_bridge.settings import HttpBridgeSettings

_OURS: Final = frozenset({"host", "content-length", "expect", "via"})
"""Headers that came and are not passed on as they are: they are made here, or kept by us."""
_FORWARDED: Final = frozenset({"x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"})
"""Headers that say where a request came from."""
READ_AHEAD: Final = 1024 * 1024
"""Bytes of a body that are waited for before a slot is taken; the rest is streamed."""
_WITHOUT_BODY: Final = frozenset({204, 304})
PIECE: Final = 64 * 1024
"""Bytes of an answer that are written in one go."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request while it is answered.

    Arguments:
        request: aiohttp's.
        address: the client's, as `netserve.wire.peer.counting_key` has it.
        held: what is held in memory for it.
    """

    request: web.BaseRequest
    address: str
    held: Holding

    def hold(self, size: int) -> None:
        """Hold so many more bytes.

        Raises:
            Busy: it is too much for its address.
        """
        if not self.held.grow(size):
            raise Busy(str(TooMuchHeld()))

    def pace(self, upstream: Upstream) -> Pace:
        """Waits for the client's turn."""
        return partial(upstream.turn, self.address)


class HttpFront:
    """Answers HTTP requests for one service, from its upstream.

    Arguments:
        plan: the settings, compiled.
        client: the service's HTTP client.
        upstream: what its requests share.
        settings: limits, and what becomes of forwarding headers.
    """

    def __init__(
        self, plan: Plan, client: HttpClient, upstream: Upstream, settings: HttpBridgeSettings
    ) -> None:
        context = upstream.context
        self._plan = plan
        self._client = client
        self._upstream = upstream
        self._context = context
        self._refusals = Refusals(context)
        self._limits = settings.limits
        self._forwarded = settings.forwarded
        self._whole = settings.response is not None
        replaced = frozenset(name.lower().replace("_", "-") for name, _ in plan.headers)
        # RFC 7239's field says the same as ours, so that it would contradict them.
        others = _FORWARDED if self._forwarded == "append" else _FORWARDED | {"forwarded"}
        self._replaced = _OURS | others | replaced
        # Tells our own Via from others', so that a circle ends (RFC 9110, 7.6.3).
        self._via = f"1.1 netserve-{context.random.getrandbits(48):012x}"
        self.server = HttpServer(
            self.answer,
            turns=context.turns,
            log=context.log,
            refuse=self._refuse_unread,
            give_up=True,
            keepalive_timeout=settings.limits.idle_timeout,
        )
        self.under_way = 0
        """How many requests have no complete reply yet."""

    def _refuse_unread(self, status: int, reason: str) -> web.Response:
        """The answer to a request that cannot be read."""
        kind = "internal" if status == 500 else "request"
        self._context.metrics.requests += 1
        self._context.metrics.errors[kind] += 1
        body = self._plan.error_reply(reason, kind, status)
        return web.Response(status=status, body=body, headers=_TEXT)

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Pass a request on, and give its answer."""
        self._context.metrics.requests += 1
        self.under_way += 1
        connection: Any = request.protocol  # a `netserve.http.connection.HttpConnection`
        asked = Asked(
            request, connection.address, Holding(self._upstream.memory, connection.address)
        )
        try:
            return await self._answer(asked)
        except BadRequest as error:
            return self._refuse(request, "request", str(error), error.status)
        except Misfit as misfit:
            return self._refuse(request, "request", str(misfit), 400)
        except Busy as busy:
            return self._refuse(request, busy.kind, str(busy), busy.status)
        except HttpError as error:
            self._context.log.warn(  # this is Twisted's logger
                "no answer for {peer}: {reason}",
                peer=request.remote,
                reason=str(error),
                connection_id=_id_of(request),
            )
            return self._refuse(request, error.kind, error.told, error.status)
        finally:
            asked.held.close()
            self.under_way -= 1

    async def _answer(self, asked: Asked) -> web.StreamResponse:
        request = asked.request
        check_method(request.method)
        values = await self._values(asked)
        url, ours = self._plan.head(values)
        headers = self._request_headers(request, ours)
        if self._plan.body is not None:
            pace = asked.pace(self._upstream)
            made = []
            for piece in self._plan.body.pieces(values):
                made.append(piece)
                await pace()
            return await self._ask(asked, url, headers, b"".join(made))
        upload = self._upload(request, headers)
        body: Body = upload
        if upload is not None:
            body = await upload.read_ahead(READ_AHEAD, asked.hold)
            if body is None:
                body = upload
            else:
                headers["Content-Length"] = str(len(body))
        try:
            return await self._ask(asked, url, headers, body)
        except HttpError:
            if upload is not None and upload.error is not None:
                # The request broke first, and the upstream's connection with it.
                raise upload.error from None
            raise

    async def _ask(
        self, asked: Asked, url: URL, headers: CIMultiDict[str], body: Body
    ) -> web.StreamResponse:
        request = asked.request
        method = self._plan.method or request.method
        if self._whole:
            return await self._ask_for_all(asked, method, url, headers, body)
        async with self._upstream.slot(asked.address) as slot:
            streaming = self._client.stream(method, url, headers=headers, body=body)
            async with streaming as upstream:
                asked.held.close()  # what was held of the request is sent
                return await self._pass_on(asked, upstream, url, slot)

    async def _ask_for_all(
        self, asked: Asked, method: str, url: URL, headers: CIMultiDict[str], body: Body
    ) -> web.StreamResponse:
        """Hold an answer, and put it into the template."""
        pace = asked.pace(self._upstream)
        async with self._upstream.slot(asked.address):
            answer = await self._client.fetch(method, url, headers=headers, body=body, pace=pace)
        asked.held.close()
        asked.held.add(len(answer.body))
        await pace()
        text = self._plan.reply(answer.status, answer.reason, answer.headers, answer.body)
        response = web.StreamResponse(status=answer.status, headers=_TEXT)
        response.headers["Server"] = "netserve"
        response.content_length = len(text)
        outlet = self._outlet(asked, response)
        try:
            await outlet.begin(len(text))
            if asked.request.method != "HEAD":
                for at in range(0, len(text), PIECE):
                    await outlet.write(text[at : at + PIECE])
            await outlet.end()
        except TooSlow:
            self._cut(asked)
        finally:
            outlet.close()
        return response

    def _outlet(self, asked: Asked, response: web.StreamResponse) -> Outlet:
        return Outlet(
            asked.request,
            response,
            memory=self._upstream.memory,
            address=asked.address,
            timeout=self._limits.client_timeout,
        )

    def _cut(self, asked: Asked) -> None:
        """End the connection of a client that does not take its answer."""
        request = asked.request
        self._context.metrics.errors["slow-client"] += 1
        self._context.log.info(
            "closed {peer}: it does not take its answer",
            peer=request.remote or "a client",
            connection_id=_id_of(request),
        )
        if request.transport is not None:
            request.transport.abort()

    async def _values(self, asked: Asked) -> dict[str, bytes | str]:
        """The placeholders' values, as far as they are used."""
        request, names = asked.request, self._plan.names
        path, _, query = target_of(request).partition("?")
        values: dict[str, bytes | str] = {
            "method": request.method,
            "path": path,
            "query": query,
            "target": f"{path}?{query}" if query else path,
            "peer": request.remote or "",
        }
        values |= header_values(names, request.headers)
        if "body" in names:
            limits = self._limits
            upload = Upload(request, limits.request_size, timeout=limits.client_timeout)
            values["body"] = await upload.read_ahead(limits.request_size + 1, asked.hold) or b""
        return values

    def _request_headers(
        self, request: web.BaseRequest, ours: Mapping[str, str]
    ) -> CIMultiDict[str]:
        headers = passed_on(request.headers, self._replaced)
        via = request.headers.getall("Via", [])
        if any(self._via in value for value in via):
            raise BadRequest("this request has been here before: it goes in a circle", 508)
        headers["Via"] = ", ".join([*via, self._via])
        if self._forwarded != "none":
            came = request.headers.getall("X-Forwarded-For", [])
            known = came if self._forwarded == "append" else []
            headers["X-Forwarded-For"] = ", ".join([*known, request.remote or "unknown"])
            headers["X-Forwarded-Proto"] = request.scheme
            headers["X-Forwarded-Host"] = request.headers.get("Host", "")
        if not self._whole:
            # The answer is passed on as it is: packed only as the client itself can unpack it.
            headers.setdefault("Accept-Encoding", "identity")
        else:
            headers.popall("Accept-Encoding", None)
        if self._plan.body is not None:
            headers.popall("Content-Encoding", None)
            headers.popall("Content-Type", None)
        headers.update(ours)
        return headers

    def _upload(self, request: web.BaseRequest, headers: CIMultiDict[str]) -> Upload | None:
        """The body that came, to be streamed; its length, where it is known, goes along."""
        if not request.body_exists:
            return None
        limits = self._limits
        upload = Upload(request, limits.request_size, timeout=limits.client_timeout)
        if request.content_length is not None:
            headers["Content-Length"] = str(request.content_length)
        return upload

    async def _pass_on(
        self, asked: Asked, upstream: ClientResponse, url: URL, slot: Slot
    ) -> web.StreamResponse:
        """Stream an answer to the client."""
        request, status = asked.request, upstream.status
        response = OctetResponse(
            status=status, reason=upstream.reason, headers=passed_on(upstream.headers)
        )
        response.headers.setdefault("Server", "netserve")
        response.headers.add("Via", self._via)
        if status in _WITHOUT_BODY or request.method == "HEAD":
            slot.give()
            await response.prepare(request)
            return response
        if (upstream.content_length or 0) > self._limits.streamed_size:
            raise TooLarge(f"{url.raw_host}: its answer is larger than streamed_size")
        outlet = self._outlet(asked, response)
        try:
            await self._stream(asked, upstream, outlet, slot)
        except TooSlow:
            self._cut(asked)
        except HttpError as error:
            if not response.prepared:
                raise
            self._context.metrics.errors[error.kind] += 1
            self._context.log.warn(  # this is Twisted's logger
                "half an answer for {peer}: {reason}",
                peer=request.remote,
                reason=str(error),
                connection_id=_id_of(request),
            )
            if request.transport is not None:
                request.transport.abort()
        finally:
            outlet.close()
        return response

    async def _stream(
        self, asked: Asked, upstream: ClientResponse, outlet: Outlet, slot: Slot
    ) -> None:
        """Write the body as it comes, and give the slot back when all of it has come."""
        left = self._limits.streamed_size
        pieces = self._client.pieces(upstream)
        # The first piece is waited for before anything is said, so that an upstream that breaks
        # right after its headers still gives a clear error.
        piece = await anext(pieces, b"")
        await outlet.begin(upstream.content_length)
        while piece:
            left -= len(piece)
            if left < 0:
                raise TooLarge(f"{upstream.url.raw_host}: its answer is larger than streamed_size")
            await outlet.write(piece)
            await self._upstream.turn(asked.address)
            piece = await anext(pieces, b"")
        slot.give()
        await outlet.end()

    def _refuse(
        self, request: web.BaseRequest, kind: str, text: str, status: int
    ) -> web.StreamResponse:
        self._context.metrics.errors[kind] += 1
        if kind == "request":
            self._refusals.request(request.remote, text)
        body = self._plan.error_reply(text, kind, status)
        response = web.Response(status=status, body=body, headers=_TEXT)
        if kind == "request" or not request.content.is_eof():
            # What stands behind a request that was not understood, or read, is not looked at.
            response.force_close()
        return response


_TEXT: Final = {"Content-Type": "text/plain; charset=utf-8"}


def _id_of(request: web.BaseRequest) -> str:
    """The id of a request's connection."""
    connection: Any = request.protocol  # one of `netserve.http.connection`
    identity: str = connection.connection_id
    return identity
