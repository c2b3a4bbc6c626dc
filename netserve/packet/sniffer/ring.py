"""The ring of blocks that the kernel fills and we empty (packet(7), TPACKET_V3).

No system call is made for a packet, and none is copied twice: a block is taken when it is full or
a tenth of a second old, its packets are read where they lie, and it is given back.
"""

from __future__ import annotations

import contextlib
import mmap
import socket
import struct
from collections.abc import Iterator
from typing import Final

from netserve.packet.confinement.system import attach_filter, bind_packet
from netserve.packet.netlink import Interface

_SOL_PACKET: Final = 263
_PACKET_ADD_MEMBERSHIP: Final = 1
_PACKET_RX_RING: Final = 5
_PACKET_STATISTICS: Final = 6
_PACKET_VERSION: Final = 10
_PACKET_IGNORE_OUTGOING: Final = 23
_TPACKET_V3: Final = 2
_PROMISCUOUS: Final = 1
_ETH_P_ALL: Final = 3
_BLOCK: Final = 1 << 20
_FRAME: Final = 2048
_LONGEST_WAIT: Final = 100  # milliseconds until a block that is not full is handed over
_OURS: Final = 1  # TP_STATUS_USER
_STATUS: Final = struct.Struct("=I")
_BLOCK_HEAD: Final = struct.Struct("=III")
_PACKET_HEAD: Final = struct.Struct("=IIIIIIHHIIHH")
_HAS_TAG: Final = 1 << 4
_HAS_TAG_TYPE: Final = 1 << 6
_TAG_TYPE: Final = 0x8100
_ADDRESSES: Final = 12
"""Bytes of a frame before its EtherType, where a tag stands."""

Instructions = list[tuple[int, int, int, int]]
Packet = tuple[int, int, int, "memoryview | bytes"]
"""Seconds and nanoseconds since 1970, bytes that it had, and the bytes that were kept."""


class Ring:
    """A packet socket with its ring; it receives nothing until `begin`.

    Arguments:
        interface: the one to listen to.
        size: bytes of the ring; where the kernel has less, less.
        promiscuous: whether to capture frames for other machines.

    Raises:
        OSError: there is none to be had; EPERM without CAP_NET_RAW.
    """

    def __init__(self, interface: Interface, *, size: int, promiscuous: bool) -> None:
        self.received = 0
        self.dropped = 0
        self._interface = interface
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        try:
            self.socket.setsockopt(_SOL_PACKET, _PACKET_VERSION, _TPACKET_V3)
            self._blocks = self._make(max(2, size // _BLOCK))
            if interface.is_loopback:
                # Every packet that leaves by loopback arrives there again.
                with contextlib.suppress(OSError):
                    self.socket.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
            if promiscuous:
                member = struct.pack("=iHH8s", interface.index, _PROMISCUOUS, 0, b"")
                self.socket.setsockopt(_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, member)
            self._memory = mmap.mmap(self.socket.fileno(), self._blocks * _BLOCK)
        except BaseException:
            self.socket.close()
            raise
        self._view = memoryview(self._memory)
        self._next = 0

    def _make(self, blocks: int) -> int:
        """Ask for a ring, for half of it where there is no memory; the blocks that there are."""
        while True:
            frames = _BLOCK // _FRAME * blocks
            wanted = struct.pack("=7I", _BLOCK, blocks, _FRAME, frames, _LONGEST_WAIT, 0, 0)
            try:
                self.socket.setsockopt(_SOL_PACKET, _PACKET_RX_RING, wanted)
            except MemoryError:
                raise
            except OSError:
                if blocks <= 2:
                    raise
                blocks //= 2
            else:
                return blocks

    def filter(self, program: Instructions) -> None:
        """Let the kernel drop the packets that a program rejects.

        Raises:
            OSError: the kernel refuses it.
        """
        attach_filter(self.socket, program)

    def begin(self) -> None:
        """Receive from now on."""
        bind_packet(self.socket.fileno(), _ETH_P_ALL, self._interface.index)

    def block(self) -> Iterator[Packet] | None:
        """The packets of the next block, or None if the kernel still has it.

        They are valid until `give_back`.
        """
        start = self._next * _BLOCK
        status, count, first = _BLOCK_HEAD.unpack_from(self._view, start + 8)
        return self._packets(start + first, count) if status & _OURS else None

    def _packets(self, at: int, count: int) -> Iterator[Packet]:
        view, unpack = self._view, _PACKET_HEAD.unpack_from
        for _ in range(count):
            (following, seconds, nanoseconds, kept, size, status, data, _, _, tag, kind, _) = (
                unpack(view, at)
            )
            start = at + data
            if status & _HAS_TAG:
                # The kernel removed the VLAN tag from the frame.
                head = view[start : start + _ADDRESSES]
                rest = view[start + _ADDRESSES : start + kept]
                kind = kind if status & _HAS_TAG_TYPE else _TAG_TYPE
                tagged = b"".join((head, struct.pack("!HH", kind, tag & 0xFFFF), rest))
                yield seconds, nanoseconds, size + 4, tagged
            else:
                yield seconds, nanoseconds, size, view[start : start + kept]
            at += following

    def give_back(self) -> None:
        """The block may be filled again."""
        _STATUS.pack_into(self._view, self._next * _BLOCK + 8, 0)
        self._next = (self._next + 1) % self._blocks

    def count(self) -> None:
        """Bring `received` and `dropped` up to date; the kernel's own counts begin at 0 again."""
        statistics = self.socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 12)
        received, dropped, _ = struct.unpack("=III", statistics)
        self.received += received
        self.dropped += dropped

    def close(self) -> None:
        """Give it back."""
        self._view.release()
        self._memory.close()
        self.socket.close()
