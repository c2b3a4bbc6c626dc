"""A message of the operator's, handed over to a service through the control socket."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Any

from netserve.mail.draft import Draft, read_draft
from netserve.mail.envelope import Envelope, Recipient
from netserve.mail.headers import Head, missing_fields, received_field
from netserve.mail.kind import MailKind
from netserve.mail.mime import build, pieces
from netserve.mail.queued import submission

if TYPE_CHECKING:
    from netserve.outbox import Outbox


async def hand_over(
    outbox: Outbox, service: object, message: dict[str, Any], *, trace: str
) -> dict[str, Any]:
    """Put a message into the queue of a service; it is followed from the beginning.

    Who can use the control socket is the operator: no rules of the service are asked, but its
    routes are.

    Arguments:
        outbox: the queue.
        service: its name; may be None where there is just one.
        message: see `netserve.mail.draft`; without ``from`` it is of the postmaster.
        trace: the id that follows the message through the logs.

    Returns:
        its id, trace, service and sender.

    Raises:
        ValueError: there is no such service, or the message is not of its form.
        OutboxError: it cannot be kept.
    """
    name = _service(outbox, service)
    hostname = _mail_kinds(outbox)[name].hostname
    draft = read_draft({"from": f"postmaster@{hostname}", **message})
    recipients = tuple(Recipient(address) for _, address in draft.recipients())
    incoming = outbox.incoming()
    try:
        incoming.write(_added_fields(draft, queue_id=incoming.id, hostname=hostname))
        for piece in pieces(build(draft, token=secrets.token_hex(16))):
            incoming.write(piece)
        outbox.verbs.expect(incoming.id)
        envelope = Envelope(
            sender=draft.sender,
            recipients=recipients,
            body="8BITMIME" if draft.is_internationalised else "7BIT",
            smtputf8=draft.is_internationalised,
            trace=trace,
        )
        queue_id = await incoming.commit(name, submission(envelope))
    finally:
        incoming.abort()
    return {"id": queue_id, "trace": trace, "service": name, "sender": draft.sender}


def _mail_kinds(outbox: Outbox) -> dict[str, MailKind]:
    """The services whose items are mail."""
    return {name: kind for name, kind in outbox.kinds().items() if isinstance(kind, MailKind)}


def _service(outbox: Outbox, wanted: object) -> str:
    known = list(_mail_kinds(outbox))
    if wanted is None and len(known) == 1:
        return known[0]
    if isinstance(wanted, str) and wanted in known:
        return wanted
    what = "which service?" if wanted is None else f"no service {wanted!r} uses the queue;"
    raise ValueError(f"{what} there is {', '.join(known)}")


def _added_fields(draft: Draft, *, queue_id: str, hostname: str) -> bytes:
    """What every message has: where it came from, its date and its id."""
    when = time.time()
    names = {name.lower() for name, _ in draft.headers}
    head = Head(0, has_date="date" in names, has_message_id="message-id" in names, is_there=True)
    received = received_field(
        helo="localhost",
        client="",
        hostname=hostname,
        word="local",
        queue_id=queue_id,
        recipient="",
        when=when,
    )
    return received + missing_fields(head, queue_id=queue_id, hostname=hostname, when=when)
