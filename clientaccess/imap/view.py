"""What one session knows of its selected folder: message numbers, UIDs, flags (RFC 3501 2.3.1). Compact:
about 13 octets a message. Message numbers here are as the client was told, never ahead of it."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from itertools import chain

from clientaccess.imap import responses
from clientaccess.imap.commands import SequenceSet
from foundation.interfaces.mailbox_store import SEEN, FlagColumns, FlagEntry, Ranges

_SYSTEM = 31
_RECENT = 64
_FEW = 8
"""Looking one up costs about as much as passing over so many."""
_AS_OLD = bytes(bits & _SYSTEM for bits in range(256))
_IF_SEEN = bytes(bits & SEEN for bits in range(256))
_AS_RECENT = bytes(bits & _SYSTEM | _RECENT for bits in range(256))
_SHOWN = tuple(responses.flags(bits & _SYSTEM, recent=bool(bits & _RECENT)) for bits in range(128))


class NoSuchMessage(Exception):
    """A message number beyond the last message: BAD (RFC 3501 9)."""


class View:
    __slots__ = ("_flags", "_keywords", "_known_keywords", "_modseqs", "_uids", "last_uid", "recent")

    def __init__(self) -> None:
        self._uids = array("I")
        self._flags = bytearray()
        self._modseqs = array("Q")
        self._keywords: dict[int, tuple[str, ...]] = {}
        self._known_keywords: dict[str, None] = {}
        self.last_uid = 0
        """Greatest UID ever seen here."""
        self.recent = 0

    def __len__(self) -> int:
        return len(self._uids)

    @property
    def uids(self) -> Sequence[int]:
        return self._uids

    @property
    def keywords(self) -> tuple[str, ...]:
        """Every keyword seen in the folder."""
        return tuple(self._known_keywords)

    @property
    def with_keywords(self) -> int:
        """How many messages have some."""
        return len(self._keywords)

    def append(self, entry: FlagEntry, recent: bool) -> bool:
        """A message not known yet; False when its UID is not behind all others."""
        if entry.uid <= self.last_uid:
            return False
        self.last_uid = entry.uid
        self._uids.append(entry.uid)
        self._flags.append(entry.flags & _SYSTEM | (_RECENT if recent else 0))
        self._modseqs.append(entry.modseq)
        self.recent += recent
        if entry.keywords:
            self._set_keywords(entry.uid, entry.keywords)
        return True

    def extend(self, page: FlagColumns, recent_from: int) -> None:
        """Messages by rising UID, behind all that are known; from this UID on they are \\Recent (0: none)."""
        if not page.uids or page.uids[0] <= self.last_uid:
            return
        self.last_uid = page.uids[-1]
        old = bisect_left(page.uids, recent_from) if recent_from else len(page.uids)
        self._uids.extend(page.uids)
        self._flags += page.flags[:old].translate(_AS_OLD) + page.flags[old:].translate(_AS_RECENT)
        self._modseqs.extend(page.modseqs)
        self.recent += len(page.uids) - old
        for uid, keywords in page.keywords.items():
            self._set_keywords(uid, keywords)

    def begin_again(self, recent_from: int) -> None:
        """For another session: from this UID on messages are \\Recent (0: none), and keywords are those in
        use.
        """
        old = bisect_left(self._uids, recent_from) if recent_from else len(self._uids)
        self._flags = self._flags[:old].translate(_AS_OLD) + self._flags[old:].translate(_AS_RECENT)
        self.recent = len(self._uids) - old
        self._known_keywords = dict.fromkeys(chain.from_iterable(self._keywords.values()))

    def _set_keywords(self, uid: int, keywords: tuple[str, ...]) -> None:
        if keywords:
            self._keywords[uid] = keywords
            self._known_keywords.update(dict.fromkeys(keywords))
        else:
            self._keywords.pop(uid, None)

    def number(self, uid: int) -> int:
        """Message number; 0 when it is none of this view."""
        index = bisect_left(self._uids, uid)
        return index + 1 if index < len(self._uids) and self._uids[index] == uid else 0

    def numbers_among(self, uids: Sequence[int]) -> Sequence[int]:
        """Message numbers of rising UIDs, without those that are none of this view."""
        if len(uids) == len(self._uids) and array("I", uids) == self._uids:
            return range(1, len(uids) + 1)
        if len(uids) * _FEW < len(self._uids):
            return [number for number in map(self.number, uids) if number]
        wanted = frozenset(uids)
        return [number for number, uid in enumerate(self._uids, 1) if uid in wanted]

    def uid(self, number: int) -> int:
        return self._uids[number - 1]

    def entry(self, number: int) -> FlagEntry:
        index = number - 1
        uid = self._uids[index]
        return FlagEntry(uid, self._flags[index] & _SYSTEM, self._modseqs[index], self._keywords.get(uid, ()))

    def shown_flags(self, numbers: Sequence[int]) -> list[bytes]:
        """What FETCH shows between the parentheses."""
        if isinstance(numbers, range) and numbers.step == 1:
            shown = [_SHOWN[bits] for bits in self._flags[numbers.start - 1 : numbers.stop - 1]]
        else:
            shown = [_SHOWN[self._flags[number - 1]] for number in numbers]
        if self._keywords:
            for place, number in enumerate(numbers):
                keywords = self._keywords.get(self._uids[number - 1])
                if keywords:
                    bits = self._flags[number - 1]
                    shown[place] = responses.flags(bits & _SYSTEM, keywords, bool(bits & _RECENT))
        return shown

    def is_recent(self, number: int) -> bool:
        return bool(self._flags[number - 1] & _RECENT)

    def update(self, number: int, entry: FlagEntry) -> bool:
        """Takes newer flags over; True when they differ from those known."""
        index = number - 1
        if entry.modseq < self._modseqs[index]:
            return False
        self._modseqs[index] = entry.modseq
        known = self._keywords.get(entry.uid, ())
        flags = entry.flags & _SYSTEM
        if self._flags[index] & _SYSTEM == flags and (
            known == entry.keywords or set(known) == set(entry.keywords)
        ):
            return False
        self._flags[index] = self._flags[index] & ~_SYSTEM | flags
        self._set_keywords(entry.uid, entry.keywords)
        return True

    def remove(self, uid: int) -> int:
        """The number that the message had; 0 when it is none of this view."""
        number = self.number(uid)
        if number:
            index = number - 1
            self.recent -= bool(self._flags[index] & _RECENT)
            del self._uids[index], self._flags[index], self._modseqs[index]
            self._keywords.pop(uid, None)
        return number

    def first_unseen(self) -> int:
        """Number of the first message without \\Seen; 0: none."""
        return self._flags.translate(_IF_SEEN).find(0) + 1

    def recent_uids(self) -> list[int]:
        return [uid for uid, flags in zip(self._uids, self._flags, strict=True) if flags & _RECENT]

    def modseq(self, number: int) -> int:
        return self._modseqs[number - 1]

    def changed_since(self, numbers: Iterable[int], modseq: int) -> list[int]:
        return [number for number in numbers if self._modseqs[number - 1] > modseq]

    def uids_of(self, numbers: Sequence[int]) -> Sequence[int]:
        if isinstance(numbers, range) and numbers.step == 1:
            return self._uids[numbers.start - 1 : numbers.stop - 1]
        return [self._uids[number - 1] for number in numbers]

    def numbers(self, messages: SequenceSet, saved: Sequence[int], *, strict: bool = True) -> Sequence[int]:
        """A set of message numbers as rising numbers. Raises NoSuchMessage if strict."""
        if messages.saved:
            return self.numbers_among(saved)
        count = len(self._uids)
        chosen: list[tuple[int, int]] = []
        for first, last in messages.ranges:
            low, high = sorted((first or count, last or count))
            if strict and (high > count or low == 0):
                raise NoSuchMessage
            chosen.append((max(low, 1), min(high, count)))
        merged = _merged(chosen)
        if len(merged) == 1:
            return range(merged[0][0], merged[0][1] + 1)
        return [number for low, high in merged for number in range(low, high + 1)]

    def numbers_of_uids(self, messages: SequenceSet, saved: Sequence[int]) -> Sequence[int]:
        """A set of UIDs as rising message numbers; what does not exist is left out (RFC 3501 6.4.8)."""
        if messages.saved:
            return self.numbers_among(saved)
        found = [
            range(bisect_left(self._uids, low) + 1, bisect_right(self._uids, high) + 1)
            for low, high in self.uid_ranges(messages)
        ]
        return found[0] if len(found) == 1 else [number for numbers in found for number in numbers]

    def uid_ranges(self, messages: SequenceSet) -> Ranges:
        """`*` is the last message's UID."""
        greatest = self._uids[-1] if self._uids else 0
        pairs = (sorted((first or greatest, last or greatest)) for first, last in messages.ranges)
        return _merged((max(low, 1), high) for low, high in pairs)

    def ranges(self, numbers: Sequence[int]) -> Ranges:
        """Rising message numbers as ranges of UIDs: one range for a run of numbers."""
        if isinstance(numbers, range) and numbers and numbers.step == 1:
            return ((self._uids[numbers[0] - 1], self._uids[numbers[-1] - 1]),)
        pairs: list[tuple[int, int]] = []
        index = 0
        while index < len(numbers):
            start = index
            while index + 1 < len(numbers) and numbers[index + 1] == numbers[index] + 1:
                index += 1
            pairs.append((self._uids[numbers[start] - 1], self._uids[numbers[index] - 1]))
            index += 1
        return tuple(pairs)


def _merged(pairs: Iterable[tuple[int, int]]) -> Ranges:
    merged: list[tuple[int, int]] = []
    for low, high in sorted(pair for pair in pairs if pair[0] <= pair[1]):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return tuple(merged)
