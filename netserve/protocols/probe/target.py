"""Hosts and ports, and the choice of an address."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from netserve.protocols.probe.result import ProbeFailed, Recorder

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Lookup: TypeAlias = Callable[[str], Awaitable[list[Address]]]
"""Resolves a name to addresses; raises OSError."""

_FNV_OFFSET: Final = 0x811C9DC5
_FNV_PRIME: Final = 0x01000193


@dataclass(frozen=True, slots=True)
class Addressing:
    """How an address is chosen; as in blackbox_exporter.

    Arguments:
        protocol: the preferred version of IP.
        fallback: whether the other version is acceptable.
        lookup: resolves a name.
        resolver: the name of the resolver for the metrics.
    """

    protocol: Literal["ip4", "ip6"] = "ip6"
    fallback: bool = True
    lookup: Lookup | None = None
    resolver: str = "system"


USUAL_ADDRESSING: Final = Addressing()


async def choose(host: str, addressing: Addressing, recorder: Recorder) -> Address:
    """Resolve a host, and choose one of its addresses.

    Arguments:
        host: a name or an address.
        addressing: see there.
        recorder: gets the phase ``resolve``, the address and how long it took.

    Raises:
        ProbeFailed: there is none.
    """
    wanted = 4 if addressing.protocol == "ip4" else 6
    began = recorder.clock()
    with recorder.during("resolve"):
        try:
            found = [ipaddress.ip_address(host)]
            resolver = "none"
        except ValueError:
            resolver = addressing.resolver
            found = await _look_up(host, addressing)
    recorder.set("probe_dns_lookup_time_seconds", recorder.clock() - began)
    preferred = [address for address in found if address.version == wanted]
    if not preferred and (not addressing.fallback or not found):
        version = f"IPv{wanted} " if found or not addressing.fallback else ""
        raise ProbeFailed("no_address", f"{host} has no {version}address")
    address = (preferred or found)[0]
    recorder.set("probe_ip_protocol", address.version)
    recorder.set("probe_ip_addr_hash", address_hash(address))
    recorder.set("probe_ip_address_info", 1.0, address=str(address), resolver=resolver)
    others = f", of {len(found)}" if len(found) > 1 else ""
    recorder.step(f"{host} is {address}{others} (resolver: {resolver})")
    return address


async def _look_up(host: str, addressing: Addressing) -> list[Address]:
    try:
        return await (addressing.lookup or system_lookup)(host)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ProbeFailed("unresolved", f"{host}: {reason}") from None


async def system_lookup(host: str) -> list[Address]:
    """The addresses of a name, by the system's resolver in its order."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    texts = (str(address[0]).partition("%")[0] for *_, address in found)
    return [ipaddress.ip_address(text) for text in dict.fromkeys(texts)]


def address_hash(address: Address) -> float:
    """FNV-1a with 32 bits, over the 4 or 16 bytes of an address."""
    hashed = _FNV_OFFSET
    for byte in address.packed:
        hashed = (hashed ^ byte) * _FNV_PRIME & 0xFFFFFFFF
    return float(hashed)


def split(target: str, port: int | None = None) -> tuple[str, int]:
    """The host and the port of ``host:port``, ``[address]:port`` or, with a default, ``host``.

    Raises:
        ProbeFailed: it has another form.
    """
    host, colon, text = target.rpartition(":")
    if not colon or (":" in host and not (host.startswith("[") and host.endswith("]"))):
        host, text = target, "" if port is None else str(port)
    host = host.removeprefix("[").removesuffix("]")
    if not host or not (text.isascii() and text.isdecimal() and 0 < int(text) <= 65535):
        raise ProbeFailed("target", f"{target!r} is not host:port")
    return host, int(text)
