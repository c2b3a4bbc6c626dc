"""The limits on packets: targets, layers, sizes, rates. Pure.

Two processes enforce the same policy. The client checks the expression before it passes a request
to the helper. The helper checks the expression again, and then the bytes of every packet, since
only the bytes decide where a packet goes. A violation raises `Refused`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any, Final, Self, TypeAlias

from netserve.packet.headers import Address, HeaderError, addresses
from netserve.packet.notation import Call, Layer, Packet, Value
from netserve.packet.notation.nodes import DATA_LAYERS, data_size

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

LOOPBACK: Final[tuple[Network, ...]] = (
    ipaddress.IPv4Network("127.0.0.0/8"),
    ipaddress.IPv6Network("::1/128"),
)
USUAL_LAYERS: Final = (
    "Ether", "Dot1Q", "ARP", "IP", "ICMP", "IPv6", "ICMPv6EchoRequest", "ICMPv6EchoReply",
    "TCP", "UDP", "DNS", "DNSQR", "DNSRR", "Raw", "Padding",
)  # fmt: skip
"""The layers that may be used unless the file says otherwise."""

TARGET_FIELDS: Final[frozenset[tuple[str, str]]] = frozenset(
    {("IP", "dst"), ("IPv6", "dst"), ("ARP", "pdst")}
)
SOURCE_FIELDS: Final[frozenset[tuple[str, str]]] = frozenset(
    {("IP", "src"), ("IPv6", "src"), ("ARP", "psrc")}
)
_REMEMBERED: Final = 4096
"""Addresses whose place inside or outside of the targets is remembered."""
_ADDRESS_CALLS: Final = frozenset({"Net", "Net6"})


class Refused(Exception):
    """The policy does not allow a request; the text names the option of the file that decides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The limits from the section ``packet:`` of the file; the defaults allow loopback only.

    Arguments:
        targets: the networks that packets may go to.
        forge: whether packets may name a source that is neither an address of this machine nor
            inside of `targets`.
        layers: names of layers; ``*`` at the end stands for any ending.
        interfaces: the interfaces that a request may name.
        other_frames: whether frames that name no IP address may be sent on layer 2.
        payload: bytes of data that one packet may carry.
        size: bytes of one packet, with its headers.
        packets: packets of one request.
        interval: seconds from one packet to the next, over all requests.
        timeout: seconds that one request may take.
        requests: requests at the same time.
    """

    targets: tuple[Network, ...] = LOOPBACK
    forge: bool = False
    layers: tuple[str, ...] = USUAL_LAYERS
    interfaces: tuple[str, ...] = ("lo",)
    other_frames: bool = False
    payload: int = 1400
    size: int = 1514
    packets: int = 1000
    interval: float = 0.001
    timeout: float = 60.0
    requests: int = 8
    _known: dict[bytes, bool] = field(
        default_factory=dict, init=False, repr=False, compare=False, hash=False
    )

    # Requests

    def check_packet(self, packet: Packet) -> None:
        """Check an expression: its layers, addresses and data.

        Raises:
            Refused: part of it is not allowed.
        """
        self.check_layers(packet)
        for layer in packet.every_layer():
            for name, value in layer.fields:
                if (layer.name, name) in TARGET_FIELDS:
                    for network in networks_in(value, f"{layer.name}.{name}"):
                        self._check_target(network)

    def check_layers(self, packet: Packet) -> None:
        """Check an expression that will be built but not sent: its layers and data.

        Raises:
            Refused: part of it is not allowed.
        """
        for layer in packet.every_layer():
            if not self.allows_layer(layer.name):
                raise Refused(f"the layer {layer.name} is not in packet.layers")
        size = data_in(packet)
        if size > self.payload:
            raise Refused(f"{size} bytes of data; packet.payload allows {self.payload}")

    def check_interface(self, name: str) -> None:
        """An interface that a request names, to send by or to listen to.

        Raises:
            Refused: it is not allowed.
        """
        if name not in self.interfaces:
            raise Refused(f"the interface {name} is not in packet.interfaces")

    def check_work(self, *, count: int, inter: float | None, timeout: float) -> None:
        """Check the amounts in a request: rounds, the pause between packets, and time.

        Raises:
            Refused: it is more than is allowed.
        """
        if count > self.packets:
            raise Refused(f"{count} packets; packet.packets allows {self.packets}")
        # A hair's breadth less is a matter of decimal fractions.
        if inter is not None and inter < self.interval * 0.999:
            raise Refused(
                f"a packet every {inter:g} s; packet.rate allows one every {self.interval:g} s"
            )
        if timeout > self.timeout:
            raise Refused(f"{timeout:g} s; packet.timeout allows {self.timeout:g} s")

    # Packets

    def check_bytes(self, data: bytes, *, layer: int) -> tuple[bytes, ...]:
        """Check a packet as it will be sent.

        Arguments:
            data: all of it.
            layer: 2 or 3.

        Returns:
            the packed sources that are allowed only if they are addresses of this machine.

        Raises:
            Refused: an address, or its size, is not allowed.
        """
        if len(data) > self.size:
            raise Refused(f"a packet of {len(data)} bytes; packet.size allows {self.size}")
        has_target = False
        sources: tuple[bytes, ...] = ()
        try:
            for role, address in addresses(data, layer=layer):
                if role == "target":
                    has_target = True
                    if not self._is_packed_target(address):
                        self._check_target(ipaddress.ip_network(address))
                elif not self.forge and not self._is_packed_target(address):
                    sources += (address,)
        except HeaderError as error:
            raise Refused(str(error)) from None
        if not has_target and not self.other_frames:
            raise Refused("a frame without an IP address; packet.other_frames would allow it")
        return sources

    def allows_layer(self, name: str) -> bool:
        """Whether a layer may be used."""
        return any(
            name == allowed or (allowed.endswith("*") and name.startswith(allowed[:-1]))
            for allowed in self.layers
        )

    def _check_target(self, network: Network) -> None:
        if not self._is_target(network):
            text = network.network_address if network.num_addresses == 1 else network
            raise Refused(f"the target {text} is not in packet.targets")

    def _is_packed_target(self, address: bytes) -> bool:
        known = self._known.get(address)
        if known is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            known = self._known[address] = self._is_target(ipaddress.ip_network(address))
        return known

    def _is_target(self, network: Network) -> bool:
        address = network.network_address
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            prefix = max(0, network.prefixlen - 96)
            network = ipaddress.IPv4Network((address.ipv4_mapped, prefix))
        return any(
            network.version == allowed.version and network.subnet_of(allowed)  # type: ignore[arg-type]
            for allowed in self.targets
        )

    # The way to the helper

    def to_json(self) -> dict[str, Any]:
        """The policy as JSON values."""
        encoded: dict[str, Any] = {name: getattr(self, name) for name in _options()}
        return encoded | {"targets": [str(network) for network in self.targets]}

    @classmethod
    def from_json(cls, encoded: Any) -> Self:
        """A policy from JSON values.

        Raises:
            ValueError: they are none.
        """
        if not isinstance(encoded, dict) or set(encoded) != set(_options()):
            raise ValueError("not a policy")
        try:
            return cls(
                targets=tuple(ipaddress.ip_network(network) for network in encoded["targets"]),
                forge=bool(encoded["forge"]),
                layers=tuple(map(str, encoded["layers"])),
                interfaces=tuple(map(str, encoded["interfaces"])),
                other_frames=bool(encoded["other_frames"]),
                interval=float(encoded["interval"]),
                timeout=float(encoded["timeout"]),
                **{name: int(encoded[name]) for name in ("payload", "size", "packets", "requests")},
            )
        except TypeError:
            raise ValueError("not a policy") from None


def _options() -> tuple[str, ...]:
    return tuple(each.name for each in fields(Policy) if each.init)


def data_in(packet: Packet) -> int:
    """Bytes of data that stand in an expression; of alternatives, the largest."""
    size = 0
    for layer in packet.layers:
        if not isinstance(layer, Layer):
            size += data_size(layer)
        elif layer.name in DATA_LAYERS:
            size += data_size(layer.data) if layer.data is not None else 0
            size += _largest([value for name, value in layer.fields if name == "load"])
    return size


def _largest(value: Value) -> int:
    if isinstance(value, (str, bytes)):
        return data_size(value)
    if isinstance(value, (list, tuple)):
        return max(map(_largest, value), default=0)
    if isinstance(value, Call) and value.name in {"RandBin", "RandString"}:
        return int(value.arguments[0])
    return 0


def networks_in(value: Value, where: str) -> Iterator[Network]:
    """The addresses that an address field is given.

    Arguments:
        value: the field's value.
        where: the field's name, for messages.

    Raises:
        Refused: the addresses cannot be determined.
    """
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from networks_in(item, where)
        return
    if isinstance(value, Call) and value.name in _ADDRESS_CALLS:
        first, *rest = map(str, value.arguments)
        if rest:
            ends = _address(first, where), _address(rest[0], where)
            try:
                yield from ipaddress.summarize_address_range(*ends)
            except (TypeError, ValueError):
                what = f"{where}: {first} to {rest[0]} is not a range of addresses"
                raise Refused(what) from None
            return
        value = first
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    if not isinstance(value, str):
        raise Refused(f"{where}: the target has to be an address or a network, written out")
    yield _network(value, where)


def _network(text: str, where: str) -> Network:
    try:
        return ipaddress.ip_network(text.partition("%")[0], strict=False)
    except ValueError:
        raise Refused(f"{where}: {text!r} is not an address or a network") from None


def _address(text: str, where: str) -> Address:
    network = _network(text, where)
    if network.num_addresses != 1:
        raise Refused(f"{where}: {text!r} is not an address")
    return network.network_address
