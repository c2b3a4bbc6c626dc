"""Masks for values that change from run to run, such as dates, ids and tokens.

Expectation and answer are both masked before they are compared, so a dialogue may contain the
values of the day that it was recorded on, or ``<date>`` written by hand.
Patterns are RE2's, which run in bounded time whatever an answer has (S18).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from netserve.wire.pattern import Pattern

__all__ = ["NAMES", "Masks"]

VALUE: Final = "value"
"""The group of a pattern that is masked; without it the whole match is."""

_DAY: Final = r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_MONTH: Final = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_CLOCK: Final = r"\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d{1,9})?)?"
_ZONE: Final = r"(?: ?(?:Z|GMT|UTC|[+-]\d{2}:?\d{2}))?"

_PATTERNS: Final[dict[str, tuple[str, ...]]] = {
    "date": (
        # RFC 5322 and RFC 9110, with or without the name of the day
        rf"(?:{_DAY},? )?\b\d{{1,2}} {_MONTH} \d{{4}}(?: {_CLOCK}{_ZONE}(?: \([A-Z]{{1,5}}\))?)?",
        # asctime, and syslog's without a year
        rf"\b(?:{_DAY} )?{_MONTH} [ \d]\d (?:{_CLOCK})(?: \d{{4}})?",
        # RFC 3339
        rf"\b\d{{4}}-\d{{2}}-\d{{2}}(?:[T ]{_CLOCK}{_ZONE})?",
        # HL7: a timestamp as digits, to the minute at least
        r"\b(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?:[01]\d|2[0-3])[0-5]\d(?:[0-5]\d(?:\.\d{1,4})?)?(?:[+-]\d{4})?\b",
    ),
    "id": (
        r"\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b",
        # the left part of a message id
        r"<(?P<value>[^<>@\s]{8,200})@[^<>@\s]+>",
        # letters and digits mixed, as queue ids are
        r"\b(?:[A-Za-z]{1,20}\d|\d{1,20}[A-Za-z])(?:[A-Za-z]{0,20}\d[A-Za-z]{0,20}){2,20}(?:-\d{1,10})?\b",
    ),
    "token": (r"(?:^|[^A-Za-z0-9_])(?P<value>[A-Za-z0-9+/_-]{32,}={0,2})",),
    "address": (
        r"\b\d{1,3}(?:\.\d{1,3}){3}(?::\d{1,5})?\b",
        r"\[(?:IPv6:)?[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*\](?::\d{1,5})?",
    ),
    "number": (r"\b\d+(?:\.\d+)?\b",),
}

NAMES: Final = tuple(_PATTERNS)
"""The masks that there are; they are applied in this order."""


class Masks:
    """Replaces values by the names of their masks.

    Arguments:
        names: of `NAMES`.
        own: pairs of a name and a pattern, which are applied first, in order.

    Raises:
        ValueError: a pattern is not valid.
    """

    def __init__(self, names: Iterable[str] = (), own: Sequence[tuple[str, str]] = ()) -> None:
        wanted = set(names)
        pairs = [*own]
        pairs += [(name, each) for name in NAMES if name in wanted for each in _PATTERNS[name]]
        self._patterns = [(f"<{name}>".encode(), Pattern(text, "latin-1")) for name, text in pairs]

    def apply(self, data: bytes) -> bytes:
        """The bytes with each value replaced by ``<name>``."""
        for shown, pattern in self._patterns:
            group = VALUE if VALUE in pattern.names else None
            for start, end in reversed(pattern.spans(data, group)):
                data = data[:start] + shown + data[end:]
        return data
