"""JSON values in frames: four bytes of length (big-endian), then as many bytes of UTF-8.

The helper and its clients exchange them over a stream. Pure.
"""

from __future__ import annotations

import json
from typing import Any, Final

MAX_FRAME: Final = 4 << 20
"""Bytes of one frame; the largest is a thousand crafted packets, in hex digits."""

_dump = json.JSONEncoder(separators=(",", ":"), allow_nan=False, check_circular=False).encode


class FrameError(ValueError):
    """The peer sent a malformed frame; the stream cannot be used any longer."""


def frame(value: Any) -> bytes:
    """A frame.

    Raises:
        FrameError: it would be too long.
    """
    body = _dump(value).encode()
    if len(body) > MAX_FRAME:
        raise FrameError(f"a frame of {len(body)} bytes")
    return len(body).to_bytes(4, "big") + body


class FrameReader:
    """Bytes in, values out."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Any]:
        """The values that are complete.

        Raises:
            FrameError: a frame is too long, or is not JSON.
        """
        buffer = self._buffer
        buffer += data
        values, at = [], 0
        while len(buffer) - at >= 4:
            size = int.from_bytes(buffer[at : at + 4], "big")
            if size > MAX_FRAME:
                raise FrameError(f"a frame of {size} bytes")
            end = at + 4 + size
            if len(buffer) < end:
                break
            try:
                values.append(json.loads(buffer[at + 4 : end]))
            except (ValueError, RecursionError):
                raise FrameError("a frame that is not JSON") from None
            at = end
        del buffer[:at]
        return values
