"""Which lane each recipient of a message goes by, as its service's courier decides now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from twisted.logger import Logger

from netserve.outbox.courier import Courier
from netserve.outbox.incoming import Finished
from netserve.outbox.model import UNROUTED, Destination, Item, Task
from netserve.outbox.records import NewItem
from netserve.outbox.schedule import Schedule


@dataclass(frozen=True, slots=True)
class Attached:
    """A service that uses the queue."""

    courier: Courier
    schedule: Schedule


class Routed(NamedTuple):
    """Recipients of one message that go one way."""

    lane: str
    destination: Destination
    recipients: Sequence[Task]


class Routing:
    """Asks couriers for destinations.

    Arguments:
        services: by name.
        log: for routing that failed.
    """

    def __init__(self, services: Mapping[str, Attached], log: Logger) -> None:
        self._services = services
        self._log = log

    def ways(self, message: Item, recipients: Sequence[Task]) -> list[Routed]:
        """The recipients by destination, in portions of at most its batch."""
        service = message.service
        if len(recipients) == 1:
            destination = self._destination(message, recipients[0])
            return [Routed(f"{service} {destination.key}", destination, recipients)]
        found: dict[Destination, list[Task]] = {}
        for recipient in recipients:
            found.setdefault(self._destination(message, recipient), []).append(recipient)
        return [
            Routed(f"{service} {destination.key}", destination, some[start : start + step])
            for destination, some in found.items()
            for step in (max(destination.batch, 1),)
            for start in range(0, len(some), step)
        ]

    def _destination(self, message: Item, recipient: Task) -> Destination:
        try:
            return self._services[message.service].courier.destination(message, recipient)
        except Exception:  # whatever it is, the recipient is deferred
            self._log.failure(
                "{id}: cannot route <{recipient}>", id=message.id, recipient=recipient.address
            )
            return UNROUTED


def new_item(finished: Finished, ways: Sequence[Routed], next_at: float) -> NewItem:
    """A message as the store takes it, its recipients in the lanes that they will go by.

    Arguments:
        finished: the message.
        ways: where its recipients go.
        next_at: unix seconds of their first attempt.
    """
    tasks = [(way.lane, recipient) for way in ways for recipient in way.recipients]
    return NewItem(finished.message, tasks, next_at, finished.data, finished.body)
