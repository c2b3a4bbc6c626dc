"""Hands mail to the servers of each recipient's domain, as DNS names them.

The outcome is what the server says, as for smarthosts; mail fails where DNS says that the domain
has no server.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field

from netserve.config.types import PositiveInt, Section
from netserve.http import AddressGuard
from netserve.protocols.smtp_relay.delivery.dns.exchanges import Exchanges
from netserve.protocols.smtp_relay.delivery.dns.own import OwnAddresses
from netserve.protocols.smtp_relay.delivery.facilities import Facilities
from netserve.protocols.smtp_relay.delivery.options import ConnectionOptions
from netserve.protocols.smtp_relay.delivery.smtp.domains import DomainPools
from netserve.protocols.smtp_relay.delivery.smtp.making import (
    make_dialer,
    make_securing,
    resolver_for,
)
from netserve.protocols.smtp_relay.delivery.smtp.options import SmtpOptions, SmtpRoute, level_of
from netserve.protocols.smtp_relay.delivery.ways.way import Way


class MxOptions(Section):
    """Options of `mx`."""

    mx: Literal[True] | None = None
    """`true`: straight to the servers of each recipient's domain, as DNS names them."""
    port: Annotated[int, Field(ge=1, le=65535)] = 25
    """With `mx`: the port of the servers."""
    total_connections: PositiveInt = 200
    """With `mx`: concurrent connections to all domains together, over all services."""


class MxRoute(MxOptions, SmtpRoute):
    """All that a route of this way has."""


class ByMx(Way[MxRoute]):
    """See the module."""

    name = "mx"
    options = MxOptions
    shared = (SmtpOptions, ConnectionOptions)

    def check(self, route: MxRoute) -> None:
        """See `Way`."""
        level_of(route)

    def account_names(self, route: MxRoute) -> Iterable[str]:
        """See `Way`."""
        return ["mx" if route.port == 25 else f"mx:{route.port}"]

    def open(self, route: MxRoute, facilities: Facilities) -> DomainPools:
        """See `Way`."""
        level = level_of(route)
        exchanges = Exchanges(
            resolver_for(level, facilities),
            make_securing(route, level, facilities),
            guard=AddressGuard(networks=route.allow_addresses),
            is_own=OwnAddresses(facilities.outside.listens, route.port),
            own_name=facilities.hostname.lower(),
            port=route.port,
            random=facilities.outside.random,
        )
        return DomainPools(
            route,
            exchanges,
            make_dialer(route, facilities),
            slots=lambda domain: facilities.accounts.slots(route, domain),
            reactor=facilities.reactor,
            log=facilities.log,
        )
