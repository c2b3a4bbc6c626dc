"""A second, simple reading of HTTP/1.1 for the fuzzing of the machines.

It shares nothing with them: it walks over the whole input byte by byte, knows no pieces and no
limits, and says what messages are in it and how it ends: ``end`` (between two messages), ``more``
(the last one is not complete), ``bad`` (what follows is no message).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

TOKEN: Final = frozenset(
    b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
)
HEX: Final = frozenset(b"0123456789abcdefABCDEF")
DIGITS: Final = frozenset(b"0123456789")
NAME: Final = TOKEN - frozenset(b"#^`|%.") | frozenset(b"(),;=$&'!*+~_-")
"""What a label of a host may hold, beside escapes."""


class Bad(Exception):
    """It is no message."""


class More(Exception):
    """It is not complete."""


@dataclass
class Message:
    """One message: its first line in parts, its fields, its body."""

    first: tuple[bytes, ...]
    fields: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    trailers: list[tuple[bytes, bytes]] = field(default_factory=list)
    switched: bool = False


class Reading:
    """Walks over the input."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def line(self) -> bytes:
        """The next line, which ends with CR LF and has neither inside."""
        begin = self.at
        while True:
            if self.at >= len(self.data):
                self.at = begin
                raise More
            byte = self.data[self.at]
            self.at += 1
            if byte == 10:
                line = self.data[begin : self.at - 1]
                if line[-1:] != b"\r" or b"\r" in line[:-1]:
                    raise Bad
                return line[:-1]

    def take(self, size: int) -> bytes:
        if len(self.data) - self.at < size:
            raise More
        self.at += size
        return self.data[self.at - size : self.at]

    def fields(self) -> list[tuple[bytes, bytes]]:
        """Field lines up to an empty one."""
        found = []
        while line := self.line():
            colon = line.find(58)
            name, value = line[:colon], line[colon + 1 :]
            if colon < 1 or any(byte not in TOKEN for byte in name):
                raise Bad
            if any((byte < 32 and byte != 9) or byte == 127 for byte in value):
                raise Bad
            found.append((name, value.strip(b" \t")))
        return found

    def chunks(self, message: Message) -> None:
        """A chunked body and its trailers."""
        pieces = []
        while size := self.size():
            pieces.append(self.take(size))
            message.body = b"".join(pieces)
            if self.data[self.at : self.at + 2] != b"\r\n":
                if self.data[self.at :] in {b"", b"\r"}:
                    raise More
                raise Bad
            self.at += 2
        message.trailers = self.fields()
        if {name.lower() for name, _ in message.trailers} & {
            b"content-length", b"transfer-encoding", b"host", b"connection",
        }:  # fmt: skip
            raise Bad

    def size(self) -> int:
        line = self.line()
        digits = 0
        while digits < len(line) and line[digits] in HEX:
            digits += 1
        if not 0 < digits < 16:
            raise Bad
        extensions(line[digits:])
        return int(line[:digits], 16)


def extensions(text: bytes) -> None:
    """Chunk extensions, by hand."""
    at = 0

    def blank() -> None:
        nonlocal at
        while text[at : at + 1] in {b" ", b"\t"}:
            at += 1

    def token() -> None:
        nonlocal at
        begin = at
        while at < len(text) and text[at] in TOKEN:
            at += 1
        if at == begin:
            raise Bad

    def quoted() -> None:
        nonlocal at
        at += 1
        while text[at : at + 1] != b'"':
            at += text[at : at + 1] == b"\\"
            if at >= len(text) or (text[at] < 32 and text[at] != 9) or text[at] == 127:
                raise Bad
            if text[at - 1 : at] == b"\\" and text[at] > 126:
                raise Bad
            at += 1
        at += 1

    while at < len(text):
        blank()
        if text[at : at + 1] != b";":
            raise Bad
        at += 1
        blank()
        token()
        after = at
        blank()
        if text[at : at + 1] == b"=":
            at += 1
            blank()
            if text[at : at + 1] == b'"':
                quoted()
            else:
                token()
        else:
            at = after


def values(fields: list[tuple[bytes, bytes]], name: bytes) -> list[bytes]:
    return [value for key, value in fields if key.lower() == name]


def length(fields: list[tuple[bytes, bytes]], version: bytes) -> int | None:
    """Of a body: None is chunked, -1 is not said."""
    sizes, codings = values(fields, b"content-length"), values(fields, b"transfer-encoding")
    if codings:
        if sizes or version == b"HTTP/1.0" or [each.lower() for each in codings] != [b"chunked"]:
            raise Bad
        return None
    if not sizes:
        return -1
    if len(sizes) > 1 or not sizes[0] or any(byte not in DIGITS for byte in sizes[0]):
        raise Bad
    if len(sizes[0]) > 18:
        raise Bad
    return int(sizes[0])


def is_host(text: bytes) -> bool:
    host, port = text, b""
    if text.startswith(b"["):
        inside, bracket, rest = text[1:].partition(b"]")
        if not bracket or not inside or (rest and not rest.startswith(b":")):
            return False
        if inside[:1] in {b"v", b"V"}:
            version, dot, words = inside[1:].partition(b".")
            if not (version and dot and words) or any(byte not in HEX for byte in version):
                return False
            if any(byte not in NAME | frozenset(b":.") for byte in words):
                return False
        elif any(byte not in HEX | frozenset(b":.") for byte in inside):
            return False
        port = rest[1:]
    else:
        host, _, port = text.partition(b":")
        labels = (host[:-1] if host.endswith(b".") else host).split(b".")
        for label in labels:
            plain = label.replace(b"%", b"")
            escapes = label.split(b"%")[1:]
            if not label or any(byte not in NAME for byte in plain):
                return False
            if any(len(each) < 2 or each[0] not in HEX or each[1] not in HEX for each in escapes):
                return False
    return all(byte in DIGITS for byte in port) and len(port) <= 5 and int(port or b"0") < 65536


def check_target(method: bytes, target: bytes) -> None:
    if not target or any(byte < 33 or byte in {35, 127} for byte in target):
        raise Bad
    if method == b"CONNECT":
        if not is_host(target) or not target.rpartition(b":")[2] or b":" not in target:
            raise Bad
        if target.endswith(b"]"):
            raise Bad
        return
    if target.startswith(b"/"):
        return
    if target == b"*":
        if method != b"OPTIONS":
            raise Bad
        return
    scheme, colon, rest = target.partition(b"://")
    if not colon or scheme.lower() not in {b"http", b"https"}:
        raise Bad
    end = min((at for at in (rest.find(b"/"), rest.find(b"?")) if at >= 0), default=len(rest))
    if not is_host(rest[:end]):
        raise Bad


def read_request(reading: Reading) -> Message:
    """The next request, which begins here; one empty line may come before it."""
    if reading.data[reading.at : reading.at + 2] == b"\r\n":
        reading.at += 2
    line = reading.line()
    words = line.split(b" ")
    if len(words) != 3:
        raise Bad
    method, target, version = words
    if not method or any(byte not in TOKEN for byte in method) or len(method) > 32:
        raise Bad
    if len(version) != 8 or version[:7] != b"HTTP/1." or version[7] not in DIGITS:
        raise Bad
    check_target(method, target)
    message = Message((method, target, version), reading.fields())
    hosts = values(message.fields, b"host")
    if len(hosts) > 1 or (not hosts and version != b"HTTP/1.0"):
        raise Bad
    if hosts and not is_host(hosts[0]):
        raise Bad
    size = length(message.fields, version)
    if version != b"HTTP/1.0" and values(message.fields, b"expect"):
        expected = b",".join(values(message.fields, b"expect")).lower().split(b",")
        if [each for each in (one.strip(b" \t") for one in expected) if each] != [b"100-continue"]:
            raise Bad
    if size is None:
        reading.chunks(message)
    else:
        message.body = reading.take(max(size, 0))
    return message


def ends(message: Message, version: bytes) -> bool:
    """Whether the connection ends after it."""
    options = b",".join(values(message.fields, b"connection")).lower().split(b",")
    options = [each.strip(b" \t") for each in options]
    return b"close" in options or (version == b"HTTP/1.0" and b"keep-alive" not in options)


def read_requests(data: bytes) -> tuple[list[Message], str]:
    """All requests up to where the connection ends, and how the input ends."""
    reading, found = Reading(data), []
    while True:
        rest = data[reading.at :]
        if not rest:
            return found, "end"
        try:
            message = read_request(reading)
        except More:
            return found, "more"
        except Bad:
            return found, "bad"
        found.append(message)
        if ends(message, message.first[2]):
            return found, "end"


def read_response(reading: Reading, method: bytes, *, upgrade: bool, eof: bool) -> Message:
    """The next final response; 1xx are read over."""
    while True:
        line = reading.line()
        if len(line) < 12 or line[:7] != b"HTTP/1." or line[7] not in DIGITS or line[8] != 32:
            raise Bad
        status = line[9:12]
        if any(byte not in DIGITS for byte in status) or status[:1] == b"0":
            raise Bad
        if line[12:] and line[12] != 32:
            raise Bad
        if any((byte < 32 and byte != 9) or byte == 127 for byte in line[13:]):
            raise Bad
        fields = reading.fields()
        if status[:1] != b"1" or status == b"101":
            break
    version = line[:8]
    message = Message((version, status, line[13:]), fields)
    if status == b"101" and not upgrade:
        raise Bad
    if status == b"101" or (method == b"CONNECT" and status[:1] == b"2"):
        message.switched = True
        message.body = reading.data[reading.at :]
        return message
    size = length(fields, version)
    if method == b"HEAD" or status in {b"204", b"304"}:
        return message
    if size is None:
        reading.chunks(message)
    elif size >= 0:
        message.body = reading.take(size)
    elif eof:
        message.body = reading.take(len(reading.data) - reading.at)
    else:
        raise More
    return message
