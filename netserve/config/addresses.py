"""What is wrong with addresses beside their form: kinds nobody knows, and the same one twice."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from netserve.config.document import Document
from netserve.config.listen import Listen
from netserve.config.listen_kinds import OPTIONS
from netserve.config.sentences import nearest
from netserve.config.tree import Way
from netserve.errors import InvalidValue

_KINDS: Final = (*OPTIONS, "haproxy")
_ANY: Final = frozenset({"", "0.0.0.0", "::"})
_TRANSPORTS: Final = {
    **dict.fromkeys(("tcp", "tcp6", "ssl", "tls", "tls6"), "tcp"),
    "udp": "udp",
}


@dataclass(frozen=True, slots=True)
class _Socket:
    """What the kernel would be asked for; where it is the same twice, the second one fails."""

    transport: str
    family: int
    interface: str
    name: str

    def clashes(self, other: _Socket) -> bool:
        if (self.transport, self.family, self.name) != (other.transport, other.family, other.name):
            return False
        return self.interface == other.interface or bool(_ANY & {self.interface, other.interface})


def report_unknown_kinds(
    document: Document,
    addresses: Iterable[tuple[Way, Listen]],
    plugins: Callable[[], Iterable[str]],
) -> None:
    """Note each address of a kind that nobody knows.

    Arguments:
        document: of the file.
        addresses: in the order of the file.
        plugins: the kinds that plugins of Twisted add; asked only for what is not known here.
    """
    for way, listen in addresses:
        kind = listen.inside.kind
        if kind not in _KINDS:
            known = (*_KINDS, *sorted({plugin.lower() for plugin in plugins()} - {*_KINDS}))
            if kind not in known:
                what = "unknown kind of address {kind}:; " + nearest(kind, known)
                document.report(way, InvalidValue(what, kind=kind))


def report_clashes(document: Document, addresses: Iterable[tuple[Way, Listen]]) -> None:
    """Note each address that an earlier one of the file has already."""
    taken: dict[tuple[str, str], list[tuple[_Socket, Way]]] = {}
    for way, listen in addresses:
        socket = _socket(listen)
        if socket is None:
            continue
        others = taken.setdefault((socket.transport, socket.name), [])
        for other, earlier in others:
            if socket.clashes(other):
                line, own_line = document.line_of(earlier), document.line_of(way)
                where = document.path(earlier)
                there = "on the same line" if line == own_line else f"on line {line}"
                what = f"{{listen}} is already taken by {where} {there}"
                document.report(way, InvalidValue(what, listen=listen))
                break
        else:
            others.append((socket, way))


def _socket(listen: Listen) -> _Socket | None:
    """The socket of an address; None where the kernel picks a free one."""
    listen = listen.inside
    if listen.port is not None:
        if listen.port == 0:
            return None
        family = 6 if listen.kind in {"tcp6", "tls6"} or ":" in listen.interface else 4
        return _Socket(_TRANSPORTS[listen.kind], family, listen.interface, str(listen.port))
    if listen.kind in {"unix", "unixgram"}:
        return _Socket(listen.kind, 0, "", listen.values["address"])
    return _Socket("other", 0, "", listen.description)
