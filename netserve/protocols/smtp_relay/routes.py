"""The routes of a relay: which message goes where. Models of the file, and the matching.

A route has a `match` and a `deliver`. The first route of the list that matches a recipient decides
about it. Nothing here does I/O; the outbox asks again at each attempt, so that a corrected file
also moves what is queued already.

An address pattern is ``local@domain`` with ``*`` for any run of characters and ``?`` for one. The
domain is compared without regard to case, and an internationalised one in either of its forms; the
local part with its case (RFC 5321, 2.4). ``*`` alone is any address, ``<>`` the null sender,
``postmaster`` the one address that may lack a domain.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable
from typing import Annotated, TypeAlias

from pydantic import (
    AfterValidator,
    BeforeValidator,
)

from netserve.config.types import TEXTS, Section, Shown, one_or_many
from netserve.errors import InvalidValue
from netserve.mail.address import ascii_domain
from netserve.protocols.smtp_relay.delivery.deliver import Deliver
from netserve.protocols.smtp_relay.lists import ONE_OR_MANY_TEXTS, not_empty


def _check_address_pattern(pattern: str) -> str:
    if pattern in {"*", "<>"} or pattern.lower() == "postmaster":
        return pattern
    local, at, domain = pattern.rpartition("@")
    if not at:
        raise InvalidValue(
            'not an address pattern; for a whole domain write "*@{domain}"',
            domain=pattern or "example.org",
        )
    if not local or not domain:
        raise InvalidValue("an address pattern has something on both sides of its @")
    return pattern


def _check_user_pattern(pattern: str) -> str:
    if not pattern:
        raise InvalidValue('a user pattern is not empty; "*" is any authenticated user')
    return pattern


AddressPatterns: TypeAlias = Annotated[
    tuple[Annotated[str, AfterValidator(_check_address_pattern), Shown()], ...],
    BeforeValidator(one_or_many),
    AfterValidator(not_empty),
    ONE_OR_MANY_TEXTS,
    TEXTS,
]
"""One address pattern or a list of them."""

UserPatterns: TypeAlias = Annotated[
    tuple[Annotated[str, AfterValidator(_check_user_pattern), Shown()], ...],
    BeforeValidator(one_or_many),
    AfterValidator(not_empty),
    ONE_OR_MANY_TEXTS,
    TEXTS,
]
"""One pattern of user names or a list of them."""


class Match(Section):
    """What a route is for; all that is given must match."""

    recipient: AddressPatterns | None = None
    """The recipient's address: `"*@example.org"`, or a list of which one matches."""
    sender: AddressPatterns | None = None
    """The sender's address; `"<>"` is the null sender of bounces."""
    user: UserPatterns | None = None
    """The user who authenticated; `"*"` is any of them, and never somebody who did not."""


class Route(Section):
    """What is done with the messages that match."""

    match: Match = Match()
    """Which messages; without it: all."""
    deliver: Deliver
    """What is done with them."""


_Test: TypeAlias = Callable[[str], bool]


def _glob(pattern: str) -> Callable[[str], object]:
    # Brackets are no wildcards here: they stand in address literals. What fnmatch makes of the
    # rest runs in bounded time, however many stars there are.
    return re.compile(fnmatch.translate(pattern.replace("[", "[[]"))).match


def _address_test(pattern: str) -> _Test:
    if pattern == "*":
        return lambda _: True
    if pattern == "<>":
        return lambda address: address == ""
    local, at, domain = pattern.rpartition("@")
    if not at:
        return lambda address: address.lower() == "postmaster"
    match_local, match_domain = _glob(local), _glob(_ascii_labels(domain).lower())

    def test(address: str) -> bool:
        local, at, domain = address.rpartition("@")
        domain = domain.lower()
        fits = match_domain(domain)
        if not fits and not domain.isascii():
            fits = match_domain(_ascii_labels(domain))
        return bool(at and fits and match_local(local))

    return test


def _ascii_labels(domain: str) -> str:
    """A domain with A-labels for U-labels (RFC 5890), but for labels of patterns with stars."""
    return ".".join(ascii_domain(label) or label for label in domain.split("."))


def _user_test(pattern: str) -> _Test:
    match = _glob(pattern)
    return lambda user: bool(user and match(user))


def _any_of(patterns: tuple[str, ...] | None, compiled: Callable[[str], _Test]) -> _Test | None:
    if patterns is None:
        return None
    tests = [compiled(pattern) for pattern in patterns]
    return tests[0] if len(tests) == 1 else lambda value: any(test(value) for test in tests)


def address_matcher(patterns: tuple[str, ...]) -> Callable[[str], bool]:
    """A test whether one of the address patterns matches an address."""
    tests = [_address_test(pattern) for pattern in patterns]
    return lambda address: any(test(address) for test in tests)


class RouteTable:
    """Finds the route of a recipient.

    Arguments:
        routes: in the order of the file.
    """

    __slots__ = ("_rows", "routes")

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes = tuple(routes)
        self._rows = [
            (
                _any_of(route.match.recipient, _address_test),
                _any_of(route.match.sender, _address_test),
                _any_of(route.match.user, _user_test),
                route,
            )
            for route in self.routes
        ]

    def find(self, sender: str, recipient: str, user: str = "") -> Route | None:
        """The first route that matches, or None.

        Arguments:
            sender: the mailbox without angle brackets, empty for the null sender.
            recipient: the mailbox without angle brackets.
            user: who authenticated, or an empty string.
        """
        for of_recipient, of_sender, of_user, route in self._rows:
            if (
                (of_recipient is None or of_recipient(recipient))
                and (of_sender is None or of_sender(sender))
                and (of_user is None or of_user(user))
            ):
                return route
        return None
