"""Delivery by MX: a pool of connections for each domain, for as long as there is one.

Domains do not wait for each other: each is a destination of its own to the queue. A pool is there
from the first message to the end of its last connection; connections that are kept for a next
message give way where others need room, so their number is bounded over all domains.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred, fail, gatherResults, succeed
from twisted.logger import Logger

from netserve.mail.envelope import Outcome
from netserve.mail.mx import Undeliverable, next_hop
from netserve.mail.queued import QueuedMessage, QueuedRecipient
from netserve.outbox.courier import NotTried
from netserve.outbox.model import Destination
from netserve.protocols.smtp_relay.delivery.dns.exchanges import DomainServers, Exchanges
from netserve.protocols.smtp_relay.delivery.slots import SeveralSlots, Slots
from netserve.protocols.smtp_relay.delivery.smtp.dialing import Dialer
from netserve.protocols.smtp_relay.delivery.smtp.options import SmtpRoute
from netserve.protocols.smtp_relay.delivery.smtp.pool import ServerPool
from netserve.protocols.smtp_relay.delivery.smtp.targets import Avoided


@dataclass(frozen=True, slots=True)
class Hop:
    """Where the recipients of one domain go: what a destination has for the courier.

    Arguments:
        pools: of the route.
        name: what `netserve.mail.mx.next_hop` gave; empty for addresses without one.
    """

    pools: DomainPools
    name: str

    def deliver(
        self, message: QueuedMessage, recipients: Sequence[QueuedRecipient]
    ) -> Deferred[Mapping[int, Outcome]]:
        """Hand a message over."""
        return self.pools.deliver(self.name, message, recipients)


class DomainPools:
    """Delivers to the servers of each recipient's domain, for one route.

    Arguments:
        options: of the route.
        exchanges: finds the servers.
        dialer: begins sessions with them.
        slots: gives the sessions with one domain, or with all (None), over all services.
        reactor: the clock.
        log: of the service.
    """

    def __init__(
        self,
        options: SmtpRoute,
        exchanges: Exchanges,
        dialer: Dialer,
        *,
        slots: Callable[[str | None], Slots],
        reactor: Any,
        log: Logger,
    ) -> None:
        self._options = options
        self._exchanges = exchanges
        self._dialer = dialer
        self._log = log
        self._avoided = Avoided(reactor)
        self._slots = slots
        self._pools: dict[str, ServerPool] = {}
        self._closed = False

    def destination(self, route: Destination, mailbox: str) -> Destination:
        """Where the mail for a mailbox goes.

        Arguments:
            route: what holds for each domain; its key has the domain behind it.
            mailbox: of the recipient.
        """
        try:
            hop = next_hop(mailbox)
        except Undeliverable:
            hop = ""
        return Destination(
            f"{route.key}:{hop or '(no domain)'}",
            route.concurrency,
            route.batch,
            route.quotas,
            account=f"{route.account}:{hop}" if hop else "",
            label=route.key,
            handle=Hop(self, hop),
        )

    def deliver(
        self, hop: str, message: QueuedMessage, recipients: Sequence[QueuedRecipient]
    ) -> Deferred[Mapping[int, Outcome]]:
        """Hand a message over to the servers of one hop, as soon as there is a connection.

        Errors:
            NotTried: as of `ServerPool.deliver`.
        """
        if not hop:
            return succeed({who.id: _without_hop(who.address) for who in recipients})
        if self._closed:
            return fail(NotTried())
        pool = self._pools.get(hop)
        if pool is None:
            pool = self._pools[hop] = ServerPool(
                self._options,
                DomainServers(self._exchanges, hop),
                self._dialer,
                self._avoided,
                log=self._log,
                slots=SeveralSlots(lambda: self._find_slots(hop)),
                emptied=lambda pool: self._emptied(hop, pool),
            )
        return pool.deliver(message, recipients)

    def close(self, *, cut: bool) -> Deferred[None]:
        """As `ServerPool.close`, of all of them."""
        self._closed = True
        closing = gatherResults([pool.close(cut=cut) for pool in list(self._pools.values())])
        return closing.addCallback(lambda _: None)

    def _find_slots(self, hop: str) -> tuple[Slots, Slots]:
        """Those of all domains, and of this one."""
        return self._slots(None), self._slots(hop)

    @property
    def connections(self) -> int:
        """How many connections there are, those that are being made included."""
        return sum(pool.connections for pool in self._pools.values())

    @property
    def domains(self) -> int:
        """How many domains have a pool."""
        return len(self._pools)

    def _emptied(self, hop: str, pool: ServerPool) -> None:
        if self._pools.get(hop) is pool:
            del self._pools[hop]


def _without_hop(mailbox: str) -> Outcome:
    try:
        next_hop(mailbox)
    except Undeliverable as error:
        return Outcome("failed", error.reply)
    raise AssertionError("the mailbox has a domain")
