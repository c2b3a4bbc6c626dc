"""Takes messages of the queue to where their routes say: the relay's courier for the outbox.

The route of a recipient is looked up at every attempt, in the routes of the config that is live
then. So a recipient without a route is deferred, not failed: the file can be mended.

==========  =========================================================================
way         outcome
==========  =========================================================================
smarthost   what the server says: 2yz delivered, 4yz deferred, 5yz failed; whatever
            keeps us from a server that could say something is deferred
mx          the same; failed where DNS says that the domain has no server
maildir     delivered once it is synced; an error of the disk is deferred; an address
            that can't name a folder is failed
http        what the hook says, see hook.py
discard     delivered
refuse      failed
no route    deferred
==========  =========================================================================
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias

from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool
from yarl import URL

from netserve.errors import InvalidValue
from netserve.http import HttpClients, place
from netserve.mail.envelope import Outcome, Reply
from netserve.mail.kind import MailKind
from netserve.mail.queued import QueuedMessage, QueuedRecipient
from netserve.outbox.model import Destination
from netserve.protocols.smtp_relay.delivery import maildir
from netserve.protocols.smtp_relay.delivery.accounts import Account, Accounts
from netserve.protocols.smtp_relay.delivery.domains import DomainPools, Hop
from netserve.protocols.smtp_relay.delivery.folders import UnsafeName, folder_for
from netserve.protocols.smtp_relay.delivery.hook import HookClient
from netserve.protocols.smtp_relay.delivery.making import AnyPool, PoolMaker
from netserve.protocols.smtp_relay.delivery.outside import Outside
from netserve.protocols.smtp_relay.delivery.pool import ServerPool
from netserve.protocols.smtp_relay.delivery.settings import Deliver
from netserve.protocols.smtp_relay.delivery.tokens import Tokens
from netserve.protocols.smtp_relay.routes import Route, RouteTable

WRITERS: Final = 8
"""Threads that write into Maildirs; syncing waits for the disk."""

_NO_ROUTE: Final = Destination("no route")
_NO_ROUTE_OUTCOME: Final = Outcome("deferred", Reply(451, "4.4.4", "no route for this recipient"))
_DISCARDED: Final = Outcome("delivered", Reply(250, "2.0.0", "discarded"), report="delivered")
_WRITTEN: Final = Outcome(
    "delivered", Reply(250, "2.0.0", "written into the Maildir"), report="delivered"
)

_Finder: TypeAlias = Callable[[str], Destination]
"""Gives the destination of a recipient's address."""


class RouteCourier:
    """Delivers for one service.

    Arguments:
        routes: in the order of the file.
        hostname: our name, for EHLO, for the names of files and for bounces.
        reactor: connects, and is the clock.
        log: of the service.
        http: gives the clients for hooks, and for MTA-STS policies.
        accounts: of the process; without it this service is alone.
        tokens: of the process, for logins with OAuth2; without it there are none.
        wall: gives unix seconds.
        outside: for routes that ask DNS; the system's name servers without it.

    Raises:
        ValueError: the routes can't work (a file of `ca`).
    """

    hostname: str
    kind: MailKind

    def __init__(
        self,
        routes: Iterable[Route],
        *,
        hostname: str,
        reactor: Any,
        log: Logger,
        http: HttpClients,
        accounts: Accounts | None = None,
        tokens: Tokens | None = None,
        wall: Callable[[], float] = time.time,
        outside: Outside | None = None,
    ) -> None:
        self.hostname = hostname
        self.kind = MailKind(hostname)
        self._reactor = reactor
        self._log = log
        self._accounts = accounts or Accounts()
        self._maker = PoolMaker(
            hostname=hostname,
            reactor=reactor,
            log=log,
            http=http,
            accounts=self._accounts,
            tokens=tokens,
            wall=wall,
            outside=outside or Outside(),
        )
        self._pools: dict[Deliver, AnyPool] = {}
        self._writers: ThreadPool | None = None
        self._table = RouteTable(())
        # By the identity of a route of the table: hashing a model takes longer than a delivery may.
        self._finders: dict[int, _Finder] = {}
        self._found_for = -1  # the version of the accounts that they are of
        self._is_attached = False
        self.use(routes)

    def use(self, routes: Iterable[Route]) -> None:
        """Go by other routes from now on; what is under way is finished the old way.

        What waits in the queue for an old way is routed again when it is its turn (NotTried), or
        at once by `Outbox.reroute`.

        Raises:
            ValueError: they can't work; the old ones stay.
        """
        table = RouteTable(routes)
        ways = list(dict.fromkeys(route.deliver for route in table.routes))
        pools: dict[Deliver, AnyPool] = {}
        try:
            for way in ways:
                if way.smarthost or way.mx or way.http:
                    pools[way] = self._pools.get(way) or self._maker.make(way)
        except InvalidValue as error:
            for made in pools.keys() - self._pools.keys():
                pools[made].close(cut=True)
            index = [route.deliver for route in table.routes].index(way)
            raise error.inside(("routes", index, "deliver")) from None
        except ValueError:
            for way in pools.keys() - self._pools.keys():
                pools[way].close(cut=True)
            raise
        for way, pool in self._pools.items():
            if way not in pools:
                pool.close(cut=False)
        self._table, self._pools = table, pools
        if self._is_attached:
            self._accounts.use(self, ways)

    def attach(self) -> None:
        """Count by the accounts of the process from now on; a courier is made without that."""
        self._is_attached = True
        self._accounts.use(self, {route.deliver: None for route in self._table.routes})

    def destination(self, message: QueuedMessage, recipient: QueuedRecipient) -> Destination:
        """Where a recipient's mail goes, by the live routes."""
        if self._found_for != self._accounts.version:
            self._find_destinations()
        route = self._table.find(message.sender, recipient.address, message.user)
        return _NO_ROUTE if route is None else self._finders[id(route)](recipient.address)

    def _find_destinations(self) -> None:
        """Make the destinations anew: ways of this service or of another one have changed."""
        if not self._is_attached:
            self.attach()
        ways = dict.fromkeys(route.deliver for route in self._table.routes)
        accounts = {way: self._accounts.of(way) for way in ways}
        finders = _finders(accounts, self._pools)
        self._finders = {id(route): finders[route.deliver] for route in self._table.routes}
        self._found_for = self._accounts.version

    def deliver(
        self,
        message: QueuedMessage,
        recipients: Sequence[QueuedRecipient],
        destination: Destination,
    ) -> Deferred[Mapping[int, Outcome]]:
        """One attempt; an outcome for each recipient, by its id.

        Arguments:
            message: of the queue.
            recipients: at least one, all of this destination.
            destination: what `destination` gave.

        Errors:
            NotTried: the destination is of routes that were changed meanwhile.
            Exception: the body can't be read, or a bug; nothing is known of the recipients.
        """
        way = destination.handle
        if isinstance(way, (ServerPool, Hop, HookClient)):
            return way.deliver(message, recipients)
        if not isinstance(way, Deliver):
            return _same_for_all(recipients, _NO_ROUTE_OUTCOME)
        if way.maildir is not None:
            return Deferred.fromCoroutine(self._to_maildirs(way.maildir, message, recipients))
        if way.refuse is not None:
            outcome = Outcome("failed", Reply(550, "5.7.1", way.refuse))
            return _same_for_all(recipients, outcome)
        return _same_for_all(recipients, _DISCARDED)

    async def close(self) -> None:
        """Cut what is under way, which is then deferred, and let go of everything.

        There is no route any more: what comes later is deferred.
        """
        pools, self._pools = list(self._pools.values()), {}
        self._table, self._finders = RouteTable(()), {}
        self._accounts.use(self, ())
        await gatherResults([pool.close(cut=True) for pool in pools])
        await self._maker.close()
        writers, self._writers = self._writers, None
        if writers is not None:
            writers.stop()

    async def _to_maildirs(
        self, template: Path, message: QueuedMessage, recipients: Sequence[QueuedRecipient]
    ) -> dict[int, Outcome]:
        outcomes = {}
        for recipient in recipients:
            outcomes[recipient.id] = await self._to_maildir(template, message, recipient)
        return outcomes

    async def _to_maildir(
        self, template: Path, message: QueuedMessage, recipient: QueuedRecipient
    ) -> Outcome:
        try:
            folder = folder_for(template, recipient.address, origin=self.hostname)
        except UnsafeName as error:
            return Outcome("failed", Reply(553, "5.1.3", str(error)))
        name = maildir.file_name(message.created, message.id, recipient.id, self.hostname)
        letter = maildir.Letter(message.sender, recipient.address, name)
        body = message.body()
        try:
            await self._in_thread(maildir.deliver, folder, letter, body)
        except OSError as error:
            self._log.warn(
                "{id} is not delivered into {folder}: {reason}",
                id=message.id,
                folder=str(folder),
                reason=str(error),
            )
            return Outcome("deferred", maildir.reply_for(error))
        except ValueError as error:
            return Outcome("failed", Reply(553, "5.1.3", str(error)))
        finally:
            body.close()
        return _WRITTEN

    def _in_thread(self, work: Any, *arguments: Any) -> Deferred[Any]:
        if self._writers is None:
            self._writers = ThreadPool(0, WRITERS, "maildir")
            self._writers.start()
        return deferToThreadPool(self._reactor, self._writers, work, *arguments)


def _same_for_all(
    recipients: Sequence[QueuedRecipient], outcome: Outcome
) -> Deferred[Mapping[int, Outcome]]:
    return succeed({recipient.id: outcome for recipient in recipients})


def _finders(
    accounts: Mapping[Deliver, Account], pools: Mapping[Deliver, AnyPool]
) -> dict[Deliver, _Finder]:
    """Destinations for each way, with a name of its own; their handle is the pool or the way."""
    names: Counter[str] = Counter()
    finders: dict[Deliver, _Finder] = {}
    for way, account in accounts.items():
        name = _name(way)
        names[name] += 1
        key = name if names[name] == 1 else f"{name} ({names[name]})"
        concurrency = account.connections if way in pools else WRITERS
        batch = min(way.batch, *(quota.count for quota in account.quotas), way.batch)
        pool = pools.get(way)
        route = Destination(
            key, concurrency, batch, account.quotas, account=account.name, handle=pool or way
        )
        find = pool.destination if isinstance(pool, DomainPools) else _same
        finders[way] = partial(find, route)
    return finders


def _same(destination: Destination, _: str) -> Destination:
    return destination


def _name(way: Deliver) -> str:
    if way.smarthost:
        login = f"{way.login.user}@" if way.login else ""
        return f"smtp:{login}{','.join(map(str, way.smarthost))}"
    if way.mx:
        return "mx"
    if way.http is not None:
        return f"http:{place(URL(way.http.url))}"
    if way.maildir is not None:
        return f"maildir:{way.maildir}"
    return "refuse" if way.refuse is not None else "discard"
