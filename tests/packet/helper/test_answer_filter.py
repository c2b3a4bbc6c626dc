"""What the kernel lets through: every answer, and little else."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserve.packet.helper.answer_filter import Instruction, answer_filter
from tests.packet.test_headers import ip4, ip6

ME, ME6 = "10.9.9.9", "fd00::9"  # where the packets of the helpers below come from


def takes(program: list[Instruction], data: bytes) -> bool:
    """Run a program of classic BPF as the kernel does."""
    accumulator = index = at = 0

    def load(size: int, offset: int) -> int | None:
        return (
            int.from_bytes(data[offset : offset + size], "big")
            if offset + size <= len(data)
            else None
        )

    while True:
        operation, true, false, operand = program[at]
        at += 1
        if operation == 0x06:
            return bool(operand)
        if operation in {0x20, 0x28, 0x30, 0x48}:
            size = {0x20: 4, 0x28: 2, 0x30: 1, 0x48: 2}[operation]
            found = load(size, operand + (index if operation == 0x48 else 0))
            if found is None:
                return False
            accumulator = found
        elif operation == 0xB1:
            index = (data[operand] & 15) * 4
        elif operation in {0x15, 0x45}:
            holds = accumulator == operand if operation == 0x15 else bool(accumulator & operand)
            at += true if holds else false
        else:
            raise AssertionError(f"operation {operation:#x}")


def ports(source: int, target: int, data: bytes = b"") -> bytes:
    return struct.pack("!HH", source, target) + bytes(16) + data


def from4(source: str, data: bytes, protocol: int, options: bytes = b"") -> bytes:
    packet = bytearray(ip4(ME, data, protocol=protocol, options=options))
    packet[12:16] = bytes(map(int, source.split(".")))
    return bytes(packet)


def from6(source: str, data: bytes, following: int) -> bytes:
    packet = bytearray(ip6(ME6, data, following=following))
    packet[8:24] = ip6(source)[24:40]
    return bytes(packet)


SYN = ip4("10.0.0.1", ports(4000, 80), protocol=6)
SYN6 = ip6("fd00::1", ports(4000, 80), following=6)


@pytest.mark.parametrize(
    ("data", "is_taken"),
    [
        (from4("10.0.0.1", ports(80, 4000), 6), True),
        (from4("10.0.0.1", ports(80, 4000), 6, options=b"\x01" * 4), True),
        (from4("10.0.0.1", ports(81, 4000), 6), True),
        (from4("10.0.0.1", ports(80, 4001), 6), False),
        (from4("10.0.0.2", ports(80, 4000), 6), False),
        (from4("10.0.0.1", ports(80, 4000), 17), False),
        (from4("10.5.5.5", b"\x0b\0" + bytes(30), 1), True),
        (b"", False),
        (b"\x45" * 10, False),
    ],
)
def test_answers_to_a_syn(data: bytes, is_taken: bool) -> None:
    assert takes(answer_filter([SYN]), data) is is_taken


@pytest.mark.parametrize(
    ("data", "is_taken"),
    [
        (from6("fd00::1", ports(80, 4000), 6), True),
        (from6("fd00::1", ports(80, 4001), 6), False),
        (from6("fd00::2", ports(80, 4000), 6), False),
        (from6("fd00:0:0:1::1", ports(80, 4000), 6), False),
        (from6("fd00::7", b"\x03\0" + bytes(30), 58), True),
        (from6("fd00::1", b"\x06\0" + bytes(6) + ports(80, 4000), 60), True),
    ],
)
def test_answers_to_a_syn_by_ipv6(data: bytes, is_taken: bool) -> None:
    assert takes(answer_filter([SYN6]), data) is is_taken


def test_a_fragment_has_no_ports() -> None:
    fragment = bytearray(from4("10.0.0.1", ports(80, 4000), 6))
    fragment[6:8] = b"\x00\x05"
    assert not takes(answer_filter([SYN]), bytes(fragment))


def test_many_source_ports_and_one_target_port() -> None:
    """A trace by TCP."""
    program = answer_filter(
        ip4("10.0.0.1", ports(33_000 + number, 80), protocol=6) for number in range(90)
    )
    assert takes(program, from4("10.0.0.1", ports(80, 33_050), 6))
    assert not takes(program, from4("10.0.0.1", ports(22, 33_050), 6))


def test_what_is_too_much_to_list_is_not_looked_at() -> None:
    many = [
        ip4(f"10.0.{number}.1", ports(1000 + number, 2000 + number), protocol=17)
        for number in range(50)
    ]
    program = answer_filter(many)
    assert takes(program, from4("192.0.2.1", ports(5, 6), 17))
    assert not takes(program, from4("192.0.2.1", ports(5, 6), 6))
    assert len(program) < 255  # a jump goes no further


@pytest.mark.parametrize("target", ["224.0.0.1", "255.255.255.255", "10.0.0.255"])
def test_members_of_a_group_answer_from_their_own_address(target: str) -> None:
    program = answer_filter([ip4(target, ports(68, 67), protocol=17)])
    assert takes(program, from4("10.0.0.7", ports(67, 68), 17))
    assert not takes(program, from4("10.0.0.7", ports(67, 69), 17))


def test_other_protocols_go_by_the_target() -> None:
    program = answer_filter([ip4("10.0.0.1", b"x", protocol=47), SYN])
    assert takes(program, from4("10.0.0.1", b"anything", 132))
    assert not takes(program, from4("10.0.0.2", b"anything", 132))


@given(
    st.lists(st.tuples(st.integers(1, 254), st.integers(0, 65535), st.integers(0, 65535)),
             min_size=1, max_size=40),
    st.sampled_from([6, 17]), st.integers(0, 39), st.binary(max_size=20),
)  # fmt: skip
def test_no_answer_is_lost(
    sent: list[tuple[int, int, int]], protocol: int, which: int, data: bytes
) -> None:
    packets = [ip4(f"10.0.0.{host}", ports(a, b), protocol=protocol) for host, a, b in sent]
    program = answer_filter(packets)
    host, source, target = sent[which % len(sent)]
    assert takes(program, from4(f"10.0.0.{host}", ports(target, source, data), protocol))
