"""Where requests go: what makes two of them fit for one connection (RFC 9110, 4.3.1)."""

from __future__ import annotations

from dataclasses import dataclass

from netserve.http.upstream.tls import UpstreamTLS


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """One origin; requests with equal ones share connections.

    Arguments:
        host: a name or a literal address, without brackets; empty for a UNIX socket.
        port: of TCP.
        path: of a UNIX socket, in place of host and port; no guard is asked about it, so it must
            not come from a request.
        tls: how TLS is spoken; None: in clear.
        preface: sent first on each connection, before TLS: a PROXY header, see
            `netserve.http.upstream.proxy_header`.
    """

    host: str = ""
    port: int = 0
    path: str = ""
    tls: UpstreamTLS | None = None
    preface: bytes = b""

    def __str__(self) -> str:
        """For logs and errors: host and port, or the path."""
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
