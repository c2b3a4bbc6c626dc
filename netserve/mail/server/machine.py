"""The SMTP server as a machine: bytes in, events and bytes out, no I/O (RFC 5321).

Theory of operation
    `receive` takes what the client sent, `next_event` gives what it means, one at a time, and
    `output` what is to be sent. After most events the machine is PAUSED until the outside has
    answered by `accept` or `refuse`; the next command is read after the reply to the one before,
    whatever was pipelined. Replies are therefore in order by construction.

    The states are a table::

        START --EHLO--> READY --MAIL--> MAIL --RCPT--> RCPT --DATA--> DATA --> READY
                                                       RCPT --BDAT--> CHUNK <-> CHUNKS, --> READY
                        READY --AUTH--> AUTH --> READY;  READY --STARTTLS--> TLS --> START

    `netserve.mail.server.states.TABLE` has it in full. What it does not have is answered 503; a
    command that is refused leaves the state as it is.

    While a message comes in, the machine reads to its real end, whatever happens: a rule that is
    broken, the outside that refuses, a limit that is passed. The refusal is given there.

Extensions: SIZE (RFC 1870), PIPELINING (2920), 8BITMIME (6152), ENHANCEDSTATUSCODES (2034), DSN
(3461), SMTPUTF8 (6531), CHUNKING (3030), STARTTLS (3207), AUTH (4954).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

from netserve.mail.address import is_helo_name
from netserve.mail.envelope import Reply
from netserve.mail.server import answers, sasl
from netserve.mail.server.commands import Refusal, parse_line, parse_mail, parse_rcpt, refusal
from netserve.mail.server.content import ContentStates
from netserve.mail.server.core import MAX_OUTPUT
from netserve.mail.server.login import LoginStates
from netserve.mail.server.model import (
    CredentialsGiven,
    Event,
    MessageBegins,
    MessageEnds,
    RecipientGiven,
    SenderGiven,
    Signal,
    TLSWanted,
)
from netserve.mail.server.states import EXPECTED, TABLE, State


class SmtpServer(LoginStates, ContentStates):
    """One session with one client, from the banner to the end.

    Arguments:
        options: how the session is to be.
        tls: whether it is inside TLS from its first byte.
    """

    __slots__ = ()

    def receive(self, data: bytes) -> None:
        """Take what the client sent; `next_event` tells what it means."""
        if self.state is State.CLOSED or self._closing is not None:
            return
        if self.state is State.TLS:
            self.end(answers.DATA_BEHIND_STARTTLS)
            return
        if self._input.add(data) > self._limits.buffered:
            self.end(answers.TOO_MUCH_AHEAD)

    def next_event(self) -> Event | Signal:
        """What happened next, or a signal of what is to be done first."""
        while True:
            if self._dropped is not None:
                dropped, self._dropped = self._dropped, None
                return dropped
            if self._asked is not None:
                return Signal.PAUSED
            if self._output_size > MAX_OUTPUT:
                return Signal.SEND
            if self._closing is not None:
                self._close(self._closing)
                continue
            happened = self._READERS[self.state](self)
            if happened is not None:
                return happened

    def output(self) -> bytes:
        """The replies that wait to be sent, once."""
        output = self._output
        if not output:
            return b""
        data = output[0] if len(output) == 1 else b"".join(output)
        output.clear()
        self._output_size = 0
        return data

    def accept(self, text: str = "") -> None:
        """Answer the event that the machine is paused for: yes.

        Arguments:
            text: for `MessageEnds`, what the client is told behind ``250 2.0.0``; for
                `CredentialsGiven`, the user's name where it is another than the one given.
        """
        event, self._asked = self._asked, None
        match event:
            case SenderGiven():
                self._announced = event.mail
                self._move("MAIL")
                self._put(answers.SENDER_OK)
            case RecipientGiven():
                self._recipients[event.recipient.address] = event.recipient
                self._move("RCPT")
                self._put(answers.RECIPIENT_OK)
            case MessageBegins():
                self.begin_content(chunked=event.chunked)
            case MessageEnds():
                self._errors = self._idle_commands = 0
                self._end_transaction()
                self._put(f"250 2.0.0 {text or 'OK'}\r\n".encode())
            case CredentialsGiven():
                self.user = text or event.user
                self._say(answers.AUTHENTICATED)

    def refuse(self, reply: Reply) -> None:
        """Answer the event that the machine is paused for: no.

        Arguments:
            reply: 4xx or 5xx; a 421 ends the session.
        """
        event, self._asked = self._asked, None
        match event:
            case CredentialsGiven():
                self.refuse_credentials(reply)
            case MessageBegins(chunked=True):
                self.skip_chunk(reply, behind=State.READY)
            case MessageBegins():
                self.refuse_data(reply)
            case MessageEnds():
                self._end_transaction()
                self._refuse(reply)
            case SenderGiven():
                self._refuse(reply)
            case RecipientGiven():
                self._refuse_recipient(reply)

    def refuse_content(self, reply: Reply) -> None:
        """Take no more of the message that comes in; the client is told at its end."""
        if self._intake is not None:
            self._intake.refuse(reply)

    @property
    def at_lone_dot(self) -> bool:
        """Whether the client may think that it has ended its message; see `silent`."""
        intake = self._intake
        return self._options.lone_dot_ends and intake is not None and intake.lone_dot

    def silent(self) -> None:
        """The client has sent nothing for a while.

        One that ends a message by LF, dot, LF would wait for its answer until it gives up; so where
        `lone_dot_ends` says so, its message ends there. One that has sent more means a text.
        """
        if self.at_lone_dot and self._intake is not None:
            self._intake.end_at_lone_dot()

    def refuse_early_talk(self) -> None:
        """The client has sent something before it was greeted: end the session by 554."""
        self._output.clear()
        self._output_size = 0
        self._close(answers.TALK_BEFORE_GREETING)

    def tls_started(self) -> None:
        """TLS has begun; what was said in clear is forgotten."""
        self._asked = None
        self._forget()
        self.tls = True

    def drain(self) -> None:
        """End the session by 421 as soon as no message is under way."""
        self._draining = True

    def end(self, reply: Reply) -> None:
        """End the session with this reply, after the answer that the machine is paused for."""
        if self.state is State.CLOSED:
            return
        self._closing = reply
        self._input.clear()
        if isinstance(self._asked, TLSWanted):
            self._asked = None

    def lost(self) -> None:
        """The client is gone."""
        self._asked = None
        self._close(None)

    def _read_command(self) -> Event | Signal | None:
        if self._draining and self._announced is None:
            self._close(answers.SHUTTING_DOWN)
            return None
        try:
            line = self._input.line(self._limits.command_line)
            if line is None:
                return Signal.NEED_DATA
            verb, argument = parse_line(line)
            if verb in TABLE[self.state]:
                return self._COMMANDS[verb](self, argument)
            self._not_in_table(verb, argument)
        except Refusal as refused:
            self._refuse(refused.reply)
        return None

    def _not_in_table(self, verb: str, argument: str) -> None:
        if verb in answers.NOT_SMTP:
            self._close(answers.NOT_SMTP_REPLY)
        elif verb in answers.NOT_OFFERED:
            self._refuse(Reply(502, "5.5.1", f"{verb} is not offered"))
        elif verb not in self._COMMANDS:
            self._refuse(answers.UNKNOWN_COMMAND)
        else:
            reply = Reply(503, "5.5.1", EXPECTED[verb])
            if verb == "BDAT":
                self._left = self.chunk_size(argument)
                self.skip_chunk(reply, behind=self.state)
            elif verb == "DATA":
                self.refuse_data(reply)
            else:
                self._refuse(reply)

    def _helo(self, argument: str) -> None:
        self._greet(argument, esmtp=False)
        self._say(Reply(250, "", self._options.hostname))

    def _ehlo(self, argument: str) -> None:
        self._greet(argument, esmtp=True)
        self._put(
            answers.ehlo(
                self._options.hostname,
                size=self._limits.message_size,
                starttls=self._options.starttls and not self.tls,
                mechanisms=tuple(sasl.MECHANISMS) if self.offers_auth and not self.user else (),
            )
        )

    def _greet(self, argument: str, *, esmtp: bool) -> None:
        self._count_idle_command()
        if not is_helo_name(argument):
            raise refusal(501, "5.5.2", "Give the name of your host, or its address in brackets")
        self._abandon(None)
        self._move("EHLO")
        self.helo = argument
        self.esmtp = esmtp

    def _rset(self, argument: str) -> None:
        self._count_idle_command()
        self._no_argument(argument)
        self._abandon(None)
        self._move("RSET")
        self._put(answers.OK)

    def _noop(self, argument: str) -> None:
        self._count_idle_command()
        self._put(answers.OK)

    def _help(self, argument: str) -> None:
        self._count_idle_command()
        self._say(answers.HELP)

    def _vrfy(self, argument: str) -> None:
        self._count_idle_command()
        if not argument:
            raise refusal(501, "5.5.4", "Write VRFY and an address")
        self._say(answers.CANNOT_VERIFY)

    def _quit(self, argument: str) -> None:
        self._no_argument(argument)
        self._abandon(None)
        self._close(answers.BYE)

    def _mail(self, argument: str) -> Event:
        mail = parse_mail(argument)
        if mail.size > self._limits.message_size:
            raise Refusal(answers.TOO_LARGE)
        return self._ask(SenderGiven(mail))

    def _rcpt(self, argument: str) -> Event | None:
        assert self._announced is not None  # noqa: S101 - the table has RCPT behind MAIL only
        recipient = parse_rcpt(argument, smtputf8=self._announced.smtputf8)
        if recipient.address in self._recipients:
            self._count_idle_command()
            self._put(answers.RECIPIENT_OK)
            return None
        if len(self._recipients) >= self._limits.recipients:
            self._refuse_recipient(answers.TOO_MANY_RECIPIENTS)
            return None
        return self._ask(RecipientGiven(self._announced, recipient))

    def _starttls(self, argument: str) -> Event:
        self._no_argument(argument)
        if self.tls:
            raise refusal(503, "5.5.1", "TLS is on already")
        if not self._options.starttls:
            raise refusal(502, "5.5.1", "STARTTLS is not offered")
        if self._input:
            # What stands here came in clear, from anyone: it must not be acted on.
            raise Refusal(answers.DATA_BEHIND_STARTTLS)
        self._move("STARTTLS")
        self._say(answers.START_TLS)
        return self._ask(TLSWanted())

    def _read_nothing(self) -> Signal:
        return Signal.CLOSED if self.state is State.CLOSED else Signal.PAUSED

    _COMMANDS: ClassVar[Mapping[str, Callable[[SmtpServer, str], Event | None]]] = {
        "HELO": _helo,
        "EHLO": _ehlo,
        "MAIL": _mail,
        "RCPT": _rcpt,
        "DATA": ContentStates.data,
        "BDAT": ContentStates.bdat,
        "RSET": _rset,
        "NOOP": _noop,
        "HELP": _help,
        "VRFY": _vrfy,
        "QUIT": _quit,
        "AUTH": LoginStates.auth,
        "STARTTLS": _starttls,
    }
    _READERS: ClassVar[Mapping[State, Callable[[SmtpServer], Event | Signal | None]]] = {
        **dict.fromkeys(
            (State.START, State.READY, State.MAIL, State.RCPT, State.CHUNKS), _read_command
        ),
        State.DATA: ContentStates.read_data,
        State.CHUNK: ContentStates.read_chunk,
        State.SKIP: ContentStates.read_skipped,
        State.AUTH: LoginStates.read_response,
        State.TLS: _read_nothing,
        State.CLOSED: _read_nothing,
    }
