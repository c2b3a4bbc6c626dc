"""One message on its way to one server: what is known of each recipient so far. Pure bookkeeping.

An outcome is for good only where the server said so about this message or this recipient.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from netserve.mail.client.extensions import Addressee, Extensions, Sending
from netserve.mail.client.replies import RawReply
from netserve.mail.envelope import Outcome, Reply

# RFC 4954: authentication is required, too weak, wrong, or wants TLS. That is between us and the
# server, and mended in the config, so the message waits for that.
_ABOUT_LOGIN: Final = frozenset({530, 534, 535, 538})


def kind_of(code: int) -> Literal["delivered", "deferred", "failed"]:
    """What the code of a reply to a message means for it."""
    if code // 100 == 2:
        return "delivered"
    return "failed" if code // 100 == 5 and code not in _ABOUT_LOGIN else "deferred"


class Transaction:
    """The recipients of one message in one attempt.

    Arguments:
        envelope: sender and parameters.
        recipients: at least one.
        size: of the body, in bytes.
        body: all of it, or None where it comes in pieces.
        extensions: what the server offers.
        remote: the server, for the outcomes.
    """

    __slots__ = (
        "_accepted", "_at", "_extensions", "_outcomes", "_recipients", "_refusal", "_remote",
        "body", "envelope", "named", "size",
    )  # fmt: skip

    def __init__(
        self,
        envelope: Sending,
        recipients: Sequence[Addressee],
        size: int,
        body: bytes | None,
        extensions: Extensions,
        remote: str,
    ) -> None:
        self.envelope = envelope
        self.size = size
        self.body = body
        self.named: list[int] = []
        "The recipients that the server is told of, by their places."
        self._recipients = recipients
        self._extensions = extensions
        self._remote = remote
        self._outcomes: list[Outcome | None] = [None] * len(recipients)
        self._accepted: list[int] = []
        self._at = 0  # the place in `named` of the next reply to RCPT
        self._refusal: Reply | None = None  # of the sender, so of all recipients
        if (obstacle := extensions.obstacle(envelope, size)) is not None:
            self.settle(obstacle, "")
            return
        for index, recipient in enumerate(recipients):
            if (obstacle := extensions.obstacle_for(recipient)) is None:
                self.named.append(index)
            else:
                self._outcomes[index] = Outcome(kind_of(obstacle.code), obstacle)

    # What is sent.

    def mail_command(self) -> str:
        """MAIL for this message."""
        return self._extensions.mail_command(self.envelope, self._recipients, self.size)

    def rcpt_command(self) -> str:
        """RCPT for the recipient whose reply comes next."""
        return self._extensions.rcpt_command(self._recipients[self.named[self._at]])

    def all_commands(self) -> str:
        """MAIL, every RCPT and DATA, for a server that takes them in one go."""
        rcpt, recipients = self._extensions.rcpt_command, self._recipients
        commands = [rcpt(recipients[index]) for index in self.named]
        return f"{self.mail_command()}{''.join(commands)}DATA\r\n"

    # What is answered.

    @property
    def sender_refused(self) -> bool:
        """Whether MAIL was refused."""
        return self._refusal is not None

    @property
    def wanted(self) -> bool:
        """Whether the server takes the message for anybody."""
        return bool(self._accepted) and self._refusal is None

    @property
    def all_answered(self) -> bool:
        """Whether every RCPT has its reply."""
        return self._at == len(self.named)

    def on_mail(self, raw: RawReply) -> None:
        """The reply to MAIL."""
        if raw.code // 100 != 2:
            self._refusal = raw.reply()

    def on_rcpt(self, raw: RawReply) -> None:
        """The reply to the next RCPT."""
        index = self.named[self._at]
        self._at += 1
        if self._refusal is not None:
            return  # a 503, which says nothing more
        if raw.code // 100 == 2:
            self._accepted.append(index)
            return
        reply = raw.reply()
        kind = kind_of(reply.code)
        if reply.code == 552 and reply.status in {"", "5.5.3"}:
            kind = "deferred"  # too many recipients, as RFC 821 had it (RFC 5321, 4.5.3.1.10)
        self._outcomes[index] = Outcome(kind, reply, self._remote)

    def settle(self, reply: Reply, remote: str | None = None) -> None:
        """Decide about whoever is undecided.

        Arguments:
            reply: the server's reply to the message, or one of ours.
            remote: who said so, if not the server.
        """
        if self._refusal is not None:
            reply, remote = self._refusal, None
        kind = kind_of(reply.code)
        report: Literal["", "relayed"] = ""
        if kind == "delivered" and not self._extensions.dsn:
            report = "relayed"
        outcome = Outcome(kind, reply, self._remote if remote is None else remote, report)
        self._outcomes = [outcome if known is None else known for known in self._outcomes]

    @property
    def outcomes(self) -> list[Outcome]:
        """One for each recipient, in their order, once all are decided."""
        if self._refusal is not None:
            self.settle(self._refusal)
        return [outcome for outcome in self._outcomes if outcome is not None]
