"""Refuses messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import AfterValidator
from twisted.internet.defer import Deferred

from netserve.config.types import Section
from netserve.errors import InvalidValue
from netserve.mail.envelope import Outcome, Reply
from netserve.mail.queued import QueuedMessage, QueuedRecipient
from netserve.protocols.smtp_relay.delivery.channel import Whole, same_for_all
from netserve.protocols.smtp_relay.delivery.facilities import Facilities
from netserve.protocols.smtp_relay.delivery.ways.way import Way, chosen


def _check_refusal(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise InvalidValue("the text of a refusal is one line, and not empty")
    return text


class RefuseOptions(Section):
    """Options of `refuse`."""

    refuse: Annotated[str, AfterValidator(_check_refusal)] | None = None
    """The message fails with this text; the sender gets a bounce."""


class Refuse(Way[RefuseOptions]):
    """See the module."""

    name = "refuse"
    options = RefuseOptions

    def refusal(self, route: RefuseOptions, recipient: str, hostname: str) -> Reply:
        """See `Way`."""
        return _reply(route)

    def open(self, route: RefuseOptions, facilities: Facilities) -> _Refusing:
        """See `Way`."""
        return _Refusing(_reply(route))


class _Refusing(Whole):
    def __init__(self, reply: Reply) -> None:
        self._outcome = Outcome("failed", reply)

    def deliver(
        self, message: QueuedMessage, recipients: Sequence[QueuedRecipient]
    ) -> Deferred[Mapping[int, Outcome]]:
        return same_for_all(recipients, self._outcome)


def _reply(route: RefuseOptions) -> Reply:
    return Reply(550, "5.7.1", chosen(route.refuse))
