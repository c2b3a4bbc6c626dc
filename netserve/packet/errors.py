"""The one error that those who use packets meet."""

from __future__ import annotations

from netserve.errors import NetserveError


class PacketError(NetserveError):
    """Something of the packets' did not work; the text says what, and what can be done.

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
