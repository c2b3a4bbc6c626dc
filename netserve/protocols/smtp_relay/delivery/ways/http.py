"""Posts messages to an application over HTTP; what its answers mean stands in `http.hook`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from yarl import URL

from netserve.config.types import Section
from netserve.http import place
from netserve.protocols.smtp_relay.delivery.facilities import Facilities
from netserve.protocols.smtp_relay.delivery.http.hook import HookClient
from netserve.protocols.smtp_relay.delivery.http.options import Hook
from netserve.protocols.smtp_relay.delivery.options import ConnectionOptions
from netserve.protocols.smtp_relay.delivery.ways.way import Way, chosen


class HttpOptions(Section):
    """Options of `http`."""

    http: Hook | None = None
    """An application that takes the mail over HTTP."""


class HttpRoute(HttpOptions, ConnectionOptions):
    """All that a route of this way has."""


class Http(Way[HttpRoute]):
    """See the module."""

    name = "http"
    options = HttpOptions
    shared = (ConnectionOptions,)

    def label(self, route: HttpRoute) -> str:
        """See `Way`."""
        return f"http:{place(_url(route))}"

    def account_names(self, route: HttpRoute) -> Iterable[str]:
        """See `Way`."""
        url = _url(route)
        # A path may be a secret, and names get into the database.
        path = hashlib.sha256(url.raw_path_qs.encode()).hexdigest()[:16]
        return [f"http:{place(url)}#{path}"]

    def open(self, route: HttpRoute, facilities: Facilities) -> HookClient:
        """See `Way`."""
        clients = facilities.http
        return HookClient(chosen(route.http), connections=route.connections, clients=clients)


def _url(route: HttpRoute) -> URL:
    return URL(chosen(route.http).url)
