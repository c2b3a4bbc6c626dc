"""What the small services say: pure functions of a request, a clock and a source of randomness."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Final

from netserve.wire.reply_guard import ReplyGuard

EPOCH_1900: Final = 2_208_988_800
"""Seconds from 1900, where RFC 868 begins to count, to 1970."""

LINE_LENGTH: Final = 72
"""Of a line of chargen, without its ending (RFC 864)."""
CHARGEN_UDP: Final = 512
"""The most bytes of a datagram of chargen (RFC 864)."""
_PRINTABLE: Final = bytes(range(32, 127))


def daytime(now: float) -> bytes:
    """The date and time in words, in UTC (RFC 867).

    Arguments:
        now: in seconds since 1970.
    """
    # Not strftime, whose names of days and months follow the locale.
    moment = datetime.fromtimestamp(now, UTC)
    days = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
    months = (
        *("January", "February", "March", "April", "May", "June"),
        *("July", "August", "September", "October", "November", "December"),
    )
    day, month = days[moment.weekday()], months[moment.month - 1]
    text = f"{day}, {month} {moment.day}, {moment.year} {moment:%H:%M:%S}-UTC\r\n"
    return text.encode("ascii")


def time_1900(now: float) -> bytes:
    """The seconds since 1900 as four bytes, big end first; they wrap in 2036 (RFC 868).

    Arguments:
        now: in seconds since 1970.
    """
    return ((int(now) + EPOCH_1900) % 2**32).to_bytes(4, "big")


def chargen_cycle() -> bytes:
    """The lines of chargen, each shifted by one character, until they repeat (RFC 864)."""
    twice = _PRINTABLE * 2
    return b"".join(
        twice[start : start + LINE_LENGTH] + b"\r\n" for start in range(len(_PRINTABLE))
    )


CHARGEN: Final = chargen_cycle()


def chargen_datagram(request: int, guard: ReplyGuard, source: random.Random) -> bytes:
    """A random number of characters, at most 512 (RFC 864) and as many as the guard allows.

    Arguments:
        request: the size of the request in bytes.
        guard: bounds the reply.
        source: of randomness.
    """
    return CHARGEN[: source.randint(0, guard.largest(request, CHARGEN_UDP))]
