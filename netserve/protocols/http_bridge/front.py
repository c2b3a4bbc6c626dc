"""Requests over HTTP: each is passed on as the settings say, and its answer comes back.

Bodies are streamed both ways, within the limits of the settings, unless a template asks for them
whole. Beside what aiohttp's parser refuses, what could be read in two ways by two servers is
answered with 400 here (S13): more than one Host, more than one Content-Length, Content-Length
with Transfer-Encoding. Replies keep the order of pipelined requests: a connection has one request
at a time, and the parser waits.

An answer that breaks off after its headers were passed on is broken off here too: the connection
ends without the end of the body, so that nobody takes it for whole. A client that closes its
sending side is taken to be gone, as HTTP's servers do, and its request is given up.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from aiohttp import ClientResponse, web
from multidict import CIMultiDict
from yarl import URL

from netserve.http import Body, HttpClient, HttpError
from netserve.http.errors import BadAnswer, TooLarge
from netserve.http.requests import BadRequest, Upload, check
from netserve.http.server import HttpServer
from netserve.protocols.http_bridge.encode import Misfit
from netserve.protocols.http_bridge.incoming import check_method, passed_on, target_of
from netserve.protocols.http_bridge.plan import Plan, header_values
from netserve.protocols.http_bridge.refusals import Refusals
from netserve.protocols.http_bridge.upstream import Upstream

if TYPE_CHECKING:
    from netserve.protocols.http_bridge.settings import HttpBridgeSettings

_OURS: Final = frozenset(
    {"host", "content-length", "expect", "via", "x-forwarded-for", "x-forwarded-host",
     "x-forwarded-proto"}
)  # fmt: skip
"""Headers that came and are not passed on as they are: they are made anew, or kept by us."""
_WITHOUT_BODY: Final = frozenset({204, 304})


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
        self._replaced = frozenset(name.lower() for name, _ in plan.headers)
        # Tells our own Via from others', so that a circle ends (RFC 9110, 7.6.3).
        self._via = f"1.1 netserve-{context.random.getrandbits(48):012x}"
        self.server = HttpServer(
            self.answer,
            log=context.log,
            give_up=True,
            keepalive_timeout=settings.limits.idle_timeout,
            auto_decompress=False,
        )
        self.under_way = 0
        """How many requests have no complete reply yet."""

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Pass a request on, and give its answer."""
        self._context.metrics.requests += 1
        self.under_way += 1
        try:
            return await self._answer(request)
        except BadRequest as error:
            return self._refuse(request, "request", str(error), error.status)
        except Misfit as misfit:
            return self._refuse(request, "request", str(misfit), 400)
        except HttpError as error:
            self._context.log.warn(  # this is Twisted's logger
                "no answer for {peer}: {reason}", peer=request.remote, reason=str(error)
            )
            return self._refuse(request, error.kind, error.told, error.status)
        finally:
            self.under_way -= 1

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        check(request)
        check_method(request.method)
        values = await self._values(request)
        url = self._plan.url.render(values)
        headers = self._request_headers(request, values)
        if self._plan.body is not None:
            return await self._ask(request, url, headers, self._plan.body.render(values))
        upload = self._upload(request, headers)
        try:
            return await self._ask(request, url, headers, upload)
        except HttpError:
            if upload is not None and upload.error is not None:
                # The request broke first, and the upstream's connection with it.
                raise upload.error from None
            raise

    async def _ask(
        self, request: web.BaseRequest, url: URL, headers: CIMultiDict[str], body: Body
    ) -> web.StreamResponse:
        method = self._plan.method or request.method
        if self._whole:
            answer = await self._client.fetch(method, url, headers=headers, body=body)
            text = self._plan.reply(answer.status, answer.reason, answer.headers, answer.body)
            return web.Response(status=_final(answer.status, url), body=text, headers=_TEXT)
        async with self._client.stream(method, url, headers=headers, body=body) as upstream:
            return await self._pass_on(request, upstream, url)

    async def _values(self, request: web.BaseRequest) -> dict[str, bytes | str]:
        """The placeholders' values, as far as they are used."""
        names = self._plan.names
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
            upload = Upload(request, self._limits.request_size)
            values["body"] = b"".join([piece async for piece in upload])
        return values

    def _request_headers(
        self, request: web.BaseRequest, values: Mapping[str, bytes | str]
    ) -> CIMultiDict[str]:
        headers = passed_on(request.headers, _OURS | self._replaced)
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
        headers.update(self._plan.headers_for(values))
        return headers

    def _upload(self, request: web.BaseRequest, headers: CIMultiDict[str]) -> Upload | None:
        """The body that came, to be streamed; its length, where it is known, goes along."""
        if not request.body_exists:
            return None
        upload = Upload(request, self._limits.request_size)
        if request.content_length is not None:
            headers["Content-Length"] = str(request.content_length)
        return upload

    async def _pass_on(
        self, request: web.BaseRequest, upstream: ClientResponse, url: URL
    ) -> web.StreamResponse:
        """Stream an answer to the client."""
        status = _final(upstream.status, url)
        response = web.StreamResponse(
            status=status, reason=upstream.reason, headers=passed_on(upstream.headers)
        )
        response.headers.setdefault("Server", "netserve")
        response.headers.add("Via", self._via)
        if status in _WITHOUT_BODY or request.method == "HEAD":
            await response.prepare(request)
            return response
        if (upstream.content_length or 0) > self._limits.streamed_size:
            raise TooLarge(f"{url.raw_host}: its answer is larger than streamed_size")
        return await self._stream(request, upstream, response)

    async def _stream(
        self, request: web.BaseRequest, upstream: ClientResponse, response: web.StreamResponse
    ) -> web.StreamResponse:
        left = self._limits.streamed_size
        pieces = self._client.pieces(upstream)
        # The first piece is waited for before anything is said, so that an upstream that breaks
        # right behind its headers still gives a clear error.
        piece = await anext(pieces, b"")
        await response.prepare(request)
        try:
            while piece:
                left -= len(piece)
                if left < 0:
                    raise TooLarge(
                        f"{upstream.url.raw_host}: its answer is larger than streamed_size"
                    )
                await response.write(piece)
                piece = await anext(pieces, b"")
        except HttpError as error:
            self._context.metrics.errors[error.kind] += 1
            self._context.log.warn(  # this is Twisted's logger
                "half an answer for {peer}: {reason}", peer=request.remote, reason=str(error)
            )
            if request.transport is not None:
                request.transport.abort()
        return response

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


def _final(status: int, url: URL) -> int:
    """An answer's code; one that only begins an answer, or changes the protocol, is no answer."""
    if not 200 <= status <= 599:
        raise BadAnswer(f"{url.raw_host}: its answer has the status {status}")
    return status
