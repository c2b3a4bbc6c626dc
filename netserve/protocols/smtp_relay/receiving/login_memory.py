"""Logins that failed, and those that succeeded, over all connections: who has to wait. Pure.

=======================  =====================================================================
failures are counted     and a login has to wait
=======================  =====================================================================
for a user, at one       after `Patience.pair` of them; also one who has logged in from there
address                  before: a user's own program may have the old password
at one address           after `Patience.address`, whoever is tried; not a user who has logged
                         in from there before, so that a guesser behind the same router locks
                         nobody out
for a user, by the       after `Patience.user` addresses; not where the user has logged in
addresses that failed    before, so that guessers all over the world lock nobody out
=======================  =====================================================================

The wait is a second, and doubles with each further failure. While it lasts nothing is verified: a
guess costs nothing, and finds nothing out. Addresses are those of `counting_key`. Programs on this
machine, such as webmail, share one address for all their users: networks may be exempt from the
count of addresses.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

KEYS: Final = 20_000
"""What each table has room for; what was not used for the longest time goes first."""
FORGOTTEN_AFTER: Final = 3600.0
"""Seconds without a failure after which the count begins again."""
FIRST_WAIT: Final = 1.0
LONGEST_FOR_A_USER: Final = 30.0
"""Seconds; guesses from everywhere are slowed down by this, and a user on the road is let in."""
_LONGEST_NAME: Final = 100
"""Characters of a user's name that are told apart: names that are tried cost bounded memory."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How many failures go without a wait.

    Arguments:
        pair: of a user at one address.
        address: of one address.
        user: addresses that fail for one user.
        longest: seconds that a wait may take.
    """

    pair: int
    address: int
    user: int = 50
    longest: float = 300.0


@dataclass(frozen=True, slots=True)
class Client:
    """Who tries to log in, as it is remembered.

    Arguments:
        address: what counts as one address; empty for a local socket.
        user: the name in its remembered form; empty for a token that nobody has.
        is_exempt: whether failures of the address are not counted.
    """

    address: str
    user: str
    is_exempt: bool

    @classmethod
    def of(cls, address: str, user: str, *, is_exempt: bool) -> Client:
        """For a user's name as it was given: directories may not care about case."""
        return cls(address, user.casefold()[:_LONGEST_NAME], is_exempt or not address)

    @property
    def pair(self) -> tuple[str, str]:
        """Both together."""
        return self.address, self.user


class _Failures:
    """Counts failures by key, and says how long the key has to wait.

    Arguments:
        free: failures without a wait.
        longest: seconds that a wait may take.
    """

    __slots__ = ("_counts", "_free", "_longest")

    def __init__(self, free: int, longest: float) -> None:
        self._free = free
        self._longest = longest
        self._counts: OrderedDict[object, tuple[int, float]] = OrderedDict()

    def count(self, key: object, now: float) -> int:
        """The failures that are remembered."""
        count, last = self._counts.get(key, (0, 0.0))
        return count if now - last < FORGOTTEN_AFTER else 0

    def wait(self, key: object, now: float) -> float:
        """Seconds until the key may try again."""
        count, last = self._counts.get(key, (0, 0.0))
        over = count - self._free
        if over < 0 or now - last >= FORGOTTEN_AFTER:
            return 0.0
        seconds = min(FIRST_WAIT * 2.0 ** min(over, 60), self._longest)
        return max(last + seconds - now, 0.0)

    def add(self, key: object, now: float) -> None:
        """One more."""
        self._counts[key] = self.count(key, now) + 1, now
        self._counts.move_to_end(key)
        if len(self._counts) > KEYS:
            self._counts.popitem(last=False)

    def forget(self, key: object) -> None:
        """As if there had been none."""
        self._counts.pop(key, None)


class LoginMemory:
    """See the module. Its times are seconds by any clock that only goes forward.

    Arguments:
        patience: how much is let pass.
    """

    def __init__(self, patience: Patience) -> None:
        self._pairs = _Failures(patience.pair, patience.longest)
        self._addresses = _Failures(patience.address, patience.longest)
        self._users = _Failures(patience.user, min(patience.longest, LONGEST_FOR_A_USER))
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()

    def wait(self, client: Client, now: float) -> float:
        """Seconds until a login may be tried; 0 for at once."""
        wait = self._pairs.wait(client.pair, now) if client.user else 0.0
        if client.pair not in self._known:
            if not client.is_exempt:
                wait = max(wait, self._addresses.wait(client.address, now))
            if client.user:
                wait = max(wait, self._users.wait(client.user, now))
        return wait

    def is_known(self, client: Client) -> bool:
        """Whether the user has logged in from this address."""
        return client.pair in self._known

    def has_failed(self, client: Client, now: float) -> bool:
        """Whether a login has failed: of this user here, or of the address where that counts."""
        return bool(
            self._pairs.count(client.pair, now)
            or (not client.is_exempt and self._addresses.count(client.address, now))
        )

    def failed(self, client: Client, now: float) -> None:
        """A login was tried, and failed."""
        if not client.is_exempt:
            self._addresses.add(client.address, now)
        if client.user:
            if not self._pairs.count(client.pair, now):
                self._users.add(client.user, now)
            self._pairs.add(client.pair, now)

    def succeeded(self, client: Client) -> None:
        """A login succeeded. The address is not forgiven for that: a guesser may be a user, too."""
        self._pairs.forget(client.pair)
        self._known[client.pair] = None
        self._known.move_to_end(client.pair)
        if len(self._known) > KEYS:
            self._known.popitem(last=False)
