"""UIDs as inclusive ranges: which to read in one go, and which single UIDs make a run."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping

from foundation.interfaces.mailbox_store import Ranges

GAP_READ_OVER = 64
"""Reading this many rows too many is cheaper than another query."""


def windows(ranges: Ranges) -> Iterator[tuple[int, int]]:
    """The ranges, those close to each other joined."""
    current: tuple[int, int] | None = None
    for first, last in ranges:
        if last < first:
            continue
        if current is None:
            current = (first, last)
        elif first - current[1] <= GAP_READ_OVER:
            current = (current[0], max(current[1], last))
        else:
            yield current
            current = (first, last)
    if current is not None:
        yield current


def locate(ranges: Ranges) -> Callable[[int], int]:
    """Which of the ranges a UID is in, -1 for none; the ranges rise and are disjoint."""
    firsts = [first for first, _ in ranges]

    def find(uid: int) -> int:
        at = bisect_right(firsts, uid) - 1
        return at if at >= 0 and uid <= ranges[at][1] else -1

    return find


def runs(uids: Iterable[int], positions: Mapping[int, int]) -> list[tuple[int, int]]:
    """`uids` (rising) as ranges; two UIDs share one when their positions follow each other."""
    found: list[tuple[int, int]] = []
    last_position = -2
    for uid in uids:
        position = positions[uid]
        if position == last_position + 1 and found:
            found[-1] = (found[-1][0], uid)
        else:
            found.append((uid, uid))
        last_position = position
    return found
