"""Responses whole, byte by byte, and with a tail; what is none, or too much."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserve.protocols.probe.http_message import BadResponse, ResponseReader

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n"
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"


def read(data: bytes, pieces: list[bytes] | None = None, **options: object) -> ResponseReader:
    reader = ResponseReader(**options)  # type: ignore[arg-type]
    for piece in pieces or [data]:
        reader.feed(piece)
    if not reader.is_complete:
        reader.end()
    return reader


CASES = {
    "a length": (OK + b"Content-Length: 5\r\n\r\nhello", 200, b"hello"),
    "the same length twice": (OK + b"Content-Length: 2\r\ncontent-length: 2\r\n\r\nab", 200, b"ab"),
    "no body": (OK + b"Content-Length: 0\r\n\r\n", 200, b""),
    "chunks": (CHUNKED + b"5;x=y\r\nhello\r\n3\r\nyou\r\n0\r\n\r\n", 200, b"helloyou"),
    "chunks with a trailer": (CHUNKED + b"1\r\na\r\n0\r\nX: y\r\n\r\n", 200, b"a"),
    "up to the end": (OK + b"Connection: close\r\n\r\nhello", 200, b"hello"),
    "HTTP/1.0": (b"HTTP/1.0 404 Not Found\r\n\r\nx", 404, b"x"),
    "no reason": (b"HTTP/1.1 204\r\n\r\n", 204, b""),
    "bare line feeds": (b"HTTP/1.1 200 OK\nContent-Length: 1\n\na", 200, b"a"),
    "after an interim response": (INTERIM + OK + b"Content-Length: 1\r\n\r\na", 200, b"a"),
    "not modified": (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", 304, b""),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_response(name: str) -> None:
    data, status, body = CASES[name]
    for size in (1, 2, 7, len(data)):
        pieces = [data[at : at + size] for at in range(0, len(data), size)]
        reader = read(data, pieces)
        assert (reader.status, bytes(reader.body)) == (status, body)
        assert reader.is_complete


def test_to_head_there_is_no_body() -> None:
    reader = read(OK + b"Content-Length: 5\r\n\r\n", is_head=True)
    assert (reader.is_complete, bytes(reader.body)) == (True, b"")


def test_fields() -> None:
    reader = read(OK + b"X-A:  b c \t\r\nx-a: d\r\nE:\r\n\r\n")
    assert (reader.get("X-a"), reader.get("e"), reader.get("f")) == ("b c", "", None)
    assert reader.version == "1.1"


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"SSH-2.0-OpenSSH\r\n\r\n", "not a status line"),
        (b"HTTP/2 200 OK\r\n\r\n", "not a status line"),
        (b"HTTP/1.1 999 OK\r\n\r\n", "not a status line"),
        (OK + b"no field\r\n\r\n", "no header field"),
        (OK + b" folded: x\r\n\r\n", "no header field"),
        (OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n", "cannot be understood"),
        (OK + b"Content-Length: -5\r\n\r\n", "cannot be understood"),
        (OK + b"Content-Length: 5, 5\r\n\r\n", "cannot be understood"),
        (OK + b"Content-Length: 99999999999999999999\r\n\r\n", "cannot be understood"),
        (OK + b"Content-Length: 5\r\n\r\nhell", "ended in a body"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\nx\r\n", "not the size of a chunk"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n", "longer than it says"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab", "ended in a chunk"),
        (b"HTTP/1.1 200 OK\r\n", "ended in the status"),
        (b"", "ended in the status"),
        (OK + b"X: " + b"x" * 70_000, "more than 65536 bytes"),
        (OK + b"Content-Length: 101\r\n\r\n" + b"x" * 101, "a body of more than 100 bytes"),
        (OK + b"\r\n" + b"x" * 101, "a body of more than 100 bytes"),
    ],
)
def test_what_is_no_response(data: bytes, error: str) -> None:
    with pytest.raises(BadResponse, match=error):
        read(data, most=100)


@given(st.binary(max_size=100), st.booleans())
def test_any_bytes_are_a_response_or_an_error(data: bytes, has_head: bool) -> None:
    with contextlib.suppress(BadResponse):
        read((OK if has_head else b"") + data, most=50)
