"""Runs a search where the mailbox is: the database first, then text of the messages that are left, slice by
slice.

Promise: a long search holds no read transaction for long and no reader for itself: between two slices others
read. One message's content is in memory at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sqlalchemy import Connection

from foundation.database.content import Contents
from foundation.database.readers import Readers
from foundation.interfaces.mailbox_store import And, InUids, Key, Not, Or
from mailboxstore.database.emails import StoredEmail, read_email
from mailboxstore.database.ranges import locate
from mailboxstore.search import keys, statements
from mailboxstore.search.text import MessageText, Predicate, predicate

SLICE_MESSAGES = 100
SLICE_BYTES = 2 * 1024 * 1024


class FolderSearch:
    """One search of one folder; `now_ms` is what its relative dates count from."""

    def __init__(self, readers: Readers, contents: Contents, folder: int, now_ms: int) -> None:
        self._readers = readers
        self._contents = contents
        self._folder = folder
        self._now_ms = now_ms

    async def run(self, key: Key) -> tuple[int, ...]:
        """UIDs, rising. Refusal LIMIT."""
        keys.check(key)
        return tuple(sorted(await self._evaluate(key, None)))

    async def _evaluate(self, key: Key, candidates: set[int] | None) -> set[int]:
        """Those candidates (None: all of the folder) for which the key holds."""
        if keys.in_database(key):
            found = await self._query(key)
            return found if candidates is None else found & candidates
        if candidates is None:
            candidates = await self._query(And(keys=()))
        if keys.in_text(key):
            return await self._scan(predicate(key), candidates)
        if isinstance(key, InUids):
            range_of = locate(key.ranges)
            return {uid for uid in candidates if range_of(uid) >= 0}
        if isinstance(key, Not):
            return candidates - await self._evaluate(key.key, candidates)
        if isinstance(key, And):
            return await self._all(key.keys, candidates)
        if isinstance(key, Or):
            return await self._any(key.keys, candidates)
        raise TypeError(f"{type(key).__name__} is no search key")

    async def _all(self, parts: tuple[Key, ...], candidates: set[int]) -> set[int]:
        cheap, mixed, text = keys.split(parts)
        for part in _groups(cheap, mixed, text, lambda group: And(keys=tuple(group))):
            if not candidates:
                break
            candidates = await self._evaluate(part, candidates)
        return candidates

    async def _any(self, parts: tuple[Key, ...], candidates: set[int]) -> set[int]:
        cheap, mixed, text = keys.split(parts)
        found: set[int] = set()
        for part in _groups(cheap, mixed, text, lambda group: Or(keys=tuple(group))):
            found |= await self._evaluate(part, candidates - found)
        return found

    async def _query(self, key: Key) -> set[int]:
        statement = statements.uids_where(self._folder, key, self._now_ms)
        return await self._readers.run(lambda connection: set(connection.execute(statement).scalars()))

    async def _scan(self, wanted: Predicate, candidates: set[int]) -> set[int]:
        uids = sorted(candidates)
        found: set[int] = set()
        at = 0
        while at < len(uids):
            part = uids[at : at + SLICE_MESSAGES]

            def scan(connection: Connection, part: list[int] = part) -> tuple[list[int], int]:
                return self._slice(connection, part, wanted)

            matched, last_uid = await self._readers.run(scan)
            found.update(matched)
            at += sum(uid <= last_uid for uid in part) if last_uid else len(part)
        return found

    def _slice(self, connection: Connection, uids: list[int], wanted: Predicate) -> tuple[list[int], int]:
        """Matches among `uids`, and the last UID looked at when it stopped early, else 0."""
        values = {"folder": self._folder, "uids": uids}
        rows = connection.execute(statements.TEXT_OF, values).all()
        matched: list[int] = []
        bytes_read = 0
        for row in rows:
            message = self._message(connection, StoredEmail(*row[2:]), row.parts)
            if wanted(message):
                matched.append(row.uid)
            bytes_read += message.bytes_read
            if bytes_read >= SLICE_BYTES:
                return matched, row.uid
        return matched, 0

    def _message(self, connection: Connection, stored: StoredEmail, parts: bytes) -> MessageText:
        def read(offset: int, length: int) -> bytes:
            return read_email(connection, self._contents, stored, offset, length)

        return MessageText(read, stored.size_bytes, stored.header_size, parts)


def _groups(
    cheap: list[Key], mixed: list[Key], text: list[Key], join: Callable[[Iterable[Key]], Key]
) -> list[Key]:
    """Cheap ones as one query, then mixed ones, then text as one reading."""
    groups: list[Key] = []
    if cheap:
        groups.append(join(cheap))
    groups.extend(mixed)
    if text:
        groups.append(join(text))
    return groups
