"""Finds the protocol of a conversation: by its first bytes, then by its port."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from netserve.capture.decode.dns import DNSOverTCP, DNSOverUDP, looks_like_dns
from netserve.capture.decode.http import HTTP, REQUEST_LINE, STATUS_LINE
from netserve.capture.decode.lines import Lines, Octets, TextDatagrams
from netserve.capture.decode.mllp import MLLP, START
from netserve.capture.decode.model import CLIENT, SERVER, ProtocolDecoder, Say
from netserve.capture.decode.printing import is_text
from netserve.capture.decode.smtp import COMMAND, SMTP
from netserve.capture.decode.tls import TLS, looks_like_tls

__all__ = ["DATAGRAM_DECODERS", "PROTOCOLS", "STREAM_DECODERS", "Undecided", "datagram_protocol"]

STREAM_DECODERS: Final[Mapping[str, Callable[[Say], ProtocolDecoder]]] = {
    "smtp": SMTP, "http": HTTP, "dns": DNSOverTCP, "mllp": MLLP, "tls": TLS, "lines": Lines,
    "hex": Octets,
}  # fmt: skip
DATAGRAM_DECODERS: Final[Mapping[str, Callable[[Say], ProtocolDecoder]]] = {
    "dns": DNSOverUDP, "lines": TextDatagrams, "hex": Octets,
}  # fmt: skip
PROTOCOLS: Final = tuple(STREAM_DECODERS)

MAX_UNDECIDED: Final = 4096
"""Bytes of either side after which the protocol is decided, whatever it may be."""

_SMTP_PORTS: Final = frozenset({24, 25, 587, 2525})
_DNS_PORTS: Final = frozenset({53, 5353, 5355})
_SMTP_GREETING: Final = re.compile(rb"220[ -][^\r\n]*SMTP", re.IGNORECASE)
_GREETING: Final = re.compile(rb"[245][0-9]{2}[ -]")
_METHOD: Final = re.compile(
    rb"(?:GET|HEAD|POST|PUT|DELETE|OPTIONS|PATCH|CONNECT|TRACE|PROPFIND|REPORT|NOTIFY|M-SEARCH) "
)


class Undecided:
    """Keeps the first bytes until the protocol is clear.

    Arguments:
        port: the server's.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self.pieces: list[tuple[int, int, bytes]] = []
        "Side, time and bytes of each piece so far."
        self._heads = [b"", b""]

    def data(self, side: int, time: int, data: bytes) -> str | None:
        """The protocol, if that is clear now."""
        self.pieces.append((side, time, data))
        if len(self._heads[side]) < MAX_UNDECIDED:
            self._heads[side] += data[:MAX_UNDECIDED]
        return self._decide(final=len(self._heads[side]) >= MAX_UNDECIDED)

    def finish(self) -> str:
        """The protocol, as nothing more comes before it has to be known."""
        return self._decide(final=True) or "hex"

    def _decide(self, *, final: bool) -> str | None:
        client, server = self._heads
        if found := self._by_begin(client, server):
            return found
        text = all(is_text(head) for head in (client, server) if head)
        if not text:
            return "dns" if self._port in _DNS_PORTS else "hex"
        if not final and not self._is_line(client, server):
            return None
        if self._port in _SMTP_PORTS:
            return "smtp"
        return "lines"

    def _is_line(self, client: bytes, server: bytes) -> bool:
        """Whether the client has said a line; one like a request may be HTTP of another kind."""
        return b"\n" in client and (bool(server) or not _METHOD.match(client))

    def _by_begin(self, client: bytes, server: bytes) -> str | None:
        if looks_like_tls(client) and len(client) > 2:
            return "tls"
        if client.startswith(START) or server.startswith(START):
            return "mllp"
        line, end, _ = client.partition(b"\n")
        if end and REQUEST_LINE.match(line):
            return "http"
        line, end, _ = server.partition(b"\n")
        if end and STATUS_LINE.match(line):
            return "http"
        if _SMTP_GREETING.match(server):
            return "smtp"
        if COMMAND.match(client) and (not server or _GREETING.match(server)):
            return "smtp"
        if _GREETING.match(server) and self._port in _SMTP_PORTS:
            return "smtp"
        return None


def datagram_protocol(data: bytes, ports: tuple[int, int]) -> str:
    """The protocol of datagrams, by the first of them.

    Arguments:
        data: the datagram.
        ports: of the client and the server.
    """
    if not _DNS_PORTS.isdisjoint(ports) and looks_like_dns(data):
        return "dns"
    return "lines" if data and is_text(data) else "hex"


def is_server_port(port: int) -> bool:
    """Whether it is the port of a service that is known here."""
    return port < 1024 or port in _SMTP_PORTS or port in _DNS_PORTS


assert CLIENT == 0 and SERVER == 1  # noqa: PT018, S101 - `_heads` is indexed by them
