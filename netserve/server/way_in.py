"""The ways into a generation of a service: what an entrance gives its connections to.

The addresses of a service share its gates, with their limits. They differ in what a `WayIn`
knows: which protocol answers, whether TLS comes first, and which peers are load balancers. A peer
that may speak HAProxy's PROXY protocol has to; it is admitted as the client that it names, and
everything behind goes by that client's address: access rules, limits, logs, the protocol itself.
Anyone else is a client, and what it sends is the service's protocol, whatever it looks like.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocolFactory
from zope.interface import implementer

from netserve.server.gate import Gate, Gates, HalfCloseableGate
from netserve.server.layers import layered
from netserve.server.proxy_header import HeaderReader
from netserve.wire.peer import Network


@implementer(IProtocolFactory)
class WayIn:
    """One way into a generation of a service.

    Arguments:
        gates: of the service.
        inner: the factory of the protocol that answers here.
        tls: a factory that wraps a gate in TLS, or None.
        refusal: sent to who is refused for a limit.
        proxies: networks whose connections begin with a PROXY header.
    """

    noisy = False

    def __init__(
        self,
        gates: Gates,
        inner: Any,
        *,
        tls: Any = None,
        refusal: bytes = b"",
        proxies: Iterable[Network] = (),
    ) -> None:
        self.gates = gates
        self.tls = tls
        self.refusal = refusal
        self.proxies = tuple(proxies)
        self.behind_header: set[HeaderReader] = set()
        """Connections whose PROXY header is not complete."""
        self._inner = inner
        self._build = layered(self, self._gate)

    def doStart(self) -> None:
        """One more listening port uses this factory."""
        if hasattr(self._inner, "doStart"):
            self._inner.doStart()

    def doStop(self) -> None:
        """One listening port less uses this factory."""
        if hasattr(self._inner, "doStop"):
            self._inner.doStop()

    def buildProtocol(self, addr: Any) -> Any:
        return self._build(addr, "")

    def _gate(self, addr: Any, identity: str) -> Gate | None:
        """The gate of a connection that was admitted, or None where its protocol refuses it."""
        gates = self.gates
        try:
            protocol = self._inner.buildProtocol(addr)
        except Exception:
            peer = getattr(addr, "host", "")
            gates.log.failure("the service could not build a protocol for {peer}", peer=peer)
            gates.metrics.errors["internal"] += 1
            return None
        if protocol is None:
            return None
        kind = HalfCloseableGate if IHalfCloseableProtocol.providedBy(protocol) else Gate
        return kind(protocol, gates, addr, identity, is_tls=self.tls is not None)

    def drain(self) -> None:
        """End what has not begun."""
        for reader in list(self.behind_header):
            reader.transport.abortConnection()
