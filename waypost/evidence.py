"""What an audit knows of a message, what it counts, and what it finds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from foundation.interfaces.control import QueueEntry
from foundation.interfaces.holdings import FiledCopy
from foundation.interfaces.tracking import TrackingEvent

Kind = Literal["unexplained", "doubled"]


class Counts(msgspec.Struct, kw_only=True):
    """By recipient; `accepted + expanded` is the sum of the next six when nothing is wrong."""

    accepted: int = 0
    expanded: int = 0
    """More recipients by groups; a group without members is one less."""
    delivered: int = 0
    relayed: int = 0
    bounced: int = 0
    discarded: int = 0
    """Withdrawn from the Outbox, or given up where nobody wants to be told."""
    merged: int = 0
    pending: int = 0
    doubled: int = 0
    unexplained: int = 0

    def add(self, other: Counts) -> None:
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


@dataclass(frozen=True)
class Finding:
    """What does not add up."""

    kind: Kind
    network_message_id: str
    message_id: str
    server: str
    recipient: str
    what: str


@dataclass
class Evidence:
    """Everything known of one message."""

    network_message_id: str
    events: list[TrackingEvent] = field(default_factory=list)
    queued: list[tuple[str, QueueEntry]] = field(default_factory=list)
    """With the server where it waits."""
    copies: list[FiledCopy] = field(default_factory=list)
    reports: list[TrackingEvent] = field(default_factory=list)
    """DSN events of stores about this message, which belong to the report's own account."""


@dataclass
class Account:
    evidence: Evidence
    counts: Counts
    findings: list[Finding]
    accepted_at_ms: int | None
    """None: no server says that it accepted it."""
    refused: bool
    """Never accepted: all there is tells of refusals."""


class Joined:
    """Addresses that became one another."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    def join(self, keys: Iterable[str]) -> None:
        first: str | None = None
        for key in keys:
            root = self._root(key)
            if first is None:
                first = root
            else:
                self._parent[root] = first

    def sets(self, keys: Iterable[str]) -> list[list[str]]:
        found: dict[str, list[str]] = {}
        for key in dict.fromkeys(keys):
            found.setdefault(self._root(key), []).append(key)
        return list(found.values())

    def _root(self, key: str) -> str:
        self._parent.setdefault(key, key)
        while self._parent[key] != key:
            self._parent[key] = self._parent[self._parent[key]]
            key = self._parent[key]
        return key
