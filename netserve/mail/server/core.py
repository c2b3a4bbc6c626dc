"""What every state of the SMTP server needs: input, output, replies, the open question.

`netserve.mail.server.machine` tells how the machine works; this is its ground, on which the
commands, AUTH and the message each stand in a module of their own.
"""

from __future__ import annotations

from typing import Final

from netserve.mail.envelope import Recipient, Reply
from netserve.mail.server import answers
from netserve.mail.server.command_buffer import CommandBuffer
from netserve.mail.server.commands import MailCommand, Refusal
from netserve.mail.server.intake import Intake
from netserve.mail.server.model import Event, MessageDropped, ServerOptions
from netserve.mail.server.sasl import Exchange
from netserve.mail.server.states import TABLE, State

MAX_OUTPUT: Final = 16 * 1024
"""Bytes of replies that wait before the outside has to take them."""


class ServerCore:
    """The ground of a session.

    Arguments:
        options: how the session is to be.
        tls: whether it is inside TLS from its first byte.
    """

    __slots__ = (
        "_announced", "_asked", "_closing", "_draining", "_dropped", "_errors", "_exchange",
        "_failed_logins", "_idle_commands", "_input", "_intake", "_is_last", "_left", "_limits",
        "_options", "_output", "_output_size", "_put_off", "_recipients", "_skipped", "esmtp",
        "goodbye", "helo", "state", "tls", "user",
    )  # fmt: skip

    state: State
    """Where the session is."""
    helo: str
    """The name that the client gave, or an empty string."""
    esmtp: bool
    """Whether it gave it by EHLO."""
    tls: bool
    """Whether the session is inside TLS."""
    user: str
    """Who has authenticated, or an empty string."""
    goodbye: Reply | None
    """The reply that ended the session; None before, and where the client was gone."""

    def __init__(self, options: ServerOptions, *, tls: bool = False) -> None:
        self._options = options
        self._limits = options.limits
        self._input = CommandBuffer(bare_lf=options.normalise)
        self._output: list[bytes] = []
        self._output_size = 0
        self._asked: Event | None = None
        self._dropped: MessageDropped | None = None
        self._closing: Reply | None = None
        self._draining = False
        self._errors = self._failed_logins = self._idle_commands = 0
        self.goodbye = None
        self.tls = tls
        self._forget()
        self._put(answers.banner(options.hostname))

    def _forget(self) -> None:
        """Begin as if nothing was said yet (RFC 3207, 4.2)."""
        self.state = State.START
        self.helo = self.user = ""
        self.esmtp = False
        self._exchange: Exchange | None = None
        self._end_transaction()

    def _end_transaction(self) -> None:
        self._announced: MailCommand | None = None
        self._recipients: dict[str, Recipient] = {}
        self._put_off = 0  # recipients who are to come again
        self._intake: Intake | None = None
        self._left = 0  # bytes of a chunk that are still to come
        self._is_last = False
        self._skipped: tuple[State, Reply] | None = None

    @property
    def idle(self) -> bool:
        """Whether no message is under way, nor anything else that is to be answered."""
        return self._asked is None and self._announced is None

    @property
    def announced(self) -> MailCommand | None:
        """How the message that is under way was announced, or None."""
        return self._announced

    @property
    def recipients(self) -> tuple[Recipient, ...]:
        """Those of the message that is under way, as far as they were accepted."""
        return tuple(self._recipients.values())

    @property
    def in_content(self) -> bool:
        """Whether a message comes in at this moment."""
        return self._intake is not None

    @property
    def buffered(self) -> int:
        """Bytes of input that wait to be read."""
        return len(self._input)

    def _put(self, encoded: bytes) -> None:
        self._output.append(encoded)
        self._output_size += len(encoded)

    def _say(self, reply: Reply) -> None:
        self._put(reply.encode())

    def _refuse(self, reply: Reply) -> None:
        """Say no to a command, and end the session for one too many."""
        self._errors += 1
        if reply.code == 421:
            self._close(reply)
            return
        self._say(reply)
        if self._errors >= self._limits.errors:
            self._close(answers.TOO_MANY_ERRORS)

    def _refuse_recipient(self, reply: Reply) -> None:
        """Say no to RCPT.

        To put one off is no error of the client's, who sends to the others now: one in a session
        that ended would never come to an end. But that too is limited, as recipients are.
        """
        if reply.code == 421 or reply.code >= 500 or self._put_off >= self._limits.recipients:
            self._refuse(reply)
        else:
            self._put_off += 1
            self._say(reply)

    def _close(self, reply: Reply | None) -> None:
        if self.state is State.CLOSED:
            return
        self.goodbye = reply
        if reply is not None:
            self._say(reply)
        self._abandon(reply)
        self._input.clear()
        self._closing = None
        self.state = State.CLOSED

    def _abandon(self, reply: Reply | None) -> None:
        """End a transaction; the outside is told, where it was given a part of the message."""
        if self._intake is not None:
            self._dropped = MessageDropped(reply)
        self._end_transaction()

    def _ask(self, event: Event) -> Event:
        self._asked = event
        return event

    def _move(self, happening: str) -> None:
        self.state = TABLE[self.state][happening]

    def _count_idle_command(self) -> None:
        self._idle_commands += 1
        if self._idle_commands > self._limits.idle_commands:
            raise Refusal(answers.TOO_MANY_COMMANDS)

    def _no_argument(self, argument: str) -> None:
        if argument:
            raise Refusal(answers.NO_ARGUMENT)
