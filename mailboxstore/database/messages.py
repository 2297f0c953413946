"""Units of work on messages: filed, copied, moved, flagged, expunged. Each runs inside the writer's
transaction and tells its numbers to the MailboxChange that the caller saves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import Connection

from foundation.database.prepared import Prepared
from foundation.interfaces.mailbox_store import (
    FlagChange,
    FlagEntry,
    FlagOutcome,
    Ranges,
    Refusal,
)
from mailboxstore.database import statements
from mailboxstore.database.changes import FolderRow, MailboxChange
from mailboxstore.database.emails import change_references
from mailboxstore.database.ranges import locate, runs, windows

KEYWORDS_MAX = 100
KEYWORD_LENGTH_MAX = 200
EVERYTHING: Ranges = ((1, 2**62),)
SINGLES_MAX = 16
"""So few are deleted one by one, rather than looking for runs."""
LATEST_BESIDES = 200
"""So many messages may have been changed since those with \\Deleted."""
LATEST_DEARER = 8
"""A message found by its change costs as much as so many that are passed over by UID."""


class MessageRow(NamedTuple):
    """An existing message with everything a copy needs."""

    uid: int
    email: int
    thread_id: str
    flags: int
    keywords: str
    """Packed."""
    internal_date_ms: int
    internal_offset_minutes: int
    size_bytes: int


@dataclass(frozen=True)
class Placement:
    """How a stored email enters a folder."""

    email: int
    thread_id: str
    size_bytes: int
    now_ms: int
    flags: int = 0
    keywords: tuple[str, ...] = ()
    internal_date_ms: int = 0
    """0: now."""
    internal_offset_minutes: int = 0


NewMessage = dict[str, int | str]
"""A row of a message that has its place, but is not added yet."""


def place_message(connection: Connection, change: MailboxChange, folder: FolderRow, new: Placement) -> int:
    """Returns the UID. The email's references are counted by the caller."""
    uid, message = new_message(change, folder, new)
    statements.ADD_MESSAGE.run(connection, message)
    return uid


def new_message(change: MailboxChange, folder: FolderRow, new: Placement) -> tuple[int, NewMessage]:
    """The UID, and the row for `add_messages`."""
    uid = change.place(folder, new.flags, new.size_bytes)
    return uid, {
        "folder": folder.folder,
        "uid": uid,
        "email": new.email,
        "thread_id": new.thread_id,
        "modseq": change.modseq(),
        "flags": new.flags,
        "keywords": pack_keywords(new.keywords),
        "internal_date_ms": new.internal_date_ms or new.now_ms,
        "internal_offset_minutes": new.internal_offset_minutes,
        "save_date_ms": new.now_ms,
        "size_bytes": new.size_bytes,
    }


def add_messages(connection: Connection, messages: Sequence[NewMessage]) -> None:
    statements.ADD_MESSAGE.run_each(connection, messages)


def messages_in(connection: Connection, folder: int, ranges: Ranges) -> list[MessageRow]:
    """Existing messages by UID."""
    return _rows_in(connection, statements.MESSAGES_IN, folder, ranges)


def deleted_in(connection: Connection, folder: FolderRow, ranges: Ranges) -> list[MessageRow]:
    """Those with \\Deleted by UID. They are looked for first among the latest changes, where they mostly are:
    the folder's count tells when they are all.
    """
    if not folder.deleted:
        return []
    latest = folder.deleted + LATEST_BESIDES
    span = min(folder.messages, sum(last - first + 1 for first, last in ranges))
    if span > LATEST_DEARER * latest:
        rows = statements.LATEST_DELETED.rows(connection, {"folder": folder.folder, "limit": latest})
        if len(rows) == folder.deleted:
            range_of = locate(ranges)
            return [found for found in (MessageRow(*row) for row in rows) if range_of(found.uid) >= 0]
    return _rows_in(connection, statements.DELETED_IN, folder.folder, ranges)


def _rows_in(connection: Connection, statement: Prepared, folder: int, ranges: Ranges) -> list[MessageRow]:
    range_of = locate(ranges)
    found: list[MessageRow] = []
    for first, last in windows(ranges):
        values = {"folder": folder, "first": first, "last": last}
        rows = (MessageRow(*row) for row in statement.rows(connection, values))
        found.extend(row for row in rows if range_of(row.uid) >= 0)
    return found


def copy_messages(
    connection: Connection, change: MailboxChange, rows: Sequence[MessageRow], target: FolderRow, now_ms: int
) -> list[int]:
    """The UIDs in the target, one for each row. Flags and internal date stay (RFC 3501 6.4.7)."""
    if not rows:
        return []
    modseq = change.modseq()
    uids = [change.place(target, row.flags, row.size_bytes) for row in rows]
    statements.ADD_MESSAGE.run_each(
        connection,
        [
            {
                "folder": target.folder,
                "uid": uid,
                "email": row.email,
                "thread_id": row.thread_id,
                "modseq": modseq,
                "flags": row.flags,
                "keywords": row.keywords,
                "internal_date_ms": row.internal_date_ms,
                "internal_offset_minutes": row.internal_offset_minutes,
                "save_date_ms": now_ms,
                "size_bytes": row.size_bytes,
            }
            for uid, row in zip(uids, rows, strict=True)
        ],
    )
    change_references(connection, [row.email for row in rows], 1)
    return uids


def remove_messages(
    connection: Connection,
    change: MailboxChange,
    folder: FolderRow,
    rows: Sequence[MessageRow],
    actor: str,
    now_ms: int,
) -> None:
    """Takes the messages out for good and leaves tombstones: UIDs that will not come back (RFC 7162
    3.2.7).
    """
    if not rows:
        return
    for row in rows:
        change.remove(folder, row.flags, row.size_bytes)
    modseq = change.modseq()
    uids = [row.uid for row in rows]
    statements.DELETE_MESSAGES.run_each(
        connection,
        [
            {"folder": folder.folder, "first": first, "last": last}
            for first, last in _runs_of(connection, folder.folder, uids)
        ],
    )
    statements.ADD_TOMBSTONE.run_each(
        connection,
        [
            {"folder": folder.folder, "uid": uid, "modseq": modseq, "at_ms": now_ms, "actor": actor}
            for uid in uids
        ],
    )
    change_references(connection, [row.email for row in rows], -1)


def change_flags(
    connection: Connection, change: MailboxChange, folder: FolderRow, ranges: Ranges, wanted: FlagChange
) -> FlagOutcome:
    """RFC 7162 3.1.3: what fails `unchanged_since` is left out; what does not change keeps its modseq."""
    updated: list[FlagEntry] = []
    refused: list[int] = []
    changed: dict[tuple[int, str], list[int]] = {}
    positions: dict[int, int] = {}
    apply = flag_function(wanted)
    for position, uid, flags, modseq, keywords in _flags_in(connection, folder.folder, ranges):
        positions[uid] = position
        if wanted.unchanged_since is not None and modseq > wanted.unchanged_since:
            refused.append(uid)
            continue
        new_flags, new_keywords = apply(flags, keywords)
        if (new_flags, new_keywords) != (flags, keywords):
            modseq = change.modseq()
            change.reflag(folder, flags, new_flags)
            changed.setdefault((new_flags, new_keywords), []).append(uid)
        updated.append(FlagEntry(uid, new_flags, modseq, unpack_keywords(new_keywords)))
    if changed:
        connection.execute(
            statements.SET_FLAGS,
            [
                {
                    "of_folder": folder.folder,
                    "first": first,
                    "last": last,
                    "flags": flags,
                    "keywords": keywords,
                    "modseq": change.modseq(),
                }
                for (flags, keywords), uids in changed.items()
                for first, last in runs(uids, positions)
            ],
        )
    return FlagOutcome(updated=tuple(updated), refused=tuple(refused), highest_modseq=folder.highest_modseq)


def flag_function(wanted: FlagChange) -> Callable[[int, str], tuple[int, str]]:
    """What the change makes of a message's flags and packed keywords. Keywords differ not by case alone."""
    check_keywords(wanted.keywords)
    folded = {keyword.casefold(): keyword for keyword in wanted.keywords}

    def replace(flags: int, keywords: str) -> tuple[int, str]:
        return wanted.flags, pack_keywords(wanted.keywords)

    def add(flags: int, keywords: str) -> tuple[int, str]:
        if not folded:
            return flags | wanted.flags, keywords
        present = unpack_keywords(keywords)
        known = {keyword.casefold() for keyword in present}
        added = tuple(keyword for key, keyword in folded.items() if key not in known)
        if len(present) + len(added) > KEYWORDS_MAX:
            raise Refusal("LIMIT", f"A message has at most {KEYWORDS_MAX} keywords")
        return flags | wanted.flags, pack_keywords(present + added)

    def remove(flags: int, keywords: str) -> tuple[int, str]:
        if not folded:
            return flags & ~wanted.flags, keywords
        rest = tuple(keyword for keyword in unpack_keywords(keywords) if keyword.casefold() not in folded)
        return flags & ~wanted.flags, pack_keywords(rest)

    return {"replace": replace, "add": add, "remove": remove}[wanted.operation]


def check_keywords(keywords: tuple[str, ...]) -> None:
    """Refusal LIMIT, CANNOT."""
    if len(keywords) > KEYWORDS_MAX or any(len(keyword) > KEYWORD_LENGTH_MAX for keyword in keywords):
        raise Refusal("LIMIT", f"At most {KEYWORDS_MAX} keywords of {KEYWORD_LENGTH_MAX} characters")
    if any(not keyword or any(letter.isspace() for letter in keyword) for keyword in keywords):
        raise Refusal("CANNOT", "A keyword is empty or has a space")


def pack_keywords(keywords: tuple[str, ...]) -> str:
    if not keywords:
        return ""
    unique = {keyword.casefold(): keyword for keyword in reversed(keywords)}
    return " ".join(unique[key] for key in sorted(unique))


def unpack_keywords(packed: str) -> tuple[str, ...]:
    return tuple(packed.split(" ")) if packed else ()


def _flags_in(
    connection: Connection, folder: int, ranges: Ranges
) -> Iterator[tuple[int, int, int, int, str]]:
    """A position first: it follows its predecessor's only where no message was left out between the two."""
    range_of = locate(ranges)
    position = 0
    last_range = 0
    for first, last in windows(ranges):
        values = {"folder": folder, "first": first, "last": last}
        for uid, flags, modseq, keywords in statements.FLAGS_IN.rows(connection, values):
            index = range_of(uid)
            if index < 0:
                continue
            position += 1 if index == last_range else 2
            last_range = index
            yield position, uid, flags, modseq, keywords


def _runs_of(connection: Connection, folder: int, uids: list[int]) -> list[tuple[int, int]]:
    """Existing messages as few ranges that hold no other message."""
    if len(uids) <= SINGLES_MAX:
        return [(uid, uid) for uid in uids]
    values = {"folder": folder, "first": uids[0], "last": uids[-1]}
    among = connection.execute(statements.UIDS_IN, values).scalars()
    return runs(uids, {uid: position for position, uid in enumerate(among)})
