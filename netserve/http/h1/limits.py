"""The limits of the HTTP/1.1 machines; every one is finite unless its name says otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one message may bring. Sizes are in bytes, without the CRLF of a line.

    The status is what a server answers to a request that passes the limit; for a response that
    passes one, a gateway answers 502.

    Arguments:
        method: length of the method (501).
        start_line: length of the request line (414) or the status line.
        field_line: length of one field line, name and value together (431).
        head: size of the start line and all field lines together, with their CRLFs (431).
        fields: number of field lines (431).
        body: size of the body after its framing is removed (413); None: no limit.
        chunk_line: length of one chunk-size line, extensions included (400).
        chunk_extensions: size of all chunk extensions of one body (400).
        trailer_section: size of all trailer lines together, with their CRLFs (431).
        trailers: number of trailer lines (431).
        informational: number of 1xx responses before a final one.
        length_required: whether a request body of unknown length is refused (411).
    """

    method: int = 32
    start_line: int = 8192
    field_line: int = 8192
    head: int = 65536
    fields: int = 100
    body: int | None = None
    chunk_line: int = 1024
    chunk_extensions: int = 16384
    trailer_section: int = 8192
    trailers: int = 32
    informational: int = 32
    length_required: bool = False


DEFAULTS: Final = Limits()
