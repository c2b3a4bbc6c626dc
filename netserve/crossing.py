"""The one place where asyncio's coroutines and Twisted's Deferreds cross over, and where coroutines
wait for their turn.

A module that uses an asyncio library is asyncio inside and gives Deferreds outside, by
`from_asyncio`. Wiring on Twisted's side is ``async def`` as well, but awaits Deferreds only;
`ensure_deferred` starts it. Both need the reactor that netserve installs, which runs on an
asyncio loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, succeed

from netserve.errors import UpstreamError
from netserve.fairness.turns import SLICE, Share

T = TypeVar("T")


class TimedOut(UpstreamError):
    """An asyncio operation took longer than it was given."""


def from_asyncio(
    work: Coroutine[Any, Any, T], *, timeout: float | None = None, what: str = "the operation"
) -> Deferred[T]:
    """Run an asyncio coroutine; cancelling the Deferred cancels it.

    Arguments:
        work: may await asyncio's things only.
        timeout: seconds.
        what: for the error's text.

    Errors:
        TimedOut: from the Deferred, when the time was over.
    """

    async def bounded() -> T:
        try:
            async with asyncio.timeout(timeout):
                return await work
        except TimeoutError as error:
            if timeout is None:
                raise
            raise TimedOut(f"{what} took longer than {timeout:g} s") from error

    task = asyncio.ensure_future(bounded())
    task.add_done_callback(lambda _: work.close())  # it has not begun, where that came too soon
    return Deferred.fromFuture(task)


async def turn_of(share: Share, address: str) -> None:
    """In a coroutine of asyncio, go on when it is a client's turn (`netserve.fairness.turns`): at
    once while this turn of the reactor is young.

    To be awaited before each unit of work that takes more than a moment.

    Arguments:
        share: the service's share of the reactor's time.
        address: the client's.
    """
    if share.turns.is_young():
        return
    reached: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def reach() -> None:
        if not reached.done():
            reached.set_result(None)

    # What follows is done when the future's callback is called, so it is charged here.
    turn = share.turn(address, reach, cost=SLICE)
    turn.ask()
    try:
        await reached
    finally:
        turn.drop()


def ensure_deferred(result: Any) -> Deferred[Any]:
    """A Deferred for what a callable returned: a Deferred, a coroutine that awaits Deferreds, or
    a plain value.
    """
    if isinstance(result, Deferred):
        return result
    if asyncio.iscoroutine(result):
        return Deferred.fromCoroutine(result)
    return succeed(result)
