"""HL7 version 2 messages in MLLP (HL7 "Transport Specification: MLLP", release 1)."""

from __future__ import annotations

from typing import Final

from netserve.capture.decode.lines import gap_text
from netserve.capture.decode.model import Say
from netserve.capture.decode.printing import hex_line, printable

__all__ = ["MLLP", "START"]

START: Final = b"\x0b"
MAX_BLOCK: Final = 64 << 10
"""Bytes of a message in which its segments are looked for."""

_END: Final = b"\x1c\r"


class MLLP:
    """Blocks between VT and FS CR; of HL7 messages their type, control id and acknowledgement."""

    name = "mllp"

    def __init__(self, say: Say) -> None:
        self._say = say
        self._buffers = (bytearray(), bytearray())
        self._dropped = [0, 0]
        "Bytes of the current block that were not kept."

    def data(self, side: int, time: int, data: bytes) -> None:
        """Bytes of the stream in order."""
        buffer = self._buffers[side]
        buffer += data
        while True:
            end = buffer.find(_END)
            if end < 0:
                break
            self._block(side, time, bytes(buffer[:end]), self._dropped[side])
            del buffer[: end + 2]
            self._dropped[side] = 0
        if len(buffer) > MAX_BLOCK:
            # Its last byte may be the first of the end.
            self._dropped[side] += len(buffer) - MAX_BLOCK
            del buffer[MAX_BLOCK - 1 : -1]

    def gap(self, side: int, time: int, size: int) -> None:
        """Bytes that the capture does not have."""
        self._say(time, side, "gap", gap_text(size), {"bytes": size})
        self._dropped[side] += size

    def closed(self, side: int, time: int) -> None:
        """The side sends no more."""
        if buffer := self._buffers[side]:
            size = len(buffer) + self._dropped[side]
            text = f"ends within a block, of which {size:,} bytes have come"
            self._say(time, side, "problem", text, {"size": size})
            buffer.clear()

    def finish(self, time: int) -> None:
        """Nothing more comes."""
        self.closed(0, time)
        self.closed(1, time)

    def _block(self, side: int, time: int, block: bytes, dropped: int) -> None:
        start = block.find(START)
        if start:
            stray = block if start < 0 else block[:start]
            self._say(time, side, "problem", f"outside of a block: {hex_line(stray)}", {})
            if start < 0:
                return
        content = block[start + 1 :]
        size = len(content) + dropped
        segments = [segment for segment in content.split(b"\r") if segment.strip()]
        details: dict[str, object] = {"size": size, "segments": len(segments)}
        parts = [_header(segments, details), f"{len(segments)} segments", f"{size:,} bytes"]
        self._say(time, side, "message", ", ".join(filter(None, parts)), details)


def _header(segments: list[bytes], details: dict[str, object]) -> str:
    """The fields of the header and the acknowledgement (HL7 2.5, chapter 2.15)."""
    if not segments or not segments[0].startswith(b"MSH") or len(segments[0]) < 8:
        return printable(segments[0], 60) if segments else "empty"
    separator = segments[0][3:4]
    fields = segments[0].split(separator)
    kind, control = (printable(field, 60) for field in (*fields[8:10], b"", b"")[:2])
    details |= {"type": kind, "control_id": control}
    text = f"{kind}, control id {control}"
    for segment in segments[1:]:
        if segment.startswith(b"MSA" + separator):
            code, answered = (
                printable(f, 60) for f in (*segment.split(separator)[1:3], b"", b"")[:2]
            )
            details |= {"acknowledgement": code, "acknowledges": answered}
            text += f", {code} to {answered}"
            break
    return text
