"""Accounts: what the servers that mail is handed to count by, over all services of the process.

To a smarthost a login is one customer, whichever service uses it: its quota, its sessions and its
access tokens are those of the account. The ways of the routes of all services are therefore put
together by what they lead to:

===========  ============================================================================
way          the account
===========  ============================================================================
smarthost    the login at any of the servers; without a login the server itself. Ways that
             have a server in common are one account. The ports for mail of one host (25,
             465, 587, 2525) are one server
mx           each domain, over the same port
http         the hook's address
others       none: nothing counts there
===========  ============================================================================

The strictest limits of all ways hold for the account. `quota` counts as the strictest by its
length of time, so `250/hour` of one way and `2000/day` of another one hold both.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from netserve.config.values import Rate
from netserve.outbox.quota import Quota
from netserve.protocols.smtp_relay.delivery.slots import Slots

MOST: Final = 1000
"""Domains whose sessions are counted, beyond which those are forgotten that have none."""


class Limited(Hashable, Protocol):
    """What accounts ask of the options of a route."""

    @property
    def connections(self) -> int:
        """Concurrent sessions."""

    @property
    def total_connections(self) -> int:
        """By MX, concurrent sessions with all domains together."""

    @property
    def quota(self) -> Sequence[Rate]:
        """Recipients in a time."""

    def account_names(self) -> Iterable[str]:
        """What they lead to; ways that have a name in common are one account."""


@dataclass(frozen=True, slots=True)
class Account:
    """What limits belong to.

    Arguments:
        name: in the queue; empty for ways without limits of that kind. By MX that of each domain
            follows from it.
        connections: sessions at one time, also for each domain by MX.
        total_connections: by MX, to all domains together.
        quotas: how many recipients in a time.
    """

    name: str
    connections: int
    total_connections: int
    quotas: tuple[Quota, ...] = ()


@dataclass(slots=True)
class _Group:
    """Ways that are one account."""

    names: set[str] = field(default_factory=set)
    ways: list[Limited] = field(default_factory=list)

    def account(self) -> Account:
        """The strictest limits of all ways, under a name that does not depend on their order."""
        quotas: dict[float, int] = {}
        for way in self.ways:
            for rate in way.quota:
                quotas[rate.seconds] = min(quotas.get(rate.seconds, rate.count), rate.count)
        return Account(
            min(self.names, default=""),
            min(way.connections for way in self.ways),
            min(way.total_connections for way in self.ways),
            tuple(Quota(count, seconds) for seconds, count in sorted(quotas.items())),
        )


class Accounts:
    """The accounts of a process. Services say which ways they have, and are told the account."""

    def __init__(self) -> None:
        self.version = 0
        """Another one whenever an account may have changed."""
        self._ways: dict[object, tuple[Limited, ...]] = {}
        self._accounts: dict[Hashable, Account] = {}
        self._slots: dict[tuple[str, str | None], Slots] = {}
        self._most = MOST

    def use(self, owner: object, ways: Iterable[Limited]) -> None:
        """Take note of the ways of one service; none, when it uses them no more.

        Arguments:
            owner: whose they are, in the place of those that it had before.
            ways: of its routes.
        """
        self._ways[owner] = tuple(ways)
        if not self._ways[owner]:
            del self._ways[owner]
        self._accounts = _by_way(way for some in self._ways.values() for way in some)
        self.version += 1
        by_name = {account.name: account for account in self._accounts.values()}
        for (name, domain), slots in self._slots.items():
            if name in by_name:
                slots.limit = _limit(by_name[name], domain)

    def of(self, way: Hashable) -> Account:
        """The account of a way that is in use."""
        return self._accounts[way]

    def slots(self, way: Hashable, domain: str | None = "") -> Slots:
        """The sessions that all services may have together.

        Arguments:
            way: that is in use.
            domain: by MX the one that they are with, or None for all domains.
        """
        account = self.of(way)
        key = (account.name, domain)
        slots = self._slots.get(key)
        if slots is None:
            if len(self._slots) >= self._most:
                self._slots = {one: some for one, some in self._slots.items() if not some.unused}
                self._most = max(2 * len(self._slots), MOST)
            slots = self._slots[key] = Slots(_limit(account, domain))
        return slots


def _limit(account: Account, domain: str | None) -> int:
    return account.total_connections if domain is None else account.connections


def _by_way(ways: Iterable[Limited]) -> dict[Hashable, Account]:
    """The accounts of all ways: those that have a name in common are one."""
    groups: dict[str, _Group] = {}
    alone: list[_Group] = []
    for way in ways:
        names = frozenset(way.account_names())
        group = _Group(set(names), [way])
        for other in {id(groups[name]): groups[name] for name in names if name in groups}.values():
            group.names |= other.names
            group.ways += other.ways
        groups.update(dict.fromkeys(group.names, group))
        if not names:
            alone.append(group)
    found = {id(group): group for group in (*groups.values(), *alone)}.values()
    return {way: account for group in found for account in (group.account(),) for way in group.ways}
