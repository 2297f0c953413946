"""What Client Access keeps in memory of the messages it has shown: items that never change, as long as a
session has the folder selected, and within a bound for all sessions together.

A message's content never changes under its UID (RFC 3501 2.3.1.1), so nothing here becomes stale: a folder
that is made anew has another UIDVALIDITY.
"""

from __future__ import annotations

from collections.abc import Mapping
from weakref import WeakValueDictionary

from clientaccess.imap.left import LeftViews

BYTES_MAX = 32 * 1024 * 1024
ENTRY_BYTES = 120
"""What a value costs beside its own octets."""

Value = bytes | int
Values = Mapping[int, Value]
"""One item of a folder's messages, by UID."""

NOTHING: Values = {}


class KeptFolder:
    """Lives as long as a selected folder refers to it."""

    __slots__ = ("__weakref__", "_all", "_items", "size_bytes", "used")

    def __init__(self, everything: Kept) -> None:
        self._all = everything
        self._items: dict[bytes, dict[int, Value]] = {}
        self.size_bytes = 0
        self.used = 0

    def get(self, name: bytes) -> Values:
        self.used = self._all.tick()
        return self._items.get(name, NOTHING)

    def add(self, name: bytes, values: Values) -> None:
        """Values of an item. One folder gets at most half of all room: what has none is not kept."""
        known = self._items.get(name, NOTHING)
        new = values
        if not values.keys().isdisjoint(known):
            new = {uid: value for uid, value in values.items() if uid not in known}
        size = ENTRY_BYTES * len(new)
        size += sum([len(value) for value in new.values() if isinstance(value, bytes)])
        if self.size_bytes + size > self._all.bytes_max // 2:
            return
        self._items.setdefault(name, {}).update(new)
        self.size_bytes += size
        self.used = self._all.tick()
        self._all.took(size)

    def clear(self) -> None:
        """Who is reading from it goes on with what it has."""
        self._items = {}
        self.size_bytes = 0


class Kept:
    def __init__(self, bytes_max: int = BYTES_MAX) -> None:
        self.bytes_max = bytes_max
        self.left = LeftViews()
        self._folders: WeakValueDictionary[tuple[str, int], KeptFolder] = WeakValueDictionary()
        self._ticks = 0
        self._at_most = 0
        """What is kept, and what was but is gone with its folder."""

    def folder(self, folder_id: str, uid_validity: int) -> KeptFolder:
        """The same for all who have it selected."""
        found = self._folders.get((folder_id, uid_validity))
        if found is None:
            found = self._folders[folder_id, uid_validity] = KeptFolder(self)
        return found

    @property
    def size_bytes(self) -> int:
        return sum(folder.size_bytes for folder in self._folders.values())

    def tick(self) -> int:
        self._ticks += 1
        return self._ticks

    def took(self, size_bytes: int) -> None:
        """So much more is kept: beyond the bound the folders that were used longest ago are emptied."""
        self._at_most += size_bytes
        if self._at_most <= self.bytes_max:
            return
        self._at_most = self.size_bytes
        for folder in sorted(self._folders.values(), key=lambda folder: folder.used):
            if self._at_most <= self.bytes_max:
                return
            self._at_most -= folder.size_bytes
            folder.clear()
