"""The layers between a socket and the protocol of a service, from the outside in.

=================  ============  ==============================================================
layer              there for     does
=================  ============  ==============================================================
`proxy_header`     listed peers  reads HAProxy's PROXY header, which names the client
`admission`        everyone      access rules and limits
`tls`              TLS services  TLS from the first byte; handshakes take turns
the gate           everyone      handshake and idle timeouts, the drain (`netserve.server.gate`)
`counting`         not TCP       counts bytes, where the kernel does not
`tap`              tapped ones   hands the bytes of both directions to a tap
=================  ============  ==============================================================

A layer that a connection does not need is not in its path. Those before the gate are decided when
a connection is accepted, by the address of its peer; those behind it when it is made, by its
transport. STARTTLS comes beneath the gate, so that a tap sees what is inside TLS.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from netserve.connection.transport import TappedTransport
from netserve.fairness.handshake import PacedHandshake
from netserve.server.proxy_header import HeaderReader
from netserve.server.refused import Refused
from netserve.server.traffic import CountingTransport, kernel_traffic
from netserve.wire.peer import counting_key, is_in

if TYPE_CHECKING:
    from netserve.server.gate import Gate
    from netserve.server.way_in import WayIn

Build: TypeAlias = Callable[[Any, str], Any]
"""Makes the protocol of a connection from its client's address, and from its id where it has one
already (else an empty string); None where the connection is not taken."""
AcceptLayer: TypeAlias = Callable[["WayIn", Build], Build]
"""Gives what builds in place of what was given: something around that, or the same."""
ConnectedLayer: TypeAlias = Callable[["Gate", Any], Any]
"""Gives the transport that the protocol uses: one around what was given, or the same."""


def proxy_header(way_in: WayIn, build: Build) -> Build:
    """Where a peer may speak the PROXY protocol, it has to; it counts as the client it names."""
    proxies = way_in.proxies
    if not proxies:
        return build

    def read_header(addr: Any, identity: str) -> Any:
        peer = getattr(addr, "host", "")
        if not is_in(peer, proxies):
            return build(addr, identity)
        if len(way_in.behind_header) >= way_in.gates.admission.room:
            way_in.gates.refused(peer, "connections")
            return None
        return HeaderReader(way_in, peer, build)

    return read_header


def admission(way_in: WayIn, build: Build) -> Build:
    """Takes no more connections than the limits allow, and none of those who have no access."""
    gates = way_in.gates

    def admit(addr: Any, identity: str) -> Any:
        peer = getattr(addr, "host", "")
        refused = gates.admission.admit(peer)
        if refused is not None:
            gates.refused(peer, refused)
            if refused == "denied" or not way_in.refusal or way_in.tls is not None:
                return None
            return Refused(way_in.refusal)
        protocol = build(addr, identity)
        if protocol is None:
            gates.admission.release(peer)
        return protocol

    return admit


def tls(way_in: WayIn, build: Build) -> Build:
    """TLS from the first byte."""
    factory = way_in.tls
    if factory is None:
        return build

    def secure(addr: Any, identity: str) -> Any:
        gate = build(addr, identity)
        if gate is None:
            return None
        secured = factory.protocol(factory, gate)
        PacedHandshake(secured, way_in.gates.turns, counting_key(getattr(addr, "host", "")))
        return secured

    return secure


BEFORE_GATE: Final[tuple[AcceptLayer, ...]] = (proxy_header, admission, tls)


def counting(gate: Gate, transport: Any) -> Any:
    """Counts bytes where the kernel does not."""
    gate.traffic_source = kernel = kernel_traffic(gate.raw)
    if kernel is not None:
        return transport
    gate.traffic_source = layer = CountingTransport(transport)
    return layer


def tap(gate: Gate, transport: Any) -> Any:
    """Hands the bytes of both directions to a tap, where the service has one."""
    tracker = gate.gates.tracker
    if tracker.service not in tracker.taps.switched_on:
        return transport
    opened = tracker.open_tap(gate.connection)
    return transport if opened is None else TappedTransport(transport, opened)


BEHIND_GATE: Final[tuple[ConnectedLayer, ...]] = (counting, tap)


def layered(way_in: WayIn, build: Build) -> Build:
    """What builds the protocols of a way in, with the layers before the gate around them.

    Arguments:
        way_in: knows which layers it has.
        build: makes the gates.
    """
    for layer in reversed(BEFORE_GATE):
        build = layer(way_in, build)
    return build
