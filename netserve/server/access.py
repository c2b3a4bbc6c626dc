"""Who may connect: networks to allow and deny. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from netserve.wire.peer import Address, Network


class AccessRules:
    """The rules ``deny`` and ``allow`` of one service; deny is decided first.

    Arguments:
        allow: networks that may connect; empty means all.
        deny: networks that may not.
    """

    def __init__(self, *, allow: Iterable[Network] = (), deny: Iterable[Network] = ()) -> None:
        self._allow = tuple(allow)
        self._deny = tuple(deny)

    def permits(self, address: Address | None) -> bool:
        """Whether this peer may connect; a peer without an address (UNIX socket) may."""
        if address is None:
            return True
        if any(address in network for network in self._deny):
            return False
        return not self._allow or any(address in network for network in self._allow)
