"""Options of `deliver` that several ways have."""

from __future__ import annotations

from netserve.config.types import PositiveInt, Rates, Section


class ConnectionOptions(Section):
    """Of ways that hand mail over on connections."""

    connections: PositiveInt = 20
    """Concurrent connections: to all smarthosts of the route, to one domain by `mx`, or to the
    hook; over all services that go there with the same login."""
    batch: PositiveInt = 50
    """Recipients of a message that are handed over in one go."""


class QuotaOptions(Section):
    """Of all ways."""

    quota: Rates = ()
    """So many recipients in a time at the most, as the provider has it: `250/hour`, or a list such
    as `[20/minute, 250/hour, 10000/day]`. What is over it waits; it is kept over a restart, and
    holds over all services that go there with the same login. With `mx` each domain has its own."""


def one_of(names: tuple[str, ...]) -> str:
    """``a, b or c``."""
    return " or ".join(filter(None, (", ".join(names[:-1]), names[-1])))
