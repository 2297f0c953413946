"""The network of a what-if: connections hold; what is asked for is parted, and nothing else is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from random import Random

from waypost.simulator.connections import Fate

SITE_SECONDS, LINK_SECONDS, OUTSIDE_SECONDS = 0.0003, 0.01, 0.02
"""One way: between servers of a site, between sites, to and from all others."""
JITTER_SHARE = 0.1


class PlannedWeather:
    """Implements waypost.simulator.network.Weather."""

    def __init__(self, sites: Mapping[str, str], random: Random) -> None:
        """`sites`: of each server's machine."""
        self._sites = sites
        self._random = random
        self._parted: dict[tuple[str, str], int] = {}

    def fate(self, client: str, server: str) -> Fate:
        here, there = self._sites.get(client), self._sites.get(server)
        if here is None or there is None:
            seconds = OUTSIDE_SECONDS
        else:
            seconds = SITE_SECONDS if here == there else LINK_SECONDS
        seconds *= 1 + self._random.random() * JITTER_SHARE
        return Fate(seconds, seconds * JITTER_SHARE, 0)

    def blocked(self, source: str, target: str) -> bool:
        return bool(self._parted) and (source, target) in self._parted

    def part(self, pairs: Iterable[tuple[str, str]]) -> None:
        for source, target in pairs:
            for pair in ((source, target), (target, source)):
                self._parted[pair] = self._parted.get(pair, 0) + 1

    def join(self, pairs: Iterable[tuple[str, str]]) -> None:
        for source, target in pairs:
            for pair in ((source, target), (target, source)):
                self._parted[pair] -= 1
                if not self._parted[pair]:
                    del self._parted[pair]
