"""MTA-STS policies on disk, so that a restart does not forget what domains asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from netserve.durable import replace_file
from netserve.mail.mta_sts import MAX_AGE, BadPolicy, Policy, parse_policy

MAX_FILE: Final = 32 * 1024 * 1024
"""Bytes of a file that is read."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A policy that was fetched.

    Arguments:
        policy: it.
        id: of the TXT record that it was fetched for.
        fetched: when, in unix seconds.
    """

    policy: Policy
    id: str
    fetched: float

    def age_share(self, now: float) -> float:
        """The part of its life that is over: 1 and more for one that is too old.

        A clock that was set back makes no policy older or younger than its whole life.
        """
        return abs(now - self.fetched) / max(self.policy.max_age, 1)


def load(path: Path, now: float) -> dict[str, Kept]:
    """The policies of a file that are not too old; none where there is no file.

    Raises:
        ValueError: the file is damaged.
        OSError: it can't be read.
    """
    try:
        with path.open("rb") as file:
            text = file.read(MAX_FILE + 1)
    except FileNotFoundError:
        return {}
    if len(text) > MAX_FILE:
        raise ValueError("it is too long")
    found = {}
    try:
        for domain, entry in json.loads(text).items():
            kept = Kept(_policy(entry), str(entry["id"]), float(entry["fetched"]))
            if kept.age_share(now) < 1:
                found[str(domain)] = kept
    except (AttributeError, KeyError, TypeError, BadPolicy) as error:
        raise ValueError(f"it is not of the form that it is written in ({error})") from None
    return found


def save(path: Path, kept: Mapping[str, Kept]) -> None:
    """Write all of them, or leave the file as it was; for its owner only.

    Raises:
        OSError: it can't be written.
    """
    entries = {
        domain: {
            "id": each.id,
            "fetched": each.fetched,
            "mode": each.policy.mode,
            "max_age": each.policy.max_age,
            "mx": list(each.policy.mx),
        }
        for domain, each in kept.items()
    }
    replace_file(path, json.dumps(entries, indent=1).encode())


def _policy(entry: Mapping[str, object]) -> Policy:
    """By the same rules as when it came."""
    mx, age = entry["mx"], entry["max_age"]
    if not isinstance(mx, list) or not isinstance(age, int) or not 0 <= age <= MAX_AGE:
        raise BadPolicy("a policy of it is none")
    lines = ["version: STSv1", f"mode: {entry['mode']}", f"max_age: {age}"]
    return parse_policy("\n".join([*lines, *(f"mx: {pattern}" for pattern in mx)]).encode())
