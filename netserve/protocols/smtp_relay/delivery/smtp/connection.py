"""One connection to a mail server: drives the client machine over a Twisted transport.

A connection takes one `Job` at a time, and tells its owner when it can take the next. Where the
route or the server asks for it, a message is prepared first (`preparing`). Small bodies go out in
one write with their end; larger ones are read as fast as the network takes them, 80 KiB at a time.
One timer a connection holds the timeouts of RFC 5321, 4.5.3.2: each reply starts the
time of the next, bytes that are no whole reply do not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from typing import Protocol as Interface

from twisted.internet.base import DelayedCall
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPullProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from netserve.connection import Tracker, connection_id
from netserve.fairness.turns import Share
from netserve.mail.client.events import Closed, Done, Event, NeedBody, Ready, StartTLS
from netserve.mail.client.machine import Client
from netserve.mail.client.states import State
from netserve.mail.client.transaction import kind_of
from netserve.mail.envelope import Outcome, Reply
from netserve.outbox.model import BodyReader
from netserve.protocols.smtp_relay.delivery.smtp.jobs import Job, SessionFailed
from netserve.protocols.smtp_relay.delivery.smtp.options import Timeouts
from netserve.protocols.smtp_relay.delivery.smtp.preparing import (
    CHUNK,
    Preparation,
    Prepared,
    Preparer,
)
from netserve.protocols.smtp_relay.delivery.smtp.reasons import reason_of
from netserve.protocols.smtp_relay.delivery.smtp.targets import Target

FAREWELL: Final = 5.0
"""Seconds for a connection to close, once there is nothing more to say."""

_GIVEN_UP: Final = Reply(451, "4.3.2", "the connection was given up")

_TIMEOUT_OF: Final[Mapping[State, str]] = {
    State.MAIL: "mail",
    State.RESET: "mail",
    State.RCPT: "recipient",
    State.DATA: "data",
    State.BODY: "block",
    State.FINAL: "end",
}


class Owner(Interface):
    """Who is told about a connection."""

    def connection_ready(self, connection: ServerConnection) -> None:
        """It can take a job; called once for each."""

    def connection_closed(self, connection: ServerConnection) -> None:
        """It can take no more; may be called twice."""

    def job_again(self, job: Job) -> None:
        """The kept connection had gone before the server said anything about the job."""


@implementer(IPullProducer)
class ServerConnection(Protocol):
    """The driver.

    Arguments:
        client: a fresh machine.
        owner: is told what happens once the session is there.
        timeouts: by phase.
        idle: seconds to be kept without a job.
        tls: makes the TLS connection, for Twisted's `startTLS`.
        clock: the reactor.
        turns: the service's share of the reactor's time.
        tracker: records the connection.
        preparer: of the route.
        target: the server.
    """

    def __init__(
        self,
        client: Client,
        owner: Owner,
        *,
        timeouts: Timeouts,
        idle: float,
        tls: Any,
        clock: Any,
        turns: Share,
        tracker: Tracker,
        preparer: Preparer,
        target: Target,
    ) -> None:
        self.transport: Any = None
        self.uses = 0
        "How many jobs it has taken."
        self.target = target
        self.cost = 1
        "How many sessions were begun until this one came about."
        self.opened: Deferred[ServerConnection] = Deferred(lambda _: self.abort(_GIVEN_UP))
        "Fires with the connection once it can take a job, or with `SessionFailed`."
        self._client = client
        self._owner = owner
        self._tls = tls
        self._clock = clock
        self._tracker = tracker
        self._connection_id = ""
        self._preparer = preparer
        self._preparation: Preparation | None = None  # since the session began
        self._preparing: Deferred[Any] | None = None  # of the job, of which nothing is sent yet
        times = dict.fromkeys(State, timeouts.greeting)
        times.update({state: getattr(timeouts, name) for state, name in _TIMEOUT_OF.items()})
        times[State.READY] = idle
        times[State.QUIT] = times[State.CLOSED] = FAREWELL
        self._times = times
        self._deadline = 0.0
        self._timer: DelayedCall | None = None
        self._handshake_from: int | None = None  # the count of replies when TLS began
        self._job: Job | None = None
        self._job_from = 0  # the count of replies when the job began
        self._open_body: Callable[[], BodyReader] | None = None  # of a prepared message
        self._body: BodyReader | None = None
        self._turn = turns.turn(target.host, self._take_replies, self._lose)
        self._received: list[bytes] = []  # what waits for our turn
        self._held_up = False  # whether we read nothing until then

    # What the owner calls.

    def send(self, job: Job) -> None:
        """Take a job; only when ready."""
        message = job.message
        body = None
        try:
            if message.size <= CHUNK:
                reader = message.body()
                try:
                    body = reader.read()
                finally:
                    reader.close()
        except Exception:
            self._owner.connection_ready(self)
            job.done.errback(Failure())
            return
        self.uses += 1
        job.session_at = self._clock.seconds()
        self._job = job
        self._job_from = self._client.replies
        preparation = self._preparation
        if preparation is None and message.body_type == "BINARYMIME":
            preparation = self._preparer.for_any(self._client.extensions)
        if preparation is None:
            size = message.size if body is None else len(body)
            self._act(self._client.start(message, job.recipients, size, body))
        else:
            self._prepare(preparation, job, body)

    def quit(self) -> None:
        """Close politely, when ready."""
        self._client.quit()
        self._act([])

    @property
    def usable(self) -> bool:
        """Whether `send` may be called."""
        return self._client.usable and self._job is None

    def abort(self, reply: Reply) -> None:
        """Close at once; a job is deferred for this reason."""
        self._act(self._client.lost(reply))
        if self.transport is not None:
            self.transport.abortConnection()

    # A message that does not go out as it is.

    def _prepare(self, preparation: Preparation, job: Job, body: bytes | None) -> None:
        try:
            prepared = preparation.prepare(job.message, job.recipients, body)
        except Exception:
            self._not_prepared(Failure())
            return
        if isinstance(prepared, Prepared):
            self._start(job, prepared)
        else:
            self._preparing = prepared
            prepared.addCallbacks(self._prepared, self._not_prepared)

    def _prepared(self, prepared: Prepared | Reply) -> None:
        self._preparing = None
        job = self._job
        if job is None:
            return
        if isinstance(prepared, Prepared):
            self._start(job, prepared)
            return
        self._job = None
        self._owner.connection_ready(self)
        outcome = Outcome(kind_of(prepared.code), prepared)
        job.settle([outcome] * len(job.recipients))

    def _not_prepared(self, failure: Failure) -> None:
        self._preparing = None
        job, self._job = self._job, None
        if job is not None:
            self._owner.connection_ready(self)
            job.done.errback(failure)

    def _start(self, job: Job, prepared: Prepared) -> None:
        self._open_body = prepared.open_body
        self._act(
            self._client.start(prepared.envelope, prepared.recipients, prepared.size, prepared.body)
        )

    # What Twisted calls.

    def makeConnection(self, transport: Any) -> None:
        tapped = self._tracker.outgoing(self, transport, tls=self._client.secure)
        self._connection_id = connection_id(tapped)
        super().makeConnection(tapped)

    def connectionMade(self) -> None:
        if self._client.secure:
            self._start_tls()
        self._restart_clock()

    def dataReceived(self, data: bytes) -> None:
        self._received.append(data)
        self._turn.ask()
        if self._turn.waits and not self._held_up and self.transport is not None:
            self._held_up = True
            self.transport.pauseProducing()

    def _take_replies(self) -> None:
        """Act on all that has come.

        It goes to the machine in one piece: what came in clear after the answer to STARTTLS is
        not to be taken for something that came later (S6).
        """
        data = b"".join(self._received)
        self._received.clear()
        if self._held_up:
            self._held_up = False
            if self.transport is not None:
                self.transport.resumeProducing()
        replies = self._client.replies
        events = self._client.receive(data)
        if events or self._client.replies != replies:
            self._act(events)

    def _lose(self) -> None:
        if self.transport is not None:
            self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._received:
            self._take_replies()
        self._turn.drop()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.transport = None
        self._act(self._client.lost(reason_of(reason.value)))

    # The body, pulled by the transport.

    def resumeProducing(self) -> None:
        body = self._body
        if body is None:
            return
        try:
            chunk = body.read(CHUNK)
        except Exception:
            self._fail_job(Failure())
            return
        if chunk:
            self._client.write_body(chunk)
        else:
            self._client.end_body()
            self._end_body()
        self._flush()

    def stopProducing(self) -> None:
        self._close_body()

    def _begin_body(self) -> None:
        job = self._job
        if job is None or self.transport is None:
            return
        open_body, self._open_body = self._open_body or job.message.body, None
        try:
            self._body = open_body()
        except Exception:
            self._fail_job(Failure())
            return
        self.transport.registerProducer(self, False)

    def _end_body(self) -> None:
        if self._close_body() and self.transport is not None:
            self.transport.unregisterProducer()

    def _close_body(self) -> bool:
        body, self._body = self._body, None
        if body is None:
            return False
        body.close()
        return True

    def _fail_job(self, failure: Failure) -> None:
        """Our side can't go on in the middle of a body: only a cut connection says so."""
        job, self._job = self._job, None
        self.abort(Reply(451, "4.3.0", "the message can't be read"))
        if job is not None:
            job.done.errback(failure)

    # What the machine asks for.

    def _act(self, events: Sequence[Event]) -> None:
        self._flush()
        finished: tuple[Job, Done] | None = None
        for event in events:
            kind = type(event)
            if kind is Ready:
                self._on_ready()
            elif isinstance(event, Done):
                job, self._job = self._job, None
                if job is not None:
                    finished = (job, event)
            elif kind is NeedBody:
                self._begin_body()
            elif kind is StartTLS:
                self._start_tls()
                self._act(self._client.tls_started())
            elif isinstance(event, Closed):
                finished = self._on_closed(event, finished)
        # Last, so that whoever gets the outcomes and sends the next finds this connection ready.
        if finished is not None:
            finished[0].settle(finished[1].outcomes)

    def _flush(self) -> None:
        data = self._client.data_to_send()
        if self.transport is not None:
            if data:
                self.transport.write(data)
            self._restart_clock()

    def _start_tls(self) -> None:
        self._handshake_from = self._client.replies
        if self.transport is not None:
            self.transport.startTLS(self._tls)

    def _on_ready(self) -> None:
        if not self._client.usable:
            # The server said more than it was asked, so its next reply could be about anything.
            self.abort(Reply(451, "4.5.0", "the server spoke without being asked"))
        elif not self.opened.called:
            self._preparation = self._preparer.for_server(self._client.extensions)
            self.opened.callback(self)
        else:
            self._owner.connection_ready(self)

    def _on_closed(
        self, event: Closed, finished: tuple[Job, Done] | None
    ) -> tuple[Job, Done] | None:
        self._end_body()
        if self.transport is not None:
            self.transport.loseConnection()
        client = self._client
        if not self.opened.called:
            reply = event.reply or Reply(451, "4.4.2", "the connection was closed")
            in_handshake = client.replies == self._handshake_from and reply is not _GIVEN_UP
            remote = client.settings.remote
            refused = client.settings.login if event.login_refused else None
            self.opened.errback(
                SessionFailed(
                    reply,
                    remote,
                    begun=True,
                    in_handshake=in_handshake,
                    refused_login=refused,
                    connection_id=self._connection_id,
                )
            )
            return finished
        if finished is None:
            finished = self._cancel_preparing(event)
        self._owner.connection_closed(self)
        if finished is None:
            return None
        job = finished[0]
        heard = client.replies - self._job_from
        gone = heard == 0 or (heard == 1 and event.reply is not None and event.reply.code == 421)
        if gone and self.uses > 1 and not job.retried:
            job.retried = True
            self._owner.job_again(job)
            return None
        return finished

    def _cancel_preparing(self, event: Closed) -> tuple[Job, Done] | None:
        """The job that was being prepared, if any: it is deferred for the reason of the end."""
        preparing, self._preparing = self._preparing, None
        job, self._job = self._job, None
        if job is None:
            return None
        if preparing is not None:
            preparing.cancel()
        reply = event.reply or Reply(451, "4.4.2", "the connection was closed")
        outcome = Outcome("deferred", reply, self._client.remote)
        return job, Done([outcome] * len(job.recipients))

    # Time.

    def _restart_clock(self) -> None:
        now = self._clock.seconds()
        self._deadline = deadline = now + self._times[self._client.state]
        # The timer is left where it is as long as it fires early enough; see `_on_timer`.
        if self._timer is None:
            self._timer = self._clock.callLater(deadline - now, self._on_timer)
        elif self._timer.getTime() > deadline + 1.0:
            self._timer.reset(deadline - now)

    def _on_timer(self) -> None:
        self._timer = None
        left = self._deadline - self._clock.seconds()
        if left > 0.001:
            self._timer = self._clock.callLater(left, self._on_timer)
            return
        state = self._client.state
        if state is State.READY:
            if self._job is None:
                self.quit()
            else:
                self._restart_clock()  # it is being prepared, which is no idleness
        else:
            waited = self._times[state]
            text = f"no answer within {waited:g} s (in state {state.value})"
            self.abort(Reply(451, "4.4.2", text))
