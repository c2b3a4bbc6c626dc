"""Reports to senders as messages of the queue: what dsn.py builds, made ready to be inserted."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Final
from zlib import crc32

from netserve.mail.dsn import (
    HEADER_LIMIT,
    Action,
    Report,
    ReportedRecipient,
    build_plain_report,
    build_report,
    header_of,
    returns_full,
)
from netserve.mail.envelope import Envelope, Recipient, body_type
from netserve.mail.lines import has_long_line
from netserve.outbox.errors import OutboxError
from netserve.outbox.ids import encode_id
from netserve.outbox.incoming import Finished, message_from, recipients_from
from netserve.outbox.judge import Judged
from netserve.outbox.model import QueuedMessage

_NO_BODY: Final = b"Subject: (the message cannot be read)\r\n"


def by_action(judged: Iterable[Judged]) -> Mapping[Action, list[Judged]]:
    """Those of whom the sender is told, by what he is told."""
    found: dict[Action, list[Judged]] = {}
    for one in judged:
        if one.report is not None:
            found.setdefault(one.report, []).append(one)
    return found


def notice(
    action: Action,
    message: QueuedMessage,
    judged: Iterable[Judged],
    *,
    number: int,
    hostname: str,
    now: float,
    life: float,
    plain: bool = False,
) -> Finished:
    """A report to the sender of a message, from the null sender.

    Arguments:
        action: what became of the recipients.
        message: whose sender is told.
        judged: the recipients.
        number: the report's own, from the source of ids.
        hostname: of this host.
        now: unix seconds.
        life: of a message, in seconds.
        plain: the least that can be said, where the report proper failed.
    """
    full = not plain and returns_full(action, message.ret, message.size)
    report = Report(
        action=action,
        hostname=hostname,
        sender=message.sender,
        envid=message.envid,
        queue_id=message.id,
        arrived=message.created,
        recipients=[_reported(one) for one in judged],
        retry_until=message.created + life if action == "delayed" else None,
        original=b"" if plain else _original(message, full=full),
        full=full,
        report_id=encode_id(number),
        now=now,
    )
    data = build_plain_report(report) if plain else build_report(report)
    envelope = Envelope(
        sender="",
        recipients=(Recipient(message.sender, frozenset({"NEVER"})),),
        body=body_type(eight_bit=not data.isascii(), long_lines=has_long_line(data)),
        smtputf8=not message.sender.isascii(),
        trace=message.trace,
    )
    own = message_from(
        envelope,
        id=encode_id(number),
        number=number,
        service=message.service,
        created=now,
        size=len(data),
        body_sum=crc32(data),
        open_body=partial(io.BytesIO, data),
    )
    return Finished(own, recipients_from(envelope), data, None)


def _reported(one: Judged) -> ReportedRecipient:
    return ReportedRecipient(
        address=one.recipient.address,
        original=one.recipient.original,
        status=one.status,
        reply=one.mark.reply,
        remote=one.mark.remote,
        attempted=one.mark.at,
    )


def _original(message: QueuedMessage, *, full: bool) -> bytes:
    try:
        with contextlib.closing(message.body()) as reader:
            return reader.read() if full else header_of(reader.read(HEADER_LIMIT))
    except (OutboxError, OSError):
        return _NO_BODY
