"""The connections to one destination: kept, counted, and made where one is missing.

A destination has one or more servers, which are tried in order. One that did not answer is tried
last for a while, so that not every message waits for it again. There are never more connections
than the route allows; a job that finds none waits for one.

Who the servers are is asked anew for each connection. Where their sessions are counted (MX), a
message that one server has put off goes to the next one in the same attempt, as RFC 5321, 5.1
wants it; a second server's word counts only if it is better than none.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from netserve.mail.envelope import Outcome, Reply
from netserve.mail.mx import Undeliverable
from netserve.mail.queued import QueuedMessage, QueuedRecipient
from netserve.outbox.courier import Outcomes
from netserve.protocols.smtp_relay.delivery.channel import Whole
from netserve.protocols.smtp_relay.delivery.slots import SeveralSlots, Slots
from netserve.protocols.smtp_relay.delivery.smtp.connection import ServerConnection
from netserve.protocols.smtp_relay.delivery.smtp.dialing import Dialer
from netserve.protocols.smtp_relay.delivery.smtp.jobs import Job, SessionFailed
from netserve.protocols.smtp_relay.delivery.smtp.options import SmtpRoute
from netserve.protocols.smtp_relay.delivery.smtp.targets import Avoided, Servers, Target

T = TypeVar("T")

STOPPING: Final = Reply(451, "4.3.2", "netserve is stopping, or the route was changed")
_UNASKED: Final = Reply(451, "4.5.0", "the server spoke without being asked")
_NO_OTHER: Final = Reply(451, "4.4.4", "there is no other server")


class ServerPool(Whole):
    """Delivers to the servers of one destination.

    Arguments:
        options: of the route.
        servers: names the servers.
        dialer: begins sessions with them.
        avoided: those that did not answer; pools may share it.
        log: of the service.
        slots: connections that it shares with other pools, or None.
        emptied: is called when it has neither connections nor messages any more.
    """

    def __init__(
        self,
        options: SmtpRoute,
        servers: Servers,
        dialer: Dialer,
        avoided: Avoided,
        *,
        log: Logger,
        slots: Slots | SeveralSlots | None = None,
        emptied: Callable[[ServerPool], None] | None = None,
    ) -> None:
        self._options = options
        self._servers = servers
        self._dialer = dialer
        self._avoided = avoided
        self._log = log
        self._slots = slots
        self._emptied = emptied
        self._connections: set[ServerConnection] = set()
        # The best server stands last; of its connections the one that was used last.
        self._ready: list[ServerConnection] = []
        self._waiting: deque[Job] = deque()
        self._connecting: set[Deferred[ServerConnection]] = set()
        self._looking = False
        self._under_way = 0  # messages that may still go to another server
        self._closed: list[Deferred[None]] | None = None  # who waits for the end, once it is near

    def deliver(
        self, message: QueuedMessage, recipients: Sequence[QueuedRecipient]
    ) -> Deferred[Mapping[int, Outcome]]:
        """Hand a message over, as soon as there is a connection.

        Errors:
            NotTried: the pool is closed, or was before there was one.
        """
        job = Job(message, recipients)
        if self._servers.sessions is None:
            self._submit(job)
        else:
            self._under_way += 1
            self._submit(job)
            job.done.addCallback(self._try_another, job)
            job.done.addBoth(self._through)
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
            self._waiting.popleft().give_back()
        for connecting in list(self._connecting):
            connecting.cancel()
        for connection in list(self._connections):
            if connection.usable:
                connection.quit()
            elif cut:
                connection.abort(STOPPING)
        self._ready.clear()
        done: Deferred[None] = Deferred()
        self._closed.append(done)
        self._check_end()
        return done

    @property
    def connections(self) -> int:
        """How many connections there are, those that are being made included."""
        return len(self._connections) + len(self._connecting)

    # Jobs.

    def _submit(self, job: Job) -> None:
        if self._closed is not None:
            job.give_back()
            return
        at = len(self._ready)
        while at:
            at -= 1
            connection = self._ready[at]
            if connection.target.host in job.tried:
                continue
            self._take_from_ready(at)
            if connection.usable:
                self._send(connection, job)
                return
            connection.abort(_UNASKED)
        self._waiting.append(job)
        self._connect_if_needed()

    def _send(self, connection: ServerConnection, job: Job) -> None:
        job.host, job.cost = connection.target.host, connection.cost
        connection.cost = 1
        connection.send(job)

    def _next_for(self, connection: ServerConnection) -> Job | None:
        """The job that has waited longest of those that this server may get."""
        for at, job in enumerate(self._waiting):
            if connection.target.host not in job.tried:
                del self._waiting[at]
                return job
        return None

    def _try_another(
        self, outcomes: Mapping[int, Outcome], job: Job
    ) -> Mapping[int, Outcome] | Deferred[Mapping[int, Outcome]]:
        """Give what a server has put off to the next one, if there may be one more session."""
        sessions = job.sessions + job.cost
        limit = self._servers.sessions or 0
        again = [who for who in job.recipients if _put_off(outcomes.get(who.id))]
        if not again or sessions >= limit or self._closed is not None:
            return outcomes
        second = Job(job.message, again, tried=job.tried | {job.host}, sessions=sessions)
        self._submit(second)

        def merge(later: Mapping[int, Outcome]) -> Outcomes[Outcome]:
            better = {at: outcome for at, outcome in later.items() if _says_something(outcome)}
            return Outcomes({**outcomes, **better}.items(), session_at=job.session_at)

        # Whatever goes wrong with the second server, what the first one said stands.
        return second.done.addCallbacks(merge, lambda _: outcomes)

    def _through(self, result: T) -> T:
        self._under_way -= 1
        self._check_end()
        return result

    # What the connections call.

    def connection_ready(self, connection: ServerConnection) -> None:
        if self._closed is not None or connection.uses >= self._options.uses:
            connection.quit()
        elif (job := self._next_for(connection)) is not None:
            self._send(connection, job)
        else:
            self._keep(connection)
            if self._slots is not None:
                self._slots.idle(self)
            if self._waiting:  # for another server than this one
                self._connect_if_needed()

    def _keep(self, connection: ServerConnection) -> None:
        at, rank = len(self._ready), connection.target.rank
        while at and self._ready[at - 1].target.rank < rank:
            at -= 1
        self._ready.insert(at, connection)

    def connection_closed(self, connection: ServerConnection) -> None:
        if connection in self._connections:
            self._connections.discard(connection)
            self._give_slot_back()
        if connection in self._ready:
            self._take_from_ready(self._ready.index(connection))
        self._connect_if_needed()
        self._check_end()

    def job_again(self, job: Job) -> None:
        self._log.debug("the kept connection had gone, trying {id} again", id=job.message.id)
        if self._closed is not None:
            job.give_back()
            return
        self._waiting.appendleft(job)
        self._connect_if_needed()

    # What the slots call.

    def slot_is_free(self) -> None:
        self._connect_if_needed()
        self._check_end()

    def let_go(self) -> None:
        if self._ready:
            connection = self._ready[0]  # idle for longest
            self._take_from_ready(0)
            connection.quit()

    def _take_from_ready(self, at: int) -> None:
        del self._ready[at]
        if self._slots is not None and not self._ready:
            self._slots.busy(self)

    def _give_slot_back(self) -> None:
        if self._slots is not None:
            self._slots.give_back()

    # Connecting.

    def _connect_if_needed(self) -> None:
        if self._looking:
            return  # what is new is seen below
        self._looking = True
        while (job := self._unserved()) is not None and self._may_connect():
            job.connecting = True
            connecting = Deferred.fromCoroutine(self._connect(job))
            self._connecting.add(connecting)
            connecting.addBoth(self._connected, connecting, job)
        self._looking = False

    def _unserved(self) -> Job | None:
        """The first job that waits, and for which no connection is made."""
        if self._closed is not None:
            return None
        return next((job for job in self._waiting if not job.connecting), None)

    def _may_connect(self) -> bool:
        if self.connections < self._options.connections and (
            self._slots is None or self._slots.take(self)
        ):
            return True
        self.let_go()  # what is idle is to a server that the one who waits is not to get
        return False

    def _connected(
        self,
        result: ServerConnection | Failure,
        connecting: Deferred[ServerConnection],
        job: Job,
    ) -> None:
        self._connecting.discard(connecting)
        job.connecting = False
        if isinstance(result, Failure):
            self._give_slot_back()
            self._not_connected(result, job)
            self._connect_if_needed()
        elif self._closed is not None:
            self._connections.add(result)
            result.abort(STOPPING)
        else:
            self._connections.add(result)
            if job in self._waiting and result.target.host not in job.tried:
                self._waiting.remove(job)
                self._waiting.appendleft(job)
            self.connection_ready(result)
        self._check_end()

    def _not_connected(self, failure: Failure, job: Job) -> None:
        if job not in self._waiting:
            return  # a connection that became free took it
        self._waiting.remove(job)
        error = failure.value
        if isinstance(error, SessionFailed):
            job.defer(error.reply, error.remote)
        elif isinstance(error, Undeliverable):
            job.fail(error.reply)
        else:
            job.done.errback(failure)

    async def _connect(self, job: Job) -> ServerConnection:
        """A connection to the first server that lets us begin a session.

        Raises:
            SessionFailed: none did; the error of the last.
            Undeliverable: there is no server.
        """
        await self._dialer.find_login()
        limit = self._servers.sessions
        targets = [one for one in await self._servers.targets() if one.host not in job.tried]
        problem = SessionFailed(_NO_OTHER if job.tried else STOPPING, "")
        begun = 0
        for target in self._avoided.last(targets):
            if self._closed is not None or (limit is not None and job.sessions + begun >= limit):
                break
            try:
                connection = await self._connect_to(target)
            except SessionFailed as error:
                problem = error
                begun += error.begun
            else:
                connection.cost = begun + 1
                return connection
        raise problem

    async def _connect_to(self, target: Target) -> ServerConnection:
        try:
            security = await self._servers.security(target)
            connection = await self._dialer.begin(target, security, self)
        except SessionFailed as error:
            # Told once, not for each message that waits.
            if self._closed is None and self._avoided.add(target):
                self._log.warn(
                    "no session with {remote}: {reason}",
                    remote=error.remote,
                    reason=str(error.reply),
                )
            raise
        if self._avoided.remove(target):
            self._log.info("{remote} answers again", remote=str(target))
        return connection

    def _check_end(self) -> None:
        if self.connections:
            return
        if self._closed is not None:
            waiting, self._closed = self._closed, []
            for done in waiting:
                done.callback(None)
        if not self._waiting and not self._under_way:
            if self._slots is not None:
                self._slots.forget(self)
            if self._emptied is not None:
                self._emptied(self)


def _put_off(outcome: Outcome | None) -> bool:
    """Whether a server has said that it does not take the message now."""
    return outcome is not None and outcome.verdict == "deferred" and _says_something(outcome)


def _says_something(outcome: Outcome) -> bool:
    """Whether it is a server's word about the message."""
    return outcome.verdict != "deferred" or (bool(outcome.remote) and outcome.reached)
