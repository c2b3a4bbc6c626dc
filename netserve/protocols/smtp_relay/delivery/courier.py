"""Takes messages of the queue to where their routes say: the relay's courier for the outbox.

The route of a recipient is looked up at every attempt, in the routes of the config that is live
then. So a recipient without a route is deferred, not failed: the file can be mended.

The ways are in the folder `ways`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeAlias, cast

from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import Logger

from netserve.errors import InvalidValue
from netserve.http import HttpClients
from netserve.mail.envelope import Outcome, Reply
from netserve.mail.kind import MailKind
from netserve.mail.queued import QueuedMessage, QueuedRecipient
from netserve.outbox.model import Destination
from netserve.protocols.smtp_relay.delivery.accounts import Account, Accounts
from netserve.protocols.smtp_relay.delivery.channel import Channel, Delivers, same_for_all
from netserve.protocols.smtp_relay.delivery.deliver import Deliver
from netserve.protocols.smtp_relay.delivery.facilities import Facilities
from netserve.protocols.smtp_relay.delivery.login.tokens import Tokens
from netserve.protocols.smtp_relay.delivery.outside import Outside
from netserve.protocols.smtp_relay.routes import Route, RouteTable

_NO_ROUTE: Final = Destination("no route")
_NO_ROUTE_OUTCOME: Final = Outcome("deferred", Reply(451, "4.4.4", "no route for this recipient"))

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
        self._accounts = accounts or Accounts()
        self._facilities = Facilities(
            hostname=hostname,
            reactor=reactor,
            log=log,
            http=http,
            accounts=self._accounts,
            tokens=tokens,
            wall=wall,
            outside=outside or Outside(),
        )
        self._channels: dict[Deliver, Channel] = {}
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
        channels: dict[Deliver, Channel] = {}
        try:
            for deliver in dict.fromkeys(route.deliver for route in table.routes):
                old = self._channels.get(deliver)
                channels[deliver] = old or deliver.way.open(deliver, self._facilities)
        except ValueError as error:
            for made in channels.keys() - self._channels.keys():
                channels[made].close(cut=True)
            if not isinstance(error, InvalidValue):
                raise
            index = [route.deliver for route in table.routes].index(deliver)
            raise error.inside(("routes", index, "deliver")) from None
        for deliver, channel in self._channels.items():
            if deliver not in channels:
                channel.close(cut=False)
        self._table, self._channels = table, channels
        if self._is_attached:
            self._accounts.use(self, channels)

    def attach(self) -> None:
        """Count by the accounts of the process from now on; a courier is made without that."""
        self._is_attached = True
        self._accounts.use(self, self._channels)

    def destination(self, message: QueuedMessage, recipient: QueuedRecipient) -> Destination:
        """Where a recipient's mail goes, by the live routes."""
        if self._found_for != self._accounts.version:
            self._find_destinations()
        route = self._table.find(message.sender, recipient.address, message.user)
        return _NO_ROUTE if route is None else self._finders[id(route)](recipient.address)

    def _find_destinations(self) -> None:
        """Make the destinations again: routes of this service or of another one have changed."""
        if not self._is_attached:
            self.attach()
        accounts = {deliver: self._accounts.of(deliver) for deliver in self._channels}
        finders = _finders(accounts, self._channels)
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
        channel = cast("Delivers | None", destination.handle)
        if channel is None:
            return same_for_all(recipients, _NO_ROUTE_OUTCOME)
        return channel.deliver(message, recipients)

    async def close(self) -> None:
        """Cut what is under way, which is then deferred, and let go of everything.

        There is no route any more: what comes later is deferred.
        """
        channels, self._channels = list(self._channels.values()), {}
        self._table, self._finders = RouteTable(()), {}
        self._accounts.use(self, ())
        await gatherResults([channel.close(cut=True) for channel in channels])
        await self._facilities.close()


def _finders(
    accounts: Mapping[Deliver, Account], channels: Mapping[Deliver, Channel]
) -> dict[Deliver, _Finder]:
    """Destinations for the options of each route, with a name of its own."""
    names: Counter[str] = Counter()
    finders: dict[Deliver, _Finder] = {}
    for deliver, account in accounts.items():
        name = deliver.label
        names[name] += 1
        channel = channels[deliver]
        route = Destination(
            name if names[name] == 1 else f"{name} ({names[name]})",
            deliver.way.concurrency(account.connections),
            min((deliver.batch, *(quota.count for quota in account.quotas))),
            account.quotas,
            account=account.name,
            handle=channel,
        )
        finders[deliver] = partial(channel.destination, route)
    return finders
