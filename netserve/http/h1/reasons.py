"""The usual reason phrases (RFC 9110, section 15)."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

_BY_STATUS: Final = {status.value: status.phrase.encode() for status in HTTPStatus}
USUAL: Final = frozenset(_BY_STATUS.values())


def reason_of(status: int) -> bytes:
    """The usual reason; empty for a status that has none."""
    return _BY_STATUS.get(status, b"")
