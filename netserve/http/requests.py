"""Requests that come in: what is refused whatever they ask for, and bodies within their limit."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from typing import Final

from aiohttp import web

from netserve.errors import PeerError
from netserve.http.octets import is_utf8
from netserve.wire.peer import parse_address


class BadRequest(PeerError):
    """A request that cannot be handled.

    Arguments:
        text: why, for who sent it.
        status: the reply's code.
    """

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.status = status


_HOST: Final = re.compile(r"(?:[A-Za-z0-9._~-]+|\[([0-9A-Fa-f:.]+)\])(?::([0-9]{0,5}))?")
"""RFC 3986, 3.2.2 and 3.2.3, without the characters that no host name contains, and RFC 9110,
4.2.1: it is not empty. The groups are an IPv6 address and the port."""


def check(request: web.BaseRequest) -> None:
    """Refuse what two servers could understand in two ways (S13; RFC 9112, 3.2 and 6.3), and what
    could not be passed on as it came (S27).

    Raises:
        BadRequest: it is such a request.
    """
    headers = request.headers
    hosts = headers.getall("Host", [])
    if len(hosts) > 1 or (not hosts and request.version >= (1, 1)):
        raise BadRequest("a request has one Host")
    if hosts and not _is_host(hosts[0]):
        raise BadRequest("Host is not the name of a host")
    if len(headers.getall("Content-Length", [])) > 1:
        raise BadRequest("a request has one Content-Length")
    if "Transfer-Encoding" in headers and (
        "Content-Length" in headers
        or request.version < (1, 1)
        or headers.getall("Transfer-Encoding") != ["chunked"]
    ):
        raise BadRequest("a request has a Content-Length, or is chunked and nothing else")
    if not all(map(is_utf8, headers.values())):
        # aiohttp would leave these bytes out when it passes them on.
        raise BadRequest("a header has bytes that are not UTF-8")


def _is_host(value: str) -> bool:
    found = _HOST.fullmatch(value)
    if found is None:
        return False
    address, port = found.groups()
    return int(port or 0) <= 65535 and (
        address is None or (":" in address and parse_address(address) is not None)
    )


PACED: Final = 64 * 1024
"""Bytes of a body that have to come, or be taken, in one time-out."""


class Upload:
    """The body of a request, piece by piece as it comes, within its limit.

    Arguments:
        request: it is asked for its body (RFC 9110, 10.1.1) with the first piece.
        limit: in bytes.
        timeout: seconds in which the next `PACED` bytes have to come, or all that is left; None:
            without end.

    Raises:
        BadRequest: the length that it tells is past the limit.
    """

    def __init__(
        self, request: web.BaseRequest, limit: int, *, timeout: float | None = None
    ) -> None:
        if (request.content_length or 0) > limit:
            raise _too_large()
        self._request = request
        self._left = limit
        self._timeout = timeout
        self._ahead: list[bytes] = []
        self._asked = False
        self._came = 0
        self._deadline: float | None = None
        self.error: BadRequest | None = None
        """Why it ended early; who sends it on sees that only as a broken connection."""

    async def read_ahead(self, most: int, hold: Callable[[int], None]) -> bytes | None:
        """Read it before it is sent on.

        Arguments:
            most: bytes after which no more is read ahead.
            hold: is called with the size of each piece, and may raise.

        Returns:
            All of it, or None where there is more than that.

        Raises:
            BadRequest: it ended early, is too large, or too slow.
        """
        size = 0
        while size < most:
            piece = await self._next()
            if not piece:
                return b"".join(self._ahead)
            hold(len(piece))
            size += len(piece)
            self._ahead.append(piece)
        return None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        ahead, self._ahead = self._ahead, []
        for piece in ahead:
            yield piece
        while piece := await self._next():
            yield piece

    async def _next(self) -> bytes:
        if not self._asked:
            await self._ask()
        try:
            piece = await self._read()
        except TimeoutError:
            self.error = BadRequest("the request is too slow", 408)
        except (OSError, web.RequestPayloadError):
            self.error = BadRequest("the request ended early")
        else:
            self._left -= len(piece)
            if self._left >= 0:
                return piece
            self.error = _too_large()
        raise self.error

    async def _read(self) -> bytes:
        """The next piece, in time."""
        content = self._request.content
        if self._timeout is None:
            return await content.readany()
        now = asyncio.get_running_loop().time()
        if self._deadline is None or self._came >= PACED:
            self._deadline = now + self._timeout
            self._came = 0
        async with asyncio.timeout(self._deadline - now):
            piece = await content.readany()
        self._came += len(piece)
        return piece

    async def _ask(self) -> None:
        self._asked = True
        request = self._request
        if (
            request.version >= (1, 1)
            and request.headers.get("Expect", "").lower() == "100-continue"
        ):
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0


def _too_large() -> BadRequest:
    return BadRequest("the request is too large", 413)
