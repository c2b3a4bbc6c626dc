"""A supply that addresses share, none of which can use it up.

An address may take more while it has no more than it leaves free. So one address gets at most
half, two get a third each, and so on: a part is always left for the next one, without a part being
set aside that nobody uses. (Packet switches share their buffers by this rule: Choudhury and Hahne,
"Dynamic queue length thresholds for shared-memory packet switches", 1998.)
"""

from __future__ import annotations

from collections import Counter


class Shares:
    """Counts what each address has of a supply.

    What an address has beyond its share, since it was there before it could be refused (`add`), is
    counted against that address, and not against the others.

    Arguments:
        total: how much there is, such as bytes or slots.
        most: the most of one address, in place of the rule above.
    """

    __slots__ = ("_beyond", "_most", "_of", "total", "used")

    def __init__(self, total: int, most: int | None = None) -> None:
        self.total = total
        self.used = 0
        """What is taken, without what is beyond a share."""
        self._most = most
        self._of: Counter[str] = Counter()
        self._beyond: Counter[str] = Counter()

    def permits(self, address: str, amount: int = 1) -> bool:
        """Whether an address may take so much more."""
        return amount <= self._room(address)

    def take(self, address: str, amount: int = 1) -> bool:
        """Take so much, to be given back by `give`; False where it may not be taken."""
        if amount > self._room(address):
            return False
        self._count(address, amount)
        return True

    def add(self, address: str, amount: int) -> None:
        """Count so much, which is there whether or not it may be."""
        within = max(min(amount, self._room(address)), 0)
        self._count(address, within)
        if amount > within:
            self._beyond[address] += amount - within

    def give(self, address: str, amount: int = 1) -> None:
        """Give so much back."""
        beyond = min(self._beyond.get(address, 0), amount)
        if beyond:
            self._count_down(self._beyond, address, beyond)
            amount -= beyond
        self.used -= amount
        if address and amount:
            self._count_down(self._of, address, amount)

    def _room(self, address: str) -> int:
        """How much more an address may take."""
        free = self.total - self.used
        if address in self._beyond:
            return 0
        if not address:
            return free
        has = self._of.get(address, 0)
        if self._most is not None:
            return min(self._most - has, free)
        # After it has taken it, it has no more than is left, and one: of an odd number somebody may
        # have the one in the middle.
        return min((free + 1 - has) // 2, free)

    def _count(self, address: str, amount: int) -> None:
        self.used += amount
        if address:
            self._of[address] += amount

    @staticmethod
    def _count_down(counter: Counter[str], address: str, amount: int) -> None:
        left = counter[address] - amount
        if left:
            counter[address] = left
        else:
            del counter[address]  # the table does not grow with the addresses ever seen


class Holding:
    """What one connection has of a supply of memory.

    Arguments:
        shares: the supply.
        address: the connection's.
        free: bytes that are not counted: what every connection may have.
    """

    __slots__ = ("_address", "_counted", "_free", "_shares", "size")

    def __init__(self, shares: Shares, address: str, *, free: int = 0) -> None:
        self._shares = shares
        self._address = address
        self._free = free
        self._counted = 0
        self.size = 0
        """Bytes that it has."""

    def grow(self, amount: int) -> bool:
        """Hold so much more; False, and nothing more is held, where that is too much."""
        more = self._over(self.size + amount) - self._counted
        if more and not self._shares.take(self._address, more):
            return False
        self._counted += more
        self.size += amount
        return True

    def add(self, amount: int) -> None:
        """Hold so much more, which is there already; a negative amount is given back."""
        self.size += amount
        more = self._over(self.size) - self._counted
        if more > 0:
            self._shares.add(self._address, more)
        elif more < 0:
            self._shares.give(self._address, -more)
        self._counted += more

    def _over(self, size: int) -> int:
        return max(size - self._free, 0)

    def close(self) -> None:
        """Give everything back."""
        self.add(-self.size)
