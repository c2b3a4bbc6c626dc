"""How much of what was sent on a TCP connection the peer's kernel has acknowledged."""

from __future__ import annotations

import socket
import struct
import sys
from typing import Any, Final

_OFFSET: Final = 120  # tcpi_bytes_acked in struct tcp_info (include/uapi/linux/tcp.h)
_U64: Final = struct.Struct("=Q")


def acknowledged(handle: Any) -> int | None:
    """The bytes, counted from the beginning; None where that cannot be known.

    Arguments:
        handle: a socket, which may be closed by its peer.
    """
    if not sys.platform.startswith("linux"):
        return None
    if getattr(handle, "family", None) not in {socket.AF_INET, socket.AF_INET6}:
        return None
    try:
        info = handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _OFFSET + _U64.size)
    except (OSError, ValueError):
        return None
    if len(info) < _OFFSET + _U64.size:
        return None
    return int(_U64.unpack_from(info, _OFFSET)[0])
