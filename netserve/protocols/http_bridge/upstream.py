"""What the requests of a bridge share: slots to its upstream, memory, and the reactor's time.

A request takes a slot when all of it is there and it is about to be sent, and gives it back when
its answer is there. Those that wait for one are served in turn by address, and one address leaves
some to the others (`netserve.fairness`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from netserve.crossing import turn_of
from netserve.errors import PeerError
from netserve.fairness.shares import Shares
from netserve.fairness.slots import Slots
from netserve.plugin import Context

if TYPE_CHECKING:
    from netserve.protocols.http_bridge.settings import HttpBridgeSettings


class Busy(PeerError):
    """A client has as much of the bridge as it may, or waited too long for its turn."""

    kind = "busy"
    status = 503


class Slot:
    """A slot that is held.

    Arguments:
        slots: of the bridge.
        address: the client's.
    """

    __slots__ = ("_address", "_slots")

    def __init__(self, slots: Slots, address: str) -> None:
        self._slots: Slots | None = slots
        self._address = address

    def give(self) -> None:
        """Give it back; it is not held any more then."""
        slots, self._slots = self._slots, None
        if slots is not None:
            slots.give(self._address)


@dataclass(slots=True)
class Upstream:
    """The shared parts of one bridge.

    Arguments:
        settings: the bridge's.
        context: the service's.
    """

    settings: HttpBridgeSettings
    context: Context
    slots: Slots = field(init=False)
    memory: Shares = field(init=False)
    """Bytes of requests and answers that are held."""

    def __post_init__(self) -> None:
        limits = self.settings.limits
        self.slots = Slots(limits.requests, limits.requests_per_address)
        self.memory = Shares(limits.memory)
        self.context.metrics.gauge(
            "bridge_requests_waiting",
            "Requests that wait for a slot to the upstream.",
            lambda: self.slots.waiting,
        )
        self.context.metrics.gauge(
            "bridge_held_bytes",
            "Bytes of requests and answers that are held in memory.",
            lambda: self.memory.used,
        )

    async def turn(self, address: str) -> None:
        """Go on when it is this client's turn."""
        await turn_of(self.context.turns, address)

    @asynccontextmanager
    async def slot(self, address: str) -> AsyncIterator[Slot]:
        """Hold a slot; waits for one, but no longer than a request may take in all.

        Raises:
            Busy: there was none in time, or the address holds as much memory as it may.
        """
        if not self.slots.take(address):
            await self._wait(address)
        slot = Slot(self.slots, address)
        try:
            if not self.memory.permits(address):
                # Answers to the requests before it were not taken.
                raise Busy("too much is held for your address already")
            yield slot
        finally:
            slot.give()

    async def _wait(self, address: str) -> None:
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def grant() -> None:
            granted.set_result(None)

        self.slots.wait(address, grant)
        try:
            async with asyncio.timeout(self.settings.request.timeout):
                # Shielded: what is granted in the same turn as the end of the wait is not lost.
                await asyncio.shield(granted)
        except BaseException as error:
            if not self.slots.leave(address, grant):
                self.slots.give(address)
            if isinstance(error, TimeoutError):
                raise Busy("too many requests are under way") from None
            raise
