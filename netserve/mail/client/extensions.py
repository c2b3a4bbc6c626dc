"""What an SMTP server offers in its answer to EHLO, and what that makes of our commands.

SIZE (RFC 1870), PIPELINING (RFC 2920), 8BITMIME (RFC 6152), SMTPUTF8 (RFC 6531), DSN (RFC 3461),
STARTTLS (RFC 3207), AUTH (RFC 4954). An extension is used only where it is offered; a message that
needs one that is not there fails, as its standard asks for. What can be done that it does not need
it is done before (`netserve.mail.outgoing`).

Commands are made here and nowhere else, so this is where CR, LF, NUL and whatever else could end a
command or begin a parameter is refused in the values of an envelope.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from netserve.mail.envelope import Reply

# Either plain characters or quoted strings; each alternative takes what the others can't begin
# with, so the time is linear. Surrogates can't be encoded.
_ADDRESS: Final = re.compile(
    r"(?:[^\x00-\x20\x7f<>\"\\\ud800-\udfff]++"
    r"|\"(?:[^\x00-\x1f\x7f\"\\\ud800-\udfff]|\\[\x20-\x7e])*+\")*+"
)
_PARAMETER: Final = re.compile(r"[\x21-\x7e]*+")  # xtext and the like: printable ASCII, no space
_NUMBER: Final = re.compile(r"[0-9]{1,19}")


class Sending(Protocol):
    """What the machine asks of a message; the queue's messages have it."""

    @property
    def sender(self) -> str: ...
    @property
    def body_type(self) -> str: ...
    @property
    def smtputf8(self) -> bool: ...
    @property
    def ret(self) -> str: ...
    @property
    def envid(self) -> str: ...


class Addressee(Protocol):
    """What the machine asks of a recipient; the queue's have it, and `Recipient`."""

    @property
    def address(self) -> str: ...
    @property
    def notify(self) -> Iterable[str]: ...
    @property
    def original(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Extensions:
    """What one server offers.

    Arguments:
        size: takes SIZE; `size_limit` is its limit in bytes, 0 where it tells none.
        auth: the mechanisms of AUTH, in upper case.
    """

    starttls: bool = False
    pipelining: bool = False
    size: bool = False
    size_limit: int = 0
    eight_bit: bool = False
    smtputf8: bool = False
    dsn: bool = False
    auth: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, lines: Sequence[bytes]) -> Extensions:
        """From the lines of a 250 to EHLO, the greeting in the first left out."""
        offered: dict[str, set[str]] = {}
        for line in lines:
            # Old servers write AUTH=PLAIN, for the sake of older clients.
            words = line.decode("ascii", "replace").upper().replace("AUTH=", "AUTH ").split()
            if words:
                offered.setdefault(words[0], set()).update(words[1:])
        limits = [int(word) for word in offered.get("SIZE", ()) if _NUMBER.fullmatch(word)]
        return cls(
            starttls="STARTTLS" in offered,
            pipelining="PIPELINING" in offered,
            size="SIZE" in offered,
            size_limit=min(limits, default=0),
            eight_bit="8BITMIME" in offered,
            smtputf8="SMTPUTF8" in offered,
            dsn="DSN" in offered,
            auth=frozenset(offered.get("AUTH", ())),
        )

    def obstacle(self, envelope: Sending, size: int) -> Reply | None:
        """Why a message can't be sent to this server at all, or None.

        Arguments:
            envelope: of the message.
            size: of the body in bytes.
        """
        if not _ADDRESS.fullmatch(envelope.sender):
            return Reply(553, "5.1.7", "the sender's address can't be sent")
        if not (_PARAMETER.fullmatch(envelope.envid) and _PARAMETER.fullmatch(envelope.ret)):
            return Reply(501, "5.5.4", "ENVID or RET can't be sent")
        if self.size_limit and size > self.size_limit:
            text = f"the message has {size} bytes, the server takes {self.size_limit}"
            return Reply(552, "5.3.4", text)
        if not self.smtputf8 and (envelope.smtputf8 or not envelope.sender.isascii()):
            return _NO_SMTPUTF8
        if envelope.body_type == "BINARYMIME":
            return Reply(554, "5.6.3", "the server does not take binary mail")
        if envelope.body_type == "8BITMIME" and not self.eight_bit:
            return Reply(554, "5.6.3", "the server does not take 8-bit mail")
        return None

    def obstacle_for(self, recipient: Addressee) -> Reply | None:
        """Why one recipient can't be named to this server, or None."""
        address = recipient.address
        if not address or not _ADDRESS.fullmatch(address):
            return Reply(553, "5.1.3", "the recipient's address can't be sent")
        if recipient.original and not _PARAMETER.fullmatch(recipient.original):
            return Reply(501, "5.5.4", "ORCPT can't be sent")
        if not self.smtputf8 and not address.isascii():
            return _NO_SMTPUTF8
        return None

    def mail_command(self, envelope: Sending, recipients: Iterable[Addressee], size: int) -> str:
        """``MAIL FROM:<…>`` with the parameters that the server knows, and CRLF."""
        command = f"MAIL FROM:<{envelope.sender}>"
        if self.size:
            command += f" SIZE={size}"
        if self.eight_bit and envelope.body_type == "8BITMIME":
            command += " BODY=8BITMIME"
        if self.smtputf8 and (
            envelope.smtputf8
            or not envelope.sender.isascii()
            or not all(recipient.address.isascii() for recipient in recipients)
        ):
            command += " SMTPUTF8"
        if self.dsn:
            if envelope.ret:
                command += f" RET={envelope.ret}"
            if envelope.envid:
                command += f" ENVID={envelope.envid}"
        return command + "\r\n"

    def rcpt_command(self, recipient: Addressee) -> str:
        """``RCPT TO:<…>`` with the parameters that the server knows, and CRLF."""
        command = f"RCPT TO:<{recipient.address}>"
        if self.dsn:
            if recipient.notify:
                command += f" NOTIFY={','.join(sorted(recipient.notify))}"
            if recipient.original:
                command += f" ORCPT={recipient.original}"
        return command + "\r\n"


_NO_SMTPUTF8: Final = Reply(550, "5.6.7", "the server does not take internationalised mail")
