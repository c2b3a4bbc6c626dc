"""The error that packet operations raise."""

from __future__ import annotations

from netserve.errors import NetserveError


class PacketError(NetserveError):
    """A packet operation failed; the text gives the cause and, where there is one, the remedy.

    Arguments:
        kind: one of `netserve.packet.requests.ERRORS`, or ``died`` (the helper ended while it
            worked on the request), ``full`` (too many requests wait) or ``unavailable`` (there is
            no helper to be had).
        what: see above.
    """

    def __init__(self, kind: str, what: str) -> None:
        super().__init__(what)
        self.kind = kind
        self.what = what
