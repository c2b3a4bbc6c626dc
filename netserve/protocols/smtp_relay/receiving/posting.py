"""A message that comes over HTTP, on its way into the queue, by the rules of mail over SMTP.

Who may send from which address, which recipients have a route, rates, free space, the limits of
size, header and hops, line ends: all of it is the same code. Only the answers differ (`Refused`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, inf
from typing import Final

from twisted.internet.defer import Deferred

from netserve.mail.envelope import Envelope, Recipient, Reply, body_type
from netserve.mail.headers import (
    Head,
    address_literal,
    missing_fields,
    received_field,
    received_message,
)
from netserve.mail.queued import submission
from netserve.mail.server.intake import Intake
from netserve.mail.server.model import ContentGiven
from netserve.outbox import Incoming, OutboxError
from netserve.protocols.smtp_relay.receiving.http_forms import Refused
from netserve.protocols.smtp_relay.receiving.rates import take_of_all
from netserve.protocols.smtp_relay.receiving.taking import Shared, tell_not_kept

COME_AGAIN: Final = 60
"""Seconds after which a client may try again when the disk is full or fails."""

_STATUSES: Final = {"5.3.4": 413, "5.7.1": 403, "5.1.2": 403}
"""HTTP's status for a refusal of SMTP by its enhanced status code; 400 for others."""


@dataclass(frozen=True, slots=True)
class Poster:
    """Who posts.

    Arguments:
        user: whose token it is.
        client: the IP address, or an empty string.
        word: the protocol, as it stands in ``Received``: HTTP or HTTPS.
        connection_id: of the connection that it posts on.
        trace: the id of the message.
    """

    user: str
    client: str
    word: str
    connection_id: str
    trace: str


def check(
    shared: Shared, poster: Poster, sender: str, recipients: Sequence[tuple[str, str]]
) -> None:
    """Hold a message to the rules that its envelope is held to.

    Arguments:
        shared: the service's.
        poster: who posts it.
        sender: the mailbox, or an empty string.
        recipients: the field of each and its mailbox, each mailbox once; at least one.

    Raises:
        Refused: the first rule that is broken.
    """
    reception, user = shared.reception, poster.user
    most = reception.options_of_files.limits.recipients
    if len(recipients) > most:
        raise Refused(400, f"there are more than {most} recipients", field=recipients[most][0])
    if (reply := reception.sender(sender, user=user)) is not None:
        raise _refused(reply, "from")
    for field, address in recipients:
        reply = reception.recipient(sender, address, user=user, trusted=False)
        if reply is not None:
            raise _refused(reply, field)
    check_space(shared)
    client = shared.rates.of_client(poster.client)
    allowances = (shared.rates.of_user(user), *(() if client is None else (client,)))
    short = take_of_all(allowances, messages=1, recipients=len(recipients))
    if short is None:
        return
    whose, wait = short
    if wait == inf:
        what = f"there are more recipients than {whose} may have at once; send it in parts"
        raise Refused(400, what, field=recipients[0][0])
    raise Refused(429, f"too much mail of {whose}", retry_after=ceil(wait))


def check_space(shared: Shared) -> None:
    """See that there is room on the disk.

    Raises:
        Refused: there is too little.
    """
    if shared.outbox.free_space() < shared.reception.space_needed:
        raise Refused(503, "there is too little space for mail", retry_after=COME_AGAIN)


class Posting:
    """One message while it comes in. Either `commit` or `abort` ends it.

    Arguments:
        shared: the service's.
        poster: who posts it.
        sender: the mailbox, or an empty string.
        recipients: the mailboxes.
        smtputf8: whether it is known already that it needs SMTPUTF8.

    Raises:
        Refused: the queue takes no mail.
    """

    def __init__(
        self,
        shared: Shared,
        poster: Poster,
        sender: str,
        recipients: Sequence[str],
        *,
        smtputf8: bool,
    ) -> None:
        self._shared = shared
        self._poster = poster
        self._sender = sender
        self._recipients = recipients
        self._smtputf8 = smtputf8
        self._intake = Intake(shared.reception.options_of_files, chunked=True)
        self.trace = poster.trace
        """The id that follows the message."""
        self.connection_id = poster.connection_id
        self._incoming: Incoming
        try:
            self._incoming = shared.outbox.incoming()
        except OutboxError as error:
            raise self.not_kept(error) from None

    def write(self, data: bytes) -> None:
        """A part of the message.

        Raises:
            Refused: it breaks a rule, or there is no room for it.
        """
        self._pass_on(self._intake.feed(data))

    def _pass_on(self, content: ContentGiven | None) -> None:
        if self._intake.refused is not None:
            raise _refused(self._intake.refused, "")
        if content is None:
            return
        try:
            if content.head is not None:
                self._incoming.write(self._begin(content.data, content.head))
            else:
                self._incoming.write(content.data)
        except OutboxError as error:
            raise self.not_kept(error) from None

    def _begin(self, data: bytes, head: Head) -> bytes:
        """The begin of the message as the queue has it: with our fields before the header."""
        shared, poster = self._shared, self._poster
        section = data[head.begin : head.end]
        if (reply := shared.reception.header(section, user=poster.user)) is not None:
            raise _refused(reply, "from")
        self._smtputf8 = self._smtputf8 or _is_utf8(section)
        queue_id, hostname, when = self._incoming.id, shared.reception.hostname, shared.wall()
        recipients = self._recipients
        fields = received_field(
            helo=address_literal(poster.client) or "localhost",
            client=poster.client,
            hostname=hostname,
            word=poster.word,
            queue_id=queue_id,
            recipient=recipients[0] if len(recipients) == 1 else "",
            when=when,
        )
        fields += missing_fields(head, queue_id=queue_id, hostname=hostname, when=when)
        return received_message(data, head, fields, shared.reception.unwanted)

    def commit(self) -> tuple[Envelope, int, Deferred[str]]:
        """Make it durable: the envelope, the size, and the queue id, which comes after the commit.

        Raises:
            Refused: it breaks a rule that shows at its end.

        Errors:
            OutboxError: from the Deferred; see `not_kept`.
        """
        self._pass_on(self._intake.finish())
        if self._incoming.size == 0:
            raise Refused(400, "the message is empty")
        poster = self._poster
        envelope = Envelope(
            sender=self._sender,
            recipients=tuple(map(Recipient, self._recipients)),
            body=body_type(eight_bit=self._intake.eight_bit, long_lines=self._intake.long_lines),
            smtputf8=self._smtputf8,
            user=poster.user,
            client=poster.client,
            trace=self.trace,
        )
        incoming = self._incoming
        return (
            envelope,
            incoming.size,
            incoming.commit(self._shared.context.service, submission(envelope)),
        )

    def abort(self) -> None:
        """Leave nothing behind; harmless after `commit`."""
        self._incoming.abort()

    def not_kept(self, error: OutboxError) -> Refused:
        """What is answered when the queue could not keep it."""
        return not_kept(self._shared, self._poster, error)


def not_kept(shared: Shared, poster: Poster, error: OutboxError) -> Refused:
    """What is answered when there is no way to keep a message; it is logged here."""
    tell_not_kept(shared.context, poster.client, error, connection_id=poster.connection_id)
    return Refused(503, "the message could not be kept", retry_after=COME_AGAIN)


def _refused(reply: Reply, field: str) -> Refused:
    return Refused(_STATUSES.get(reply.status, 400), reply.text, field=field)


def _is_utf8(section: bytes) -> bool:
    """Whether a header section has UTF-8 in it, which is for SMTPUTF8 (RFC 6532)."""
    if section.isascii():
        return False
    try:
        section.decode()
    except UnicodeDecodeError:
        return False  # 8-bit of another kind, which was never for SMTP
    return True
