"""A program for the kernel's packet filter that passes possible answers only.

Without the filter, Scapy would have to dissect every packet of a busy machine, and the kernel would
drop answers meanwhile. The program is for cooked packet sockets, whose packets begin with the IP
header. It passes

- every ICMP message, since routers send errors;
- packets from a target. If the request sent only TCP or only UDP, the destination port of the
  answer must be a source port of the request, or its source port a destination port of the
  request. The program skips a comparison that would need too many instructions.

Instructions are those of the classic BPF machine (bpf(4), linux/filter.h).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from netserve.packet.reading import Facts, read_packet

Instruction = tuple[int, int, int, int]
"""The operation, how many to skip if true, how many if false, and the operand."""

_WORD, _HALF, _BYTE = 0x20, 0x28, 0x30
_HALF_INDEXED: Final = 0x48
_HEADER_LENGTH: Final = 0xB1  # the index becomes four times the low half of a byte
_EQUAL, _ANY_BIT, _RETURN = 0x15, 0x45, 0x06
_TCP, _UDP = 6, 17
_ICMP: Final = {4: 1, 6: 58}
_PROTOCOL_AT: Final = {4: 9, 6: 6}
_SOURCE_AT: Final = {4: 12, 6: 8}
_IPV6_HEADER: Final = 40
_MOST_TARGETS: Final = 16
_MOST_PORTS: Final = 16
_ALL: Final = 0x40000


def answer_filter(sent: Iterable[bytes]) -> list[Instruction]:
    """The program for these packets, which are all of one version of IP."""
    facts = [read_packet(data) for data in sent]
    version = facts[0].version if facts else 4
    program = _Program()
    program.load(_BYTE, _PROTOCOL_AT[version])
    program.jump(_EQUAL, _ICMP[version], "accept", None)
    targets = {each.target for each in facts}
    if len(targets) <= _MOST_TARGETS and not any(map(_is_group, targets)):
        _from_targets(program, version, targets)
    protocols = {each.protocol for each in facts}
    if len(protocols) == 1 and protocols <= {_TCP, _UDP}:
        _with_ports(program, version, facts)
    program.jump_always("accept")
    return program.assemble()


def _from_targets(program: _Program, version: int, targets: Collection[str]) -> None:
    """Go on if the source is one of the targets."""
    for number, target in enumerate(targets):
        packed = ipaddress.ip_address(target).packed
        other = f"target {number + 1}" if number + 1 < len(targets) else "drop"
        for at in range(0, len(packed), 4):
            program.load(_WORD, _SOURCE_AT[version] + at)
            is_last = at + 4 == len(packed)
            word = int.from_bytes(packed[at : at + 4], "big")
            program.jump(_EQUAL, word, "from a target" if is_last else None, other)
        program.label(other)
    program.label("from a target")


def _with_ports(program: _Program, version: int, facts: list[Facts]) -> None:
    """Go on to the end if the ports fit."""
    program.load(_BYTE, _PROTOCOL_AT[version])
    if version == 4:
        program.jump(_EQUAL, facts[0].protocol, None, "drop")
        program.load(_HALF, 6)
        program.jump(_ANY_BIT, 0x1FFF, "drop", None)  # of a fragment, only the first has ports
        program.add(_HEADER_LENGTH, 0)
        load, start = _HALF_INDEXED, 0
    else:
        # The program does not look for ports after extension headers.
        program.jump(_EQUAL, facts[0].protocol, None, "accept")
        load, start = _HALF, _IPV6_HEADER
    for ports, at in (
        ({each.source_port for each in facts}, start + 2),
        ({each.target_port for each in facts}, start),
    ):
        if len(ports) <= _MOST_PORTS:
            program.load(load, at)
            for port in ports:
                program.jump(_EQUAL, port, "accept", None)
            program.jump_always("drop")
            return


def _is_group(address: str) -> bool:
    """A multicast or broadcast address, whose members answer from their own."""
    if not address:
        return True
    found = ipaddress.ip_address(address)
    return found.is_multicast or (found.version == 4 and found.packed[-1] == 255)


@dataclass(frozen=True, slots=True)
class _Step:
    operation: int
    operand: int
    if_true: str | None = None
    if_false: str | None = None


class _Program:
    """Instructions with labels in the place of distances; ``accept`` and ``drop`` are its ends."""

    def __init__(self) -> None:
        self._steps: list[_Step] = []
        self._labels: dict[str, int] = {}

    def add(self, operation: int, operand: int) -> None:
        self._steps.append(_Step(operation, operand))

    def load(self, operation: int, at: int) -> None:
        self.add(operation, at)

    def jump(self, operation: int, operand: int, if_true: str | None, if_false: str | None) -> None:
        """Compare; None goes on with the next instruction."""
        self._steps.append(_Step(operation, operand, if_true, if_false))

    def jump_always(self, label: str) -> None:
        self._steps.append(_Step(_EQUAL, 0, label, label))

    def label(self, name: str) -> None:
        self._labels.setdefault(name, len(self._steps))

    def assemble(self) -> list[Instruction]:
        end = len(self._steps)
        labels = {**self._labels, "accept": end, "drop": end + 1}
        made: list[Instruction] = []
        for at, step in enumerate(self._steps):
            true, false = (
                0 if label is None else labels[label] - at - 1
                for label in (step.if_true, step.if_false)
            )
            made.append((step.operation, true, false, step.operand))
        return [*made, (_RETURN, 0, 0, _ALL), (_RETURN, 0, 0, 0)]
