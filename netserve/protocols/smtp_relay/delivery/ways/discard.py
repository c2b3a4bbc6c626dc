"""Throws messages away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal

from twisted.internet.defer import Deferred

from netserve.config.types import Section
from netserve.mail.envelope import Outcome, Reply
from netserve.mail.queued import QueuedMessage, QueuedRecipient
from netserve.protocols.smtp_relay.delivery.channel import Whole, same_for_all
from netserve.protocols.smtp_relay.delivery.facilities import Facilities
from netserve.protocols.smtp_relay.delivery.ways.way import Way

_DISCARDED: Final = Outcome("delivered", Reply(250, "2.0.0", "discarded"), report="delivered")


class DiscardOptions(Section):
    """Options of `discard`."""

    discard: Literal[True] | None = None
    """`true`: the message is thrown away, and counts as delivered."""


class Discard(Way[DiscardOptions]):
    """See the module."""

    name = "discard"
    options = DiscardOptions

    def open(self, route: DiscardOptions, facilities: Facilities) -> _Nowhere:
        """See `Way`."""
        return _Nowhere()


class _Nowhere(Whole):
    def deliver(
        self, message: QueuedMessage, recipients: Sequence[QueuedRecipient]
    ) -> Deferred[Mapping[int, Outcome]]:
        return same_for_all(recipients, _DISCARDED)
