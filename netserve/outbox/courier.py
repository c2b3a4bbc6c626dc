"""What delivers: the interface between the queue's agent and a service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from twisted.internet.defer import Deferred

from netserve.mail.envelope import Outcome
from netserve.outbox.model import Destination, QueuedMessage, QueuedRecipient


class Courier(Protocol):
    """Routes and delivers the messages of one service."""

    @property
    def hostname(self) -> str:
        """The name of this host, for the reports: ``MAILER-DAEMON@hostname``."""

    def destination(self, message: QueuedMessage, recipient: QueuedRecipient) -> Destination:
        """Where a recipient goes; asked again at every attempt. It must not block.

        An exception defers the recipient, and is logged.
        """

    def deliver(
        self,
        message: QueuedMessage,
        recipients: Sequence[QueuedRecipient],
        destination: Destination,
    ) -> Deferred[Mapping[int, Outcome]]:
        """Deliver to recipients that have equal destinations.

        Returns the outcome of each by its id; who is missing there is deferred. An error defers
        all of them, and is logged; BodyMissing holds the message.
        """
