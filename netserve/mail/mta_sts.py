"""MTA-STS (RFC 8461): what a domain asks of those who send to it, parsed and applied.

The TXT record at ``_mta-sts.DOMAIN`` says that there is a policy, and its id; the policy itself
lies at `policy_url`. Where it is in mode ``enforce``, mail goes only to MX hosts that it names,
over TLS with a certificate for the host's name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, cast

from netserve.mail.mx import is_host_name

MAX_AGE: Final = 31_557_600
"""The longest that a policy is kept, in seconds."""
MAX_SIZE: Final = 64 * 1024
"""The largest policy, in bytes (RFC 8461, 3.3)."""
MAX_PATTERNS: Final = 256
"""MX patterns of one policy."""

_RECORD: Final = re.compile(r"v=STSv1[ \t]*;")
_FIELD: Final = re.compile(
    r"[ \t]*([A-Za-z0-9][A-Za-z0-9_.-]{0,31})[ \t]*=[ \t]*([!-:<>-~]+)[ \t]*"
)
_ID: Final = re.compile(r"[A-Za-z0-9]{1,32}")
_AGE: Final = re.compile(r"[0-9]{1,10}")
_MODES: Final = ("enforce", "testing", "none")


class BadPolicy(ValueError):
    """What was fetched is no policy."""


@dataclass(frozen=True, slots=True)
class Policy:
    """One policy.

    Arguments:
        mode: ``enforce``, ``testing`` or ``none``.
        max_age: seconds that it may be kept for.
        mx: patterns in lower case: ``mx.example.org``, ``*.example.org``.
    """

    mode: Literal["enforce", "testing", "none"]
    max_age: int
    mx: tuple[str, ...]

    def names(self, host: str) -> bool:
        """Whether an MX host, in lower case, is one of its own (RFC 8461, 4.1)."""
        _, _, parent = host.partition(".")
        return host in self.mx or (bool(parent) and f"*.{parent}" in self.mx)


def record_name(domain: str) -> str:
    """Where the TXT record is."""
    return f"_mta-sts.{domain}"


def policy_host(domain: str) -> str:
    """The host that serves the policy; its certificate is for this name."""
    return f"mta-sts.{domain}"


POLICY_PATH: Final = "/.well-known/mta-sts.txt"


def policy_id(records: Iterable[str]) -> str | None:
    """The id in the TXT records of a domain, or None where it has no policy (RFC 8461, 3.1).

    Arguments:
        records: each with its strings joined.
    """
    candidates = [record for record in records if _RECORD.match(record)]
    if len(candidates) != 1:
        return None
    found = None
    for field in candidates[0].split(";")[1:]:
        if not field.strip(" \t"):
            continue
        match = _FIELD.fullmatch(field)
        if match is None:
            return None
        if match[1] == "id" and found is None:
            found = match[2]
    return found if found is not None and _ID.fullmatch(found) else None


def parse_policy(body: bytes) -> Policy:
    """A policy from what the server gave (RFC 8461, 3.2).

    A field that is not known is read over; of one that is there twice the first counts, save
    `mx`.

    Raises:
        BadPolicy: it is none, with the reason.
    """
    if len(body) > MAX_SIZE:
        raise BadPolicy("it is too long")
    fields, patterns = _fields(body)
    if fields.get("version") != "STSv1":
        raise BadPolicy("its version is not STSv1")
    mode, age = fields.get("mode"), fields.get("max_age", "")
    if mode not in _MODES:
        raise BadPolicy("its mode is none of enforce, testing and none")
    if not _AGE.fullmatch(age):
        raise BadPolicy("its max_age is no number of seconds")
    if not patterns and mode != "none":
        raise BadPolicy("it names no MX host")
    if len(patterns) > MAX_PATTERNS:
        raise BadPolicy("it names too many MX hosts")
    checked = cast("Literal['enforce', 'testing', 'none']", mode)
    return Policy(checked, min(int(age), MAX_AGE), tuple(patterns))


def _fields(body: bytes) -> tuple[dict[str, str], list[str]]:
    """The fields, and the MX patterns, which may be many."""
    fields: dict[str, str] = {}
    patterns: list[str] = []
    for line in body.decode("utf-8", "replace").replace("\r\n", "\n").split("\n"):
        if not line.strip(" \t"):
            continue
        key, colon, value = (part.strip(" \t") for part in line.partition(":"))
        if not colon:
            raise BadPolicy("a line of it is not of the form name: value")
        if key == "mx":
            patterns.append(_pattern(value))
        else:
            fields.setdefault(key, value)
    return fields, patterns


def _pattern(value: str) -> str:
    pattern = value.lower().removesuffix(".")
    if not is_host_name(pattern.removeprefix("*.")):
        raise BadPolicy("an MX pattern of it is no host name")
    return pattern
