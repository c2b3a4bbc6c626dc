"""Four ways to read a head, measured: ``python -m bench.http_heads``.

httptools is measured where it is installed (``pip install httptools``). All give the same names and
values. The numbers are the shortest of many rounds, in microseconds of CPU a head.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

from netserve.http.h1.fields import Fields, read_field
from netserve.http.h1.fields import known as known_field
from netserve.http.h1.lines import Input, Section
from netserve.http.h1.request_line import read_request_line

WRK = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n"
CURL = (
    b"GET /api/v1/items?x=1 HTTP/1.1\r\nHost: api.example.org\r\nUser-Agent: curl/8.5.0\r\n"
    b"Accept: */*\r\n\r\n"
)
BROWSER = (
    b"GET /static/app.js?v=12 HTTP/1.1\r\nHost: www.example.org\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n"
    b"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n"
    b"Accept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br\r\n"
    b"Referer: https://www.example.org/index.html\r\nConnection: keep-alive\r\n"
    b"Cookie: session=0123456789abcdef0123456789abcdef; theme=dark; tracking=abcdefghijklm\r\n"
    b"Upgrade-Insecure-Requests: 1\r\nSec-Fetch-Dest: document\r\nSec-Fetch-Mode: navigate\r\n"
    b"Sec-Fetch-Site: same-origin\r\nCache-Control: max-age=0\r\n\r\n"
)
HEADS = {"wrk": WRK, "curl": CURL, "browser": BROWSER}

Way = Callable[[bytes], list[tuple[bytes, bytes]]]

_LINE = re.compile(rb"([!-9;-~]+) ([\x21-\x7e\x80-\xff]+) HTTP/1\.([0-9])\r\n").match
_FIELDS = re.compile(
    rb"(?m)^([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*"
    rb"((?:[\x21-\x7e\x80-\xff]+(?:[ \t]+[\x21-\x7e\x80-\xff]+)*)?)[ \t]*\r\n"
).findall
_GOOD = bytes(byte for byte in range(256) if byte > 31 and byte != 127) + b"\t"
_TOKEN = bytes(byte for byte in range(33, 127) if byte not in b'"(),/:;<=>?@[\\]{}')


def expression(head: bytes) -> list[tuple[bytes, bytes]]:
    """One compiled regular expression finds all fields."""
    line = _LINE(head)
    assert line is not None
    block = head[line.end() : -2]
    fields = _FIELDS(block)
    if len(fields) != block.count(b"\n"):
        raise ValueError
    return fields


def split(head: bytes) -> list[tuple[bytes, bytes]]:
    """Split at line ends and colons; what is left of the allowed bytes is checked at once."""
    assert _LINE(head) is not None
    lines = head[:-4].split(b"\r\n")
    if head.translate(None, _GOOD) != b"\r\n" * (len(lines) + 1):
        raise ValueError
    fields = [(name, value.strip(b" \t")) for name, _, value in map(_part, lines[1:])]
    if b"".join([name for name, _ in fields]).translate(None, _TOKEN):
        raise ValueError
    return fields


def _part(line: bytes) -> tuple[bytes, bytes, bytes]:
    return line.partition(b":")


def remembered(head: bytes) -> list[tuple[bytes, bytes]]:
    """As the machines do where a head is not that of the message before: known lines."""
    end = head.index(b"\r\n")
    read_request_line(head[:end], 32)
    block = head[end + 2 : -2]
    lines = block.split(b"\r\n")
    lines.pop()
    return Fields([known_field(line) or read_field(line) for line in lines], block)  # type: ignore[return-value]


class Repeated:
    """As the machines do where it is."""

    def __init__(self) -> None:
        self._section = Section(
            most=65536,
            most_fields=100,
            longest_field=8192,
            longest_first=8192,
            read_first=lambda line: read_request_line(line, 32),
        )
        self._input = Input()

    def __call__(self, head: bytes) -> list[tuple[bytes, bytes]]:
        self._input.add(head)
        self._section.read(self._input)
        fields = self._section.fields
        self._section.clear()
        return fields  # type: ignore[return-value]


class Httptools:
    """httptools, with its parser kept from head to head."""

    def __init__(self) -> None:
        import httptools

        self.fields: list[tuple[bytes, bytes]] = []
        self._parser = httptools.HttpRequestParser(self)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value))

    def __call__(self, head: bytes) -> list[tuple[bytes, bytes]]:
        self.fields = []
        self._parser.feed_data(head)
        return self.fields


def ways() -> dict[str, Way]:
    found: dict[str, Way] = {
        "one expression": expression,
        "split": split,
        "known lines": remembered,
        "the last head": Repeated(),
    }
    try:
        found["httptools"] = Httptools()
    except ImportError:
        print("httptools is not installed")
    return found


def shortest(way: Way, head: bytes, rounds: int = 150, each: int = 500) -> float:
    """Microseconds of CPU, the least of many rounds."""
    best = float("inf")
    for _ in range(rounds):
        start = time.process_time()
        for _ in range(each):
            way(head)
        best = min(best, (time.process_time() - start) / each)
    return best * 1e6


def names_and_values(fields: Any) -> list[tuple[bytes, bytes]]:
    return [(field[0], field[1]) for field in fields]


def main() -> None:
    print("| head | " + " | ".join(ways()) + " |")
    print("|---|" + "---:|" * len(ways()))
    for name, head in HEADS.items():
        cells = []
        for way in ways().values():
            assert names_and_values(way(head)) == names_and_values(expression(head))
            cells.append(f"{shortest(way, head):.2f}")
        print(f"| {name}, {len(head)} B | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
