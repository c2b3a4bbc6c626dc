"""The SMTP server's replies that are always the same; the most frequent ones as bytes already.

Codes by RFC 5321, 4.2, enhanced status codes by RFC 3463, those of AUTH by RFC 4954.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from netserve.mail.envelope import Reply

_NAMES: Final = 64
"""Answers that are remembered: a process has few names, and offers few things."""

SENDER_OK: Final = b"250 2.1.0 OK\r\n"
RECIPIENT_OK: Final = b"250 2.1.5 OK\r\n"
OK: Final = b"250 2.0.0 OK\r\n"
GO_AHEAD: Final = b"354 End with CRLF.CRLF\r\n"

START_TLS: Final = Reply(220, "2.0.0", "Begin TLS")
BYE: Final = Reply(221, "2.0.0", "Bye")
AUTHENTICATED: Final = Reply(235, "2.7.0", "Authenticated")
HELP: Final = Reply(214, "2.0.0", "RFC 5321")
CANNOT_VERIFY: Final = Reply(252, "2.0.0", "Cannot verify; send mail and see")

UNKNOWN_COMMAND: Final = Reply(500, "5.5.2", "The command is not known")
BAD_RESPONSE: Final = Reply(501, "5.5.2", "The response is malformed")
NO_ARGUMENT: Final = Reply(501, "5.5.4", "The command takes no argument")
AUTH_CANCELLED: Final = Reply(501, "5.7.0", "AUTH is cancelled")
TOO_LARGE: Final = Reply(552, "5.3.4", "The message is larger than is taken here")
TOO_MANY_RECIPIENTS: Final = Reply(452, "4.5.3", "Too many recipients; send again for the others")

TOO_MANY_ERRORS: Final = Reply(421, "4.7.0", "Too many errors")
TOO_MANY_LOGINS: Final = Reply(421, "4.7.0", "Too many failed logins")
TOO_MANY_COMMANDS: Final = Reply(421, "4.7.0", "Too many commands that bring no mail")
TOO_MUCH_AHEAD: Final = Reply(421, "4.7.0", "Too much was sent ahead of the replies")
CONTENT_AHEAD: Final = Reply(421, "4.7.0", "Content was sent before it was asked for")
CONTENT_BEFORE_354: Final = Reply(503, "5.5.1", "Wait for 354 before you send a message")
TALK_BEFORE_GREETING: Final = Reply(554, "5.5.1", "Wait for the greeting before you send a command")
DATA_BEHIND_STARTTLS: Final = Reply(421, "4.7.0", "Nothing may follow STARTTLS in clear")
NOT_SMTP_REPLY: Final = Reply(421, "4.7.0", "This is SMTP")
SHUTTING_DOWN: Final = Reply(421, "4.3.2", "The service is shutting down; come again")
TOO_SLOW: Final = Reply(421, "4.4.2", "This took too long")

NOT_OFFERED: Final = frozenset({"EXPN", "ETRN", "TURN", "ATRN", "SEND", "SOML", "SAML"})
"""Commands that SMTP has, and this server does not."""
NOT_SMTP: Final = frozenset(
    {"GET", "POST", "PUT", "HEAD", "OPTIONS", "CONNECT", "DELETE", "PATCH", "TRACE"}
)
"""A browser's words: what follows is written by whoever made the page, so it is not read."""


@lru_cache(maxsize=_NAMES)
def banner(hostname: str) -> bytes:
    """The greeting of a new session."""
    return Reply(220, "", f"{hostname} ESMTP netserve").encode()


@lru_cache(maxsize=_NAMES)
def ehlo(hostname: str, *, size: int, starttls: bool, mechanisms: tuple[str, ...]) -> bytes:
    """The answer to EHLO, with all that is offered.

    Arguments:
        hostname: who we are.
        size: bytes of the largest message.
        starttls: whether STARTTLS is offered.
        mechanisms: those of AUTH; none: it is not offered.
    """
    lines = [
        hostname,
        f"SIZE {size}",
        "PIPELINING",
        "8BITMIME",
        "ENHANCEDSTATUSCODES",
        "DSN",
        "SMTPUTF8",
        "CHUNKING",
    ]
    if starttls:
        lines.append("STARTTLS")
    if mechanisms:
        lines.append(f"AUTH {' '.join(mechanisms)}")
    return Reply(250, "", "\n".join(lines)).encode()
