"""The core of the bridge: one frame in, one HTTP request, one reply out.

Asyncio inside, callbacks outside: a request is one task, and `Bridge.ask` calls back with the
reply. There always is a reply, in the time that the settings give: the answer's, or the error's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from netserve.http import HttpClient, HttpError
from netserve.plugin import Context
from netserve.protocols.http_bridge.encode import Misfit, Values
from netserve.protocols.http_bridge.plan import Plan
from netserve.protocols.http_bridge.refusals import Refusals


class UnderWay(Protocol):
    """A request that has no reply yet."""

    def cancel(self) -> object:
        """Give it up: its connection to the upstream is closed, and no callback comes."""


@dataclass(slots=True)
class Bridge:
    """Asks upstreams for one service.

    Arguments:
        plan: the settings, compiled.
        client: the service's HTTP client.
        context: the service's log and metrics.
    """

    plan: Plan
    client: HttpClient
    context: Context
    under_way: int = 0
    """How many requests have no reply yet."""
    refusals: Refusals = field(init=False)

    def __post_init__(self) -> None:
        self.refusals = Refusals(self.context)

    def ask(self, frame: bytes, peer: str, done: Callable[[bytes], None]) -> UnderWay:
        """Begin a request.

        Arguments:
            frame: what came.
            peer: who sent it.
            done: called with the reply, once, unless the request is given up.
        """
        self.context.metrics.requests += 1
        return asyncio.get_running_loop().create_task(self._ask(frame, peer, done))

    async def _ask(self, frame: bytes, peer: str, done: Callable[[bytes], None]) -> None:
        self.under_way += 1
        try:
            reply = await self._reply(frame, peer)
        except Exception:
            # A bug of ours: the peer learns that much, the log has the rest.
            self.context.log.failure("the request of {peer} failed", peer=peer)
            reply = self.error("internal", "an internal error", 500)
        finally:
            self.under_way -= 1
        done(reply)

    async def _reply(self, frame: bytes, peer: str) -> bytes:
        plan = self.plan
        values: Values = {"request": frame, "path": frame, "peer": peer}
        try:
            url = plan.url.render(values)
            headers = plan.headers_for(values)
            body = plan.body.render(values) if plan.body else None
        except Misfit as misfit:
            return self.refuse(str(misfit), peer)
        try:
            answer = await self.client.fetch(plan.method or "GET", url, headers=headers, body=body)
        except HttpError as error:
            self.context.log.warn(  # this is Twisted's logger
                "no answer for {peer}: {reason}", peer=peer, reason=str(error)
            )
            return self.error(error.kind, error.told, error.status)
        return plan.reply(answer.status, answer.reason, answer.headers, answer.body)

    def refuse(self, reason: str, peer: str) -> bytes:
        """The error reply to a request that does not fit, counted and logged."""
        self.refusals.request(peer, reason)
        return self.error("request", reason, 400)

    def error(self, kind: str, text: str, status: int) -> bytes:
        """The configured error reply, counted."""
        self.context.metrics.errors[kind] += 1
        return self.plan.error_reply(text, kind, status)
