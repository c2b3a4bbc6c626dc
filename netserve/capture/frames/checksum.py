"""The Internet checksum (RFC 1071), computed by arithmetic on large integers, Python's fastest way.

2**16 is 1 modulo 65535, so the sum of all 16-bit words is the remainder of the whole number.
"""

from __future__ import annotations

from typing import Final

_HALVED: Final = 4096
"""Bytes above which adding both halves of the number first is the faster way."""


def word_sum(data: bytes) -> int:
    """The sum of the 16-bit big-endian words modulo 65535; an odd last byte is padded by a zero."""
    size = len(data)
    number = int.from_bytes(data, "big")
    if size & 1:
        number <<= 8
    while size > _HALVED:
        half = ((size >> 1) + 1) & ~1
        number = (number >> half * 8) + (number & ((1 << half * 8) - 1))
        size = half + 2
    return number % 65535


def checksum(total: int) -> int:
    """The checksum for a sum of words, of which it is the complement."""
    return -total % 65535
