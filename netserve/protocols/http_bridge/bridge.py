"""The core of the bridge: one frame in, one HTTP request, one reply out.

Asyncio inside, callbacks outside: a request is one task, and `Bridge.ask` calls back with the
reply. There always is a reply, in the time that the settings give:
the answer's, or the error's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from yarl import URL

from netserve.fairness.shares import Holding
from netserve.http import Answer, HttpClient, HttpError, Pace
from netserve.plugin import Context, connection_id
from netserve.protocols.http_bridge.encode import Misfit, Values
from netserve.protocols.http_bridge.plan import Plan
from netserve.protocols.http_bridge.refusals import Refusals
from netserve.protocols.http_bridge.upstream import Busy, Upstream
from netserve.wire.peer import LOCAL, counting_key, peer_name


@dataclass(frozen=True, slots=True)
class Client:
    """The client that sent a request.

    Arguments:
        peer: its name in the log (`netserve.wire.peer.peer_name`).
        host: for ``{peer}``: its IP address, or ``unix``.
        address: what counts as its address (`netserve.wire.peer.counting_key`).
        connection_id: of its connection; empty where that has none, as over UDP.
    """

    peer: str
    host: str
    address: str
    connection_id: str = ""

    @classmethod
    def of(cls, transport: Any) -> Client:
        """The client at the other end of a transport."""
        peer = transport.getPeer()
        host = getattr(peer, "host", "")
        return cls(peer_name(peer), host or LOCAL, counting_key(host), connection_id(transport))


@dataclass(frozen=True, slots=True)
class Request:
    """A request that goes to the upstream.

    Arguments:
        url: as it is asked for.
        headers: beside the client's own.
        values: of the placeholders, for the body.
        client: that sent it.
    """

    url: URL
    headers: Mapping[str, str]
    values: Values
    client: Client


@dataclass(slots=True)
class Bridge:
    """Asks upstreams for one service.

    Arguments:
        plan: the settings, compiled.
        http: the service's HTTP client.
        upstream: what its requests share.
        context: the service's log and metrics.
    """

    plan: Plan
    http: HttpClient
    upstream: Upstream
    context: Context
    under_way: int = 0
    """How many requests have no reply yet."""
    refusals: Refusals = field(init=False)

    def __post_init__(self) -> None:
        self.refusals = Refusals(self.context)

    def begin(self, frame: bytes, client: Client) -> Request | bytes:
        """What is asked of the upstream for a frame; or the error reply, where it is refused."""
        values: Values = {"request": frame, "path": frame, "peer": client.host}
        try:
            url, headers = self.plan.head(values)
        except Misfit as misfit:
            return self.refuse(str(misfit), client.peer)
        except Exception:
            return self._failed(client)
        return Request(url, headers, values, client)

    def ask(self, request: Request, done: Callable[[bytes], None]) -> Callable[[], object]:
        """Ask the upstream.

        Arguments:
            request: what `begin` gave.
            done: called with the reply, once, unless the request is given up.

        Returns:
            What gives it up: its connection to the upstream is closed, and no callback comes.
        """
        return asyncio.get_running_loop().create_task(self._ask(request, done)).cancel

    async def _ask(self, request: Request, done: Callable[[bytes], None]) -> None:
        self.under_way += 1
        try:
            reply = await self._reply(request, request.client)
        except Exception:
            reply = self._failed(request.client)
        finally:
            self.under_way -= 1
        done(reply)

    def _failed(self, client: Client) -> bytes:
        """The reply after a bug of ours: the peer learns that much, the log has the rest."""
        self.context.log.failure(
            "the request of {peer} failed", peer=client.peer, connection_id=client.connection_id
        )
        return self.error("internal", "an internal error", 500)

    async def _reply(self, request: Request, client: Client) -> bytes:
        held = Holding(self.upstream.memory, client.address)
        try:
            answer = await self._fetch(request, client, held)
        except Misfit as misfit:
            return self.refuse(str(misfit), client.peer)
        except Busy as busy:
            return self.refuse(str(busy), client.peer, kind=busy.kind, status=busy.status)
        except HttpError as error:
            self.context.log.warn(  # this is Twisted's logger
                "no answer for {peer}: {reason}",
                peer=client.peer,
                reason=str(error),
                connection_id=client.connection_id,
            )
            return self.error(error.kind, error.told, error.status)
        try:
            await self.upstream.turn(client.address)
            return self.plan.reply(answer.status, answer.reason, answer.headers, answer.body)
        finally:
            held.close()  # the caller counts the reply from now on

    async def _fetch(self, request: Request, client: Client, held: Holding) -> Answer:
        """The upstream's answer; it is counted before the slot for the next request is free."""
        async with self.upstream.slot(client.address):
            pace = partial(self.upstream.turn, client.address)
            answer = await self.http.fetch(
                self.plan.method or "GET",
                request.url,
                headers=request.headers,
                body=await self._body(request.values, pace),
                pace=pace,
            )
            held.add(len(answer.body))
            return answer

    async def _body(self, values: Values, pace: Pace) -> bytes | None:
        """The body of a request, made in slices."""
        if self.plan.body is None:
            return None
        made = []
        for piece in self.plan.body.pieces(values):
            made.append(piece)
            await pace()
        return made[0] if len(made) == 1 else b"".join(made)

    def refuse(self, reason: str, peer: str, *, kind: str = "request", status: int = 400) -> bytes:
        """The error reply to a request that is not passed on, counted and logged."""
        self.refusals.request(peer, reason)
        return self.error(kind, reason, status)

    def error(self, kind: str, text: str, status: int, *, counted: str = "") -> bytes:
        """The configured error reply, counted.

        Arguments:
            kind: for ``{kind}`` in the reply.
            text: for ``{error}``.
            status: for ``{status}``.
            counted: the kind in ``netserve_errors_total``, where it is another one.
        """
        self.context.metrics.errors[counted or kind] += 1
        return self.plan.error_reply(text, kind, status)
