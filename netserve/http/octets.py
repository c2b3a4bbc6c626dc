"""Header fields that leave as they came (S27), where aiohttp would change them.

aiohttp reads bytes that are not UTF-8 with surrogate escapes, and leaves those out of what it
writes. Of fields with one name in two spellings, its client sends the last one only. Its server
adds a `Content-Type` to a response that has none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from aiohttp import hdrs, web
from aiohttp.abc import AbstractStreamWriter
from multidict import CIMultiDict

_NO_HEADERS: Final[CIMultiDict[str]] = CIMultiDict()
_ESCAPED: Final = re.compile("[\ud800-\udfff]")
_LINE_END: Final = re.compile("[\r\n\0]")


def is_utf8(text: str) -> bool:
    """Whether a text that was read with surrogate escapes was UTF-8."""
    return text.isascii() or _ESCAPED.search(text) is None


def one_spelling(headers: Mapping[str, str]) -> CIMultiDict[str]:
    """The same fields; those of one name are all spelled as the first of them is.

    Arguments:
        headers: names, in any spelling, and values.
    """
    names: dict[str, str] = {}
    return CIMultiDict(
        (names.setdefault(name.lower(), name), value) for name, value in headers.items()
    )


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

    async def _prepare_headers(self) -> None:
        had_type = hdrs.CONTENT_TYPE in self.headers
        await super()._prepare_headers()
        if not had_type:
            self.headers.popall(hdrs.CONTENT_TYPE, None)

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
