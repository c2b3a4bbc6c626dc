"""One SMTP connection: carries bytes between the transport and the machine, and its answers.

The machine (`netserve.mail.server`) says what the client wants, `Reception` says who may and
where mail goes, the outbox keeps it. Nothing is decided here but the order of these.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from twisted.cred.credentials import UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from netserve.mail import answers
from netserve.mail.envelope import Envelope, Reply
from netserve.mail.headers import (
    date_field,
    message_id_field,
    protocol_word,
    received_field,
)
from netserve.mail.server import SmtpServer
from netserve.mail.server_model import (
    ContentGiven,
    CredentialsGiven,
    MessageBegins,
    MessageDropped,
    MessageEnds,
    RecipientGiven,
    SenderGiven,
    ServerOptions,
    Signal,
    TLSWanted,
)
from netserve.outbox import Incoming, Outbox, OutboxError, OutOfSpace
from netserve.plugin import Context
from netserve.protocols.smtp_relay.reception import Reception

NO_SPACE: Final = Reply(452, "4.3.1", "There is too little space for mail; come again")
NOT_STORED: Final = Reply(451, "4.3.0", "The message could not be kept; come again")
OUR_FAULT: Final = Reply(451, "4.3.0", "Something went wrong here; come again")
WRONG_LOGIN: Final = Reply(535, "5.7.8", "The user or the password is wrong")


@dataclass(frozen=True, slots=True)
class Shared:
    """What the sessions of one service share.

    Arguments:
        context: the service's.
        outbox: keeps the mail.
        reception: decides who may hand mail over, and what is refused.
        checker: of logins, as `twisted.cred` has them; None without users.
        wall: gives unix seconds.
        tls_from_start: whether connections are inside TLS from their first byte.
    """

    context: Context
    outbox: Outbox
    reception: Reception
    checker: Any
    wall: Callable[[], float]
    tls_from_start: bool


@implementer(IHalfCloseableProtocol)
class SmtpSession(Protocol):
    """See the module.

    Arguments:
        shared: with the other sessions of the service.
    """

    transport: Any

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._incoming: Incoming | None = None
        self._deadline: float | None = None
        self._messages = 0
        self._paused = False
        self._pumping = False

    def connectionMade(self) -> None:
        """Greet the client."""
        reception = self._shared.reception
        self._client: str = getattr(self.transport.getPeer(), "host", "")
        self._trace = f"{self._shared.context.random.getrandbits(64):016x}"
        options: ServerOptions = reception.options(self._client)
        self._machine = SmtpServer(options, tls=self._shared.tls_from_start)
        self._pump()

    def dataReceived(self, data: bytes) -> None:
        """Give it to the machine, and do what it says."""
        machine = self._machine
        if self._deadline is not None and self._now() > self._deadline:
            machine.end(answers.TOO_SLOW)
        machine.receive(data)
        self._pump()

    def readConnectionLost(self) -> None:
        """The client says no more; what it has said is answered, then the connection ends."""
        if (self._machine.idle and not self._paused) or (
            self._incoming is not None and self._machine.in_content
        ):
            self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """It was us who closed it."""

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        """The client is gone; a message that was not complete is given up."""
        self._machine.lost()
        self._give_up()

    def drain(self) -> None:
        """End with 421 once no message is under way; called when the service stops."""
        self._machine.drain()
        self._pump()

    def _now(self) -> float:
        seconds: float = self._shared.context.reactor.seconds()
        return seconds

    def _pump(self) -> None:
        """Handle events until the machine wants something, then send what it has to say."""
        if self._pumping:
            return
        self._pumping = True
        try:
            signal = self._handle_events()
        except Exception:
            self._shared.context.metrics.errors["internal"] += 1
            self._shared.context.log.failure("a session of {client} failed", client=self._client)
            self._machine.lost()
            self.transport.write(Reply(421, "4.3.0", OUR_FAULT.text).encode())
            signal = Signal.CLOSED
        finally:
            self._pumping = False
        self._send()
        self._steer(signal)

    def _handle_events(self) -> Signal:
        machine = self._machine
        while True:
            event = machine.next_event()
            if event is Signal.SEND:
                self._send()
            elif isinstance(event, Signal):
                return event
            else:
                self._HANDLERS[type(event)](self, event)

    def _send(self) -> None:
        if output := self._machine.output():
            self.transport.write(output)

    def _steer(self, signal: Signal) -> None:
        """Read on, wait, or close. Reading stops while an answer is waited for."""
        if signal is Signal.CLOSED:
            self._give_up()
            self.transport.loseConnection()
            return
        waiting = signal is Signal.PAUSED
        if waiting != self._paused:
            self._paused = waiting
            if waiting:
                self.transport.pauseProducing()
            else:
                self.transport.resumeProducing()

    def _answer(self, reply: Reply | None) -> None:
        if reply is None:
            self._machine.accept()
        else:
            self._machine.refuse(reply)

    def _sender(self, event: SenderGiven) -> None:
        shared = self._shared
        if shared.outbox.free_space() < shared.reception.space_needed:
            self._answer(NO_SPACE)
            return
        self._answer(shared.reception.sender(user=self._machine.user))

    def _recipient(self, event: RecipientGiven) -> None:
        reply = self._shared.reception.recipient(
            event.mail.sender,
            event.recipient.address,
            user=self._machine.user,
            client=self._client,
        )
        if reply is not None:
            self._shared.context.metrics.errors["refused"] += 1
            self._shared.context.log.info(
                "refused {recipient} from {sender} of {client}: {reply}",
                recipient=event.recipient.address,
                sender=event.mail.sender,
                client=self._client or "a local socket",
                reply=str(reply),
            )
        self._answer(reply)

    def _begins(self, event: MessageBegins) -> None:
        try:
            self._incoming = self._shared.outbox.incoming()
        except OutboxError as error:
            self._refused_by_outbox(error)
            return
        self._deadline = self._now() + self._shared.reception.data_timeout
        self._machine.accept()

    def _content(self, event: ContentGiven) -> None:
        incoming = self._incoming
        if incoming is None:
            return
        try:
            if event.head is not None:
                incoming.write(self._added_fields(incoming.id, event))
            incoming.write(event.data)
        except OutboxError as error:
            self._give_up()
            self._machine.refuse_content(_reply_of(error))

    def _added_fields(self, queue_id: str, event: ContentGiven) -> bytes:
        """What a relay puts before the message: RFC 5321, 4.4; on submission RFC 6409, 8."""
        machine, reception = self._machine, self._shared.reception
        mail, recipients = machine.announced, machine.recipients
        when = self._shared.wall()
        word = protocol_word(
            esmtp=machine.esmtp,
            tls=machine.tls,
            authenticated=bool(machine.user),
            smtputf8=mail is not None and mail.smtputf8,
        )
        fields = received_field(
            helo=machine.helo,
            client=self._client,
            hostname=reception.hostname,
            word=word,
            queue_id=queue_id,
            recipient=recipients[0].address if len(recipients) == 1 else "",
            when=when,
        )
        head = event.head
        if head is None:
            return fields
        if reception.completes_headers:
            if not head.has_date:
                fields += date_field(when)
            if not head.has_message_id:
                fields += message_id_field(queue_id, reception.hostname)
        return fields if head.is_there else fields + b"\r\n"

    def _ends(self, event: MessageEnds) -> None:
        incoming, self._incoming, self._deadline = self._incoming, None, None
        if incoming is None:
            self._machine.refuse(NOT_STORED)
            return
        self._messages += 1
        envelope = Envelope(
            sender=event.mail.sender,
            recipients=event.recipients,
            body="8BITMIME" if event.eight_bit else "7BIT",
            smtputf8=event.mail.smtputf8,
            ret=event.mail.ret,
            envid=event.mail.envid,
            user=self._machine.user,
            client=self._client,
            trace=f"{self._trace}-{self._messages}",
        )
        committed = incoming.commit(self._shared.context.service, envelope)
        committed.addCallbacks(self._kept, self._not_kept, callbackArgs=(envelope, incoming.size))
        committed.addErrback(self._bug)

    def _kept(self, queue_id: str, envelope: Envelope, size: int) -> None:
        """The commit is on the disk: only now is the client told so."""
        context = self._shared.context
        context.metrics.requests += 1
        context.log.info(
            "accepted {id} from {sender} for {recipients}, {size} bytes,"
            " of {client}, trace {trace}",
            id=queue_id,
            sender=envelope.sender or "<>",
            recipients=envelope.recipients[0].address
            if len(envelope.recipients) == 1
            else f"{len(envelope.recipients)} recipients",
            size=size,
            client=envelope.client or "a local socket",
            trace=envelope.trace,
        )
        self._machine.accept(f"OK, queued as {queue_id}")
        self._pump()

    def _not_kept(self, failure: Failure) -> None:
        error = failure.value
        if not isinstance(error, OutboxError):
            failure.raiseException()
        self._refused_by_outbox(error)
        self._pump()

    def _refused_by_outbox(self, error: OutboxError) -> None:
        context = self._shared.context
        context.metrics.errors["storage"] += 1
        context.log.error("a message was not kept: {reason}", reason=str(error))
        self._machine.refuse(_reply_of(error))

    def _bug(self, failure: Failure) -> None:
        context = self._shared.context
        context.metrics.errors["internal"] += 1
        context.log.failure("a message of {client} failed", failure, client=self._client)
        self._machine.refuse(OUR_FAULT)
        self._pump()

    def _dropped(self, event: MessageDropped) -> None:
        self._give_up()
        if event.reply is not None:
            self._shared.context.metrics.errors["refused"] += 1
            self._shared.context.log.info(
                "refused a message of {client}: {reply}",
                client=self._client or "a local socket",
                reply=str(event.reply),
            )

    def _give_up(self) -> None:
        self._deadline = None
        incoming, self._incoming = self._incoming, None
        if incoming is not None:
            incoming.abort()

    def _credentials(self, event: CredentialsGiven) -> None:
        credentials = UsernamePassword(event.user.encode(), event.password.encode())
        checking = self._shared.checker.requestAvatarId(credentials)
        checking.addCallbacks(self._logged_in, self._not_logged_in, errbackArgs=(event.user,))
        checking.addErrback(self._bug)

    def _logged_in(self, avatar_id: bytes) -> None:
        self._machine.accept()
        self._pump()

    def _not_logged_in(self, failure: Failure, user: str) -> None:
        failure.trap(UnauthorizedLogin)
        context = self._shared.context
        context.metrics.errors["login"] += 1
        context.log.info("refused a login of {client} as {user}", client=self._client, user=user)
        self._machine.refuse(WRONG_LOGIN)
        self._pump()

    def _tls(self, event: TLSWanted) -> None:
        self._send()
        self.transport.startTLS(self._shared.context.tls)
        self._machine.tls_started()

    _HANDLERS: ClassVar[dict[type, Callable[[SmtpSession, Any], None]]] = {
        SenderGiven: _sender,
        RecipientGiven: _recipient,
        MessageBegins: _begins,
        ContentGiven: _content,
        MessageEnds: _ends,
        MessageDropped: _dropped,
        CredentialsGiven: _credentials,
        TLSWanted: _tls,
    }


def _reply_of(error: OutboxError) -> Reply:
    return NO_SPACE if isinstance(error, OutOfSpace) else NOT_STORED
