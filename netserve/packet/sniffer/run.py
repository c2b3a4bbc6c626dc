"""The sniffer: its start, its loop, its limits and its counts."""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final, Self

from netserve.packet.confinement import confine, seccomp
from netserve.packet.frames import FrameError, FrameReader, frame
from netserve.packet.netlink import Interface, Netlink
from netserve.packet.policy import Policy
from netserve.packet.recording import LINK_ETHERNET, LINK_RAW
from netserve.packet.sniffer.libpcap import Libpcap
from netserve.packet.sniffer.ring import Packet, Ring
from netserve.packet.sniffer.writing import PcapWriter, Writer

_READS: Final = tuple(map(Path, (
    "/etc/services", "/etc/protocols", "/etc/hosts", "/etc/networks", "/etc/ethers",
    "/etc/nsswitch.conf", "/etc/host.conf",
)))  # fmt: skip
"""Files in which libpcap looks up the names in a filter."""
_LONGEST_SNAP: Final = 262_144
_COUNTS_EVERY: Final = 1.0
_LAST_BLOCK: Final = 0.15
"""Seconds that the kernel gets at the end to hand over its last block."""
_MOST_UNREAD: Final = 1 << 20
_MOST_SHOWN: Final = 256
"""Packets of one message."""


class SniffError(ValueError):
    """The request is malformed, or this machine cannot serve it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A capture that a client requests.

    Arguments:
        interface: its name.
        filter: in the language of pcap-filter(7); empty for everything.
        snap: bytes of a packet that are kept.
        promiscuous: whether to capture frames for other machines.
        count: packets after which it ends; 0 for no such end.
        seconds: after which it ends; 0 for no such end.
        size: bytes of the file after which it ends.
        ring: bytes of memory between the kernel and the sniffer.
        show: bytes of each packet to send to the client; 0 for none.
    """

    interface: str
    filter: str
    snap: int
    promiscuous: bool
    count: int
    seconds: float
    size: int
    ring: int
    show: int

    @classmethod
    def read(cls, value: Any) -> Self:
        """From JSON values.

        Raises:
            SniffError: they are none.
        """
        match value:
            case {
                "interface": str(interface), "filter": str(text), "snap": int(snap),
                "promiscuous": bool(promiscuous), "count": int(count), "size": int(size),
                "seconds": int() | float() as seconds, "ring": int(ring), "show": int(show),
            } if (
                0 < snap <= _LONGEST_SNAP and count >= 0 and seconds >= 0 and size > 0
                and 0 < ring <= 1 << 29 and 0 <= show <= _LONGEST_SNAP
            ):  # fmt: skip
                return cls(
                    interface=interface, filter=text, snap=snap, promiscuous=promiscuous,
                    count=count, seconds=float(seconds), size=size, ring=ring, show=show,
                )  # fmt: skip
        raise SniffError("not a request to sniff")


def serve(
    stream: socket.socket, policy: Policy, request: Any, descriptors: list[int], user: str
) -> None:
    """Sniff until a limit is reached, or the other side ends it.

    Arguments:
        stream: to the client.
        policy: the limits.
        request: see `Wanted`.
        descriptors: the file for the packets, or an empty list.
        user: the user that a process of root switches to.

    Raises:
        Refused: the interface is not allowed.
        SniffError, FilterError, OSError: it cannot be done.
    """
    wanted = Wanted.read(request)
    policy.check_interface(wanted.interface)
    netlink = Netlink()
    interface = netlink.interface(wanted.interface)
    netlink.close()
    link = link_type(interface)
    libpcap = Libpcap() if wanted.filter else None
    ring = Ring(interface, size=wanted.ring, promiscuous=wanted.promiscuous)
    calls = seccomp.BASIC | seccomp.FILES | {"bind"}
    report = confine(
        user=user, keep=frozenset(), calls=calls | seccomp.READS, reads=_READS,
        writes_files=bool(descriptors),
    )  # fmt: skip
    if libpcap is not None:
        ring.filter(libpcap.compile(wanted.filter, link=link, snap=wanted.snap))
    else:
        ring.filter([(0x06, 0, 0, wanted.snap)])
    seccomp.restrict(calls)
    writer = PcapWriter(descriptors[0], link=link, snap=wanted.snap) if descriptors else None
    sniffer = Sniffer(stream, ring, wanted, writer)
    sniffer.tell({"ready": {"link": link, "confinement": report.to_json()}})
    ring.begin()
    sniffer.run()


def link_type(interface: Interface) -> int:
    """The type of an interface's link layer, as files have it.

    Raises:
        SniffError: it is none of those known here.
    """
    if interface.is_ethernet:
        return LINK_ETHERNET
    if interface.is_bare:
        return LINK_RAW
    raise SniffError(f"{interface.name} has a link layer that is not known here ({interface.kind})")


class Sniffer:
    """The loop.

    Arguments:
        stream: to the client.
        ring: the source of packets.
        wanted: the limits.
        writer: the file, or None.
    """

    def __init__(
        self, stream: socket.socket, ring: Ring, wanted: Wanted, writer: Writer | None
    ) -> None:
        self._stream = stream
        self._ring = ring
        self._wanted = wanted
        self._writer = writer
        self._reader = FrameReader()
        self._unsent = bytearray()
        self._captured = 0
        self._unshown = 0
        self._why = ""
        stream.setblocking(False)

    def tell(self, message: dict[str, Any]) -> None:
        """Send a message, as soon as the stream takes it."""
        self._unsent += frame(message)

    def run(self) -> None:
        """Sniff until there is a reason to end."""
        poll = select.poll()
        poll.register(self._ring.socket, select.POLLIN)
        poll.register(self._stream, select.POLLIN)
        now = time.monotonic()
        end = now + self._wanted.seconds if self._wanted.seconds else float("inf")
        next_counts = now + _COUNTS_EVERY
        while not self._why:
            self._flush()
            now = time.monotonic()
            if now >= end:
                self._why = "time"
                break
            if now >= next_counts:
                next_counts = now + _COUNTS_EVERY
                self.tell({"counts": self._counts()})
            pause = min(end, next_counts) - now
            for descriptor, _ in poll.poll(max(0, pause) * 1000 + 1):
                if descriptor == self._stream.fileno():
                    self._read()
            self._take()
        self._finish()

    def _read(self) -> None:
        try:
            data = self._stream.recv(1 << 16)
            if not data or self._reader.feed(data):
                self._why = self._why or "stopped"
        except BlockingIOError:
            pass
        except (FrameError, OSError):
            self._why = self._why or "stopped"

    def _take(self) -> None:
        """All blocks that are ready."""
        while not self._is_over() and (packets := self._ring.block()) is not None:
            try:
                self._keep(packets)
            except OSError as error:
                self._why = f"error: {error.strerror or error}"
            finally:
                self._ring.give_back()

    def _is_over(self) -> bool:
        return self._why not in {"", "stopped", "time"}

    def _keep(self, packets: Iterator[Packet]) -> None:
        """Process one block: write it to the file, and send it to the client."""
        wanted, writer = self._wanted, self._writer
        if wanted.count:
            packets = islice(packets, wanted.count - self._captured)
        shown: list[list[Any]] = []
        for packet in packets:
            self._captured += 1
            if writer is not None:
                writer.packet(*packet)
            if wanted.show:
                self._show(shown, packet)
        if writer is not None:
            writer.flush()
        if shown:
            self._tell_shown(shown)
        if writer is not None and writer.written >= wanted.size:
            self._why = "size"
        if wanted.count and self._captured >= wanted.count:
            self._why = "count"

    def _show(self, shown: list[list[Any]], packet: Packet) -> None:
        seconds, nanoseconds, size, data = packet
        shown.append([seconds * 1_000_000_000 + nanoseconds, size, data[: self._wanted.show].hex()])
        if len(shown) >= _MOST_SHOWN:
            self._tell_shown(shown)
            shown.clear()

    def _tell_shown(self, shown: list[list[Any]]) -> None:
        """Send packets, unless the other side is too slow for them."""
        if len(self._unsent) > _MOST_UNREAD:
            self._flush()
        if len(self._unsent) > _MOST_UNREAD:
            self._unshown += len(shown)
        else:
            self.tell({"packets": shown})

    def _flush(self) -> None:
        try:
            while self._unsent:
                del self._unsent[: self._stream.send(self._unsent)]
        except BlockingIOError:
            pass
        except OSError:
            self._why = self._why or "stopped"

    def _counts(self) -> dict[str, int]:
        self._ring.count()
        return {
            "captured": self._captured,
            "received": self._ring.received,
            "dropped": self._ring.dropped,
            "unshown": self._unshown,
            "written": self._writer.written if self._writer is not None else 0,
        }

    def _finish(self) -> None:
        """Take the kernel's last packets, and report the totals."""
        if not self._is_over():
            end = time.monotonic() + _LAST_BLOCK
            while time.monotonic() < end:
                time.sleep(0.01)
                self._take()
        try:
            if self._writer is not None:
                self._writer.flush()
        except OSError as error:
            self._why = f"error: {error.strerror or error}"
        self.tell({"done": {**self._counts(), "why": self._why}})
        self._stream.setblocking(True)
        self._stream.settimeout(5)
        try:
            self._stream.sendall(self._unsent)
        except OSError:
            os._exit(0)  # the client is gone
