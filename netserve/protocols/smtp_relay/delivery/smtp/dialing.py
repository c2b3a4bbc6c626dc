"""Begins sessions: a connection to one server, up to where a message can be sent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import Deferred, TimeoutError  # noqa: A004 - not Python's own
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.error import ConnectError
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure

from netserve.connection import Tracker
from netserve.fairness.turns import Share
from netserve.mail.client.events import ClientSettings, Login
from netserve.mail.client.machine import Client
from netserve.protocols.smtp_relay.delivery.login.logins import Logins
from netserve.protocols.smtp_relay.delivery.smtp.connection import Owner, ServerConnection
from netserve.protocols.smtp_relay.delivery.smtp.jobs import SessionFailed
from netserve.protocols.smtp_relay.delivery.smtp.options import SmtpRoute
from netserve.protocols.smtp_relay.delivery.smtp.preparing import Preparer
from netserve.protocols.smtp_relay.delivery.smtp.reasons import reason_of
from netserve.protocols.smtp_relay.delivery.smtp.targets import Security, Target


class Dialer:
    """Begins the sessions of one route.

    Arguments:
        options: of the route.
        hostname: our name, for EHLO.
        reactor: connects, and is the clock.
        log: of the service.
        turns: the service's share of the reactor's time.
        tracker: records each connection.
        preparer: of the route.
        logins: of the route.
    """

    def __init__(
        self,
        options: SmtpRoute,
        *,
        hostname: str,
        reactor: Any,
        log: Logger,
        turns: Share,
        tracker: Tracker,
        preparer: Preparer,
        logins: Logins,
    ) -> None:
        self._options = options
        self._hostname = hostname
        self._reactor = reactor
        self._log = log
        self._turns = turns
        self._tracker = tracker
        self._preparer = preparer
        self._logins = logins

    async def find_login(self) -> None:
        """Have the login that the sessions need.

        Raises:
            SessionFailed: it is not to be had, and no server is to blame.
        """
        await self._logins.current()

    async def begin(self, target: Target, security: Security, owner: Owner) -> ServerConnection:
        """A session with a server; in clear where the level is `may` and TLS fails.

        Raises:
            SessionFailed: there is none.
        """
        return await self._logins.session(partial(self._log_in_at, target, security, owner))

    async def _log_in_at(
        self, target: Target, security: Security, owner: Owner, login: Login | None
    ) -> ServerConnection:
        try:
            return await self._begin(target, security, owner, login)
        except SessionFailed as error:
            if security.level != "may" or target.tls_from_start or not error.in_handshake:
                raise
            self._log.warn(
                "{remote}: going on in clear, since TLS failed: {reason}",
                remote=error.remote,
                reason=str(error.reply),
                connection_id=error.connection_id,
            )
        return await self._begin(target, replace(security, level="none"), owner, login)

    async def _begin(
        self, target: Target, security: Security, owner: Owner, login: Login | None
    ) -> ServerConnection:
        timeout = self._options.timeouts.connect
        endpoint = self._endpoint(target, timeout)
        factory = _Connections(partial(self._make, target, security, owner, login))
        connecting: Deferred[Any] = endpoint.connect(factory)
        try:
            connection = await connecting.addTimeout(timeout, self._reactor, _in_time)
        except (ConnectError, OSError, TimeoutError, ValueError) as error:
            raise SessionFailed(reason_of(error), str(target)) from error
        opened: Deferred[ServerConnection] = connection.opened
        return await opened

    def _endpoint(self, target: Target, timeout: float) -> Any:
        # A name may have many addresses, which are tried with a pause between them.
        kind: Any = HostnameEndpoint
        host = target.address or target.host
        if isIPv6Address(host):
            kind = TCP6ClientEndpoint
        elif isIPAddress(host):
            kind = TCP4ClientEndpoint
        return kind(self._reactor, host, target.port, timeout=timeout)

    def _make(
        self, target: Target, security: Security, owner: Owner, login: Login | None, peer: str
    ) -> ServerConnection:
        settings = ClientSettings(
            hostname=self._hostname,
            remote=f"{target.host}[{peer}]:{target.port}",
            tls=security.level,
            level=security.name,
            secure=target.tls_from_start and security.level != "none",
            login=login,
        )
        return ServerConnection(
            Client(settings),
            owner,
            target=target,
            timeouts=self._options.timeouts,
            idle=self._options.idle,
            tls=security.tls,
            clock=self._reactor,
            turns=self._turns,
            tracker=self._tracker,
            preparer=self._preparer,
        )


def _in_time(result: Any, _: float) -> Any:
    """What came when the time was over; endpoints that are cancelled have errors of their own."""
    return Failure(TimeoutError()) if isinstance(result, Failure) else result


class _Connections(Factory):
    """Makes the connection once the peer's address is known."""

    noisy = False

    def __init__(self, make: Callable[[str], ServerConnection]) -> None:
        self._make = make

    def buildProtocol(self, addr: Any) -> ServerConnection:
        return self._make(addr.host)
