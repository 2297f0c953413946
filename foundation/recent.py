"""What came last, in memory, within a bound. Nothing may depend on it: what is not here is read or computed
anew.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Recent(Generic[Key, Value]):
    """Values by key; those used longest ago go when all together cost more than there is room for."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._entries: OrderedDict[Key, tuple[Value, int]] = OrderedDict()
        self.cost = 0
        """Of all that is kept."""

    def keep(self, key: Key, value: Value, cost: int) -> None:
        """In place of what has the key; not when there is no room for it alone."""
        self.take(key)
        if cost > self._room:
            return
        self._entries[key] = value, cost
        self.cost += cost
        while self.cost > self._room:
            _, (_, oldest) = self._entries.popitem(last=False)
            self.cost -= oldest

    def get(self, key: Key) -> Value | None:
        """It stays."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._entries.move_to_end(key)
        return entry[0]

    def clear(self) -> None:
        """All of it goes."""
        self._entries.clear()
        self.cost = 0

    def take(self, key: Key) -> Value | None:
        """It goes."""
        entry = self._entries.pop(key, None)
        if entry is None:
            return None
        self.cost -= entry[1]
        return entry[0]
