"""The messages between the helper and its clients. Pure.

Every message is one frame (`netserve.packet.frames`). The client sends the policy, and the helper
reports its state; requests and replies follow, in any order::

    > {"policy": {...}}                                     the first frame, once
    < {"ready": {"scapy": "2.7.0", "capable": true, "confinement": {...}}}
    > {"id": 1, "ask": {"op": "exchange", ...}, "deadline": 30}
    < {"id": 1, "answer": {...}}                            none or more
    < {"id": 1, "done": {...}}                              the end
    < {"id": 1, "error": {"kind": "refused", "what": "…"}}  or this end
    > {"id": 1, "cancel": true}                             ends it sooner

An error's kind is one of `ERRORS`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from netserve.packet.notation import NotationError, Packet, decode, encode

ERRORS: Final = frozenset({"invalid", "refused", "missing", "busy", "late", "failed", "bug"})
"""Malformed; not allowed; the capability is missing; too many requests; past the deadline; an error
of the operating system; a bug in netserve."""

LONGEST_DEADLINE: Final = 3600.0
MOST_EXPRESSIONS: Final = 1000
"""Of one request; all of them together fit into a frame."""


class RequestError(ValueError):
    """A message is not of these shapes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Craft:
    """Build the packets of an expression without sending them.

    Arguments:
        packet: the expression.
        detail: whether Scapy's description of each packet is wanted.
    """

    packet: Packet
    detail: bool = False

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {"op": "craft", "packet": encode(self.packet), "detail": self.detail}


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """Send the packets of expressions, and wait for answers.

    Arguments:
        packets: the expressions.
        layer: 2 to send frames by `interface`, 3 to send IP packets.
        interface: the one to leave by; on layer 3 None is the one that the kernel chooses.
        timeout: seconds to wait for answers after the last packet; None does not wait at all.
        count: how many times the packets are sent; more than once only without waiting.
        inter: seconds from one packet to the next; None is as fast as the policy allows.
        retry: how many times packets without an answer are sent once more.
        multi: whether a packet may have several answers.
        first: whether the first answer is the end.
        detail: whether Scapy's description of each answer, field by field, is wanted.
    """

    packets: tuple[Packet, ...]
    layer: Literal[2, 3] = 3
    interface: str | None = None
    timeout: float | None = 2.0
    count: int = 1
    inter: float | None = None
    retry: int = 0
    multi: bool = False
    first: bool = False
    detail: bool = False

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "op": "exchange",
            "packets": [encode(packet) for packet in self.packets],
            **{name: getattr(self, name) for name in _EXCHANGE_OPTIONS},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeLayers:
    """The layers that there are, or the fields of one.

    Arguments:
        name: the layer, or None for all.
    """

    name: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {"op": "layers", "name": self.name}


Ask: TypeAlias = Craft | Exchange | DescribeLayers

_EXCHANGE_OPTIONS: Final = (
    "layer", "interface", "timeout", "count", "inter", "retry", "multi", "first", "detail",
)  # fmt: skip


def read_ask(value: Any) -> Ask:
    """A request from JSON values.

    Raises:
        RequestError: it is none.
    """
    try:
        match value:
            case {"op": "craft", "packet": packet, "detail": bool(detail)}:
                return Craft(packet=decode(packet), detail=detail)
            case {"op": "layers", "name": str() | None as name}:
                return DescribeLayers(name=name)
            case {"op": "exchange", "packets": [_, *_] as packets}:
                if len(packets) > MOST_EXPRESSIONS:
                    raise RequestError(f"more than {MOST_EXPRESSIONS} expressions")
                return _exchange(tuple(map(decode, packets)), value)
    except NotationError as error:
        raise RequestError(error.what) from None
    raise RequestError("not a request")


def _exchange(packets: tuple[Packet, ...], value: dict[str, Any]) -> Exchange:
    match value:
        case {
            "layer": 2 | 3 as layer,
            "interface": str() | None as interface,
            "timeout": int() | float() | None as timeout,
            "count": int(count),
            "inter": int() | float() | None as inter,
            "retry": int(retry),
            "multi": bool(multi),
            "first": bool(first),
            "detail": bool(detail),
        }:
            for seconds in (timeout, inter):
                if seconds is not None and not (0 <= seconds <= LONGEST_DEADLINE):
                    raise RequestError("a time is from 0 to 3600 seconds")
            if not (1 <= count <= 1_000_000 and 0 <= retry <= 100):
                raise RequestError("count is from 1, retry from 0 to 100")
            if layer == 2 and interface is None:
                raise RequestError("layer 2 needs an interface")
            if timeout is not None and count > 1:
                raise RequestError("count is for sending without waiting")
            return Exchange(
                packets=packets, layer=layer, interface=interface, timeout=timeout, count=count,
                inter=inter, retry=retry, multi=multi, first=first, detail=detail,
            )  # fmt: skip
    raise RequestError("not a request to send")


def read_deadline(value: Any) -> float:
    """The seconds that a request may take.

    Raises:
        RequestError: there are none.
    """
    if type(value) in {int, float} and 0 < value <= LONGEST_DEADLINE:
        return float(value)
    raise RequestError("a request has a deadline of at most 3600 seconds")
