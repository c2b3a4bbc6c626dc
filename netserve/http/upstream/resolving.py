"""Resolves names, and returns only addresses that the guard allows (S11).

The guard checks every address for each new connection, whether the answer was cached or not, and
the connection goes to one of the checked addresses. A name that changes its answer gains nothing.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeAlias

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHostResolution, IResolutionReceiver
from zope.interface import implementer

from netserve.http.errors import AddressForbidden, NameUnknown
from netserve.http.guard import Address, AddressGuard

Lookup: TypeAlias = Callable[[str], Awaitable[Sequence[Address]]]
"""The addresses of a name, in the order of preference; none where it has none."""

_MOST_KEPT: Final = 1024


class Resolver:
    """Resolves by the reactor, and keeps what it found for a while.

    Arguments:
        reactor: resolves (`IReactorPluggableNameResolver`), and is the clock.
        kept: seconds that an answer is kept.
        lookup: in place of the reactor's.
    """

    def __init__(self, reactor: Any, *, kept: float, lookup: Lookup | None = None) -> None:
        self._reactor = reactor
        self._kept = kept
        self._lookup = lookup or self._ask_reactor
        self._found: dict[str, tuple[float, Sequence[Address]]] = {}

    async def resolve(self, host: str, guard: AddressGuard) -> list[Address]:
        """The addresses of a host that may be connected to.

        Arguments:
            host: a name or a literal address.
            guard: of the pool.

        Raises:
            AddressForbidden: there is none that the guard lets pass.
            NameUnknown: the name has no address.
        """
        refusal = guard.host_refusal(host)
        if refusal is not None:
            raise AddressForbidden(f"{host}: not allowed: {refusal}")
        literal = _literal(host)
        if literal is not None:
            return [literal]
        addresses = await self._addresses(host.lower())
        if not addresses:
            raise NameUnknown(f"{host}: its name has no address")
        if guard.allows_name(host):
            return interleaved(addresses)
        refusals = [guard.refusal(address) for address in addresses]
        passed = [one for one, why in zip(addresses, refusals, strict=True) if why is None]
        if not passed:
            raise AddressForbidden(f"{host}: not allowed: {refusals[0]}")
        return interleaved(passed)

    async def _addresses(self, host: str) -> Sequence[Address]:
        now = self._reactor.seconds()
        kept = self._found.get(host)
        if kept is not None and now < kept[0]:
            return kept[1]
        addresses = await self._lookup(host)
        if len(self._found) >= _MOST_KEPT:
            self._found.clear()
        if addresses:
            self._found[host] = (now + self._kept, addresses)
        return addresses

    async def _ask_reactor(self, host: str) -> Sequence[Address]:
        answer = _Answer()
        self._reactor.nameResolver.resolveHostName(answer, host)
        return await answer.complete


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def interleaved(addresses: Sequence[Address]) -> list[Address]:
    """The addresses with their families in turn, the first one's first (RFC 8305, 4)."""
    first = [address for address in addresses if address.version == addresses[0].version]
    others = [address for address in addresses if address.version != addresses[0].version]
    mixed: list[Address] = []
    for index in range(max(len(first), len(others))):
        mixed += first[index : index + 1] + others[index : index + 1]
    return mixed


@implementer(IResolutionReceiver)
class _Answer:
    """Collects what the reactor's resolver finds."""

    def __init__(self) -> None:
        self.complete: Deferred[list[Address]] = Deferred()
        self._found: list[Address] = []

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        """See `IResolutionReceiver`."""

    def addressResolved(self, address: Any) -> None:
        """See `IResolutionReceiver`."""
        found = ipaddress.ip_address(address.host)
        if found not in self._found:
            self._found.append(found)

    def resolutionComplete(self) -> None:
        """See `IResolutionReceiver`."""
        if not self.complete.called:
            self.complete.callback(self._found)
