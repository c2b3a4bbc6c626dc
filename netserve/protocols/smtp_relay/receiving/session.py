"""One SMTP connection: carries bytes between the transport and the machine, and its answers.

The machine (`netserve.mail.server.machine`) says what the client wants, `Reception` who may, and
`Taker` brings messages into the queue. Nothing is decided here but the order of these.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import ceil
from typing import Any, ClassVar, Final

from twisted.cred.error import UnauthorizedLogin
from twisted.internet.address import UNIXAddress
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import (
    IHalfCloseableProtocol,
    IHandshakeListener,
    IPushProducer,
    ISSLTransport,
    ITransport,
)
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from netserve.connection import connection_id
from netserve.fairness.handshake import PacedHandshake
from netserve.mail.envelope import Reply
from netserve.mail.server import answers
from netserve.mail.server.machine import SmtpServer
from netserve.mail.server.model import (
    ContentGiven,
    CredentialsGiven,
    MessageBegins,
    MessageDropped,
    MessageEnds,
    RecipientGiven,
    SenderGiven,
    Signal,
    TLSWanted,
)
from netserve.mail.server.states import State
from netserve.protocols.smtp_relay.receiving.logins import TryLater
from netserve.protocols.smtp_relay.receiving.rates import take_of_all
from netserve.protocols.smtp_relay.receiving.taking import NO_SPACE, OUR_FAULT, Shared, Taker
from netserve.protocols.smtp_relay.receiving.timer import Timer
from netserve.reactor.lingering import close_lingering
from netserve.wire.peer import LOCAL, counting_key

WRONG_LOGIN: Final = Reply(535, "5.7.8", "The user or the password is wrong")
LOGIN_FAILED: Final = Reply(454, "4.7.0", "Logins cannot be checked now; try again later")

TOO_MANY_OF_USER: Final = Reply(421, "4.7.0", "Too many connections of this user")
_SAID_ALREADY: Final = {answers.BYE, answers.SHUTTING_DOWN, TOO_MANY_OF_USER}
"""Goodbyes that are nothing to tell, or that were told with more words."""
HANDSHAKE_TOO_SLOW: Final = "no TLS handshake in time behind STARTTLS"

_STILL_SENDING: Final = {
    answers.CONTENT_AHEAD,
    answers.CONTENT_BEFORE_354,
    answers.TALK_BEFORE_GREETING,
}
"""Goodbyes to a client that does not read before it writes, so that more of it is on its way."""

GREETING_DELAY: Final = 0.01
"""Seconds in which a client that does not wait for the greeting shows itself. They cost no CPU."""
LONE_DOT_SILENCE: Final = 2.0
"""Seconds of silence after which a line with only a dot ends a message; see `SmtpServer.silent`."""

UNWATCHED_OUTPUT: Final = 64 * 1024
"""Bytes of replies after which the transport is asked whether the client takes them."""


@implementer(IHalfCloseableProtocol, IHandshakeListener, IPushProducer)
class SmtpSession(Protocol):
    """See the module.

    Arguments:
        shared: with the other sessions of the service.
    """

    transport: Any

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._reading = True
        self._has_spoken = False
        self._half_closed = False
        self._pumping = False
        self._blocked = False
        self._unwatched = 0
        self._line_deadline: float | None = None
        clock = shared.context.reactor
        self._greeting = Timer(clock, GREETING_DELAY, self._pump)
        self._handshake = Timer(
            clock, shared.reception.handshake_timeout, self._handshake_took_too_long
        )
        self._silence = Timer(clock, LONE_DOT_SILENCE, self._silent)
        self._closing_call: Any = None
        self._checking: Deferred[None] | None = None
        self._user = ""

    def connectionMade(self) -> None:
        """Greet the client."""
        shared = self._shared
        peer = self.transport.getPeer()
        self._client: str = getattr(peer, "host", "")
        # Who comes by a UNIX socket is on this machine. Of other addresses nothing is known.
        self._trusted = shared.reception.trusts(self._client) or isinstance(peer, UNIXAddress)
        options = shared.reception.options(self._client)
        client_allowance = shared.rates.of_client(self._client)
        self._allowances = () if client_allowance is None else (client_allowance,)
        self._machine = SmtpServer(options, tls=ISSLTransport.providedBy(self.transport))
        self._id = connection_id(self.transport) or shared.context.tracker.new_id()
        self._taker = Taker(shared, self._machine, self._client, self._id, self._pump)
        self._turn = shared.context.turns.turn(counting_key(self._client), self._work, self._abort)
        self._lone_dot_ends = options.lone_dot_ends
        transport = self.transport
        in_clear = ITransport.providedBy(transport) and not ISSLTransport.providedBy(transport)
        if options.refuse_early_talk and in_clear:
            self._greeting.start()
        else:
            self._pump()

    def _abort(self) -> None:
        self.transport.abortConnection()

    def dataReceived(self, data: bytes) -> None:
        """Give it to the machine, and do what it says."""
        machine = self._machine
        if not self._has_spoken:
            self._has_spoken = True
            if self._greeting.stop():
                machine.refuse_early_talk()
        deadline = self._taker.deadline or self._line_deadline
        if deadline is not None and self._shared.context.reactor.seconds() > deadline:
            machine.end(answers.TOO_SLOW)
        if self._lone_dot_ends:
            self._silence.stop()
        machine.receive(data)
        self._pump()
        skips = machine.state is State.SKIP
        if machine.in_content or (not skips and data.endswith(b"\n")):
            self._line_deadline = None
        elif self._line_deadline is None or (not skips and b"\n" in data):
            # Half a line, or a chunk that is not taken: more of it would keep the idle sweep away.
            shared = self._shared
            now = shared.context.reactor.seconds()
            self._line_deadline = now + shared.reception.command_timeout

    def _silent(self) -> None:
        self._machine.silent()
        self._pump()

    def readConnectionLost(self) -> None:
        """The client says no more; what it has said is answered, then the connection ends."""
        self._half_closed = True
        self._greeting.stop()
        self._machine.silent()
        self._pump()

    def writeConnectionLost(self) -> None:
        """It was us who closed it."""

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        """The client is gone; a message that was not complete is given up."""
        self._machine.lost()
        self._turn.drop()
        self._log_goodbye()
        self._taker.give_up()
        for timer in (self._greeting, self._handshake, self._silence):
            timer.stop()
        if self._closing_call is not None and self._closing_call.active():
            self._closing_call.cancel()
        if self._checking is not None:
            self._checking.cancel()
        self._leave_user()

    def drain(self) -> None:
        """End with 421 once no message is under way; called when the service stops."""
        self._machine.drain()
        self._greeting.stop()
        self._pump()

    def timed_out(self) -> None:
        """Nothing has moved for too long: end with 421 (RFC 5321, 4.5.3.2)."""
        self._machine.end(answers.TOO_SLOW)
        self._greeting.stop()
        self._pump()

    def _pump(self) -> None:
        """Do what the machine says, when it is this session's turn; nothing is read until then."""
        if self._pumping or self._blocked:
            return
        self._turn.ask()
        if self._turn.waits:
            self._read(False)

    def _work(self) -> bool:
        """Handle events until the machine wants something, then send what it has to say.

        Says whether there is more to do at once: the machine wants nothing, but others are to be
        served before.
        """
        if self._blocked:
            return False
        self._pumping = True
        signal: Signal | None
        try:
            signal = self._handle_events()
        except Exception:
            self._shared.context.metrics.errors["internal"] += 1
            self._shared.context.log.failure(
                "a session of {client} failed", client=self._client, connection_id=self._id
            )
            self._machine.lost()
            self.transport.write(Reply(421, "4.3.0", OUR_FAULT.text).encode())
            signal = Signal.CLOSED
        finally:
            self._pumping = False
        self._send()
        if signal is not None:
            self._steer(signal)
        if self._lone_dot_ends and self._machine.at_lone_dot:
            self._silence.start()
        return signal is None and not self._blocked

    def _handle_events(self) -> Signal | None:
        """The signal that the machine gives at last; None where this session's turn is over."""
        machine, is_over = self._machine, self._turn.is_over
        while True:
            event = machine.next_event()
            if event is Signal.SEND:
                self._send()
                if self._blocked:
                    return event
            elif isinstance(event, Signal):
                return event
            else:
                self._HANDLERS[type(event)](self, event)
                if is_over():
                    return None

    def _send(self) -> None:
        """Send the replies; from time to time find out whether the client takes them.

        The session is the transport's producer only for that: one that is registered for good
        would hold up the orderly close of an idle connection.
        """
        output = self._machine.output()
        if not output:
            return
        self._unwatched += len(output)
        if self._unwatched < UNWATCHED_OUTPUT:
            self.transport.write(output)
            return
        self._unwatched = 0
        self.transport.registerProducer(self, True)
        self.transport.write(output)
        if not self._blocked:
            self.transport.unregisterProducer()

    def pauseProducing(self) -> None:
        """The client does not take its replies: nothing more is read, nor answered."""
        self._blocked = True
        self._read(False)

    def resumeProducing(self) -> None:
        """The client has taken them."""
        self._blocked = False
        self.transport.unregisterProducer()
        self._pump()

    def stopProducing(self) -> None:
        """The client is gone; `connectionLost` tells."""

    def _steer(self, signal: Signal) -> None:
        """Read on, wait, or close.

        While an answer is waited for, the machine holds what comes, but only one piece of it.
        """
        if signal is Signal.CLOSED or (signal is Signal.NEED_DATA and self._half_closed):
            self._taker.give_up()
            self._close()
        elif not self._blocked:
            self._read(signal is Signal.NEED_DATA or not self._machine.buffered)

    def _close(self) -> None:
        if self._half_closed or self._machine.goodbye not in _STILL_SENDING:
            self.transport.loseConnection()
        elif self._closing_call is None:
            self._read(True)
            clock = self._shared.context.reactor
            self._closing_call = close_lingering(self.transport, clock)

    def _log_goodbye(self) -> None:
        """Tell why a client was sent away."""
        reply = self._machine.goodbye
        if reply is not None and reply not in _SAID_ALREADY:
            self._shared.context.metrics.errors["sent_away"] += 1
            self._shared.context.log.info(
                "closed {client}: {reply}",
                client=self._client or LOCAL,
                reply=str(reply),
                connection_id=self._id,
            )

    def _read(self, reading: bool) -> None:
        if reading != self._reading:
            self._reading = reading
            if reading:
                self.transport.resumeProducing()
            else:
                self.transport.pauseProducing()

    def _answer(self, reply: Reply | None) -> None:
        if reply is None:
            self._machine.accept()
        else:
            self._machine.refuse(reply)

    def _sender(self, event: SenderGiven) -> None:
        shared = self._shared
        reply = shared.reception.sender(event.mail.sender, user=self._machine.user)
        if reply is None and shared.outbox.free_space() < shared.reception.space_needed:
            reply = NO_SPACE
        if reply is None and self._allowances:
            reply = self._too_many("messages", messages=1)
        if reply is not None:
            self._log_refusal("mail", event.mail.sender, reply)
        self._answer(reply)

    def _recipient(self, event: RecipientGiven) -> None:
        reply = self._shared.reception.recipient(
            event.mail.sender,
            event.recipient.address,
            user=self._machine.user,
            trusted=self._trusted,
        )
        if reply is None and self._allowances:
            reply = self._too_many("recipients", recipients=1)
        if reply is not None:
            self._log_refusal(event.recipient.address, event.mail.sender, reply)
        self._answer(reply)

    def _too_many(self, what: str, **count: int) -> Reply | None:
        short = take_of_all(self._allowances, **count)
        if short is None:
            return None
        whose, wait = short
        text = f"Too many {what} of {whose}; come again in {ceil(wait)} s"
        return Reply(450, "4.7.1", text)

    def _log_refusal(self, what: str, sender: str, reply: Reply) -> None:
        self._shared.context.metrics.errors["refused"] += 1
        self._shared.context.log.info(
            "refused {what} from {sender} of {client}: {reply}",
            what=what,
            sender=sender or "<>",
            client=self._client or LOCAL,
            reply=str(reply),
            connection_id=self._id,
        )

    def _credentials(self, event: CredentialsGiven) -> None:
        checking = self._shared.logins.check(self._client, event.user, event.password)
        self._checking = checking.addCallbacks(
            self._logged_in, self._not_logged_in, errbackArgs=(event.user,)
        )

    def _logged_in(self, user: str) -> None:
        shared = self._shared
        if shared.places.take(user):
            self._user = user
            self._allowances = (*self._allowances, shared.rates.of_user(user))
            self._machine.accept(user)
        else:
            shared.context.metrics.errors["connections_per_user"] += 1
            shared.context.log.info(
                "refused {client}: too many connections of {user}",
                client=self._client,
                user=user,
                connection_id=self._id,
            )
            self._machine.refuse(TOO_MANY_OF_USER)
        self._pump()

    def _leave_user(self) -> None:
        """The session is nobody's again, as at its begin."""
        user, self._user = self._user, ""
        if user:
            self._allowances = self._allowances[:-1]
            self._shared.places.leave(user)

    def _not_logged_in(self, failure: Failure, user: str) -> None:
        if failure.check(CancelledError) and self._machine.state is State.CLOSED:
            return  # the client is gone, and nobody has looked at the password
        context, error = self._shared.context, failure.value
        if isinstance(error, TryLater):
            context.metrics.errors["login_later"] += 1
            self._machine.refuse(_put_off(error))
        elif isinstance(error, UnauthorizedLogin):
            context.metrics.errors["login"] += 1
            context.log.info(
                "refused a login of {client} as {user}",
                client=self._client,
                user=user,
                connection_id=self._id,
            )
            self._machine.refuse(WRONG_LOGIN)
        else:
            context.metrics.errors["login"] += 1
            context.log.failure(
                "a login of {client} could not be checked",
                failure,
                client=self._client,
                connection_id=self._id,
            )
            self._machine.refuse(LOGIN_FAILED)
        self._pump()

    def _tls(self, event: TLSWanted) -> None:
        self._send()
        self._handshake.start()
        shared = self._shared
        self.transport.startTLS(shared.context.tls)
        PacedHandshake(self.transport.protocol, shared.context.turns, counting_key(self._client))
        self._leave_user()
        self._machine.tls_started()

    def handshakeCompleted(self) -> None:
        """The handshake behind STARTTLS is over."""
        self._handshake.stop()

    def _handshake_took_too_long(self) -> None:
        context = self._shared.context
        context.metrics.errors["handshake_timeout"] += 1
        context.log.info(
            "closed {client}: {why}",
            client=self._client,
            why=HANDSHAKE_TOO_SLOW,
            connection_id=self._id,
        )
        self.transport.abortConnection()

    _HANDLERS: ClassVar[Mapping[type, Callable[[SmtpSession, Any], None]]] = {
        SenderGiven: _sender,
        RecipientGiven: _recipient,
        MessageBegins: lambda self, event: self._taker.begins(event),
        ContentGiven: lambda self, event: self._taker.content(event),
        MessageEnds: lambda self, event: self._taker.ends(event),
        MessageDropped: lambda self, event: self._taker.dropped(event),
        CredentialsGiven: _credentials,
        TLSWanted: _tls,
    }


def _put_off(later: TryLater) -> Reply:
    """The reply to a login that was not verified (RFC 4954, section 6)."""
    why = "have failed" if later.outcome == "backoff" else "are waiting"
    return Reply(454, "4.7.0", f"Too many logins {why}; try again in {later.wait} s")
