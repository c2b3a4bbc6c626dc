"""The connections to the smarthosts of one route: kept, counted, and made where one is missing.

The smarthosts are tried in order. One that did not answer is tried last for a while, so that not
every message waits for it again. There are never more connections than the route allows; a job
that finds none waits for one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import Deferred, TimeoutError  # noqa: A004 - not Python's own
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.error import ConnectError
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure

from netserve.mail.client.events import ClientSettings, Login
from netserve.mail.client.machine import Client
from netserve.mail.envelope import Outcome, Reply
from netserve.outbox.model import QueuedMessage, QueuedRecipient
from netserve.protocols.smtp_relay.delivery.connection import (
    Job,
    SessionFailed,
    SmarthostConnection,
)
from netserve.protocols.smtp_relay.delivery.logins import Logins
from netserve.protocols.smtp_relay.delivery.preparing import Preparer
from netserve.protocols.smtp_relay.delivery.reasons import reason_of
from netserve.protocols.smtp_relay.delivery.settings import Deliver, Smarthost, TLSLevel
from netserve.protocols.smtp_relay.delivery.tls import ClientTLS

AVOIDED: Final = 60.0
"""Seconds for which a smarthost that did not answer is tried last."""

_STOPPING: Final = Reply(451, "4.3.2", "netserve is stopping, or the route was changed")


class SmarthostPool:
    """Delivers to the smarthosts of one route.

    Arguments:
        deliver: of the route; it has smarthosts.
        hostname: our name, for EHLO.
        reactor: connects, and is the clock.
        log: of the service.
        preparer: of the route.
        logins: of the route.

    Raises:
        ValueError: the settings can't work (the file of `ca`).
    """

    def __init__(
        self,
        deliver: Deliver,
        *,
        hostname: str,
        reactor: Any,
        log: Logger,
        preparer: Preparer,
        logins: Logins,
    ) -> None:
        self._deliver = deliver
        self._smarthosts = deliver.smarthost or ()
        self._hostname = hostname
        self._reactor = reactor
        self._log = log
        self._tls = ClientTLS(verify=deliver.tls_level == "verify", ca=deliver.ca)
        self._preparer = preparer
        self._logins = logins
        self._connections: set[SmarthostConnection] = set()
        self._ready: list[SmarthostConnection] = []  # the last one used is the first to be used
        self._waiting: deque[Job] = deque()
        self._connecting: set[Deferred[SmarthostConnection]] = set()
        self._avoided: dict[Smarthost, float] = {}
        self._closed: list[Deferred[None]] | None = None  # who waits for the end, once it is near

    def deliver(
        self, message: QueuedMessage, recipients: Sequence[QueuedRecipient]
    ) -> Deferred[Mapping[int, Outcome]]:
        """Hand a message over, as soon as there is a connection."""
        job = Job(message, recipients)
        if self._closed is not None:
            job.defer(_STOPPING)
            return job.done
        while self._ready:
            connection = self._ready.pop()
            if connection.usable:
                connection.send(job)
                return job.done
        self._waiting.append(job)
        self._connect_if_needed()
        return job.done

    def close(self, *, cut: bool) -> Deferred[None]:
        """Close what is idle; fires when all connections are gone.

        Arguments:
            cut: also those on which a message is under way, which is then deferred; else they are
                closed behind it.
        """
        if self._closed is None:
            self._closed = []
        while self._waiting:
            self._waiting.popleft().defer(_STOPPING)
        for connecting in list(self._connecting):
            connecting.cancel()
        for connection in list(self._connections):
            if connection.usable:
                connection.quit()
            elif cut:
                connection.abort(_STOPPING)
        self._ready.clear()
        done: Deferred[None] = Deferred()
        self._closed.append(done)
        self._check_closed()
        return done

    @property
    def connections(self) -> int:
        """How many connections there are, those that are being made included."""
        return len(self._connections) + len(self._connecting)

    # What the connections call.

    def connection_ready(self, connection: SmarthostConnection) -> None:
        if self._closed is not None or connection.uses >= self._deliver.uses:
            connection.quit()
        elif self._waiting:
            connection.send(self._waiting.popleft())
        else:
            self._ready.append(connection)

    def connection_closed(self, connection: SmarthostConnection) -> None:
        self._connections.discard(connection)
        if connection in self._ready:
            self._ready.remove(connection)
        self._check_closed()
        self._connect_if_needed()

    def job_again(self, job: Job) -> None:
        self._log.debug("the kept connection had gone, trying {id} again", id=job.message.id)
        if self._closed is not None:
            job.defer(_STOPPING)
            return
        self._waiting.appendleft(job)
        self._connect_if_needed()

    # Connecting.

    def _connect_if_needed(self) -> None:
        while (
            self._closed is None
            and len(self._connecting) < len(self._waiting)
            and self.connections < self._deliver.connections
        ):
            connecting = Deferred.fromCoroutine(self._connect())
            self._connecting.add(connecting)
            connecting.addBoth(self._connected, connecting)

    def _connected(
        self, result: SmarthostConnection | Failure, connecting: Deferred[SmarthostConnection]
    ) -> None:
        self._connecting.discard(connecting)
        if isinstance(result, Failure):
            self._not_connected(result)
            self._connect_if_needed()
        elif self._closed is not None:
            self._connections.add(result)
            result.abort(_STOPPING)
        else:
            self._connections.add(result)
            self.connection_ready(result)
        self._check_closed()

    def _not_connected(self, failure: Failure) -> None:
        if not self._waiting:
            return  # a connection that became free took the job
        job = self._waiting.popleft()
        if isinstance(failure.value, SessionFailed):
            job.defer(failure.value.reply, failure.value.remote)
        else:
            job.done.errback(failure)

    async def _connect(self) -> SmarthostConnection:
        """A connection to the first smarthost that lets us begin a session.

        Raises:
            SessionFailed: none did; the error of the last.
        """
        await self._logins.current()  # without a token no smarthost is to blame
        now = self._reactor.seconds()
        avoided = [each for each in self._smarthosts if self._avoided.get(each, 0.0) > now]
        problem = SessionFailed(_STOPPING, "")
        for smarthost in [*(each for each in self._smarthosts if each not in avoided), *avoided]:
            try:
                connection = await self._connect_to(smarthost)
            except SessionFailed as error:
                problem = error
                if self._closed is not None:
                    break
                self._avoid(smarthost, error)
            else:
                if self._avoided.pop(smarthost, None) is not None:
                    self._log.info("smarthost {smarthost} answers again", smarthost=str(smarthost))
                return connection
        raise problem

    def _avoid(self, smarthost: Smarthost, error: SessionFailed) -> None:
        now = self._reactor.seconds()
        if self._avoided.get(smarthost, 0.0) <= now:  # once, not for each message that waits
            self._log.warn(
                "no session with smarthost {remote}: {reason}",
                remote=error.remote,
                reason=str(error.reply),
            )
            self._avoided[smarthost] = now + AVOIDED

    async def _connect_to(self, smarthost: Smarthost) -> SmarthostConnection:
        return await self._logins.session(partial(self._log_in_at, smarthost))

    async def _log_in_at(self, smarthost: Smarthost, login: Login | None) -> SmarthostConnection:
        level = self._deliver.tls_level
        try:
            return await self._begin_session(smarthost, level, login)
        except SessionFailed as error:
            if level != "may" or smarthost.tls_from_start or not error.in_handshake:
                raise
            self._log.warn(
                "smarthost {remote}: going on in clear, since TLS failed: {reason}",
                remote=error.remote,
                reason=str(error.reply),
            )
        return await self._begin_session(smarthost, "none", login)

    async def _begin_session(
        self, smarthost: Smarthost, level: TLSLevel, login: Login | None
    ) -> SmarthostConnection:
        timeout = self._deliver.timeouts.connect
        endpoint = self._endpoint(smarthost, timeout)
        factory = _Connections(partial(self._make, smarthost, level, login))
        connecting: Deferred[Any] = endpoint.connect(factory)
        try:
            connection = await connecting.addTimeout(timeout, self._reactor)
        except (ConnectError, OSError, TimeoutError, ValueError) as error:
            raise SessionFailed(reason_of(error), str(smarthost)) from error
        opened: Deferred[SmarthostConnection] = connection.opened
        return await opened

    def _endpoint(self, smarthost: Smarthost, timeout: float) -> Any:
        # A name may have many addresses, which are tried with a pause between them.
        kind: Any = HostnameEndpoint
        if isIPv6Address(smarthost.host):
            kind = TCP6ClientEndpoint
        elif isIPAddress(smarthost.host):
            kind = TCP4ClientEndpoint
        return kind(self._reactor, smarthost.host, smarthost.port, timeout=timeout)

    def _make(
        self, smarthost: Smarthost, level: TLSLevel, login: Login | None, peer: str
    ) -> SmarthostConnection:
        settings = ClientSettings(
            hostname=self._hostname,
            remote=f"{smarthost.host}[{peer}]:{smarthost.port}",
            tls=level,
            secure=smarthost.tls_from_start and level != "none",
            login=login,
        )
        return SmarthostConnection(
            Client(settings),
            self,
            timeouts=self._deliver.timeouts,
            idle=self._deliver.idle,
            tls=None if level == "none" else self._tls.for_host(smarthost.host),
            clock=self._reactor,
            preparer=self._preparer,
        )

    def _check_closed(self) -> None:
        if self._closed and not self.connections:
            waiting, self._closed = self._closed, []
            for done in waiting:
                done.callback(None)


class _Connections(Factory):
    """Makes the connection once the peer's address is known."""

    noisy = False

    def __init__(self, make: Callable[[str], SmarthostConnection]) -> None:
        self._make = make

    def buildProtocol(self, addr: Any) -> SmarthostConnection:
        return self._make(addr.host)
