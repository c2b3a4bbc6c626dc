"""AUTH as states of the SMTP server (RFC 4954): the exchange, and how often it may fail."""

from __future__ import annotations

from netserve.mail.envelope import Reply
from netserve.mail.server import answers, sasl
from netserve.mail.server.commands import Refusal, refusal
from netserve.mail.server.core import ServerCore
from netserve.mail.server.model import CredentialsGiven, Event, Signal


class LoginStates(ServerCore):
    """The part of the machine that lets users in."""

    __slots__ = ()

    @property
    def offers_auth(self) -> bool:
        """Whether AUTH can be used as the session stands."""
        return self._options.auth and (self.tls or self._options.auth_in_clear)

    def auth(self, argument: str) -> Event | None:
        self._count_idle_command()
        if not self._options.auth:
            raise refusal(502, "5.5.1", "AUTH is not offered")
        if not self.offers_auth:
            raise refusal(538, "5.7.11", "AUTH needs TLS first")
        if self.user:
            raise refusal(503, "5.5.1", "You have authenticated already")
        mechanism, _, initial = argument.partition(" ")
        if mechanism.upper() not in sasl.MECHANISMS:
            raise refusal(504, "5.5.4", "The mechanism is not known")
        self._move("AUTH")
        self._exchange = sasl.Exchange(mechanism.upper())
        if initial:
            return self._respond(self._exchange, initial.encode())
        self._say(Reply(334, "", self._exchange.challenge))
        return None

    def read_response(self) -> Event | Signal | None:
        assert self._exchange is not None  # noqa: S101 - set on the way into this state
        try:
            line = self._input.line(sasl.MAX_LINE)
        except Refusal as refused:
            self.refuse_credentials(refused.reply)
            return None
        if line is None:
            return Signal.NEED_DATA
        if line == b"*":
            self.refuse_credentials(answers.AUTH_CANCELLED)
            return None
        return self._respond(self._exchange, line)

    def _respond(self, exchange: sasl.Exchange, response: bytes) -> Event | None:
        try:
            credentials = exchange.respond(response)
        except sasl.BadResponse:
            self.refuse_credentials(answers.BAD_RESPONSE)
            return None
        if credentials is None:
            self._say(Reply(334, "", exchange.challenge))
            return None
        self._end_exchange()
        return self._ask(CredentialsGiven(exchange.mechanism, *credentials))

    def _end_exchange(self) -> None:
        self._exchange = None
        self._move("end of exchange")

    def refuse_credentials(self, reply: Reply) -> None:
        if self._exchange is not None:
            self._end_exchange()
        self._failed_logins += 1
        self._refuse(reply)
        if self._failed_logins >= self._limits.auth_attempts:
            self._close(answers.TOO_MANY_LOGINS)
