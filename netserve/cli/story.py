"""What becomes of a message, from one look to the next: the new steps, and how it ends. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias

from netserve.cli.queue_text import clean, duration

Result: TypeAlias = Literal["delivered", "failed", "deferred", "held", "dropped"]
Step: TypeAlias = dict[str, Any]
"""Its `step`, which says what kind it is, and what belongs to that."""

EXIT_CODES: Final[Mapping[str, int]] = {
    "delivered": 0,
    "failed": 1,
    "dropped": 1,
    "deferred": 75,
    "held": 75,
}
"""75 is EX_TEMPFAIL of sysexits.h: it may still arrive."""


class Story:
    """Compares what the queue says of a message with what it said before.

    Arguments:
        recipients: the addresses that it is for; empty where they are not known.
    """

    def __init__(self, recipients: Sequence[str] = ()) -> None:
        self._routes: dict[str, str] = {}
        self._told = 0
        self._last: dict[str, str] = dict.fromkeys(recipients, "")

    def look(self, seen: Mapping[str, Any]) -> list[Step]:
        """The steps that are new.

        Arguments:
            seen: what ``GET /queue/ID/follow`` gives.
        """
        steps: list[Step] = []
        for recipient in seen["queued"] or ():
            # The lane is the service's name and the destination.
            self._route(steps, recipient["address"], recipient["lane"].partition(" ")[2])
        for outcome in seen["outcomes"][self._told :]:
            self._route(steps, outcome["recipient"], outcome["destination"])
            self._last[outcome["recipient"]] = outcome["outcome"]
            steps.append({"step": "attempt", **outcome})
        self._told = max(self._told, len(seen["outcomes"]))
        return steps

    def _route(self, steps: list[Step], address: str, destination: str) -> None:
        if self._routes.get(address) != destination:
            self._routes[address] = destination
            steps.append({"step": "route", "recipient": address, "destination": destination})

    def result(self, seen: Mapping[str, Any], *, left: float) -> Result | None:
        """How it has ended, or None where it is worth waiting.

        Arguments:
            seen: what was looked at last.
            left: seconds to the last look; an attempt behind it is not waited for.
        """
        queued = seen["queued"]
        if queued is None:
            outcomes = set(self._last.values())
            if "" in outcomes or "deferred" in outcomes:
                return "dropped"
            return "delivered" if outcomes == {"delivered"} else "failed"
        waiting = [one for one in queued if one["state"] in {"queued", "held"}]
        if waiting and all(one["state"] == "held" for one in waiting):
            return "held"
        later = [one for one in waiting if one["attempts"] and one["next_at"] > seen["now"] + left]
        return "deferred" if waiting and len(later) == len(waiting) else None


def step_text(step: Step) -> str:
    """A step for people."""
    return _TEXTS[step["step"]](step)


def ending_text(result: str, seen: Mapping[str, Any] | None) -> str:
    """The last line for people."""
    if result == "deferred" and seen is not None:
        times = [one["next_at"] for one in seen["queued"] or () if one["attempts"]]
        if times:
            return f"deferred: the next attempt is in {duration(min(times) - seen['now'])}"
    return _ENDINGS[result]


def _attempt(step: Step) -> str:
    remote = f" ({clean(step['remote'])})" if step["remote"] else ""
    return f"{step['outcome']} <{clean(step['recipient'])}>: {clean(step['reply'])}{remote}"


_TEXTS: Final = {
    "server": lambda step: clean(step["said"]),
    "accepted": lambda step: (
        f"accepted as {step['id']}, from <{clean(step['sender'])}>, by {step['service']},"
        f" trace {step['trace']}"
    ),
    "route": lambda step: f"route of <{clean(step['recipient'])}>: {clean(step['destination'])}",
    "attempt": _attempt,
    "unfollowed": lambda step: f"not followed: {clean(step['why'])}",
}
_ENDINGS: Final = {
    "accepted": "accepted by the server, which is not followed",
    "delivered": "delivered",
    "failed": "failed",
    "deferred": "deferred: it is not delivered yet, and is tried again",
    "held": "held: it is not tried until it is released",
    "dropped": "dropped: it is no longer in the queue",
    "refused": "refused",
}
