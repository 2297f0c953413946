"""Runs a search where the mailbox is: the database first, then listed header fields, then the text index,
then text of the messages that are left, slice by slice.

Promise: a long search holds no read transaction for long and no reader for itself: between two slices others
read. One message's content is in memory at a time.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from functools import partial

from sqlalchemy import Connection

from foundation.database.content import Contents
from foundation.database.readers import Readers
from foundation.interfaces.mailbox_store import (
    And,
    BodyContains,
    HeaderContains,
    InUids,
    Key,
    Not,
    Or,
    TextContains,
)
from foundation.mail.decoding import fold
from foundation.mail.listed_fields import searched_values
from mailboxstore.database.changes import FolderRow
from mailboxstore.database.emails import StoredEmail, read_email
from mailboxstore.database.ranges import locate
from mailboxstore.search import keys, statements
from mailboxstore.search.index import Place
from mailboxstore.search.indexes import Hits
from mailboxstore.search.members import FolderMembers
from mailboxstore.search.text import MessageText, Predicate, predicate

SLICE_MESSAGES = 100
SLICE_BYTES = 2 * 1024 * 1024
FIELDS_A_SLICE = 10_000


Index = Callable[[str, Place], Awaitable[Hits | None]]
"""The mailbox's text index; None when it can't be asked after all."""


class FolderSearch:
    """One search of one folder; `now_ms` is what its relative dates count from."""

    def __init__(
        self,
        readers: Readers,
        contents: Contents,
        folder: FolderRow,
        now_ms: int,
        members: FolderMembers,
        index: Index | None = None,
    ) -> None:
        self._readers = readers
        self._contents = contents
        self._folder = folder
        self._now_ms = now_ms
        self._members = members
        self._index = index
        self.not_indexed = 0
        """Messages that were read because the index does not know them."""

    async def run(self, key: Key) -> tuple[int, ...]:
        """UIDs, rising. Refusal LIMIT."""
        keys.check(key)
        return tuple(sorted(await self._evaluate(key, None)))

    async def _evaluate(self, key: Key, candidates: set[int] | None) -> set[int]:
        """Those candidates (None: all of the folder) for which the key holds."""
        if keys.in_database(key):
            found = await self._query(key)
            return found if candidates is None else found & candidates
        if isinstance(key, HeaderContains) and keys.in_fields(key):
            return await self._fields(key, candidates)
        if self._index and isinstance(key, BodyContains | TextContains) and keys.in_index(key):
            return await self._indexed(key, candidates)
        if candidates is None:
            candidates = set((await self._members.of(self._folder)).uids)
        if keys.in_text(key, indexed=self._index is not None):
            return await self._read(key, candidates)
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
        for part in self._groups(parts, lambda group: And(keys=tuple(group))):
            if not candidates:
                break
            candidates = await self._evaluate(part, candidates)
        return candidates

    async def _any(self, parts: tuple[Key, ...], candidates: set[int]) -> set[int]:
        found: set[int] = set()
        for part in self._groups(parts, lambda group: Or(keys=tuple(group))):
            found |= await self._evaluate(part, candidates - found)
        return found

    def _groups(self, parts: tuple[Key, ...], join: Callable[[Iterable[Key]], Key]) -> list[Key]:
        """Cheap ones as one query, then those with sources of their own, then text as one reading."""
        cheap, others, text = keys.cheapest_first(parts, indexed=self._index is not None)
        groups: list[Key] = []
        if cheap:
            groups.append(join(cheap))
        groups.extend(others)
        if text:
            groups.append(join(text))
        return groups

    async def _query(self, key: Key) -> set[int]:
        statement = statements.uids_where(self._folder.folder, key, self._now_ms)
        return await self._readers.run(lambda connection: set(connection.execute(statement).scalars()))

    # --- listed header fields ---

    async def _fields(self, key: HeaderContains, candidates: set[int] | None) -> set[int]:
        name, wanted = key.name.lower(), fold(key.text)
        sought = (wanted or f"{name}:").encode("utf-8", "replace")
        found: set[int] = set()
        unknown: set[int] = set()
        uids = (await self._members.of(self._folder)).uids if candidates is None else sorted(candidates)
        for start in range(0, len(uids), FIELDS_A_SLICE):
            part = uids[start : start + FIELDS_A_SLICE]
            values = {"folder": self._folder.folder, "first": part[0], "last": part[-1], "sought": sought}
            rows = await self._readers.run(partial(statements.FIELDS_WITH.rows, values=values))
            for uid, searched in rows:
                if not searched:
                    unknown.add(uid)
                elif any(wanted in value for value in searched_values(searched.decode(), name)):
                    found.add(uid)
        if candidates is not None:
            found &= candidates
            unknown &= candidates
        return found | await self._scan(predicate(key), unknown) if unknown else found

    # --- text ---

    async def _indexed(self, key: BodyContains | TextContains, candidates: set[int] | None) -> set[int]:
        assert self._index is not None
        hits = await self._index(fold(key.text), "anywhere" if isinstance(key, TextContains) else "body")
        members = await self._members.of(self._folder)
        if hits is None:
            found, late = set(), set(members.uids)
        else:
            found = await members.of_emails(hits.emails)
            late = await members.later_than(hits.last_email)
        rest = late - found
        if hits is not None:
            rest |= await members.of_emails(hits.unfit)
        if candidates is not None:
            found, rest, late = found & candidates, rest & candidates, late & candidates
        self.not_indexed += len(late)
        return found | await self._scan(predicate(key), rest) if rest else found

    async def _read(self, key: Key, candidates: set[int]) -> set[int]:
        if keys.asks_index(key):
            self.not_indexed += len(candidates)
        return await self._scan(predicate(key), candidates)

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
        values = {"folder": self._folder.folder, "uids": uids}
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
