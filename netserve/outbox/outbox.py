"""The queue as the rest of the process sees it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final

from twisted.logger import Logger

from netserve.outbox.agent import Agent
from netserve.outbox.clock import Clock
from netserve.outbox.courier import Courier
from netserve.outbox.depth import Depth
from netserve.outbox.errors import OutboxError, StorageFailed
from netserve.outbox.ids import IdSource
from netserve.outbox.incoming import Finished, Incoming
from netserve.outbox.kind import Kind
from netserve.outbox.ledger import Ledger
from netserve.outbox.routing import Attached, Routed, Routing, new_item
from netserve.outbox.schedule import Schedule
from netserve.outbox.sqlite import SqliteStorage
from netserve.outbox.storage import Storage
from netserve.outbox.verbs import Verbs

PATIENCE: Final = 10.0
"""Seconds that deliveries have to end when the queue is closed."""
_SPACE_AGE: Final = 1.0


@dataclass(frozen=True, slots=True)
class _Parts:
    """What exists while the queue is open."""

    storage: Storage
    clock: Clock
    ids: IdSource
    routing: Routing
    ledger: Ledger
    agent: Agent
    depth: Depth
    verbs: Verbs


class Outbox:
    """The durable queue of a process. Nothing is opened before `open`.

    Arguments:
        folder: its own; it is made where it is missing.
        reactor: for timers and threads.
        log: gets one line a delivery, and what goes wrong.
        random: the source of jitter.
        wall: unix seconds; tests give another clock.
        storage: keeps the queue; without it, SQLite does in the folder.
    """

    def __init__(
        self,
        folder: Path,
        *,
        reactor: Any,
        log: Logger,
        random: Random,
        wall: Callable[[], float] = time.time,
        storage: Storage | None = None,
    ) -> None:
        self.folder = folder
        self._reactor = reactor
        self._log = log
        self._random = random
        self._wall = wall
        self._services: dict[str, Attached] = {}
        self._storage = storage or SqliteStorage(folder, reactor=reactor, log=log)
        self._parts: _Parts | None = None
        self._stopping: Agent | None = None
        self._patience = PATIENCE
        self._space = (float("-inf"), 0)

    def attach(self, service: str, courier: Courier, schedule: Schedule) -> None:
        """Let a service use the queue; before `open`.

        Arguments:
            service: its name, without a space.
            courier: delivers its messages.
            schedule: when they are tried.

        Raises:
            ValueError: the name has a space.
        """
        if " " in service:
            raise ValueError("the name of a service that uses the queue has no space")
        self._services[service] = Attached(courier, schedule)

    def kinds(self) -> dict[str, Kind]:
        """The services that use the queue, each with the kind of its items."""
        return {name: one.courier.kind for name, one in self._services.items()}

    def refuse_if_in_use(self) -> None:
        """Look whether another process has the store; `open` takes it.

        Raises:
            StartError: one has it, with its number.
        """
        self._storage.refuse_if_in_use()

    async def open(self) -> None:
        """Lock and repair the folder, and begin to deliver what is in it.

        Raises:
            StartError: it is locked by another process, unwritable, or damaged.
        """
        storage = self._storage
        last = await storage.open(self._broke)
        parts = self._parts = self._make(storage, last)
        longest = max((one.schedule.longest for one in self._services.values()), default=0.0)
        survey = await storage.survey(self._services, now=parts.clock.now(), longest=longest)
        parts.agent.begin(survey)
        parts.depth.changed()

    def _make(self, storage: Storage, last: int) -> _Parts:
        reactor, log = self._reactor, self._log
        clock = Clock(reactor, self._wall)
        ids = IdSource(clock.now, last)
        routing = Routing(self._services, log)

        depth = Depth(reactor, storage.depth)
        ledger = Ledger(
            storage,
            self._services,
            routing,
            ids,
            clock=clock,
            reactor=reactor,
            random=self._random,
            log=log,
            changed=depth.changed,
        )
        agent = Agent(
            storage, self._services, routing, ledger, clock=clock, reactor=reactor, log=log
        )
        verbs = Verbs(
            storage,
            agent,
            ids,
            reactor=reactor,
            now=clock.now,
            changed=depth.changed,
            recent=ledger.recent,
            kinds=lambda: {kind.name: kind for kind in self.kinds().values()},
        )
        return _Parts(storage, clock, ids, routing, ledger, agent, depth, verbs)

    def _broke(self, error: OutboxError) -> None:
        self._log.critical(
            "the queue {folder} takes no more mail: {error}; see to the disk, and start again",
            folder=str(self._storage),
            error=str(error),
        )
        if self._parts is not None:
            self._parts.agent.halted = True

    def reroute(self, service: str) -> None:
        """The routes of a service have changed: what is due goes by the new ones at once.

        Arguments:
            service: its name.
        """
        if self._parts is not None:
            self._parts.agent.reroute(service)

    async def close(self) -> None:
        """Let deliveries end within a bound, write what waits, close the files.

        It does nothing where the queue is not open.
        """
        if self._parts is None:
            return
        parts, self._parts = self._parts, None
        self._stopping = parts.agent
        await parts.agent.stop(self._patience)
        parts.depth.stop()
        await parts.storage.close()

    def cut(self) -> None:
        """Let `close`, under way or to come, wait for no delivery; they stay queued."""
        self._patience = 0.0
        if self._stopping is not None:
            self._stopping.give_up()

    @property
    def broken(self) -> str | None:
        """Why the queue takes no mail, in a few words, or None when it does."""
        if self._parts is None:
            return "the queue is closed"
        error = self._parts.storage.broken
        return None if error is None else f"the queue's storage failed: {error}"

    @property
    def commits(self) -> int:
        """Transactions since it was opened; each holds all that waited at its time."""
        return self._open_parts().storage.commits

    @property
    def verbs(self) -> Verbs:
        """What operators ask for: list, show, why, retry, hold, release, drop, export."""
        return self._open_parts().verbs

    def _open_parts(self) -> _Parts:
        if self._parts is None:
            raise StorageFailed("the queue is closed")
        return self._parts

    def incoming(self) -> Incoming:
        """A message that begins to come in; it has its id at once.

        Raises:
            StorageFailed: the queue is closed, or has failed.
        """
        parts = self._open_parts()
        if parts.storage.broken is not None:
            raise StorageFailed(str(parts.storage.broken))
        return Incoming(parts.ids.next(), parts.storage, now=parts.clock.now, accept=self._accept)

    def _accept(self, finished: Finished) -> None:
        parts = self._parts
        if parts is None:
            if finished.body is not None:
                finished.body.discard()
            finished.committed.errback(StorageFailed("the queue is closed"))
            return
        message = finished.message
        ways = parts.routing.ways(message, finished.recipients)
        done = partial(self._committed, parts, finished, ways)
        parts.storage.add(new_item(finished, ways, message.created), done)

    def _committed(
        self, parts: _Parts, finished: Finished, ways: Sequence[Routed], error: OutboxError | None
    ) -> None:
        if error is not None:
            finished.committed.errback(error)
            return
        finished.committed.callback(finished.message.id)
        parts.agent.accept(finished.message, ways)
        parts.depth.changed()

    def free_space(self) -> int:
        """Bytes that are free on the queue's disk, as of at most a second ago."""
        now = self._reactor.seconds()
        measured, free = self._space
        if now - measured >= _SPACE_AGE:
            free = self._storage.free_space()
            self._space = (now, free)
        return free

    def outcomes(self, service: str) -> dict[tuple[str, ...], float]:
        """What came of the attempts for a service's recipients, since the queue was opened.

        Arguments:
            service: its name.

        Returns:
            How many, by the label of the destination and ``delivered``, ``deferred``, ``failed`` or
            ``expired``.
        """
        if self._parts is None:
            return {}
        found = self._parts.ledger.outcomes.items()
        return {(label, verdict): count for (of, label, verdict), count in found if of == service}

    @property
    def unreported(self) -> int:
        """Recipients that have failed, and are held since no report to the sender could be made.

        As of a moment ago; it costs nothing.
        """
        return 0 if self._parts is None else self._parts.depth.unreported

    def depth(self) -> Mapping[str, int]:
        """Recipients by state: ``queued``, ``held``; and ``delivering``: deliveries under way.

        As of a moment ago; it costs nothing.
        """
        if self._parts is None:
            return {"queued": 0, "held": 0, "delivering": 0}
        depth = self._parts.depth
        return {
            "queued": depth.queued,
            "held": depth.held,
            "delivering": self._parts.agent.delivering,
        }
