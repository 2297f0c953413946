"""What a search asks for, taken apart: keys that the database answers, keys that only the text answers.

A mixed tree is worked off as sets of UIDs, the cheap parts first, so text is read for as few messages as
possible.
"""

from __future__ import annotations

from foundation.interfaces.mailbox_store import (
    And,
    BodyContains,
    HeaderContains,
    InUids,
    Key,
    Not,
    Or,
    Refusal,
    TextContains,
)

DEPTH_MAX = 50
KEYS_MAX = 400
RANGES_IN_DATABASE_MAX = 50
"""More ranges are compared here: a database has a bound for its expressions."""


def check(key: Key) -> None:
    """Refusal LIMIT for a search beyond all use."""
    waiting: list[tuple[Key, int]] = [(key, 1)]
    count = 0
    while waiting:
        current, depth = waiting.pop()
        count += 1
        if depth > DEPTH_MAX or count > KEYS_MAX:
            raise Refusal("LIMIT", "The search has too many parts")
        waiting.extend((child, depth + 1) for child in children(current))


def children(key: Key) -> tuple[Key, ...]:
    if isinstance(key, And | Or):
        return key.keys
    return (key.key,) if isinstance(key, Not) else ()


def in_database(key: Key) -> bool:
    """Whether the database alone answers it."""
    if isinstance(key, And | Or | Not):
        return all(in_database(child) for child in children(key))
    if isinstance(key, InUids):
        return len(key.ranges) <= RANGES_IN_DATABASE_MAX
    return not isinstance(key, HeaderContains | BodyContains | TextContains)


def in_text(key: Key) -> bool:
    """Whether the text alone answers it."""
    if isinstance(key, And | Or | Not):
        return bool(children(key)) and all(in_text(child) for child in children(key))
    return isinstance(key, HeaderContains | BodyContains | TextContains)


def split(keys: tuple[Key, ...]) -> tuple[list[Key], list[Key], list[Key]]:
    """Keys for the database, mixed ones, keys for the text."""
    cheap: list[Key] = []
    mixed: list[Key] = []
    text: list[Key] = []
    for key in keys:
        (cheap if in_database(key) else text if in_text(key) else mixed).append(key)
    return cheap, mixed, text
