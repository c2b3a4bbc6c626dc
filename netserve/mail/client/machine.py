"""The SMTP client as a machine (RFC 5321): bytes in, events and bytes out. No I/O, no time.

How it works. The driver hands what the server sent to `receive`, sends what `data_to_send` gives
after every call, and acts on the events: `StartTLS` (begin TLS, then call `tls_started`), `Ready`
(a message may be given to `start`, if the client is `usable`: a goodbye may have come right behind
the reply), `NeedBody` (give the body by `write_body` and `end_body` as the network takes it),
`Done` (what became of each recipient), `Closed` (close the connection). A message whose body is
given to `start` as a whole needs no `NeedBody`.

The state is the reply that is waited for, see `states`. With PIPELINING (RFC 2920) MAIL, all RCPTs
and DATA go out at once, without it one by one; their replies pass the same states.

A server that does not greet us, does not let us log in or does not offer the TLS that is asked for
has said nothing about a message, with whatever code: `Closed` then has a temporary reply.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import ClassVar, Final

from netserve.mail.client.events import (
    ClientSettings,
    Closed,
    Done,
    Event,
    NeedBody,
    Ready,
    StartTLS,
)
from netserve.mail.client.extensions import Addressee, Extensions, Sending
from netserve.mail.client.replies import BadReply, RawReply, ReplyReader, Unusable
from netserve.mail.client.sasl import Exchange, exchange_for
from netserve.mail.client.states import TRANSITIONS, State
from netserve.mail.client.stuffing import Stuffer, stuffed
from netserve.mail.client.transaction import Transaction
from netserve.mail.envelope import Reply

_START_TLS: Final = StartTLS()
_READY: Final = Ready()
_NEED_BODY: Final = NeedBody()


class Client:
    """One session with one server.

    Arguments:
        settings: what the session is to be like.
    """

    def __init__(self, settings: ClientSettings) -> None:
        self.settings = settings
        self.state = State.BANNER
        self.secure = settings.secure
        self.remote = _remote(settings) if settings.secure else settings.remote
        "The server in logs and outcomes, with the level of TLS once there is TLS."
        self.replies = 0
        "How many replies came; a driver sees by it that the server moves."
        self.extensions = Extensions()
        self._reader = ReplyReader()
        self._out: list[bytes] = []
        self._events: list[Event] = []
        self._exchange: Exchange | None = None  # while it is under way
        self._answers: Iterator[str] = iter(())
        self._transaction: Transaction | None = None
        self._stuffer = Stuffer()

    # What the driver calls.

    @property
    def usable(self) -> bool:
        """Whether `start` may be called now."""
        return self.state is State.READY and not self._reader.pending

    def data_to_send(self) -> bytes:
        """What is to be sent now; to be asked after every call."""
        if not self._out:
            return b""
        data = self._out[0] if len(self._out) == 1 else b"".join(self._out)
        self._out.clear()
        return data

    def receive(self, data: bytes) -> list[Event]:
        """Take what the server sent."""
        reader = self._reader
        if self.state is State.CLOSED:
            return []
        reader.feed(data)
        try:
            while (raw := reader.next()) is not None and self._take(raw):
                pass
        except BadReply as error:
            self._close(Reply(451, "4.5.0", str(error)))
        except Unusable as error:
            self._close(error.reply, said_by_server=True, login_refused=error.login_refused)
        return self._take_events()

    def _take(self, raw: RawReply) -> bool:
        """Act on a reply; whether more may come."""
        self.replies += 1
        if self._exchange is not None:
            raw = RawReply(raw.code, [self._exchange.hidden(line) for line in raw.lines])
        if raw.code == 421:  # at any time, also unasked (RFC 5321, 3.8)
            self._close(raw.reply(), said_by_server=True)
        elif self._out:
            raise BadReply("the server answered before it was asked")
        else:
            self._HANDLERS[self.state](self, raw)
        return self.state is not State.CLOSED

    def tls_started(self) -> list[Event]:
        """TLS has begun: what the server said before is forgotten (RFC 3207, 4.2).

        Where it had begun to say something, that came in clear, and the session is over.
        """
        if self._reader.pending:
            self._close(Reply(451, "4.5.0", "the server sent more behind its answer to STARTTLS"))
            return self._take_events()
        self.secure = True
        self.remote = _remote(self.settings)
        self.extensions = Extensions()
        self._go("started")
        self._send(f"EHLO {self.settings.hostname}\r\n")
        return []

    def start(
        self,
        envelope: Sending,
        recipients: Sequence[Addressee],
        size: int,
        body: bytes | None = None,
    ) -> list[Event]:
        """Begin a message; only when `usable`.

        Arguments:
            envelope: sender and parameters.
            recipients: at least one.
            size: of the body, in bytes.
            body: all of it, or None where `NeedBody` is to ask for it.
        """
        self._transaction = transaction = Transaction(
            envelope, recipients, size, body, self.extensions, self.remote
        )
        if not transaction.named:
            self._finish()
            self._events.append(_READY)
            return self._take_events()
        self._go("message")
        if self.extensions.pipelining:
            self._send(transaction.all_commands())
        else:
            self._send(transaction.mail_command())
        return []

    def write_body(self, chunk: bytes) -> None:
        """The next piece of the body, of any size; only behind `NeedBody`."""
        if self.state is State.BODY:
            self._out.append(self._stuffer.encode(chunk))

    def end_body(self) -> None:
        """The body is whole; only behind `NeedBody`."""
        if self.state is State.BODY:
            self._out.append(self._stuffer.finish())
            self._go("ended")

    def quit(self) -> None:
        """Say goodbye, where nothing is under way; `Closed` comes with the answer."""
        if self.state is State.READY:
            self._go("quit")
            self._send("QUIT\r\n")

    def lost(self, reply: Reply) -> list[Event]:
        """The connection is gone, or taken too long: what is not decided yet is deferred.

        Arguments:
            reply: one of ours that says why, with a code of 4yz.
        """
        if self.state is not State.CLOSED:
            self._close(reply)
        return self._take_events()

    # The session.

    def _on_banner(self, raw: RawReply) -> None:
        self._expect(raw, 2, "the server does not greet us")
        self._go("greeted")
        self._send(f"EHLO {self.settings.hostname}\r\n")

    def _on_ehlo(self, raw: RawReply) -> None:
        if raw.code // 100 == 5:
            self._go("not known")
            self._send(f"HELO {self.settings.hostname}\r\n")
            return
        self._expect(raw, 2, "the server refuses EHLO")
        self.extensions = Extensions.parse(raw.lines[1:])
        if self.secure or self.settings.tls == "none":
            self._log_in()
        elif self.extensions.starttls:
            self._go("TLS is offered")
            self._send("STARTTLS\r\n")
        else:
            self._go_on_in_clear()

    def _on_helo(self, raw: RawReply) -> None:
        self._expect(raw, 2, "the server refuses HELO")
        self._go_on_in_clear()

    def _on_starttls(self, raw: RawReply) -> None:
        if raw.code // 100 != 2:
            self._go_on_in_clear()
        elif self._reader.pending:
            # It came in clear, and would be taken for something that came by TLS.
            raise BadReply("the server sent more behind its answer to STARTTLS")
        else:
            self._go("agreed")
            self._events.append(_START_TLS)

    def _go_on_in_clear(self) -> None:
        if self.settings.tls in {"encrypt", "verify"} and not self.secure:
            self._close(Reply(451, "4.7.10", "the server does not offer the TLS that is asked for"))
        else:
            self._log_in()

    def _log_in(self) -> None:
        login = self.settings.login
        if login is None:
            self._usable()
        elif not self.secure and not login.in_clear:
            self._close(Reply(451, "4.7.10", "the login is not sent without TLS"))
        elif (exchange := exchange_for(login, self.extensions.auth)) is None:
            self._close(Reply(451, "4.7.4", "the server offers no way to log in that we know"))
        else:
            self._exchange, self._answers = exchange, iter(exchange.answers)
            self._go("login is wanted")
            self._send(f"{exchange.command}\r\n")

    def _on_auth(self, raw: RawReply) -> None:
        if raw.code == 334 and (answer := next(self._answers, None)) is not None:
            self._go("challenged")
            self._send(f"{answer}\r\n")
            return
        self._exchange = None
        if raw.code // 100 == 5:
            raise Unusable("the server refuses the login", raw, login_refused=True)
        self._expect(raw, 2, "the server refuses the login")
        self._usable()

    def _on_reset(self, raw: RawReply) -> None:
        self._expect(raw, 2, "the server refuses RSET")
        self._usable()

    def _on_ready(self, raw: RawReply) -> None:
        raise BadReply("the server spoke without being asked")

    def _on_quit(self, raw: RawReply) -> None:
        self._close(None)

    def _expect(self, raw: RawReply, first_digit: int, otherwise: str) -> None:
        """Go on with such a reply; with another the session is over."""
        if raw.code // 100 != first_digit:
            raise Unusable(otherwise, raw)

    def _usable(self) -> None:
        self._go("usable")
        self._events.append(_READY)

    # A message.

    def _on_mail(self, raw: RawReply) -> None:
        transaction = self._message()
        self._only(raw, 2, 4, 5)
        transaction.on_mail(raw)
        if self.extensions.pipelining:
            self._go("go on")
        elif transaction.sender_refused:
            self._go("refused")
            self._finish()
            self._events.append(_READY)
        else:
            self._go("go on")
            self._send(transaction.rcpt_command())

    def _on_rcpt(self, raw: RawReply) -> None:
        transaction = self._message()
        self._only(raw, 2, 4, 5)
        transaction.on_rcpt(raw)
        pipelining = self.extensions.pipelining
        if not transaction.all_answered:
            self._go("next recipient")
            if not pipelining:
                self._send(transaction.rcpt_command())
        elif pipelining or transaction.wanted:
            self._go("go on")
            if not pipelining:
                self._send("DATA\r\n")
        else:
            self._go("all refused")
            self._reset()

    def _on_data(self, raw: RawReply) -> None:
        transaction = self._message()
        self._only(raw, 3, 4, 5)
        if raw.code // 100 != 3:
            if transaction.sender_refused:
                self._go("refused as MAIL was")
                self._finish()
                self._events.append(_READY)
            else:
                transaction.settle(raw.reply())
                self._go("refused")
                self._reset()
        elif not transaction.wanted:
            # It wants a message for nobody (RFC 2920, 3.1): it gets an empty one.
            self._go("nobody to send it to")
            self._send(".\r\n")
        elif transaction.body is not None:
            self._go("go on")
            self._out.append(stuffed(transaction.body))
            self._go("ended")
        else:
            self._go("go on")
            self._stuffer = Stuffer()
            self._events.append(_NEED_BODY)

    def _on_body(self, raw: RawReply) -> None:
        # It does not want the rest; there is no way to end the body that would not look like one.
        self._only(raw, 4, 5)
        self._close(raw.reply(), said_by_server=True)

    def _on_final(self, raw: RawReply) -> None:
        self._only(raw, 2, 4, 5)
        self._message().settle(raw.reply())
        self._go("answered")
        self._finish()
        self._events.append(_READY)

    def _reset(self) -> None:
        self._finish()
        self._send("RSET\r\n")

    def _message(self) -> Transaction:
        if self._transaction is None:
            raise AssertionError(f"no message in state {self.state.value}")
        return self._transaction

    def _finish(self) -> None:
        self._events.append(Done(self._message().outcomes))
        self._transaction = None

    def _only(self, raw: RawReply, *first_digits: int) -> None:
        if raw.code // 100 not in first_digits:
            raise BadReply(f"the server's reply does not fit the question: {raw.reply()}")

    # What all of it is made of.

    def _go(self, why: str) -> None:
        self.state = TRANSITIONS[self.state][why]

    def _send(self, command: str) -> None:
        self._out.append(command.encode())

    def _close(
        self, reply: Reply | None, *, said_by_server: bool = False, login_refused: bool = False
    ) -> None:
        if reply is not None and self._transaction is not None:
            if self.state is State.FINAL and not said_by_server:
                text = f"{reply.text}, at the end of the message: it may have arrived"
                reply = Reply(reply.code, reply.status, text)
            self._transaction.settle(reply, None if said_by_server else "")
            self._finish()
        self.state = State.CLOSED
        self._out.clear()
        self._events.append(Closed(reply, login_refused))

    def _take_events(self) -> list[Event]:
        events = self._events
        self._events = []
        return events

    _HANDLERS: ClassVar[Mapping[State, Callable[[Client, RawReply], None]]] = {
        State.BANNER: _on_banner,
        State.EHLO: _on_ehlo,
        State.HELO: _on_helo,
        State.STARTTLS: _on_starttls,
        State.TLS: _on_ready,
        State.AUTH: _on_auth,
        State.READY: _on_ready,
        State.MAIL: _on_mail,
        State.RCPT: _on_rcpt,
        State.DATA: _on_data,
        State.BODY: _on_body,
        State.FINAL: _on_final,
        State.RESET: _on_reset,
        State.QUIT: _on_quit,
    }


def _remote(settings: ClientSettings) -> str:
    return f"{settings.remote} (TLS: {settings.level})" if settings.level else settings.remote
