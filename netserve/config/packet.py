"""The section ``packet:`` of the file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, TypeAlias

from pydantic import BeforeValidator, Field, WithJsonSchema

from netserve.config.types import (
    TEXTS,
    Duration,
    FilePath,
    Networks,
    Rate,
    Section,
    Shown,
    Size,
    json_one_or_many,
    one_or_many,
)
from netserve.packet.policy import LOOPBACK, USUAL_LAYERS, Policy

_LARGEST: Final = 65_549
"""An IP packet of 65,535 bytes in a frame of Ethernet."""


Names: TypeAlias = Annotated[
    tuple[str, ...],
    BeforeValidator(one_or_many),
    WithJsonSchema(json_one_or_many({"type": "string"})),
    TEXTS,
    Shown(),
]
"""One name or a list of them."""


class PacketSettings(Section):
    """The packets that netserve may send and capture; by default on loopback only."""

    targets: Networks = LOOPBACK
    """The networks that packets may be sent to."""
    forge: bool = False
    """Whether the source of a packet may be an address that is neither this machine's nor inside
    `targets`."""
    layers: Names = USUAL_LAYERS
    """The layers that packets may have, as `netserve list-layers` names them; `ICMPv6*` matches
    every name with that beginning, `*` matches all."""
    interfaces: Names = ("lo",)
    """The interfaces that a request may name: for frames (layer 2), as the way out, and for
    `netserve sniff`."""
    other_frames: bool = False
    """Whether frames without an IP address may be sent, such as those of STP and LLDP."""
    payload: Size = 1400
    """Bytes of data that one packet may carry."""
    size: Annotated[Size, Field(ge=28, le=_LARGEST)] = 1514
    """Bytes of one packet, with its headers."""
    packets: Annotated[int, Field(ge=1, le=10_000)] = 1000
    """Packets that one request may send."""
    rate: Rate = Rate(1000, 1.0)
    """Packets that may be sent, over all requests."""
    timeout: Duration = 60.0
    """Time that one request may wait for answers."""
    requests: Annotated[int, Field(ge=1, le=64)] = 8
    """Concurrent requests."""
    socket: FilePath = Path("/run/netserve/packet.socket")
    """The socket of the packet helper that runs as a system service. Commands use it if it exists,
    and the policy of that service then applies as well."""
    user: Annotated[str, Shown()] = "nobody"
    """The user that the packet helper switches to when root starts it."""
    idle: Duration = 300.0
    """Time without a request after which the packet helper is stopped."""

    def policy(self) -> Policy:
        """The part of it that is enforced."""
        return Policy(
            targets=self.targets,
            forge=self.forge,
            layers=self.layers,
            interfaces=self.interfaces,
            other_frames=self.other_frames,
            payload=self.payload,
            size=self.size,
            packets=self.packets,
            interval=self.rate.seconds / self.rate.count,
            timeout=self.timeout,
            requests=self.requests,
        )
