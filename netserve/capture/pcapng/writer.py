"""The blocks of a pcapng file, little-endian: values in, bytes out. Holds nothing but numbers.

A file is a `section_header`, then interfaces, and packets, names, secrets and statistics in any
order, as long as an interface comes before the blocks that refer to it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, ip_address
from typing import Final, TypeAlias

from netserve.capture.pcapng import blocks

__all__ = [
    "MAX_TEXT",
    "SNAP_LENGTH",
    "decryption_secrets",
    "interface_description",
    "interface_statistics",
    "name_resolution",
    "packet",
    "section_header",
]

SNAP_LENGTH: Final = 262_144
"""Bytes of a packet at most, as Wireshark has it."""
MAX_TEXT: Final = 4096
"""Bytes of a text at most; a longer one is cut."""
MAX_NAME: Final = 200
"""Bytes of a host name at most; Wireshark ignores those of more than 256."""

_NANOSECONDS: Final = b"\x09"

_Option: TypeAlias = tuple[int, bytes]

_TWO_WORDS: Final = struct.Struct("<II")
_OPTION: Final = struct.Struct("<HH")
_PACKET: Final = struct.Struct("<IIIIIII")
_FLAGS_AND_END: Final = struct.Struct("<HHIHHI")
_PADDING: Final = (b"", b"\0\0\0", b"\0\0", b"\0")
_DIRECTIONS: Final = {True: blocks.FLAG_INBOUND, False: blocks.FLAG_OUTBOUND}


def section_header(*, application: str, os: str = "", comments: Sequence[str] = ()) -> bytes:
    """The block that a file begins with.

    Arguments:
        application: the program that writes the file.
        os: the operating system that it runs on.
        comments: texts about the whole file.
    """
    options = [*_comments(comments)]
    if os:
        options.append((blocks.SHB_OS, _text(os)))
    options.append((blocks.SHB_USERAPPL, _text(application)))
    body = struct.pack("<IHHq", blocks.BYTE_ORDER_MAGIC, 1, 0, -1) + _options(options)
    return _block(blocks.SECTION_HEADER, body)


def interface_description(
    *, name: str, description: str = "", link_type: int = blocks.LINKTYPE_RAW,
    comments: Sequence[str] = (),
) -> bytes:  # fmt: skip
    """An interface; they are numbered from 0 in the order of the file. Times are nanoseconds.

    Arguments:
        name: its name in Wireshark.
        description: one line about it.
        link_type: the kind of its packets' first header, of tcpdump.org's list of link types.
        comments: texts about it.
    """
    options = [*_comments(comments), (blocks.IF_NAME, _text(name))]
    if description:
        options.append((blocks.IF_DESCRIPTION, _text(description)))
    options.append((blocks.IF_TSRESOL, _NANOSECONDS))
    body = struct.pack("<HHI", link_type, 0, SNAP_LENGTH) + _options(options)
    return _block(blocks.INTERFACE_DESCRIPTION, body)


def packet(
    interface: int, time: int, data: bytes, *, inbound: bool, size: int | None = None,
    comments: Sequence[str] = (), dropped: int = 0,
) -> bytes:  # fmt: skip
    """An enhanced packet.

    Arguments:
        interface: the number of its interface.
        time: in nanoseconds since 1970.
        data: the packet from its link-layer header on.
        inbound: whether it came from the peer.
        size: bytes that it had on the network, where `data` is only its beginning.
        comments: texts about it.
        dropped: packets of this interface that were lost since the one before.
    """
    length = len(data)
    padding = _PADDING[length & 3]
    if comments or dropped:
        options = [*_comments(comments)]
        options.append((blocks.EPB_FLAGS, _DIRECTIONS[inbound].to_bytes(4, "little")))
        if dropped:
            options.append((blocks.EPB_DROPCOUNT, dropped.to_bytes(8, "little")))
        rest = _options(options)
        total = 32 + length + len(padding) + len(rest)
        rest += total.to_bytes(4, "little")
    else:
        total = 44 + length + len(padding)
        rest = _FLAGS_AND_END.pack(blocks.EPB_FLAGS, 4, _DIRECTIONS[inbound], 0, 0, total)
    head = _PACKET.pack(
        blocks.ENHANCED_PACKET, total, interface, time >> 32, time & 0xFFFFFFFF,
        length, length if size is None else size,
    )  # fmt: skip
    return b"".join((head, data, padding, rest))


def name_resolution(names: Iterable[tuple[str, str]]) -> bytes:
    """The names of addresses.

    Arguments:
        names: pairs of an IP address and a name.
    """
    body = b""
    for address, name in names:
        parsed = ip_address(address.partition("%")[0])
        kind = blocks.NRB_IPV4 if isinstance(parsed, IPv4Address) else blocks.NRB_IPV6
        value = parsed.packed + _text(name, MAX_NAME).replace(b"\0", b"?") + b"\0"
        body += _OPTION.pack(kind, len(value)) + value + _PADDING[len(value) & 3]
    return _block(blocks.NAME_RESOLUTION, body + _OPTION.pack(blocks.NRB_END, 0))


def interface_statistics(
    interface: int, time: int, *, start: int, end: int, received: int, dropped: int,
    accepted: int | None = None, delivered: int | None = None, comments: Sequence[str] = (),
) -> bytes:  # fmt: skip
    """Counters of an interface.

    Arguments:
        interface: its number.
        time: when the counters were read, in nanoseconds since 1970.
        start: when the capture began, likewise.
        end: when it ended, likewise.
        received: packets that there were.
        dropped: packets that were lost for want of room.
        accepted: packets that the filter let through.
        delivered: packets that are in the file.
        comments: texts about it.
    """
    options = [*_comments(comments)]
    options += [(blocks.ISB_STARTTIME, _time(start)), (blocks.ISB_ENDTIME, _time(end))]
    counters = (
        (blocks.ISB_IFRECV, received), (blocks.ISB_IFDROP, dropped),
        (blocks.ISB_FILTERACCEPT, accepted), (blocks.ISB_USRDELIV, delivered),
    )  # fmt: skip
    options += [
        (code, count.to_bytes(8, "little")) for code, count in counters if count is not None
    ]
    body = interface.to_bytes(4, "little") + _time(time) + _options(options)
    return _block(blocks.INTERFACE_STATISTICS, body)


def decryption_secrets(key_log: bytes) -> bytes:
    """Secrets of TLS connections, in the form of ``SSLKEYLOGFILE``, for packets that follow."""
    padded = key_log + _PADDING[len(key_log) & 3]
    return _block(
        blocks.DECRYPTION_SECRETS, _TWO_WORDS.pack(blocks.TLS_KEY_LOG, len(key_log)) + padded
    )


def _block(kind: int, body: bytes) -> bytes:
    total = len(body) + 12
    return _TWO_WORDS.pack(kind, total) + body + total.to_bytes(4, "little")


def _options(options: Iterable[_Option]) -> bytes:
    parts = [
        _OPTION.pack(code, len(value)) + value + _PADDING[len(value) & 3] for code, value in options
    ]
    return b"".join(parts) + _OPTION.pack(blocks.OPT_END, 0)


def _comments(texts: Iterable[str]) -> Iterable[_Option]:
    return ((blocks.OPT_COMMENT, _text(text)) for text in texts)


def _text(text: str, most: int = MAX_TEXT) -> bytes:
    """UTF-8 of at most `most` bytes, cut between characters."""
    data = text.encode("utf-8", "replace")
    return data if len(data) <= most else data[:most].decode("utf-8", "ignore").encode()


def _time(time: int) -> bytes:
    """A time in an option: the upper half first, in the byte order of the section."""
    return _TWO_WORDS.pack(time >> 32, time & 0xFFFFFFFF)
