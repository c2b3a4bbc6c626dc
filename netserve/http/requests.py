"""Requests that come in: what is refused whatever they ask for, and bodies within their limit."""

from __future__ import annotations

from collections.abc import AsyncIterator

from aiohttp import web

from netserve.errors import PeerError


class BadRequest(PeerError):
    """A request that cannot be handled.

    Arguments:
        text: why, for who sent it.
        status: the reply's code.
    """

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.status = status


def check(request: web.BaseRequest) -> None:
    """Refuse what two servers could understand in two ways (S13; RFC 9112, 3.2 and 6.3).

    Raises:
        BadRequest: it is such a request.
    """
    headers = request.headers
    hosts = headers.getall("Host", [])
    if len(hosts) > 1 or (not hosts and request.version >= (1, 1)):
        raise BadRequest("a request has one Host")
    if len(headers.getall("Content-Length", [])) > 1:
        raise BadRequest("a request has one Content-Length")
    if "Transfer-Encoding" in headers and (
        "Content-Length" in headers
        or request.version < (1, 1)
        or headers.getall("Transfer-Encoding") != ["chunked"]
    ):
        raise BadRequest("a request has a Content-Length, or is chunked and nothing else")


class Upload:
    """The body of a request, piece by piece as it comes, within its limit.

    Arguments:
        request: it is asked for its body (RFC 9110, 10.1.1) with the first piece.
        limit: in bytes.

    Raises:
        BadRequest: the length that it tells is past the limit.
    """

    def __init__(self, request: web.BaseRequest, limit: int) -> None:
        if (request.content_length or 0) > limit:
            raise _too_large()
        self._request = request
        self._limit = limit
        self.error: BadRequest | None = None
        """Why it ended early; who sends it on sees that only as a broken connection."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        await self._ask()
        left = self._limit
        try:
            while piece := await self._request.content.readany():
                left -= len(piece)
                if left < 0:
                    self.error = _too_large()
                    raise self.error
                yield piece
        except (OSError, web.RequestPayloadError) as error:
            self.error = BadRequest("the request ended early")
            raise self.error from error

    async def _ask(self) -> None:
        request = self._request
        if (
            request.version >= (1, 1)
            and request.headers.get("Expect", "").lower() == "100-continue"
        ):
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0


def _too_large() -> BadRequest:
    return BadRequest("the request is too large", 413)
