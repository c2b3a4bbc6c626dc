"""Writes messages into Maildirs.

A message is delivered once it is synced. An error of the disk defers it; an address that can't
name a folder fails.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator
from twisted.internet.defer import Deferred

from netserve.config.types import Section, WrittenPath
from netserve.mail.envelope import Outcome, Reply
from netserve.mail.queued import QueuedMessage, QueuedRecipient
from netserve.protocols.smtp_relay.delivery.channel import Whole
from netserve.protocols.smtp_relay.delivery.facilities import Facilities
from netserve.protocols.smtp_relay.delivery.maildir import writing
from netserve.protocols.smtp_relay.delivery.maildir.folders import (
    UnsafeName,
    check_template,
    folder_for,
    refusal,
)
from netserve.protocols.smtp_relay.delivery.ways.way import Way, chosen

_WRITTEN: Final = Outcome(
    "delivered", Reply(250, "2.0.0", "written into the Maildir"), report="delivered"
)


class MaildirOptions(Section):
    """Options of `maildir`."""

    maildir: Annotated[WrittenPath, AfterValidator(check_template)] | None = None
    """A Maildir; `{local}` and `{domain}` in its path are the recipient's, one folder each."""


class Maildir(Way[MaildirOptions]):
    """See the module."""

    name = "maildir"
    options = MaildirOptions

    def label(self, route: MaildirOptions) -> str:
        """See `Way`."""
        return f"maildir:{route.maildir}"

    def refusal(self, route: MaildirOptions, recipient: str, hostname: str) -> Reply | None:
        """See `Way`."""
        return refusal(chosen(route.maildir), recipient, origin=hostname)

    def open(self, route: MaildirOptions, facilities: Facilities) -> MaildirWriter:
        """See `Way`."""
        return MaildirWriter(chosen(route.maildir), facilities)


class MaildirWriter(Whole):
    """Writes for one route.

    Arguments:
        template: the path of the folders.
        facilities: of the service.
    """

    def __init__(self, template: Path, facilities: Facilities) -> None:
        self._template = template
        self._facilities = facilities

    def deliver(
        self, message: QueuedMessage, recipients: Sequence[QueuedRecipient]
    ) -> Deferred[Mapping[int, Outcome]]:
        """See `Delivers`."""
        return Deferred.fromCoroutine(self._write_all(message, recipients))

    async def _write_all(
        self, message: QueuedMessage, recipients: Sequence[QueuedRecipient]
    ) -> Mapping[int, Outcome]:
        outcomes = {}
        for recipient in recipients:
            outcomes[recipient.id] = await self._write(message, recipient)
        return outcomes

    async def _write(self, message: QueuedMessage, recipient: QueuedRecipient) -> Outcome:
        hostname = self._facilities.hostname
        try:
            folder = folder_for(self._template, recipient.address, origin=hostname)
        except UnsafeName as error:
            return Outcome("failed", Reply(553, "5.1.3", str(error)))
        name = writing.file_name(message.created, message.id, recipient.id, hostname)
        letter = writing.Letter(message.sender, recipient.address, name)
        body = message.body()
        try:
            await self._facilities.in_thread(writing.deliver, folder, letter, body)
        except OSError as error:
            self._facilities.log.warn(
                "{id} is not delivered into {folder}: {reason}",
                id=message.id,
                folder=str(folder),
                reason=str(error),
            )
            return Outcome("deferred", writing.reply_for(error))
        except ValueError as error:
            return Outcome("failed", Reply(553, "5.1.3", str(error)))
        finally:
            body.close()
        return _WRITTEN
