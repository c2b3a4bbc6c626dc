"""How much mail one client and one user may hand over, in a time and at one time. Pure; the clock
is an argument.

A rate such as 250/hour is a bucket that holds 250 and is filled again evenly, one each 14.4
seconds. What is kept for a key is one number, the time at which its bucket will be full (the
"generic cell rate algorithm"), and a key whose bucket is full is as good as unknown, so that the
tables are bounded without losing anything.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Final

from netserve.config.types import Network, Rate
from netserve.wire.peer import counting_key, is_in

KEYS: Final = 20_000
"""Clients or users that one meter knows at a time; the one that came longest ago goes first."""


class Meter:
    """Holds each key to one rate.

    Arguments:
        rate: of each key.
        keys: how many are known at a time.
    """

    __slots__ = ("_count", "_full_at", "_interval", "_keys", "_seconds")

    def __init__(self, rate: Rate, *, keys: int = KEYS) -> None:
        self._count = rate.count
        self._seconds = rate.seconds
        self._interval = rate.seconds / rate.count
        self._keys = keys
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def take(self, key: str, now: float, count: int = 1) -> float:
        """Take so many, if there are so many; else nothing, and the seconds until there are.

        Arguments:
            key: whose.
            now: seconds, by any clock that only goes forward.
            count: how many; infinite time has to go by for more than a bucket holds.
        """
        if count > self._count:
            return inf
        full_at = max(self._full_at.get(key, now), now) + count * self._interval
        # The hundredth part of an interval is for what floating point loses.
        wait = full_at - now - self._seconds
        if wait > self._interval / 100:
            return wait
        self._full_at[key] = full_at
        self._full_at.move_to_end(key)
        if len(self._full_at) > self._keys:
            self._full_at.popitem(last=False)
        return 0.0

    def give_back(self, key: str, count: int = 1) -> None:
        """Put back what was taken just now."""
        self._full_at[key] -= count * self._interval


@dataclass(frozen=True, slots=True)
class Allowance:
    """What one client or one user may hand over yet.

    Arguments:
        key: whose it is.
        whose: the same in words, for replies.
        messages: the meter of messages.
        recipients: the meter of recipients.
        clock: gives seconds.
    """

    key: str
    whose: str
    messages: Meter
    recipients: Meter
    clock: Callable[[], float]

    def take(self, messages: int, recipients: int) -> float:
        """Take so many of both, or nothing, and tell the seconds to wait."""
        now, wait = self.clock(), 0.0
        if messages:
            wait = self.messages.take(self.key, now, messages)
        if recipients and not wait:
            wait = self.recipients.take(self.key, now, recipients)
            if wait and messages:
                self.messages.give_back(self.key, messages)
        return wait

    def give_back(self, messages: int, recipients: int) -> None:
        """Put back what was taken just now."""
        if messages:
            self.messages.give_back(self.key, messages)
        if recipients:
            self.recipients.give_back(self.key, recipients)


def take_of_all(
    allowances: Sequence[Allowance], *, messages: int = 0, recipients: int = 0
) -> tuple[str, float] | None:
    """Take of each allowance; or of none, where one has too little.

    Returns:
        whose has too little, and the seconds to wait; None where all was taken.
    """
    for at, allowance in enumerate(allowances):
        if wait := allowance.take(messages, recipients):
            for earlier in allowances[:at]:
                earlier.give_back(messages, recipients)
            return allowance.whose, wait
    return None


class RateLimits:
    """The meters of one service.

    Arguments:
        per_address: messages of one address.
        per_user: messages of one user.
        recipients_per_address: recipients of one address.
        recipients_per_user: recipients of one user.
        exempt: networks whose clients have no rates as an address.
        clock: gives seconds.
    """

    def __init__(
        self,
        *,
        per_address: Rate,
        per_user: Rate,
        recipients_per_address: Rate,
        recipients_per_user: Rate,
        exempt: tuple[Network, ...],
        clock: Callable[[], float],
    ) -> None:
        self._of_addresses = Meter(per_address), Meter(recipients_per_address)
        self._of_users = Meter(per_user), Meter(recipients_per_user)
        self._exempt = exempt
        self._clock = clock

    def of_client(self, client: str) -> Allowance | None:
        """The allowance of a client, or None where it has no limit.

        Arguments:
            client: its IP address; one without is on this machine, and has none.
        """
        key = counting_key(client)
        if not key or is_in(client, self._exempt):
            return None
        return Allowance(key, "your address", *self._of_addresses, self._clock)

    def of_user(self, user: str) -> Allowance:
        """The allowance of a user."""
        return Allowance(user, "this user", *self._of_users, self._clock)


class Places:
    """The connections of users: SMTP's that have logged in, and requests that are under way.

    Arguments:
        most: of one user at one time.
    """

    __slots__ = ("_most", "_taken")

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken: Counter[str] = Counter()

    def take(self, user: str) -> bool:
        """Take one, to be given back by `leave`; False where there is none left."""
        if self._taken[user] >= self._most:
            return False
        self._taken[user] += 1
        return True

    def leave(self, user: str) -> None:
        """Give one back."""
        self._taken[user] -= 1
        if not self._taken[user]:
            del self._taken[user]  # the table does not grow with the users ever seen
