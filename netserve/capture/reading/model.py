"""The content of a capture file: packets, and information about the file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol


class Packet(NamedTuple):
    """One packet.

    Arguments:
        number: counted from 1, as analysers do.
        time: in nanoseconds since 1970; 0 where the file has none.
        link_type: the kind of its first header, a number of tcpdump.org's list of link types.
        data: the captured bytes.
        size: bytes that it had on the network.
        comments: texts about it.
    """

    number: int
    time: int
    link_type: int
    data: bytes
    size: int
    comments: tuple[str, ...] = ()


@dataclass(slots=True)
class FileInfo:
    """Information about a file; complete after its last packet has been read.

    Arguments:
        format: such as ``pcap, nanoseconds``.
        application: the program that wrote it, if the file names one.
        comments: texts about the file as a whole.
        names: host names by address, as far as the file has them.
        dropped: packets that the capture lost, if the file has such counters.
        secrets: blocks of secrets to decrypt with.
        notes: remarks of the reader, such as that the file was cut short.
    """

    format: str
    application: str = ""
    comments: list[str] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    dropped: int = 0
    secrets: int = 0
    notes: list[str] = field(default_factory=list)


class CaptureFile(Protocol):
    """A file that is being read."""

    info: FileInfo

    def packets(self) -> Iterator[Packet]:
        """Its packets in the order of the file.

        Raises:
            CaptureFileError: it is damaged from here on.
        """
