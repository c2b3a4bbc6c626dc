"""What delivers: the interface between the queue's agent and a service."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from twisted.internet.defer import Deferred

from netserve.mail.envelope import Outcome
from netserve.outbox.model import Destination, QueuedMessage, QueuedRecipient


class Outcomes(dict[int, Outcome]):
    """The outcomes of a delivery by the ids of its recipients, and when its session was there.

    Arguments:
        outcomes: of all recipients.
        session_at: by the reactor's clock, when a session with the remote took the message.
    """

    __slots__ = ("session_at",)

    def __init__(self, outcomes: Iterable[tuple[int, Outcome]] = (), *, session_at: float) -> None:
        super().__init__(outcomes)
        self.session_at = session_at


class NotTried(Exception):
    """A delivery was not begun, since its destination is no more: it is to be routed again."""


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

        Returns the outcome of each by its id, as `Outcomes` where there was a session with a
        remote; who is missing there is deferred. An error defers all of them, and is logged;
        BodyMissing holds the message, NotTried has it routed again.
        """
