"""A message on its way through pools and connections, and why there was no session for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from twisted.internet.defer import Deferred

from netserve.errors import UpstreamError
from netserve.mail.client.events import Login
from netserve.mail.envelope import Outcome, Reply
from netserve.mail.queued import QueuedMessage, QueuedRecipient
from netserve.outbox.courier import NotTried, Outcomes


class SessionFailed(UpstreamError):
    """A session did not come to the point where a message could be sent.

    Arguments:
        reply: why, with a temporary code.
        remote: which server.
        begun: there was a connection.
        in_handshake: it ended in the TLS handshake.
        refused_login: the login that the server does not take, or None.
        connection_id: of the connection; empty where there was none.
    """

    def __init__(
        self,
        reply: Reply,
        remote: str,
        *,
        begun: bool = False,
        in_handshake: bool = False,
        refused_login: Login | None = None,
        connection_id: str = "",
    ) -> None:
        super().__init__(f"{remote}: {reply}")
        self.reply = reply
        self.remote = remote
        self.begun = begun
        self.in_handshake = in_handshake
        self.refused_login = refused_login
        self.connection_id = connection_id


class Job:
    """A message for some recipients, and who waits for the outcomes.

    Arguments:
        message: of the queue.
        recipients: at least one.
        tried: servers, by host, that are not to get it.
        sessions: with how many servers it was begun before.
    """

    __slots__ = (
        "connecting", "cost", "done", "host", "message", "recipients", "retried", "session_at",
        "sessions", "tried",
    )  # fmt: skip

    def __init__(
        self,
        message: QueuedMessage,
        recipients: Sequence[QueuedRecipient],
        *,
        tried: frozenset[str] = frozenset(),
        sessions: int = 0,
    ) -> None:
        self.message = message
        self.recipients = recipients
        self.tried = tried
        self.sessions = sessions
        self.done: Deferred[Mapping[int, Outcome]] = Deferred()
        self.retried = False
        "It was on a kept connection that had gone, and is on its second one."
        self.connecting = False
        "A connection is being made for it."
        self.host = ""
        "The server that got it."
        self.cost = 0
        "How many sessions it took to come there."
        self.session_at = 0.0
        "By the reactor's clock, when a connection took it; 0 where none did."

    def settle(self, outcomes: Sequence[Outcome]) -> None:
        """Tell the outcomes, in the order of the recipients."""
        by_id = zip([who.id for who in self.recipients], outcomes, strict=True)
        self.done.callback(Outcomes(by_id, session_at=self.session_at))

    def defer(self, reply: Reply, remote: str = "") -> None:
        """Tell that nobody got it for now."""
        self.settle([Outcome("deferred", reply, remote, reached=False)] * len(self.recipients))

    def give_back(self) -> None:
        """Tell that nothing was done, and that there is another way by now."""
        self.done.errback(NotTried())

    def fail(self, reply: Reply) -> None:
        """Tell that nobody will ever get it."""
        self.settle([Outcome("failed", reply)] * len(self.recipients))
