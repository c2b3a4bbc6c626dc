"""Records in, the bytes of pcapng files out: interfaces, names, packets, comments, counters.

Each file of a ring (see `netserve.capture.recording.ring`) is complete in itself: it has everything
that its packets refer to. The sequence numbers of a flow continue from file to file, so merged
files are one capture again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, cast

from netserve.capture.frames.ip import addresses
from netserve.capture.frames.tcp import Frame, Stream
from netserve.capture.frames.udp import LARGEST, Datagrams
from netserve.capture.model import Flow, Kind, Record
from netserve.capture.pcapng import writer

__all__ = ["SYNTHETIC", "Scribe"]

SYNTHETIC: Final = (
    "Synthetic packets: netserve took the bytes of its services' connections inside of the process"
    " (after TLS, where there is TLS) and put IP, TCP and UDP headers around them. Times,"
    " addresses, ports and bytes are real; sequence numbers, segments and acknowledgements are made"
    " up."
)
"""The comment at the head of each file."""

MOST_DATAGRAM_FLOWS: Final = 4096
"""Peers of datagrams that are remembered; after that the oldest is described again."""

_HASH: Final = 0x9E3779B1  # odd, so that it maps different numbers to different ones
_QUARTER: Final = 0x3FFFFFFF
_RECEIVED, _SENT = Kind.RECEIVED, Kind.SENT  # looked at for each record


@dataclass(slots=True)
class _Interface:
    """A service in the current file."""

    number: int
    start: int
    end: int
    received: int = 0


@dataclass(slots=True)
class _State:
    """A flow over all files."""

    frames: Stream | Datagrams
    file: int = -1
    "The file that describes it."
    notes: list[str] = field(default_factory=list)
    "For its next packet."
    dropped: int = 0
    "Reads and writes lost since its last packet."


class Scribe:
    """Writes records as packets.

    Arguments:
        application: name and version, as the file has it.
        os: the operating system, likewise.
        comments: texts about the whole capture, such as its filter and its redaction.
        largest_segment: bytes of a TCP segment at most; None for as much as on loopback.
    """

    def __init__(
        self, *, application: str, os: str = "", comments: Sequence[str] = (),
        largest_segment: int | None = None,
    ) -> None:  # fmt: skip
        self._application = application
        self._os = os
        self._comments = [SYNTHETIC, *comments]
        self._largest = largest_segment
        self._file = 0
        self._interfaces: dict[str, _Interface] = {}
        self._dropped: Counter[str] = Counter()
        "Reads and writes lost since the last tail of a file, by service."
        self._streams: dict[int, _State] = {}
        self._datagrams: dict[int, _State] = {}

    def begin(self, *, key_log: bytes = b"") -> bytes:
        """The head of a new file.

        Arguments:
            key_log: secrets of TLS connections, in the form of ``SSLKEYLOGFILE``; they allow
                everybody who has captured these connections to decrypt them.
        """
        self._file += 1
        self._interfaces = {}
        head = writer.section_header(
            application=self._application, os=self._os, comments=self._comments
        )
        return head + writer.decryption_secrets(key_log) if key_log else head

    def end(self, time: int) -> bytes:
        """The tail of the file: the counters of each interface.

        Arguments:
            time: now, in nanoseconds since 1970.
        """
        missing = [service for service in self._dropped if service not in self._interfaces]
        blocks = [self._interface(service, time) for service in missing]
        blocks += [
            writer.interface_statistics(
                each.number, time, start=each.start, end=each.end,
                received=each.received + self._dropped[service], dropped=self._dropped[service],
                delivered=each.received,
            )
            for service, each in self._interfaces.items()
        ]  # fmt: skip
        self._dropped.clear()
        return b"".join(blocks)

    @property
    def flows(self) -> int:
        """How many flows are open."""
        return len(self._streams) + len(self._datagrams)

    def count_lost(self, service: str) -> None:
        """Count a read or write whose packets were not kept."""
        self._dropped[service] += 1

    def write(self, record: Record) -> bytes:
        """The blocks for one record; empty where it shows with a later packet."""
        flow, time, kind, value = record
        state = self._streams.get(flow.number)
        if (
            state is not None and not state.notes and state.file == self._file
            and (kind is _RECEIVED or kind is _SENT)
        ):  # fmt: skip
            # Nearly all records: data of a stream that this file describes already.
            inbound = kind is _RECEIVED
            frames = state.frames.data(inbound, value)  # type: ignore[arg-type]
            if len(frames) == 1:
                where = self._interfaces[flow.service]
                where.received += 1
                where.end = time
                return writer.packet(where.number, time, frames[0][1], inbound=inbound)
            return self._packets(flow, state, time, frames) if frames else b""
        state = self._state(flow)
        frames = self._frames(flow, state, kind, value)
        if kind.is_last:
            self._streams.pop(flow.number, None)
            self._datagrams.pop(flow.number, None)
        if not frames:
            return b""
        interface = self._interfaces.get(flow.service)
        if interface is None or state.file != self._file:
            blocks = self._describe(flow, state, time)
            return blocks + self._packets(flow, state, time, frames)
        return self._packets(flow, state, time, frames)

    def _state(self, flow: Flow) -> _State:
        if flow.transport.is_stream:
            state = self._streams.get(flow.number)
            if state is None:
                local, peer = addresses(flow)
                stream = Stream(
                    local, peer, outgoing=flow.outgoing, largest=self._largest,
                    first=(_first_number(flow.number * 2), _first_number(flow.number * 2 + 1)),
                )  # fmt: skip
                state = self._streams[flow.number] = _State(stream)
            return state
        state = self._datagrams.get(flow.number)
        if state is None:
            if len(self._datagrams) >= MOST_DATAGRAM_FLOWS:
                del self._datagrams[next(iter(self._datagrams))]
            state = self._datagrams[flow.number] = _State(Datagrams(*addresses(flow)))
        return state

    def _frames(self, flow: Flow, state: _State, kind: Kind, value: object) -> list[Frame]:
        frames = state.frames
        if kind is Kind.RECEIVED or kind is Kind.SENT:
            data = cast("bytes", value)
            if len(data) > LARGEST and isinstance(frames, Datagrams):
                state.notes.append(f"a datagram of {len(data)} bytes, cut to {LARGEST}")
            return frames.data(kind is Kind.RECEIVED, data)
        if kind is Kind.NOTE or kind is Kind.ERROR:
            state.notes.append(f"error: {value}" if kind is Kind.ERROR else str(value))
            return []
        if kind is Kind.LOST_RECEIVED or kind is Kind.LOST_SENT:
            self._lose(flow, state, kind, *cast("tuple[int, int]", value))
            return []
        return _control(frames, flow, kind) if isinstance(frames, Stream) else []

    def _lose(self, flow: Flow, state: _State, kind: Kind, count: int, size: int) -> None:
        inbound = kind is Kind.LOST_RECEIVED
        state.dropped += count
        what = "reads from" if inbound else "writes to"
        state.notes.append(f"missing before this: {count} {what} the peer, {size} bytes")
        if isinstance(state.frames, Stream):
            state.frames.lost(inbound, size)
        self._dropped[flow.service] += count

    def _describe(self, flow: Flow, state: _State, time: int) -> bytes:
        """The blocks that a flow's packets need, at its first packet in this file."""
        state.file = self._file
        blocks = b""
        if flow.service not in self._interfaces:
            blocks = self._interface(flow.service, time)
        state.notes.insert(0, _description(flow))
        local, peer = addresses(flow)
        names = [
            (str(address), end.name or (str(end) if end.host else ""))
            for address, end in ((local, flow.local), (peer, flow.peer))
            if end.name or (flow.transport.is_local and end.host)
        ]
        return blocks + writer.name_resolution(names) if names else blocks

    def _interface(self, service: str, time: int) -> bytes:
        """Begin an interface for a service."""
        self._interfaces[service] = _Interface(len(self._interfaces), time, time)
        return writer.interface_description(
            name=service, description=f"netserve service {service}, synthetic packets"
        )

    def _packets(self, flow: Flow, state: _State, time: int, frames: list[Frame]) -> bytes:
        interface = self._interfaces[flow.service]
        interface.received += len(frames)
        interface.end = time
        if not state.notes and len(frames) == 1:
            inbound, data = frames[0]
            return writer.packet(interface.number, time, data, inbound=inbound)
        (inbound, data), *others = frames
        first = writer.packet(
            interface.number, time, data, inbound=inbound, comments=state.notes,
            dropped=state.dropped,
        )  # fmt: skip
        state.notes, state.dropped = [], 0
        return first + b"".join(
            writer.packet(interface.number, time, data, inbound=inbound) for inbound, data in others
        )


def _first_number(seed: int) -> int:
    """An initial sequence number: another one for each connection, so that one that has the
    addresses and ports of an earlier one is no repetition of it. In the lowest quarter, since
    Wireshark takes a next number of exactly 0 for one that is not known.
    """
    return 1 + (seed * _HASH & _QUARTER)


def _control(stream: Stream, flow: Flow, kind: Kind) -> list[Frame]:
    """The frames of an event without data."""
    if kind is Kind.OPENED:
        return stream.opened()
    if kind is Kind.PEER_CLOSED:
        return stream.closed(True)
    if kind is Kind.WE_CLOSED:
        return stream.closed(False)
    if kind is Kind.ENDED:
        # It is not known which side closed first; clients do so more often than servers.
        first = not flow.outgoing
        return stream.closed(first) + stream.closed(not first)
    return stream.reset(kind is Kind.PEER_RESET)


def _description(flow: Flow) -> str:
    """The comment of a flow's first packet in a file."""
    parts = [f"service {flow.service}"]
    parts += [f"connection {flow.identity}"] if flow.identity else []
    parts += [f"trace {flow.trace}"] if flow.trace else []
    parts += ["TLS on the network, shown in clear"] if flow.tls else []
    if flow.transport.is_local:
        path = flow.peer.host if flow.outgoing else flow.local.host
        parts.append(f"UNIX socket {path}, addresses and ports are made up")
    return "synthetic: " + ", ".join(parts)
