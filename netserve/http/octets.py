"""Header fields with bytes that are not UTF-8 (S27).

aiohttp reads them with surrogate escapes, and leaves those out of what it writes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from multidict import CIMultiDict

_NO_HEADERS: Final[CIMultiDict[str]] = CIMultiDict()
_ESCAPED: Final = re.compile("[\ud800-\udfff]")
_LINE_END: Final = re.compile("[\r\n\0]")


def is_utf8(text: str) -> bool:
    """Whether a text that was read with surrogate escapes was UTF-8."""
    return text.isascii() or _ESCAPED.search(text) is None


def fields(lines: Iterable[str]) -> bytes:
    """A status line and header fields, with the bytes that they were read from.

    Raises:
        ValueError: there is a line end in one of them.
    """
    lines = list(lines)
    if any(map(_LINE_END.search, lines)):
        raise ValueError("a line end in a header")
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape")


class OctetResponse(web.StreamResponse):
    """An answer that is passed on: its header fields leave with the bytes that they came with."""

    async def _write_headers(self) -> None:
        texts = [self.reason, *self.headers.values()]
        request, writer = self._req, self._payload_writer
        if request is None or writer is None or all(map(is_utf8, texts)):
            await super()._write_headers()
            return
        version = request.version
        status_line = f"HTTP/{version[0]}.{version[1]} {self.status} {self.reason}"
        octets = fields(
            [status_line, *(f"{name}: {value}" for name, value in self.headers.items())]
        )
        await _write(writer, octets)


async def _write(writer: AbstractStreamWriter, octets: bytes) -> None:
    """Write these for the header that aiohttp would."""
    await writer.write_headers("HTTP/1.1 200 OK", _NO_HEADERS)
    writer._headers_buf = octets  # type: ignore[attr-defined]  # noqa: SLF001 - it has no other way
    writer.send_headers()
