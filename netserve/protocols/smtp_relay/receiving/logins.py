"""Logins of one service, in front of whatever checks them: guesses take nobody else's turn.

================  =============================================================================
outcome           what it means
================  =============================================================================
accepted          the password, or the token, is right
refused           it is wrong
backoff           too many have failed before, see `login_memory`; nothing was verified
busy              too many logins of the address wait, see `login_turns`; nothing was verified
failed            the checker could not tell
================  =============================================================================
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import Any, Final

from twisted.cred.credentials import UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import CancelledError, Deferred, fail, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from netserve.config.types import Network
from netserve.protocols.smtp_relay.receiving.login_memory import Client, LoginMemory, Patience
from netserve.protocols.smtp_relay.receiving.login_turns import Lane, LoginTurns, Waiting
from netserve.wire.peer import LOCAL, counting_key, is_in

TIMEOUT: Final = 60.0
"""Seconds that a checker may take, from the login's turn on."""


class TryLater(Exception):
    """A login was not verified.

    Arguments:
        wait: seconds after which it may be tried again.
        outcome: ``backoff`` or ``busy``.
    """

    def __init__(self, wait: int, outcome: str) -> None:
        super().__init__(f"{outcome}: try again in {wait} s")
        self.wait = wait
        self.outcome = outcome


@dataclass(eq=False, slots=True)
class _Login:
    client: Client
    credentials: UsernamePassword
    answer: Deferred[str]
    checking: Deferred[Any] | None = None
    """What the checker has given, while it checks."""


class Logins:
    """See the module.

    Arguments:
        checker: of `twisted.cred`; None where nobody can log in by password.
        patience: how much failing is let pass.
        exempt: networks whose addresses are not counted.
        places: logins that are verified at a time.
        queue: logins of one address that wait.
        reactor: the clock.
        log: of the service.
    """

    def __init__(
        self,
        checker: Any,
        *,
        patience: Patience,
        exempt: tuple[Network, ...],
        places: int,
        queue: int,
        reactor: Any,
        log: Logger,
    ) -> None:
        self._checker = checker
        self._memory = LoginMemory(patience)
        self._turns: LoginTurns[_Login] = LoginTurns(places=places, queue=queue)
        self._exempt = exempt
        self._reactor = reactor
        self._log = log
        self._outcomes: Counter[tuple[str, ...]] = Counter()

    @property
    def waiting(self) -> int:
        """Logins that wait for their turn."""
        return len(self._turns)

    def outcomes(self) -> Mapping[tuple[str, ...], int]:
        """Logins by outcome."""
        return self._outcomes

    def check(self, address: str, user: str, password: str) -> Deferred[str]:
        """Verify a password, when it is its turn; cancelling it gives up the turn.

        Arguments:
            address: the client's IP address; empty for a local socket.
            user: the name that was given.
            password: the same.

        Returns:
            The user's name, as the checker has it.

        Errors:
            UnauthorizedLogin: it is not the password.
            TryLater: it was not verified.
            Exception: whatever the checker failed with.
        """
        client = self._client(address, user)
        now = self._reactor.seconds()
        if wait := self._memory.wait(client, now):
            return fail(self._later(wait, "backoff"))
        lane = Lane.FAILED if self._memory.has_failed(client, now) else Lane.NEW
        if self._memory.is_known(client):
            lane = Lane.KNOWN
        credentials = UsernamePassword(user.encode(), password.encode())
        answer: Deferred[str] = Deferred(lambda _: self._give_up(waiting))
        login = _Login(client, credentials, answer)
        waiting = Waiting(login, client.address, client.user, lane)
        crowded_out = self._turns.enter(waiting)
        if crowded_out is not None:
            crowded_out.job.answer.errback(self._later(1.0, "busy"))
        self._begin()
        return answer

    def check_token(self, address: str, name: str | None) -> str:
        """Take or refuse a token that was looked up; that takes no time, so there are no turns.

        Arguments:
            address: the client's IP address; empty for a local socket.
            name: whose token it is; None for nobody's.

        Returns:
            The name.

        Raises:
            UnauthorizedLogin: it is nobody's.
            TryLater: it does not count, be it right or wrong.
        """
        client = self._client(address, name or "")
        now = self._reactor.seconds()
        if wait := self._memory.wait(client, now):
            raise self._later(wait, "backoff")
        if name is None:
            self._has_failed(client, address, "a token")
            raise UnauthorizedLogin
        self._memory.succeeded(client)
        return name

    def _client(self, address: str, user: str) -> Client:
        return Client.of(counting_key(address), user, is_exempt=is_in(address, self._exempt))

    def _later(self, wait: float, outcome: str) -> TryLater:
        self._outcomes[outcome,] += 1
        return TryLater(ceil(wait), outcome)

    def _give_up(self, waiting: Waiting[_Login]) -> None:
        """The client is gone. Its place stays taken for as long as the checker is at it."""
        self._turns.leave(waiting)
        checking = waiting.job.checking
        if checking is not None:
            checking.cancel()

    def _begin(self) -> None:
        """Give the places that are free to those who wait."""
        while (waiting := self._turns.next()) is not None:
            login = waiting.job
            # Others of the same may have failed while it waited.
            if wait := self._memory.wait(login.client, self._reactor.seconds()):
                self._turns.done(waiting)
                login.answer.errback(self._later(wait, "backoff"))
                continue
            checking = maybeDeferred(self._checker.requestAvatarId, login.credentials)
            login.checking = checking
            checking.addTimeout(TIMEOUT, self._reactor)
            checking.addCallback(_name_of)
            checking.addBoth(partial(self._ended, waiting))

    def _ended(self, waiting: Waiting[_Login], result: str | Failure) -> None:
        login = waiting.job
        if not isinstance(result, Failure):
            self._memory.succeeded(login.client)
            self._outcomes["accepted",] += 1
        elif result.check(UnauthorizedLogin):
            self._has_failed(login.client, login.client.address, login.client.user)
        elif result.check(CancelledError):
            # The client has not waited for the answer. Else guesses of that kind would cost it
            # nothing, and everybody else their turn.
            self._memory.failed(login.client, self._reactor.seconds())
        else:
            self._outcomes["failed",] += 1
        login.checking = None
        self._turns.done(waiting)
        if not login.answer.called:
            login.answer.callback(result)
        self._begin()

    def _has_failed(self, client: Client, address: str, what: str) -> None:
        self._outcomes["refused",] += 1
        now = self._reactor.seconds()
        self._memory.failed(client, now)
        if wait := self._memory.wait(client, now):
            self._log.warn(
                "logins of {client} as {user} have to wait {seconds} s: too many have failed",
                client=address or LOCAL,
                user=what,
                seconds=ceil(wait),
            )


def _name_of(avatar_id: object) -> str:
    """The user's name of an avatar id of `twisted.cred`, which is what all rules go by.

    It may be another than the one that was given: a directory may not care about case.

    Raises:
        ValueError: it is no name.
    """
    name = avatar_id.decode() if isinstance(avatar_id, bytes) else avatar_id
    if not isinstance(name, str) or not name or not name.isprintable():
        raise ValueError("the checker of logins gave no name of a user")
    return name
