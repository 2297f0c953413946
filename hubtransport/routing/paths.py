"""Routing, the way between sites: the least cost over site links, ties always broken the same way.

Of two ways of one cost the one with fewer links wins, then the one whose sites come first by name.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence

import msgspec


class Path(msgspec.Struct, frozen=True, order=True):
    cost: int
    length: int
    """Links on the way."""
    sites: tuple[str, ...]
    """From the first to the last, both included."""


def least_cost_paths(links: Mapping[str, Sequence[tuple[str, int]]], start: str) -> dict[str, Path]:
    """The best path from `start` to every site that can be reached, itself included."""
    found: dict[str, Path] = {}
    open_paths = [Path(0, 0, (start,))]
    while open_paths:
        path = heapq.heappop(open_paths)
        here = path.sites[-1]
        if here in found:
            continue
        found[here] = path
        for neighbour, cost in links.get(here, ()):
            if neighbour not in found:
                heapq.heappush(open_paths, Path(path.cost + cost, path.length + 1, (*path.sites, neighbour)))
    return found
