"""An HTTP server (aiohttp's) as an asyncio protocol factory, for `Hosted.stream`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

from aiohttp import HttpVersion11, web
from twisted.logger import Logger

from netserve.crossing import turn_of
from netserve.fairness.turns import Share
from netserve.http.connection import HttpConnection
from netserve.http.requests import BadRequest, check

VERSIONS: Final = frozenset({(1, 0), (1, 1)})
HEAD_TIME: Final = 60.0
"""Seconds for a request's line and headers, from the first byte of them."""
HEAD_SIZE: Final = 64 * 1024
"""Bytes of a request's line and headers together."""
Handler: TypeAlias = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
Refuse: TypeAlias = Callable[[int, str], web.Response]
"""Makes the answer to a request that is not handled, from its status and the reason."""


def refuse_in_words(status: int, reason: str) -> web.Response:
    """The answer to a request that is not handled, as a line of text."""
    return web.Response(status=status, text=f"{reason}\n")


class HttpServer:
    """Makes the protocol of each connection.

    Arguments:
        handler: answers one request that `netserve.http.requests.check` has nothing against.
        turns: the service's share of the reactor's time.
        log: gets one line for a request that is not HTTP, or is refused, and our own bugs.
        refuse: makes the answer to those.
        hosts: which hosts requests may name, as `Host` has them; without it, any.
        give_up: whether the handler is cancelled when its client is gone, or closes its sending
            side.
        head_time: seconds for a request's line and headers.
        head_size: bytes of a request's line and headers.
        new_id: gives ids to connections that the hosting layer did not make.
        options: for aiohttp's `RequestHandler`, such as ``max_line_size``. Bodies reach the handler
            compressed, as they came (S12).
    """

    def __init__(
        self,
        handler: Handler,
        *,
        turns: Share,
        log: Logger | None = None,
        refuse: Refuse = refuse_in_words,
        hosts: Callable[[str], bool] | None = None,
        give_up: bool = False,
        head_time: float = HEAD_TIME,
        head_size: int = HEAD_SIZE,
        new_id: Callable[[], str] = str,
        **options: Any,
    ) -> None:
        self.turns = turns
        self.log = log or Logger()
        self.refuse = refuse
        self.give_up = give_up
        self.head_time = head_time
        self.head_size = head_size
        self.new_id = new_id
        self._handler = handler
        self._hosts = hosts
        self._options = {"access_log": None, "auto_decompress": False, **options}
        self._server: web.Server | None = None

    def __call__(self) -> asyncio.Protocol:
        # Made with the first connection, when the loop runs: aiohttp's server holds on to it.
        loop = asyncio.get_running_loop()
        if self._server is None:
            self._server = web.Server(self._answer, handler_cancellation=self.give_up, loop=loop)
        return HttpConnection(self._server, self, loop=loop, **self._options)

    async def close(self, seconds: float) -> None:
        """Let the requests that are being answered finish, and close all connections.

        Arguments:
            seconds: at most for that.
        """
        if self._server is not None:
            self._server.pre_shutdown()
            await self._server.shutdown(seconds)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        connection: Any = request.protocol  # one of ours
        await turn_of(self.turns, connection.address)
        try:
            self._check(request)
        except BadRequest as error:
            self.log.info(
                "refused a request of {peer}: {reason}",
                peer=request.remote or "a client",
                reason=str(error),
                connection_id=connection.connection_id,
            )
            response: web.StreamResponse = connection.refusal(error.status, str(error))
        else:
            response = await self._handler(request)
        if not response.prepared:
            # aiohttp would name itself and Python.
            response.headers.setdefault("Server", "netserve")
        return response

    def _check(self, request: web.BaseRequest) -> None:
        if request._version not in VERSIONS:  # noqa: SLF001 - `version` would be remembered
            # aiohttp would answer in the version of the request, which is none of ours.
            request._version = HttpVersion11  # noqa: SLF001 - it has no other way
            raise BadRequest("this server speaks HTTP/1.0 and HTTP/1.1", 505)
        check(request)
        if self._hosts is not None and not self._hosts(request.headers.get("Host", "")):
            raise BadRequest("this host name is not served here", 421)
