"""A queue of queues: one item of each key in turn, however many the others have."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Rotation(Generic[K, V]):
    """Items by key, taken round robin: first in, first out only among those of one key."""

    __slots__ = ("_keys", "_size")

    def __init__(self) -> None:
        self._keys: OrderedDict[K, deque[V]] = OrderedDict()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def put(self, key: K, item: V) -> None:
        """Append an item to those of its key; a new key comes after all others."""
        items = self._keys.get(key)
        if items is None:
            items = self._keys[key] = deque()
        items.append(item)
        self._size += 1

    def first(self) -> tuple[K, V]:
        """The next key and its first item, which stay.

        Raises:
            IndexError: it is empty.
        """
        for key, items in self._keys.items():
            return key, items[0]
        raise IndexError("an empty rotation")

    def pop(self) -> tuple[K, V]:
        """Take the next item; its key goes to the end.

        Raises:
            IndexError: it is empty.
        """
        key, _ = self.first()
        return key, self._take(key)

    def pop_where(self, permits: Callable[[K], bool]) -> tuple[K, V] | None:
        """Take the next item whose key is permitted, or None where there is none.

        Arguments:
            permits: is asked about each key in turn.
        """
        for key in self._keys:
            if permits(key):
                return key, self._take(key)
        return None

    def _take(self, key: K) -> V:
        items = self._keys[key]
        item = items.popleft()
        self._size -= 1
        if items:
            self._keys.move_to_end(key)
        else:
            del self._keys[key]
        return item

    def discard(self, key: K, item: V) -> bool:
        """Remove an item, wherever it is; says whether it was there."""
        items = self._keys.get(key)
        if items is None:
            return False
        try:
            items.remove(item)
        except ValueError:
            return False
        self._size -= 1
        if not items:
            del self._keys[key]
        return True
