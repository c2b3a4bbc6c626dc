"""What the SMTP server machine is given, and what it gives: limits, options, events, signals."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from netserve.mail.envelope import Recipient, Reply
from netserve.mail.headers import Head
from netserve.mail.server.commands import MailCommand

_KIB: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLimits:
    """What one session may use.

    Arguments:
        command_line: bytes of a command, its CRLF included.
        text_line: bytes of a line of a message, its CRLF included; a line over 998 octets is
            accepted, and has to be folded or encoded before it is sent on.
        message_size: bytes of a message.
        header_size: bytes of a message's header section.
        hops: ``Received`` fields of a message.
        recipients: of one message.
        errors: commands that were refused, since the last message, before 421.
        auth_attempts: AUTH that failed, before the session is ended by 421.
        idle_commands: commands that bring no mail, since the last message, before 421.
        buffered: bytes that were sent ahead and wait.
    """

    command_line: int = 2048
    text_line: int = 1024 * _KIB
    message_size: int = 25 * _KIB * _KIB
    header_size: int = 100 * _KIB
    hops: int = 50
    recipients: int = 1000
    errors: int = 20
    auth_attempts: int = 3
    idle_commands: int = 100
    buffered: int = 1024 * _KIB


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """How a session is to be.

    Arguments:
        hostname: who we say we are.
        limits: what the session may use.
        starttls: offer STARTTLS, while in clear.
        auth: offer AUTH, inside TLS.
        auth_in_clear: offer AUTH without TLS too.
        normalise: repair line ends, rather than refuse bare CR and LF.
        lone_dot_ends: with `normalise`, a line that has only a dot ends a message, whatever line
            ends it has, once the client is silent; see `SmtpServer.silent`.
        refuse_early_talk: end a session whose client sends content before 354 (RFC 2920, 3.1).
        unwanted: finds header fields that `Head.unwanted` tells of; see `headers.finder`.
    """

    hostname: str
    limits: ServerLimits = ServerLimits()
    starttls: bool = False
    auth: bool = False
    auth_in_clear: bool = False
    normalise: bool = False
    lone_dot_ends: bool = False
    refuse_early_talk: bool = False
    unwanted: re.Pattern[bytes] | None = None


class Signal(enum.Enum):
    """What the machine gives when it has no event."""

    NEED_DATA = "more input is needed"
    PAUSED = "the last event is to be answered first"
    SEND = "output waits to be taken before there is more of it"
    CLOSED = "the session is over: send what waits, and close"


@dataclass(frozen=True, slots=True)
class SenderGiven:
    """MAIL. To be answered: whether this one may send from here, and there is room."""

    mail: MailCommand


@dataclass(frozen=True, slots=True)
class RecipientGiven:
    """RCPT. To be answered: whether mail for this one is taken."""

    mail: MailCommand
    recipient: Recipient


@dataclass(frozen=True, slots=True)
class MessageBegins:
    """DATA, or the first BDAT (`chunked`). To be answered before any content is taken."""

    chunked: bool


@dataclass(frozen=True, slots=True)
class ContentGiven:
    """A part of the message, clean. Not to be answered.

    Arguments:
        data: not empty, and the first one begins with the whole header section.
        head: with the first part of a message, else None.
    """

    data: bytes
    head: Head | None


@dataclass(frozen=True, slots=True)
class MessageEnds:
    """The whole message was given. To be answered when it is kept safe, and not before.

    Arguments:
        mail: how it was announced.
        recipients: those that were accepted, at least one.
        size: bytes of its content.
        eight_bit: whether a byte above 127 was in it.
        head: of its header section.
        long_lines: whether it has a line of more than 998 octets.
    """

    mail: MailCommand
    recipients: tuple[Recipient, ...]
    size: int
    eight_bit: bool
    head: Head
    long_lines: bool = False


@dataclass(frozen=True, slots=True)
class MessageDropped:
    """The message that had begun does not end. Not to be answered.

    Arguments:
        reply: what the client was told, or None when it gave up by itself.
    """

    reply: Reply | None


@dataclass(frozen=True, slots=True)
class CredentialsGiven:
    """AUTH. To be answered: whether this is the user's password."""

    mechanism: str
    user: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class TLSWanted:
    """STARTTLS. To be answered by `tls_started`, once the output is sent and TLS has begun."""


Event: TypeAlias = (
    SenderGiven
    | RecipientGiven
    | MessageBegins
    | ContentGiven
    | MessageEnds
    | MessageDropped
    | CredentialsGiven
    | TLSWanted
)
