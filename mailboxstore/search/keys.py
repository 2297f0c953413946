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
from foundation.mail.decoding import fold
from foundation.mail.listed_fields import LISTED
from mailboxstore.search.index import can_find

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


def in_fields(key: Key) -> bool:
    """Whether the listed fields of messages answer it."""
    if not isinstance(key, HeaderContains) or key.name.lower().encode("ascii", "replace") not in LISTED:
        return False
    return "\r" not in key.text and "\n" not in key.text


def in_index(key: Key) -> bool:
    """Whether a text index answers it, as far as it goes."""
    return isinstance(key, BodyContains | TextContains) and can_find(fold(key.text))


def asks_index(key: Key) -> bool:
    """Whether any part of it could be answered by a text index."""
    return in_index(key) or any(asks_index(child) for child in children(key))


def in_text(key: Key, *, indexed: bool) -> bool:
    """Whether nothing but reading the messages answers it."""
    if isinstance(key, And | Or | Not):
        return bool(children(key)) and all(in_text(child, indexed=indexed) for child in children(key))
    if in_fields(key) or (indexed and in_index(key)):
        return False
    return isinstance(key, HeaderContains | BodyContains | TextContains)


def cheapest_first(keys: tuple[Key, ...], *, indexed: bool) -> tuple[list[Key], list[Key], list[Key]]:
    """Keys for the database; those with sources of their own, listed fields first; keys for the text."""
    cheap: list[Key] = []
    others: list[Key] = []
    text: list[Key] = []
    for key in keys:
        (cheap if in_database(key) else text if in_text(key, indexed=indexed) else others).append(key)
    others.sort(key=lambda key: (not in_fields(key), not in_index(key)))
    return cheap, others, text
