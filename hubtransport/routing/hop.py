"""Routing, the next hop as a name: what a delivery queue is called, in memory and in its rows."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import msgspec

HopKind = Literal["store", "hub", "mx", "smarthost", "unreachable"]


class Hop(msgspec.Struct, frozen=True, kw_only=True):
    kind: HopKind
    name: str
    """Server name, domain, connector name, or why it is unreachable."""
    connector: str = ""
    """Send connector; for `unreachable` the status that a report will carry."""

    @property
    def key(self) -> str:
        return f"{self.kind}:{self.connector}:{self.name}"

    @property
    def internal(self) -> bool:
        """Towards Waypost's own servers: transfer keys count there."""
        return self.kind in ("store", "hub")

    @classmethod
    def parse(cls, key: str) -> Hop:
        return _parse(key)


@lru_cache(maxsize=10_000)
def _parse(key: str) -> Hop:
    kind, connector, name = key.split(":", 2)
    return Hop(kind=msgspec.convert(kind, HopKind), connector=connector, name=name)
