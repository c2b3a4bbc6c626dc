"""What delivers: the interface between the queue's agent and a service."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

from twisted.internet.defer import Deferred

from netserve.outbox.kind import Kind
from netserve.outbox.model import Destination, Outcome

AnOutcome = TypeVar("AnOutcome", bound=Outcome)


class Outcomes(dict[int, AnOutcome], Generic[AnOutcome]):
    """The outcomes of a delivery by the ids of its recipients, and when its session was there.

    Arguments:
        outcomes: of all recipients.
        session_at: by the reactor's clock, when a session with the remote took the message.
    """

    __slots__ = ("session_at",)

    def __init__(
        self, outcomes: Iterable[tuple[int, AnOutcome]] = (), *, session_at: float
    ) -> None:
        super().__init__(outcomes)
        self.session_at = session_at


class NotTried(Exception):
    """A delivery was not begun, since its destination is no more: it is to be routed again."""


class Courier(Protocol):
    """Routes and delivers the items of one service.

    It gets items and tasks of the classes that its kind makes (`Submission.make`, `Kind.restore`).
    """

    @property
    def kind(self) -> Kind:
        """What its items are; the same as long as it is attached."""

    def destination(self, message: Any, recipient: Any) -> Destination:
        """Where a recipient goes; asked again at every attempt. It must not block.

        An exception defers the recipient, and is logged.
        """

    def deliver(
        self,
        message: Any,
        recipients: Sequence[Any],
        destination: Destination,
    ) -> Deferred[Mapping[int, Any]]:
        """Deliver to recipients that have equal destinations.

        Returns the outcome of each by its id, as `Outcomes` where there was a session with a
        remote; who is missing there is deferred. An error defers all of them, and is logged;
        BodyMissing holds the message, NotTried has it routed again.
        """
