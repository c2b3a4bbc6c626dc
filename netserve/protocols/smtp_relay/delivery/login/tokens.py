"""Access tokens of the logins of a process: asked for when one is needed, kept while it is good.

At most one request for a login is under way, whichever services use it; who needs its token
meanwhile waits for that one. A failure holds for a while too, so that a queue that is full does not
ask again for each message. Logins that differ in their scope, say, but have a refresh token in
common, ask one after the other: it is a new one after each request.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from twisted.internet.defer import Deferred, DeferredLock, gatherResults, succeed
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from yarl import URL

from netserve.config.types import Secret
from netserve.crossing import from_asyncio
from netserve.errors import UpstreamError
from netserve.http import AddressGuard, ClientOptions, HttpClient, HttpClients, HttpError, place
from netserve.protocols.smtp_relay.delivery.login.oauth2 import (
    LARGEST_ANSWER,
    Client,
    Grant,
    TokenRefused,
    usable_for,
)
from netserve.protocols.smtp_relay.delivery.login.options import Login, OAuth2
from netserve.protocols.smtp_relay.delivery.login.token_file import TokenFile

PATIENCE: Final = 15.0
"""Seconds for a token endpoint to answer."""
FAILURE_HOLDS: Final = 30.0
"""Seconds after a failure in which the endpoint is not asked again."""
FRESH: Final = 60.0
"""Seconds in which a token that is refused is not replaced: it is too new to be the trouble."""

_FORM: Final = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}


class NoToken(UpstreamError):
    """There is no access token; the text says why, and has no secret in it."""


class TokenSource:
    """The access token of one login.

    Arguments:
        user: who logs in.
        settings: where tokens come from.
        client: asks for them.
        file: keeps a refresh token, or None where there is none to keep.
        turn: is held while the endpoint is asked.
        reactor: the clock, and the threads.
        log: for what goes wrong.
    """

    def __init__(
        self,
        user: str,
        settings: OAuth2,
        *,
        client: HttpClient,
        file: TokenFile | None,
        turn: DeferredLock,
        reactor: Any,
        log: Logger,
    ) -> None:
        self._user = user
        self._settings = settings
        self._url = URL(settings.token_url)
        self._client = client
        self._file = file
        self._turn = turn
        self._reactor = reactor
        self._log = log
        self._refresh_token = settings.refresh_token
        self._token: Secret | None = None
        self._since = self._until = 0.0
        self._failure = ""
        self._failed_until = 0.0
        self._asking = False
        self._waiting: list[Deferred[Secret]] = []

    def get(self) -> Deferred[Secret]:
        """A token that is good by now.

        Errors:
            NoToken: there is none.
        """
        now = self._reactor.seconds()
        if self._token is not None and now < self._until:
            return succeed(self._token)
        if self._failure and now < self._failed_until:
            # In a turn of its own: whoever is told may ask again at once.
            return deferLater(self._reactor, 0, _raise, self._failure)
        waiting = self._wait()
        if not self._asking:
            self._asking = True
            Deferred.fromCoroutine(self._ask())
        return waiting

    def refused(self, token: Secret) -> bool:
        """A server does not take a token; whether another one is to be had.

        Arguments:
            token: as `get` gave it.
        """
        if token != self._token:
            return True  # it was replaced meanwhile
        if self._reactor.seconds() < self._since + FRESH:
            return False
        self._log.info("the access token of {user} is refused, asking for another", user=self._user)
        self._token = None
        return True

    def idle(self) -> Deferred[None]:
        """Wait for a request that is under way: a new refresh token may come of it."""
        return self._wait().addBoth(lambda _: None) if self._asking else succeed(None)

    def _wait(self) -> Deferred[Secret]:
        """Fires with the token that is being asked for."""

        def forget(_: Any) -> None:
            if waiting in self._waiting:  # else its turn to be told has come
                self._waiting.remove(waiting)

        waiting: Deferred[Secret] = Deferred(forget)
        self._waiting.append(waiting)
        return waiting

    async def _ask(self) -> None:
        """Ask, and tell who waits."""
        await self._turn.acquire()
        try:
            grant = await self._grant()
        except (HttpError, TokenRefused, UpstreamError, OSError) as error:
            self._fail(str(error))
            return
        except Exception:
            self._log.failure("asking for an access token of {user}", user=self._user)
            self._fail("it failed here, see the log")
            return
        finally:
            self._turn.release()
        self._failure = ""
        self._token = grant.token
        self._since = self._reactor.seconds()
        self._until = self._since + usable_for(grant.life)
        for waiting in self._take_waiting():
            waiting.callback(grant.token)

    async def _grant(self) -> Grant:
        settings = self._settings
        if self._file is not None:
            # Another service may have the same login, and keeps its refresh token there too.
            self._refresh_token = await self._in_thread(self._file.load)
        asking = Client(
            client_id=settings.client_id,
            client_secret=settings.client_secret,
            refresh_token=self._refresh_token,
            scope=settings.scope,
        )
        answer = await from_asyncio(
            self._client.fetch("POST", self._url, headers=_FORM, body=asking.form()),
            timeout=PATIENCE + 1,
            what=place(self._url),
        )
        grant = asking.granted(answer.status, answer.body)
        if grant.refresh_token is not None:
            await self._keep(grant.refresh_token)
        return grant

    async def _keep(self, token: Secret) -> None:
        self._refresh_token = token
        if self._file is None:
            return
        try:
            await self._in_thread(self._file.save, token)
        except OSError as error:
            self._log.error(
                "the new refresh token of {user} cannot be kept in {path}: {reason};"
                " it is lost when netserve stops",
                user=self._user,
                path=str(self._file.path),
                reason=error.strerror or "error",
            )
            self._file = None  # what it has is not good any more

    def _fail(self, why: str) -> None:
        self._log.warn(
            "no access token for {user} from {place}: {reason}",
            user=self._user,
            place=place(self._url),
            reason=why,
        )
        self._failure = f"no access token: {why}"
        self._failed_until = self._reactor.seconds() + FAILURE_HOLDS
        for waiting in self._take_waiting():
            waiting.errback(NoToken(self._failure))

    def _take_waiting(self) -> list[Deferred[Secret]]:
        self._asking = False
        waiting, self._waiting = self._waiting, []
        return waiting

    def _in_thread(self, work: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        return deferToThreadPool(self._reactor, self._reactor.getThreadPool(), work, *arguments)


def _raise(why: str) -> Secret:
    raise NoToken(why)


class Tokens:
    """The token sources of a process, one for each login.

    Arguments:
        http: gives HTTP clients.
        folder: keeps refresh tokens.
        reactor: the clock, and the threads.
        log: for what goes wrong.
    """

    def __init__(self, *, http: HttpClients, folder: Path, reactor: Any, log: Logger) -> None:
        self._http = http
        self._folder = folder
        self._reactor = reactor
        self._log = log
        self._sources: dict[tuple[str, OAuth2], TokenSource] = {}
        self._turns: dict[Path, DeferredLock] = {}

    def source(self, login: Login) -> TokenSource:
        """The source of a login with OAuth2; the same one for the same login.

        Raises:
            ValueError: the settings can't work (the file of `ca`).
        """
        settings = login.oauth2
        if settings is None:
            raise AssertionError("a login by password")
        key = (login.user, settings)
        source = self._sources.get(key)
        if source is None:
            file = self._file(login.user, settings)
            turn = DeferredLock()
            if file is not None:
                turn = self._turns.setdefault(file.path, turn)
            source = self._sources[key] = TokenSource(
                login.user,
                settings,
                client=self._http.client(_options(settings)),
                file=file,
                turn=turn,
                reactor=self._reactor,
                log=self._log,
            )
        return source

    def _file(self, user: str, settings: OAuth2) -> TokenFile | None:
        if settings.refresh_token is None:
            return None
        login = f"{settings.token_url}\n{settings.client_id}\n{user}"
        return TokenFile(self._folder, login, settings.refresh_token)

    async def idle(self) -> None:
        """Wait for what is under way: a new refresh token may come of it, which is to be kept."""
        await gatherResults([source.idle() for source in self._sources.values()])


def _options(settings: OAuth2) -> ClientOptions:
    # The file names the endpoint, so its address may be any.
    host = URL(settings.token_url).raw_host or ""
    return ClientOptions(
        guard=AddressGuard.parse([host]),
        read_timeout=PATIENCE,
        total_timeout=PATIENCE,
        connections=2,
        response_size=LARGEST_ANSWER,
        ca=settings.ca,
    )
