"""A hub's queue as a few dictionaries, what its database says in the same words, and what must hold in every
state of the database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, text

OUTSIDE = "mx::elsewhere.example"
EXPIRING = "expiring-"
"""How the entry ids of messages begin whose time is over."""

Person = tuple[str, int]
"""Entry id of a message, and a recipient's position in it."""


@dataclass
class Message:
    next_position: int
    waiting: set[int]
    """Recipients that wait for the categorizer."""


@dataclass
class Unit:
    entry: str
    positions: tuple[int, ...]
    hop: str
    claimed: bool
    pinned: bool = False

    @property
    def free(self) -> bool:
        """In nobody's hands, and certainly not taken."""
        return not self.claimed and not self.pinned


@dataclass
class QueueModel:
    messages: dict[str, Message] = field(default_factory=dict)
    units: dict[str, Unit] = field(default_factory=dict)
    keys: set[str] = field(default_factory=set)
    people: set[Person] = field(default_factory=set)
    """All that ever waited here."""
    ended: Counter[Person] = field(default_factory=Counter)
    """Failed, given up, merged or expanded."""

    def state(self) -> dict[str, Any]:
        """As `observed` says it."""
        waiting = {(entry, at): "" for entry, message in self.messages.items() for at in message.waiting}
        in_units = {(unit.entry, at): key for key, unit in self.units.items() for at in unit.positions}
        return {
            "messages": {
                entry: ("submitted" if message.waiting else "queued", message.next_position)
                for entry, message in self.messages.items()
            },
            "recipients": {**waiting, **in_units},
            "units": {key: (u.entry, u.hop, u.claimed, u.pinned) for key, u in self.units.items()},
            "keys": self.keys,
        }

    def accept(self, key: str, entry: str, recipients: int) -> bool:
        """False: the key was known."""
        if key in self.keys:
            return False
        self.keys.add(key)
        self.add(entry, recipients)
        return True

    def add(self, entry: str, recipients: int) -> None:
        self.messages[entry] = Message(recipients, set(range(recipients)))
        self.people.update((entry, at) for at in range(recipients))

    def enqueue(self, entry: str, units: dict[str, Unit], added: Iterable[int], ended: Iterable[int]) -> None:
        message = self.messages[entry]
        added = list(added)
        message.next_position += len(added)
        self.people.update((entry, at) for at in added)
        for key, unit in units.items():
            self.units[key] = unit
            message.waiting.difference_update(unit.positions)
        message.waiting.difference_update(ended)
        self.end(entry, ended)

    def claim(self, hop: str) -> set[str]:
        claimed = {key for key, unit in self.units.items() if unit.hop == hop and not unit.claimed}
        for key in claimed:
            self.units[key].claimed = True
        return claimed

    def expirable(self) -> set[str]:
        return {key for key, unit in self.units.items() if unit.free and unit.entry.startswith(EXPIRING)}

    def free_units(self, hop: str) -> set[str]:
        return {key for key, unit in self.units.items() if unit.free and unit.hop == hop}

    def expire(self, key: str, report: str) -> None:
        unit = self.units.get(key)
        if unit is None or not unit.free:
            return
        del self.units[key]
        self.end(unit.entry, unit.positions)
        if report:
            self.add(report, 1)

    def resubmit(self, key: str) -> None:
        unit = self.units.get(key)
        if unit is not None and unit.free:
            del self.units[key]
            self.messages[unit.entry].waiting.update(unit.positions)

    def conclude(
        self,
        key: str,
        left: dict[str, tuple[int, ...]],
        *,
        failed: Iterable[int] = (),
        moved: Iterable[int] = (),
        report: str = "",
    ) -> None:
        """`left`: what waits on, under which key; `report`: its entry id, if somebody is told."""
        unit = self.units.pop(key)
        for new, positions in left.items():
            self.units[new] = Unit(unit.entry, positions, unit.hop, claimed=False)
        message = self.messages[unit.entry]
        message.waiting.update(moved)
        self.end(unit.entry, failed)
        if report:
            self.add(report, 1)

    def unknown(self, key: str, *, pin: bool) -> None:
        unit = self.units[key]
        unit.claimed, unit.pinned = False, unit.pinned or pin

    def unclaim(self, keys: Iterable[str]) -> None:
        for key in keys:
            self.units[key].claimed = False

    def redirect(self, keys: Iterable[str], from_hop: str, to_hop: str) -> None:
        for key in {*keys, *self.free_units(from_hop)}:
            self.units[key].hop = to_hop

    def recover(self) -> None:
        """A start: what was claimed may have been sent."""
        for unit in self.units.values():
            unit.pinned = unit.pinned or (unit.claimed and unit.hop != OUTSIDE)
            unit.claimed = False

    def end(self, entry: str, positions: Iterable[int]) -> None:
        self.ended.update((entry, at) for at in positions)
        self._tidy(entry)

    def _tidy(self, entry: str) -> None:
        """A message goes with its last recipient."""
        if not self.messages[entry].waiting and all(unit.entry != entry for unit in self.units.values()):
            del self.messages[entry]


def observed(connection: Connection) -> dict[str, Any]:
    """What the database says."""

    def rows(statement: str) -> list[Any]:
        return list(connection.execute(text(statement)).all())

    return {
        "messages": {
            entry: (state, next_position)
            for entry, state, next_position in rows("SELECT entry_id, state, next_position FROM messages")
        },
        "recipients": {
            (entry, at): unit
            for entry, at, unit in rows(
                "SELECT entry_id, position, unit FROM recipients JOIN messages m ON m.id = recipients.message"
            )
        },
        "units": {
            key: (entry, hop, bool(claimed), bool(pinned))
            for key, entry, hop, claimed, pinned in rows(
                "SELECT key, entry_id, hop, claimed, pinned FROM transfer_units u JOIN messages m"
                " ON m.id = u.message"
            )
        },
        "keys": {key for (key,) in rows("SELECT key FROM received_keys")},
    }


RULES = {
    "a recipient waits, or is in a unit of its message": """
        SELECT r.message, r.position FROM recipients r
        LEFT JOIN transfer_units u ON u.key = r.unit AND u.message = r.message
        WHERE r.unit != '' AND u.key IS NULL""",
    "a unit has a recipient": """
        SELECT u.key FROM transfer_units u LEFT JOIN recipients r ON r.unit = u.key AND r.message = u.message
        WHERE r.position IS NULL""",
    "a message has a recipient": """
        SELECT m.id FROM messages m LEFT JOIN recipients r ON r.message = m.id WHERE r.position IS NULL""",
    "a recipient has its message, which gave its position": """
        SELECT r.message FROM recipients r LEFT JOIN messages m ON m.id = r.message
        WHERE m.id IS NULL OR r.position >= m.next_position""",
    "a content is used as often as it says": """
        SELECT c.id FROM contents c LEFT JOIN messages m ON m.content_id = c.id
        GROUP BY c.id HAVING c.reference_count != count(m.id)""",
    "a message has its content": """
        SELECT m.id FROM messages m LEFT JOIN contents c ON c.id = m.content_id WHERE c.id IS NULL""",
}


def broken_rules(connection: Connection) -> list[str]:
    return [
        f"not so: {rule}: {rows}"
        for rule, statement in RULES.items()
        if (rows := connection.execute(text(statement)).all())
    ]
