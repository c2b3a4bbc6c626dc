"""One message at a time from the machine into the queue, and what becomes of it.

Only the outbox may say 'accepted': the answer to `MessageEnds` is given when its commit has fired.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from twisted.python.failure import Failure

from netserve.mail.envelope import Envelope, Reply, body_type
from netserve.mail.headers import (
    Head,
    missing_fields,
    protocol_word,
    received_field,
    received_message,
)
from netserve.mail.queued import submission
from netserve.mail.server.machine import SmtpServer
from netserve.mail.server.model import ContentGiven, MessageBegins, MessageDropped, MessageEnds
from netserve.outbox import Incoming, Outbox, OutboxError, OutOfSpace
from netserve.plugin import Context
from netserve.protocols.smtp_relay.receiving.logins import Logins
from netserve.protocols.smtp_relay.receiving.rates import Places, RateLimits
from netserve.protocols.smtp_relay.receiving.reception import Reception
from netserve.wire.peer import LOCAL

NO_SPACE: Final = Reply(452, "4.3.1", "There is too little space for mail; come again")
NOT_STORED: Final = Reply(451, "4.3.0", "The message could not be kept; come again")
OUR_FAULT: Final = Reply(451, "4.3.0", "Something went wrong here; come again")

_ACCEPTED: Final = (
    "accepted {id} from {sender} for {recipients}, {size} bytes, of {client}, trace {trace}"
)
_ACCEPTED_OF_USER: Final = _ACCEPTED.replace("{client}", "{client}, user {user}")


@dataclass(frozen=True, slots=True)
class Shared:
    """What the sessions of one service share.

    Arguments:
        context: the service's.
        outbox: keeps the mail.
        reception: decides who may hand mail over, and what is refused.
        logins: checks passwords and tokens.
        rates: how much clients and users may hand over.
        places: how many connections users may have.
        wall: gives unix seconds.
    """

    context: Context
    outbox: Outbox
    reception: Reception
    logins: Logins
    rates: RateLimits
    places: Places
    wall: Callable[[], float]


class Taker:
    """Takes the messages of one session.

    Arguments:
        shared: with the other sessions of the service.
        machine: gives the messages, and is given the answers.
        client: the client's IP address, or an empty string.
        connection_id: the session's; its messages' trace ids begin with it.
        go_on: called when the machine was given an answer that it had to wait for.
    """

    __slots__ = (
        "_client", "_connection_id", "_go_on", "_incoming", "_machine", "_messages", "_shared",
        "deadline",
    )  # fmt: skip

    deadline: float | None
    """By the reactor's clock, the end of the time for the message that comes in."""

    def __init__(
        self,
        shared: Shared,
        machine: SmtpServer,
        client: str,
        connection_id: str,
        go_on: Callable[[], None],
    ) -> None:
        self._shared = shared
        self._machine = machine
        self._client = client
        self._go_on = go_on
        self._incoming: Incoming | None = None
        self._connection_id = connection_id
        self._messages = 0
        self.deadline = None

    def begins(self, event: MessageBegins) -> None:
        """Open the queue's end of it."""
        try:
            self._incoming = self._shared.outbox.incoming()
        except OutboxError as error:
            self._refused_by_outbox(error)
            return
        context = self._shared.context
        self.deadline = context.reactor.seconds() + self._shared.reception.data_timeout
        self._machine.accept()

    def content(self, event: ContentGiven) -> None:
        """Pass a part on; nothing more of it is taken once that has failed."""
        incoming = self._incoming
        if incoming is None:
            return
        try:
            if event.head is not None:
                reception, head = self._shared.reception, event.head
                section = event.data[head.begin : head.end]
                reply = reception.header(section, user=self._machine.user)
                if reply is not None:
                    self._machine.refuse_content(reply)  # and it is dropped, at its end
                    return
                added = self._added_fields(incoming.id, head)
                incoming.write(received_message(event.data, head, added, reception.unwanted))
            else:
                incoming.write(event.data)
        except OutboxError as error:
            self.give_up()
            self._count_error(error)
            self._machine.refuse_content(_reply_of(error))

    def _added_fields(self, queue_id: str, head: Head) -> bytes:
        """What a relay puts before the message: RFC 5321, 4.4; on submission RFC 6409, 8."""
        machine, reception = self._machine, self._shared.reception
        mail, recipients = machine.announced, machine.recipients
        when = self._shared.wall()
        fields = received_field(
            helo=machine.helo,
            client=self._client,
            hostname=reception.hostname,
            word=protocol_word(
                esmtp=machine.esmtp,
                tls=machine.tls,
                authenticated=bool(machine.user),
                smtputf8=mail is not None and mail.smtputf8,
            ),
            queue_id=queue_id,
            recipient=recipients[0].address if len(recipients) == 1 else "",
            when=when,
        )
        if reception.completes_headers:
            fields += missing_fields(
                head, queue_id=queue_id, hostname=reception.hostname, when=when
            )
        return fields

    def ends(self, event: MessageEnds) -> None:
        """Commit it; the machine has its answer then."""
        incoming, self._incoming, self.deadline = self._incoming, None, None
        if incoming is None:
            self._machine.refuse(NOT_STORED)
            return
        if not event.size and not self._begin_empty(incoming, event.head):
            incoming.abort()
            return
        self._messages += 1
        envelope = Envelope(
            sender=event.mail.sender,
            recipients=event.recipients,
            body=body_type(eight_bit=event.eight_bit, long_lines=event.long_lines),
            smtputf8=event.mail.smtputf8,
            ret=event.mail.ret,
            envid=event.mail.envid,
            user=self._machine.user,
            client=self._client,
            trace=f"{self._connection_id}-{self._messages}",
        )
        incoming.commit(self._shared.context.service, submission(envelope)).addCallbacks(
            self._kept, self._not_kept, callbackArgs=(envelope, incoming.size)
        )

    def _begin_empty(self, incoming: Incoming, head: Head) -> bool:
        """Give an empty message its header, as its hop counts like any other; or refuse it."""
        reply = self._shared.reception.header(b"", user=self._machine.user)
        if reply is not None:
            self._machine.refuse(reply)
            return False
        try:
            incoming.write(self._added_fields(incoming.id, head) + b"\r\n")
        except OutboxError as error:
            self._refused_by_outbox(error)
            return False
        return True

    def _kept(self, queue_id: str, envelope: Envelope, size: int) -> None:
        """The commit is on the disk: only now is the client told so."""
        tell_accepted(
            self._shared.context, queue_id, envelope, size, connection_id=self._connection_id
        )
        self._machine.accept(f"OK, queued as {queue_id}")
        self._go_on()

    def _not_kept(self, failure: Failure) -> None:
        error = failure.value
        if isinstance(error, OutboxError):
            self._refused_by_outbox(error)
        else:
            context = self._shared.context
            context.metrics.errors["internal"] += 1
            context.log.failure(
                "a message of {client} failed",
                failure,
                client=self._client,
                connection_id=self._connection_id,
            )
            self._machine.refuse(OUR_FAULT)
        self._go_on()

    def _refused_by_outbox(self, error: OutboxError) -> None:
        self._count_error(error)
        self._machine.refuse(_reply_of(error))

    def _count_error(self, error: OutboxError) -> None:
        tell_not_kept(self._shared.context, self._client, error, connection_id=self._connection_id)

    def dropped(self, event: MessageDropped) -> None:
        """It will not be complete, or may not be taken."""
        self.give_up()
        if event.reply is not None:
            context = self._shared.context
            context.metrics.errors["refused"] += 1
            context.log.info(
                "refused a message of {client}: {reply}",
                client=self._client or LOCAL,
                reply=str(event.reply),
                connection_id=self._connection_id,
            )

    def give_up(self) -> None:
        """Leave nothing of a message that is not complete."""
        self.deadline = None
        incoming, self._incoming = self._incoming, None
        if incoming is not None:
            incoming.abort()


def tell_accepted(
    context: Context, queue_id: str, envelope: Envelope, size: int, *, connection_id: str
) -> None:
    """Count and log a message that is on the disk."""
    context.metrics.requests += 1
    many = len(envelope.recipients)
    context.log.info(
        _ACCEPTED_OF_USER if envelope.user else _ACCEPTED,
        id=queue_id,
        sender=envelope.sender or "<>",
        recipients=envelope.recipients[0].address if many == 1 else f"{many} recipients",
        size=size,
        client=envelope.client or LOCAL,
        user=envelope.user,
        trace=envelope.trace,
        connection_id=connection_id,
    )


def tell_not_kept(context: Context, client: str, error: OutboxError, *, connection_id: str) -> None:
    """Count and log a message that could not be kept."""
    context.metrics.errors["storage"] += 1
    context.log.error(
        "a message of {client} was not kept: {reason}",
        client=client or LOCAL,
        reason=str(error),
        connection_id=connection_id,
    )


def _reply_of(error: OutboxError) -> Reply:
    return NO_SPACE if isinstance(error, OutOfSpace) else NOT_STORED
