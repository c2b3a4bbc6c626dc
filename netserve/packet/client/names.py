"""Resolves host names in address fields before a packet goes to the helper.

The helper cannot query a name server, and the policy is about addresses.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

from twisted.internet.threads import deferToThread

from netserve.packet.errors import PacketError
from netserve.packet.notation import Layer, Packet, Value
from netserve.packet.policy import SOURCE_FIELDS, TARGET_FIELDS
from netserve.packet.tools.headers import Address

_FIELDS: Final = TARGET_FIELDS | SOURCE_FIELDS
Lookup = Callable[[str, int], Awaitable[Address]]
"""Gives the address of a name, of IP version 4 or 6; raises PacketError."""


async def look_up(name: str, version: int = 0) -> Address:
    """The first address of a name, from the system's resolver.

    Arguments:
        name: a name or an address.
        version: 4, 6, or 0 for either.

    Raises:
        PacketError: there is none.
    """
    family = {0: socket.AF_UNSPEC, 4: socket.AF_INET, 6: socket.AF_INET6}[version]
    try:
        found = await deferToThread(socket.getaddrinfo, name, None, family, socket.SOCK_RAW)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise PacketError("invalid", f"{name}: {reason}") from None
    return ipaddress.ip_address(str(found[0][4][0]).partition("%")[0])


async def with_addresses(packet: Packet, lookup: Lookup = look_up) -> Packet:
    """A packet with addresses in place of names.

    Raises:
        PacketError: a name has no address.
    """
    layers = []
    for layer in packet.layers:
        if isinstance(layer, Layer) and any(
            (layer.name, name) in _FIELDS for name, _ in layer.fields
        ):
            fields = [
                (name, await _resolved(value, layer.name, lookup))
                if (layer.name, name) in _FIELDS
                else (name, value)
                for name, value in layer.fields
            ]
            layer = replace(layer, fields=tuple(fields))  # noqa: PLW2901
        layers.append(layer)
    return Packet(tuple(layers))


async def _resolved(value: Value, layer: str, lookup: Lookup) -> Value:
    if isinstance(value, list):
        return [await _resolved(item, layer, lookup) for item in value]
    if isinstance(value, tuple):
        return tuple([await _resolved(item, layer, lookup) for item in value])
    if isinstance(value, str) and not _is_address(value):
        return str(await lookup(value, 6 if layer == "IPv6" else 4))
    return value


def _is_address(text: str) -> bool:
    """An address or a network; a network of a name is none."""
    try:
        ipaddress.ip_network(text.partition("%")[0], strict=False)
    except ValueError:
        return "/" in text
    return True
