"""Deliveries that couriers are making, and how a stop waits for them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from netserve.outbox.lanes import Delivery


class UnderWay:
    """The deliveries that are under way.

    Arguments:
        reactor: for a timer.
        log: for what does not end in time.
    """

    def __init__(self, *, reactor: Any, log: Logger) -> None:
        self._reactor = reactor
        self._log = log
        self._running: dict[Delivery, Deferred[Any]] = {}
        self._quiet: Deferred[None] | None = None

    def __len__(self) -> int:
        return len(self._running)

    def __contains__(self, delivery: Delivery) -> bool:
        return delivery in self._running

    def add(self, delivery: Delivery, outcome: Deferred[Any]) -> None:
        """One begins."""
        self._running[delivery] = outcome

    def ended(self, delivery: Delivery) -> bool:
        """One has ended; whether it was still waited for. `check_quiet` comes after it."""
        return self._running.pop(delivery, None) is not None

    def withdraw(self, numbers: Collection[int]) -> None:
        """Of these messages, only the outcomes are logged."""
        for delivery in self._running:
            if delivery.message.number in numbers:
                delivery.withdrawn = True

    async def stop(self, patience: float) -> None:
        """Wait for all of them, for so many seconds at most; the others stay queued."""
        if self._running:
            self._quiet = Deferred()
            timer = self._reactor.callLater(patience, self.give_up)
            await self._quiet
            if timer.active():
                timer.cancel()

    def give_up(self) -> None:
        """Wait no more for what is under way."""
        running = list(self._running.values())
        if not running:
            return
        self._running.clear()
        self._log.info(
            "deliveries that did not end in time, and stay queued: {count}", count=len(running)
        )
        for deferred in running:
            deferred.cancel()
        self.check_quiet()

    def check_quiet(self) -> None:
        """Let a stop go on when there is none any more."""
        if not self._running and self._quiet is not None and not self._quiet.called:
            self._quiet.callback(None)
