"""The pcap format (draft-ietf-opsawg-pcap): both byte orders, micro- and nanoseconds."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from netserve.capture.reading.errors import CaptureFileError
from netserve.capture.reading.model import FileInfo, Packet
from netserve.capture.reading.source import Source

__all__ = ["LARGEST_PACKET", "MAGICS", "Pcap"]

LARGEST_PACKET: Final = 1 << 20
"""Bytes of a packet at most; Wireshark's own bound is a quarter of it for most link types."""

MAGICS: Final = {
    b"\xd4\xc3\xb2\xa1": ("<", 1000),
    b"\xa1\xb2\xc3\xd4": (">", 1000),
    b"\x4d\x3c\xb2\xa1": ("<", 1),
    b"\xa1\xb2\x3c\x4d": (">", 1),
}
"""By the first four bytes: the byte order, and nanoseconds of a unit of time."""

_VERSION: Final = 2


class Pcap:
    """A pcap file.

    Arguments:
        source: at the beginning of the file.

    Raises:
        CaptureFileError: the header is cut short, or of an unknown version.
    """

    def __init__(self, source: Source) -> None:
        if source.need(24) < 24:
            raise CaptureFileError("ends within the header of a pcap file")
        order, self._unit = MAGICS[source.data[:4]]
        major, minor, _, _, _, network = struct.unpack_from(f"{order}HHiIII", source.data, 4)
        if major != _VERSION:
            raise CaptureFileError(f"a pcap file of version {major}.{minor}; netserve reads 2.4")
        # The upper bits describe a frame check sequence after the packet, which is not used here.
        self._link_type = network & 0xFFFF
        self._record = struct.Struct(f"{order}IIII")
        self._source = source
        source.at = 24
        precision = "nanoseconds" if self._unit == 1 else "microseconds"
        self.info = FileInfo(f"pcap, {precision}")

    def packets(self) -> Iterator[Packet]:
        """Its packets; see `CaptureFile`."""
        source, unit, link_type = self._source, self._unit, self._link_type
        unpack, new = self._record.unpack_from, tuple.__new__
        number = 0
        while True:
            data, at = source.data, source.at
            end = len(data)
            while end - at >= 16:
                seconds, fraction, captured, size = unpack(data, at)
                start = at + 16
                stop = start + captured
                if stop > end:
                    break
                at = stop
                number += 1
                time = seconds * 1_000_000_000 + fraction * unit
                # As `Packet(…)`, which takes twice as long: one is made for each packet.
                yield new(Packet, (number, time, link_type, data[start:stop], size, ()))
            source.at = at
            if not self._have_next(number + 1):
                return

    def _have_next(self, number: int) -> bool:
        """Read on until the next packet is there; False where the file ends before."""
        source = self._source
        there = source.need(16)
        if there == 16:
            _, _, captured, _ = self._record.unpack_from(source.data, source.at)
            if captured > LARGEST_PACKET:
                raise CaptureFileError(
                    f"packet {number}, at byte {source.offset}, claims {captured} bytes:"
                    " the file is damaged, or no pcap file"
                )
            if source.need(16 + captured) == 16 + captured:
                return True
        if there:
            self.info.notes.append(f"the file ends in the middle of packet {number}")
        return False
