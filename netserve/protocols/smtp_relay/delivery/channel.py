"""What a way of delivery opens for a route: it takes the messages there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from twisted.internet.defer import Deferred, succeed

from netserve.mail.envelope import Outcome
from netserve.mail.queued import QueuedMessage, QueuedRecipient
from netserve.outbox.model import Destination


class Delivers(Protocol):
    """Takes messages to one destination."""

    def deliver(
        self, message: QueuedMessage, recipients: Sequence[QueuedRecipient]
    ) -> Deferred[Mapping[int, Outcome]]:
        """One attempt; an outcome for each recipient, by its id.

        Errors:
            NotTried: it is closed.
            Exception: the body can't be read, or a bug; nothing is known of the recipients.
        """


class Channel(Protocol):
    """What a way opens for a route."""

    def destination(self, route: Destination, address: str) -> Destination:
        """Where the mail for an address goes.

        Arguments:
            route: the destination of the whole route; its handle is a `Delivers`.
            address: of the recipient.
        """

    def close(self, *, cut: bool) -> Deferred[None]:
        """Take no more; fires when all is let go of.

        Arguments:
            cut: give up what is under way, which is then deferred; else it is waited for.
        """


class Whole:
    """A channel whose recipients all have one destination."""

    def destination(self, route: Destination, address: str) -> Destination:
        """See `Channel`."""
        return route

    def close(self, *, cut: bool) -> Deferred[None]:
        """See `Channel`; there is nothing to let go of."""
        return succeed(None)


def same_for_all(
    recipients: Sequence[QueuedRecipient], outcome: Outcome
) -> Deferred[Mapping[int, Outcome]]:
    """One outcome for all recipients, at once."""
    return succeed({recipient.id: outcome for recipient in recipients})
