"""The pcapng format (draft-ietf-opsawg-pcapng): several sections, interfaces, both byte orders."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from netserve.capture.pcapng import blocks
from netserve.capture.reading.errors import CaptureFileError
from netserve.capture.reading.model import FileInfo, Packet
from netserve.capture.reading.pcap import LARGEST_PACKET
from netserve.capture.reading.source import Source

__all__ = ["MAGIC", "Pcapng"]

MAGIC: Final = blocks.SECTION_HEADER.to_bytes(4, "big")

LARGEST_BLOCK: Final = 2 * LARGEST_PACKET
"""Bytes of a block at most; blocks of kinds that are not read may be larger."""
MOST_INTERFACES: Final = 65_536
MOST_NAMES: Final = 10_000
MOST_COMMENTS: Final = 100

_READ: Final = frozenset({
    blocks.INTERFACE_DESCRIPTION, blocks.OBSOLETE_PACKET, blocks.SIMPLE_PACKET,
    blocks.NAME_RESOLUTION, blocks.INTERFACE_STATISTICS, blocks.ENHANCED_PACKET,
})  # fmt: skip
_PLAIN_OPTIONS: Final = 12
"""Bytes of options that are nothing but flags."""


@dataclass(frozen=True, slots=True)
class _Interface:
    """The properties of an interface that its packets need."""

    link_type: int
    snap_length: int
    nanoseconds: Callable[[int], int]


class _Structs:
    """The layouts of one byte order."""

    def __init__(self, order: str) -> None:
        self.order: Final = order
        self.word = struct.Struct(f"{order}I")
        self.block = struct.Struct(f"{order}II")
        self.option = struct.Struct(f"{order}HH")
        self.interface = struct.Struct(f"{order}HHI")
        self.enhanced = struct.Struct(f"{order}IIIII")
        self.obsolete = struct.Struct(f"{order}HHIIII")


_ORDERS: Final = {
    blocks.BYTE_ORDER_MAGIC.to_bytes(4, "little"): _Structs("<"),
    blocks.BYTE_ORDER_MAGIC.to_bytes(4, "big"): _Structs(">"),
}


class Pcapng:
    """A pcapng file.

    Arguments:
        source: at the beginning of the file.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._structs = _ORDERS[blocks.BYTE_ORDER_MAGIC.to_bytes(4, "little")]
        self._interfaces: list[_Interface] = []
        self._dropped: dict[int, int] = {}
        self._number = 0
        self.info = FileInfo("pcapng")

    def packets(self) -> Iterator[Packet]:
        """Its packets; see `CaptureFile`."""
        source = self._source
        while True:
            there = source.need(12)
            if there < 12:
                if there:
                    self._cut_short()
                return
            kind, total = self._structs.block.unpack_from(source.data, source.at)
            if kind not in _READ:
                if not self._other_block(kind, total):
                    return
                continue
            body = self._block(total, self._size(total))
            if body is None:
                return
            packet = self._one(kind, *body)
            if packet is not None:
                yield packet

    def _other_block(self, kind: int, total: int) -> bool:
        """Begin a section, or skip a block of another kind; False if the file ends first."""
        source = self._source
        if source.data.startswith(MAGIC, source.at):
            return self._section()
        self.info.secrets += kind == blocks.DECRYPTION_SECRETS
        size = self._size(total)
        if source.skip(size) < size:
            self._cut_short()
            return False
        return True

    def _size(self, total: int) -> int:
        """The size of a block in the file, padding included."""
        if total < 12:
            raise self._error(f"a block claims {total} bytes")
        return (total + 3) & ~3

    def _block(self, total: int, size: int) -> tuple[int, int] | None:
        """Where the body of the block begins and ends; None if the file ends first."""
        source = self._source
        if size > LARGEST_BLOCK:
            raise self._error(f"a block claims {total} bytes")
        if source.need(size) < size:
            self._cut_short()
            return None
        start = source.at
        end = start + size - 4
        if self._structs.word.unpack_from(source.data, end)[0] != total:
            raise self._error("a block has two different lengths")
        source.at = start + size
        return start + 8, end

    def _section(self) -> bool:
        """Begin a section; False if the file ends first."""
        source = self._source
        if source.need(28) < 28:
            self._cut_short()
            return False
        structs = _ORDERS.get(source.data[source.at + 8 : source.at + 12])
        if structs is None:
            raise self._error("a section without a byte order")
        self._structs = structs
        (total,) = structs.word.unpack_from(source.data, source.at + 4)
        if total < 28:
            raise self._error(f"the header of a section claims {total} bytes")
        (major,) = struct.unpack_from(f"{structs.order}H", source.data, source.at + 12)
        if major != 1:
            raise CaptureFileError(
                f"after packet {self._number}: a section of version {major}; netserve reads 1"
            )
        body = self._block(total, self._size(total))
        if body is None:
            return False
        self._dropped = {}
        self._interfaces = []
        start, end = body
        for code, value in self._options(start + 16, end):
            if code == blocks.OPT_COMMENT and len(self.info.comments) < MOST_COMMENTS:
                self.info.comments.append(_text(value))
            elif code == blocks.SHB_USERAPPL:
                self.info.application = self.info.application or _text(value)
        return True

    def _one(self, kind: int, start: int, end: int) -> Packet | None:
        """Read one block: return its packet, or remember its other content."""
        if kind == blocks.ENHANCED_PACKET:
            return self._enhanced(start, end)
        if kind == blocks.SIMPLE_PACKET:
            return self._simple(start, end)
        if kind == blocks.OBSOLETE_PACKET:
            return self._obsolete(start, end)
        if kind == blocks.INTERFACE_DESCRIPTION:
            self._describe(start, end)
        elif kind == blocks.NAME_RESOLUTION:
            self._names(start, end)
        else:
            self._statistics(start, end)
        return None

    def _enhanced(self, start: int, end: int) -> Packet:
        if end - start < 20:
            raise self._error("a packet without room for its header")
        structs, data = self._structs, self._source.data
        number, high, low, captured, size = structs.enhanced.unpack_from(data, start)
        options = start + 20 + ((captured + 3) & ~3)
        if options > end:
            raise self._error(f"a packet of {captured} bytes in a block of {end - start}")
        comments: tuple[str, ...] = ()
        rest = end - options
        if rest and (rest != _PLAIN_OPTIONS or data[options : options + 2] in {b"\1\0", b"\0\1"}):
            comments = self._comments(options, end)
        interface = self._interface(number)
        start += 20
        self._number += 1
        return Packet(
            self._number, interface.nanoseconds(high << 32 | low), interface.link_type,
            data[start : start + captured], size, comments,
        )  # fmt: skip

    def _simple(self, start: int, end: int) -> Packet:
        if end - start < 4:
            raise self._error("a packet without room for its header")
        (size,) = self._structs.word.unpack_from(self._source.data, start)
        interface = self._interface(0)
        captured = min(size, end - start - 4)
        if interface.snap_length:
            captured = min(captured, interface.snap_length)
        self._number += 1
        data = self._source.data[start + 4 : start + 4 + captured]
        return Packet(self._number, 0, interface.link_type, data, size)

    def _obsolete(self, start: int, end: int) -> Packet:
        if end - start < 20:
            raise self._error("a packet without room for its header")
        structs, data = self._structs, self._source.data
        number, _, high, low, captured, size = structs.obsolete.unpack_from(data, start)
        start += 20
        if start + captured > end:
            raise self._error(f"a packet of {captured} bytes in a block of {end - start}")
        interface = self._interface(number)
        self._number += 1
        return Packet(
            self._number, interface.nanoseconds(high << 32 | low), interface.link_type,
            data[start : start + captured], size,
        )  # fmt: skip

    def _interface(self, number: int) -> _Interface:
        try:
            return self._interfaces[number]
        except IndexError:
            raise self._error(f"a packet of interface {number}, which is not described") from None

    def _describe(self, start: int, end: int) -> None:
        if end - start < 8:
            raise self._error("the description of an interface is too short")
        if len(self._interfaces) >= MOST_INTERFACES:
            raise self._error(f"more than {MOST_INTERFACES} interfaces")
        link_type, _, snap_length = self._structs.interface.unpack_from(self._source.data, start)
        resolution, offset = 6, 0
        for code, value in self._options(start + 8, end):
            if code == blocks.IF_TSRESOL and len(value) >= 1:
                resolution = value[0]
            elif code == blocks.IF_TSOFFSET and len(value) >= 8:
                (offset,) = struct.unpack_from(f"{self._structs.order}q", value)
        self._interfaces.append(
            _Interface(link_type, snap_length, _clock(resolution, offset * 1_000_000_000))
        )

    def _names(self, start: int, end: int) -> None:
        """Records of addresses and their names; the first name of each address."""
        names = self.info.names
        for kind, value in self._options(start, end):
            size = {blocks.NRB_IPV4: 4, blocks.NRB_IPV6: 16}.get(kind)
            if size is None or len(value) <= size or len(names) >= MOST_NAMES:
                continue
            name = _text(value[size:].partition(b"\0")[0])[:256]
            names.setdefault(str(ip_address(value[:size])), name)

    def _statistics(self, start: int, end: int) -> None:
        if end - start < 12:
            raise self._error("the statistics of an interface are too short")
        (number,) = self._structs.word.unpack_from(self._source.data, start)
        dropped = 0
        for code, value in self._options(start + 12, end):
            if code in {blocks.ISB_IFDROP, blocks.ISB_OSDROP} and len(value) >= 8:
                dropped += struct.unpack_from(f"{self._structs.order}Q", value)[0]
        # Counters go on from block to block, so that the last one counts.
        if number < len(self._interfaces):
            before = self._dropped.get(number, 0)
            self._dropped[number] = dropped
            self.info.dropped += dropped - before

    def _comments(self, start: int, end: int) -> tuple[str, ...]:
        found = [_text(value) for code, value in self._options(start, end) if code == 1]
        return tuple(found[:MOST_COMMENTS])

    def _options(self, start: int, end: int) -> Iterator[tuple[int, bytes]]:
        """Options, or the records of a name resolution block, which have the same form."""
        data, unpack = self._source.data, self._structs.option.unpack_from
        while start + 4 <= end:
            code, size = unpack(data, start)
            if code == blocks.OPT_END:
                return
            start += 4
            if start + size > end:
                raise self._error(f"an option of {size} bytes is larger than its block")
            yield code, data[start : start + size]
            start += (size + 3) & ~3

    def _error(self, what: str) -> CaptureFileError:
        return CaptureFileError(
            f"near byte {self._source.offset}, after packet {self._number}: {what}:"
            " the file is damaged"
        )

    def _cut_short(self) -> None:
        self.info.notes.append(
            f"the file ends in the middle of a block, after packet {self._number}"
        )


def _clock(resolution: int, offset: int) -> Callable[[int], int]:
    """How to make nanoseconds since 1970 of a timestamp.

    Arguments:
        resolution: as ``if_tsresol`` has it: a power of 10, or with the upper bit set of 2.
        offset: in nanoseconds.
    """
    exponent = resolution & 0x7F
    if resolution & 0x80:
        return lambda count: (count * 1_000_000_000 >> exponent) + offset
    if exponent == 9 and not offset:
        return int
    if exponent <= 9:
        unit = 10 ** (9 - exponent)
        return lambda count: count * unit + offset
    divisor = 10 ** (exponent - 9)
    return lambda count: count // divisor + offset


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace").rstrip("\0")
