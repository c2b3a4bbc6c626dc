"""DNS messages (RFC 1035) over UDP and TCP, seen passively.

Our own reading, for speed: a file of gigabytes has millions of them.
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from netserve.capture.decode.lines import gap_text
from netserve.capture.decode.model import Say
from netserve.capture.decode.printing import hex_line, printable

__all__ = ["DNSOverTCP", "DNSOverUDP", "looks_like_dns"]

TYPES: Final = {
    1: "A", 2: "NS", 5: "CNAME", 6: "SOA", 10: "NULL", 12: "PTR", 13: "HINFO", 15: "MX", 16: "TXT",
    17: "RP", 24: "SIG", 25: "KEY", 28: "AAAA", 29: "LOC", 33: "SRV", 35: "NAPTR", 37: "CERT",
    39: "DNAME", 41: "OPT", 43: "DS", 44: "SSHFP", 46: "RRSIG", 47: "NSEC", 48: "DNSKEY",
    50: "NSEC3", 51: "NSEC3PARAM", 52: "TLSA", 53: "SMIMEA", 59: "CDS", 60: "CDNSKEY", 64: "SVCB",
    65: "HTTPS", 99: "SPF", 250: "TSIG", 251: "IXFR", 252: "AXFR", 255: "ANY", 257: "CAA",
}  # fmt: skip
CODES: Final = {
    0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED",
    6: "YXDOMAIN", 7: "YXRRSET", 8: "NXRRSET", 9: "NOTAUTH", 10: "NOTZONE", 16: "BADVERS",
}  # fmt: skip
OPERATIONS: Final = {0: "query", 1: "inverse query", 2: "status", 4: "notify", 5: "update"}

MAX_RECORDS: Final = 20
"""Records of an answer that are reported."""
MAX_QUESTIONS: Final = 10

_HEADER: Final = struct.Struct("!HHHHHH")
_RECORD: Final = struct.Struct("!HHIH")
_SOA_NUMBERS: Final = 20
_HEADER_SIZE: Final = 12
_MAX_NAME: Final = 255
_MAX_JUMPS: Final = 64
_SINGLE_NAME: Final = frozenset({2, 5, 12, 39})


class _Malformed(ValueError):
    """A message ends too early, or has a name that makes no sense."""


class DNSOverUDP:
    """Each datagram is a message."""

    name = "dns"

    def __init__(self, say: Say) -> None:
        self._say = say

    def data(self, side: int, time: int, data: bytes) -> None:
        """One datagram."""
        _tell(self._say, side, time, data)

    def gap(self, side: int, time: int, size: int) -> None:
        """A datagram that was cut short by the capture."""
        self._say(time, side, "gap", gap_text(size), {"bytes": size})

    def closed(self, side: int, time: int) -> None:
        """Datagrams have no end."""

    def finish(self, time: int) -> None:
        """Nothing more comes."""


class DNSOverTCP:
    """Messages with their length in front of them (RFC 7766)."""

    name = "dns"

    def __init__(self, say: Say) -> None:
        self._say = say
        self._buffers = [b"", b""]
        self._lost = [False, False]

    def data(self, side: int, time: int, data: bytes) -> None:
        """Bytes of the stream in order."""
        if self._lost[side]:
            return
        data = self._buffers[side] + data
        at = 0
        while len(data) >= at + 2:
            size = int.from_bytes(data[at : at + 2], "big")
            if len(data) < at + 2 + size:
                break
            _tell(self._say, side, time, data[at + 2 : at + 2 + size])
            at += 2 + size
        self._buffers[side] = data[at:]

    def gap(self, side: int, time: int, size: int) -> None:
        """Bytes that the capture does not have: where the next message begins is not known."""
        self._say(time, side, "gap", gap_text(size), {"bytes": size})
        self._lost[side] = True
        self._buffers[side] = b""

    def closed(self, side: int, time: int) -> None:
        """The side sends no more."""
        if self._buffers[side]:
            self._say(time, side, "problem", "ends within a message", {})
            self._buffers[side] = b""

    def finish(self, time: int) -> None:
        """Nothing more comes."""


def looks_like_dns(data: bytes) -> bool:
    """Whether a datagram may be a DNS message: known operation and code, few questions."""
    if len(data) < _HEADER_SIZE + 5:
        return False
    _, flags, questions, answers, _, _ = _HEADER.unpack_from(data)
    return (
        (flags >> 11 & 15) in OPERATIONS and (flags & 15) in CODES and not flags & 0x40
        and questions == 1 and answers < 200
    )  # fmt: skip


def _tell(say: Say, side: int, time: int, data: bytes) -> None:
    """Tell one message."""
    if len(data) < _HEADER_SIZE:
        say(time, side, "problem", f"too short for DNS: {hex_line(data)}", {})
        return
    number, flags, *counts = _HEADER.unpack_from(data)
    operation = OPERATIONS.get(flags >> 11 & 15, f"operation {flags >> 11 & 15}")
    details: dict[str, object] = {"id": number, "operation": operation}
    is_answer = bool(flags & 0x8000)
    text = operation if not is_answer else ""
    if is_answer:
        text = code = CODES.get(flags & 15, f"code {flags & 15}")
        details["code"] = code
        if flags & 0x0200:
            text += ", truncated"
            details["truncated"] = True
    # The part before an error is reported, too.
    questions: list[dict[str, object]] = []
    answers: list[dict[str, object]] = []
    malformed = ""
    try:
        at = _read_questions(data, counts[0], questions)
        if is_answer:
            _read_answers(data, at, counts[1], answers)
    except _Malformed as error:
        malformed = str(error)
    details["questions"] = questions
    text += "".join(f" {each['name']} {each['type']}" for each in questions)
    if is_answer:
        details["answers"] = answers
        details["counts"] = counts[1:]
        if answers:
            text += ": " + ", ".join(f"{each['type']} {each['data']}" for each in answers)
        if counts[1] > MAX_RECORDS:
            text += f", … ({counts[1]} records)"
    if malformed:
        details["malformed"] = malformed
        text += f" (malformed: {malformed})"
    say(time, side, "answer" if is_answer else "query", text, details)


def _read_questions(data: bytes, count: int, found: list[dict[str, object]]) -> int:
    """Add the questions to `found`; returns where the answers begin."""
    at = _HEADER_SIZE
    for _ in range(min(count, MAX_QUESTIONS)):
        name, at = _name(data, at)
        if len(data) < at + 4:
            raise _Malformed("ends within a question")
        kind = int.from_bytes(data[at : at + 2], "big")
        found.append({"name": name, "type": TYPES.get(kind, f"TYPE{kind}")})
        at += 4
    return at


def _read_answers(data: bytes, at: int, count: int, found: list[dict[str, object]]) -> None:
    """Add the first answers to `found`."""
    for _ in range(min(count, MAX_RECORDS)):
        name, at = _name(data, at)
        if len(data) < at + 10:
            raise _Malformed("ends within a record")
        kind, _, ttl, size = _RECORD.unpack_from(data, at)
        at += 10
        if len(data) < at + size:
            raise _Malformed("ends within a record")
        found.append({
            "name": name, "type": TYPES.get(kind, f"TYPE{kind}"), "ttl": ttl,
            "data": _value(data, kind, at, size),
        })  # fmt: skip
        at += size


def _value(data: bytes, kind: int, at: int, size: int) -> str:
    """A record's data as it is written in zone files, for the types that are seen most."""
    value = data[at : at + size]
    if kind == 1 and size == 4:
        return str(IPv4Address(value))
    if kind == 28 and size == 16:
        return str(IPv6Address(value))
    if kind in _SINGLE_NAME:
        return _name(data, at)[0]
    if kind == 15 and size > 2:
        return f"{int.from_bytes(value[:2], 'big')} {_name(data, at + 2)[0]}"
    if kind == 33 and size > 6:
        priority, weight, port = struct.unpack_from("!HHH", value)
        return f"{priority} {weight} {port} {_name(data, at + 6)[0]}"
    if kind == 6 and size > _SOA_NUMBERS:
        return _name(data, at)[0]
    if kind in {16, 99}:
        return printable(b" ".join(_strings(value)), 200)
    return f"({size} bytes)"


def _strings(value: bytes) -> list[bytes]:
    found = []
    while value:
        found.append(value[1 : 1 + value[0]])
        value = value[1 + value[0] :]
    return found


def _name(data: bytes, at: int) -> tuple[str, int]:
    """A name, and the offset after it (RFC 1035, section 4.1.4)."""
    labels: list[bytes] = []
    end = 0
    size = jumps = 0
    while True:
        if at >= len(data):
            raise _Malformed("ends within a name")
        length = data[at]
        if length >= 0xC0:
            if len(data) < at + 2:
                raise _Malformed("ends within a name")
            end = end or at + 2
            jumps += 1
            if jumps > _MAX_JUMPS:
                raise _Malformed("a name that refers to itself")
            at = (length & 0x3F) << 8 | data[at + 1]
        elif length:
            size += length + 1
            if length > 63 or size > _MAX_NAME:
                raise _Malformed("a name that is too long")
            labels.append(data[at + 1 : at + 1 + length])
            at += 1 + length
        else:
            name = printable(b".".join(labels)) if labels else "."
            return name, end or at + 1
