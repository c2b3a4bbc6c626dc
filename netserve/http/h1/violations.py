"""What a peer did wrong: the status that answers it, and the text for the peer and the log."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Final, NoReturn

_SHOWN: Final = 60
"""Bytes of a peer's input that a text shows."""


class Kind(Enum):
    """What kind of violation it is; the values are words for metrics."""

    MALFORMED = "malformed"
    TOO_LARGE = "too-large"
    UNSUPPORTED = "unsupported"
    INCOMPLETE = "incomplete"

    __hash__ = object.__hash__


@dataclass(frozen=True, slots=True)
class Violation:
    """The event for input that breaks the protocol or passes a limit. Nothing is read after it.

    Arguments:
        status: what a server answers (RFC 9110, section 15.5 and 15.6). A gateway that meets the
            violation in a response answers 502 instead.
        reason: a few words for the peer and the log, without any of the peer's bytes.
        kind: malformed, a limit that was passed, not supported, or cut short.
        shown: for the log only: the bytes in question, escaped and cut short.
    """

    status: int
    reason: str
    kind: Kind = Kind.MALFORMED
    shown: str = field(default="", compare=False)

    def __str__(self) -> str:
        return f"{self.reason}: {self.shown}" if self.shown else self.reason


class Violated(Exception):
    """Carries a `Violation` from where it is found to the machine's `next_event`."""

    def __init__(self, violation: Violation) -> None:
        super().__init__(str(violation))
        self.violation = violation


def violated(
    reason: str, data: bytes = b"", *, status: int = 400, kind: Kind = Kind.MALFORMED
) -> NoReturn:
    """Raise `Violated`.

    Arguments:
        reason: as in `Violation`.
        data: the peer's bytes that the log shows.
        status: as in `Violation`.
        kind: as in `Violation`.
    """
    raise Violated(Violation(status, reason, kind, show(data)))


def too_large(reason: str, status: int) -> NoReturn:
    """Raise `Violated` for a limit."""
    raise Violated(Violation(status, reason, Kind.TOO_LARGE))


def show(data: bytes) -> str:
    """A peer's bytes for one line of a log: printable ASCII as it is, all else escaped."""
    if not data:
        return ""
    text = repr(bytes(data[:_SHOWN]))[1:]
    return f"{text}..." if len(data) > _SHOWN else text


class Unsendable(ValueError):
    """What we were asked to send is not HTTP, or does not fit what was sent before it.

    It is the caller's fault, so nothing was sent, and the machine is as it was.
    """
