"""The login that the sessions of a route begin with: none, a password, or an access token."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from netserve.mail.client.events import Login
from netserve.mail.envelope import Reply
from netserve.protocols.smtp_relay.delivery.login.options import Login as LoginSettings
from netserve.protocols.smtp_relay.delivery.login.tokens import NoToken, Tokens, TokenSource
from netserve.protocols.smtp_relay.delivery.smtp.jobs import SessionFailed

T = TypeVar("T")


class Logins:
    """Gives the login of one route.

    Arguments:
        settings: of the route, or None.
        tokens: of the service; needed for a login with OAuth2.

    Raises:
        ValueError: the settings can't work.
    """

    def __init__(self, settings: LoginSettings | None, tokens: Tokens | None) -> None:
        self._settings = settings
        self._source: TokenSource | None = None
        self._login: Login | None = None
        if settings is not None and settings.password is not None:
            self._login = Login(settings.user, settings.password, settings.in_clear)
        elif settings is not None:
            if tokens is None:
                raise ValueError("OAuth2 is not to be had here")
            self._source = tokens.source(settings)

    async def current(self) -> Login | None:
        """The login by now.

        Raises:
            SessionFailed: there is no access token, so that no session could begin.
        """
        settings, source = self._settings, self._source
        if settings is None or source is None:
            return self._login
        try:
            token = await source.get()
        except NoToken as error:
            raise SessionFailed(Reply(454, "4.7.0", str(error)), "") from error
        return Login(settings.user, token, settings.in_clear, is_token=True)

    async def session(self, begin: Callable[[Login | None], Awaitable[T]]) -> T:
        """Begin a session, and once more where it was for an access token that has gone stale.

        Arguments:
            begin: begins one with a login.

        Raises:
            SessionFailed: of the last attempt.
        """
        login = await self.current()
        try:
            return await begin(login)
        except SessionFailed as error:
            refused = error.refused_login
            if (
                refused is None
                or self._source is None
                or not self._source.refused(refused.password)
            ):
                raise
        return await begin(await self.current())
