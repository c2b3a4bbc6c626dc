"""Servers that a session may be begun with, and who names them to a pool."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

AVOIDED: Final = 60.0
"""Seconds for which a server that did not answer is tried last."""
MOST_AVOIDED: Final = 1000
"""Servers that are remembered for not having answered."""


@dataclass(frozen=True, slots=True)
class Target:
    """One server.

    Arguments:
        host: its name, or its address where it has no name; it is what a certificate is for.
        port: TCP.
        address: what is connected to; empty: what the system finds by the name.
        domain: the domain whose MTA-STS policy counts; empty where there is none.
        signed: the host is known from the config, or by an answer that DNSSEC has validated.
        rank: the lower, the better.
    """

    host: str
    port: int
    address: str = ""
    domain: str = ""
    signed: bool = False
    rank: int = 0

    @property
    def tls_from_start(self) -> bool:
        """Whether TLS begins with the first byte, as it does on port 465 (RFC 8314, 3.3)."""
        return self.port == 465

    def __str__(self) -> str:
        if self.address:
            return f"{self.host}[{self.address}]:{self.port}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Security:
    """How a server is spoken to.

    Arguments:
        level: what the SMTP client insists on.
        name: the level as it stands in logs and outcomes; ``dane`` is ``encrypt`` to the client.
        tls: for Twisted's `startTLS`; None without TLS.
    """

    level: Literal["none", "may", "encrypt", "verify"]
    name: str
    tls: Any


class Servers(Protocol):
    """Who names the servers of one destination."""

    @property
    def sessions(self) -> int | None:
        """The sessions that an attempt may begin; a message that a server has deferred is then
        tried with the next one. None: as many as it takes until one lets us send, and no second
        one for a message.
        """

    async def targets(self) -> Sequence[Target]:
        """The servers to try, in order.

        Raises:
            SessionFailed: none is known for now.
            Undeliverable: there is none.
        """

    async def security(self, target: Target) -> Security:
        """How to speak to one of them.

        Raises:
            SessionFailed: it must not be spoken to now.
        """


class Avoided:
    """Servers that did not answer a short while ago.

    Arguments:
        clock: the reactor.
    """

    def __init__(self, clock: Any) -> None:
        self._clock = clock
        self._until: dict[str, float] = {}

    def last(self, targets: Sequence[Target]) -> list[Target]:
        """The targets in their order, those that are avoided behind the others."""
        now, until = self._clock.seconds(), self._until
        if not until:
            return list(targets)
        return sorted(targets, key=lambda target: until.get(str(target), 0.0) > now)

    def add(self, target: Target) -> bool:
        """Avoid one from now on; whether that is news."""
        now, name = self._clock.seconds(), str(target)
        if self._until.get(name, 0.0) > now:
            return False
        while len(self._until) >= MOST_AVOIDED and name not in self._until:
            del self._until[next(iter(self._until))]
        self._until[name] = now + AVOIDED
        return True

    def remove(self, target: Target) -> bool:
        """It answers; whether that is news."""
        return bool(self._until) and self._until.pop(str(target), None) is not None
