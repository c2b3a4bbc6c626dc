"""Queue ids: a number that grows with time, written with eleven characters.

The number is the microsecond in which the message began to come in, so ids sort by age, are
appended at the end of each table, and are not used again. The alphabet has no letters that are
taken for one another (i, l, o, u are left out), and one case, so an id is a safe file name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
LENGTH: Final = 11
_VALUES: Final = {character: value for value, character in enumerate(ALPHABET)}
_PAIRS: Final = tuple(a + b for a in ALPHABET for b in ALPHABET)


def encode_id(number: int) -> str:
    """The queue id for a number from 0 up to 2**55 - 1."""
    pairs = _PAIRS
    return (
        ALPHABET[number >> 50]
        + pairs[number >> 40 & 1023]
        + pairs[number >> 30 & 1023]
        + pairs[number >> 20 & 1023]
        + pairs[number >> 10 & 1023]
        + pairs[number & 1023]
    )


def decode_id(text: str) -> int:
    """The number for a queue id.

    Raises:
        ValueError: it is not of that form.
    """
    if len(text) != LENGTH:
        raise ValueError(f"not a queue id: {text!r}")
    number = 0
    for character in text:
        try:
            number = number << 5 | _VALUES[character]
        except KeyError:
            raise ValueError(f"not a queue id: {text!r}") from None
    return number


class IdSource:
    """Gives numbers that only grow, also when the clock is set back.

    Arguments:
        now: unix time in seconds.
        last: the largest number that is in use.
    """

    def __init__(self, now: Callable[[], float], last: int = 0) -> None:
        self.last = last
        """The largest number so far."""
        self._now = now

    def next(self) -> int:
        """A number that was not given before."""
        self.last = max(self.last + 1, int(self._now() * 1e6))
        return self.last
