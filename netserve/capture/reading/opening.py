"""Opens a capture file: finds out how it is compressed, and of which format it is."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from netserve.capture.reading.errors import CaptureFileError
from netserve.capture.reading.model import CaptureFile
from netserve.capture.reading.pcap import MAGICS, Pcap
from netserve.capture.reading.pcapng import MAGIC, Pcapng
from netserve.capture.reading.source import Read, Source, decompressed

__all__ = ["capture_of", "opened"]

_OTHER_FORMATS = {
    b"\xa1\xb2\xcd\x34": "a pcap file with the additional fields of old Linux patches",
    b"\x34\xcd\xb2\xa1": "a pcap file with the additional fields of old Linux patches",
    b"snoop\0\0\0": "a file of Solaris' snoop",
    b"XCP\0": "a file of NetXRay or Sniffer",
    b"TRSNIFF": "a file of Sniffer",
    b"GMBU": "a file of Microsoft's Network Monitor",
    b"RTSS": "a file of Microsoft's Network Monitor",
}


@contextmanager
def opened(path: str) -> Iterator[CaptureFile]:
    """A capture file, or standard input for ``-``.

    Raises:
        CaptureFileError: it is none, or of a form that cannot be read.
        OSError: it cannot be opened.
    """
    if path == "-":
        # Unbuffered: a pipe from a running capture gives its bytes as soon as they arrive.
        with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as file:
            yield capture_of(file.read)
        return
    with Path(path).open("rb", buffering=0) as file:
        yield capture_of(file.read)


def capture_of(read: Read) -> CaptureFile:
    """The capture in a stream of bytes.

    Raises:
        CaptureFileError: it is none, or of a form that cannot be read.
    """
    expanded, compression = decompressed(read)
    source = Source(expanded)
    source.need(24)
    found: CaptureFile
    if source.data.startswith(MAGIC):
        found = Pcapng(source)
    elif source.data[:4] in MAGICS:
        found = Pcap(source)
    else:
        raise CaptureFileError(_what_it_is(source.data, compression))
    if compression:
        found.info.format += f", {compression}"
    return found


def _what_it_is(data: bytes, compression: str) -> str:
    inside = f"inside of {compression} " if compression else ""
    if not data:
        return f"{inside}empty; netserve reads pcap and pcapng"
    for magic, name in _OTHER_FORMATS.items():
        if data.startswith(magic):
            return f"{inside}{name}; convert it by editcap first"
    return (
        f"{inside}not a capture: it begins with {data[:8].hex(' ')}; netserve reads pcap and pcapng"
    )
