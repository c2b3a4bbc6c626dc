"""Which connections are captured."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from netserve.capture.model import Flow
from netserve.wire.peer import Network, is_in

__all__ = ["CaptureFilter"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureFilter:
    """Decides about a connection when it begins; an empty option matches everything.

    Arguments:
        services: names of services.
        networks: that the peer's address is in one of; a UNIX socket's peer is in none.
        identities: ids of connections, or the beginnings of their trace ids.
    """

    services: Collection[str] = ()
    networks: Collection[Network] = ()
    identities: Collection[str] = ()

    def __call__(self, flow: Flow) -> bool:
        """Whether a flow is captured."""
        return (
            (not self.services or flow.service in self.services)
            and (not self.networks or is_in(flow.peer.host, self.networks))
            and (not self.identities or self._is_named(flow))
        )

    def _is_named(self, flow: Flow) -> bool:
        return flow.identity in self.identities or any(
            flow.trace.startswith(name) for name in self.identities if name and flow.trace
        )

    def __str__(self) -> str:
        """For the comment of a file."""
        parts = [f"service {name}" for name in self.services]
        parts += [f"address {network}" for network in self.networks]
        parts += [f"id {name}" for name in self.identities]
        return ", ".join(parts) or "all"
