"""Which email stands at which UID of a folder: what joins a folder with an index. Kept in memory, within a
bound, for folders that are searched.

A UID is given once, so the next UID and the number of messages tell whether anything came or went.
"""

from __future__ import annotations

import asyncio
from array import array
from bisect import bisect_left
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import compress

from sqlalchemy import Connection

from foundation.database.readers import Readers
from foundation.recent import Recent
from mailboxstore.database.changes import FolderRow
from mailboxstore.search import statements

MESSAGES_A_PAGE = 20_000
MESSAGES_A_TURN = 10_000
"""So many are looked through in one go, about half a millisecond; then others have their turn."""
KEPT_MESSAGES_MAX = 1_000_000
"""16 bytes each."""


@dataclass(frozen=True)
class Members:
    uids: array[int]
    """Rising."""
    emails: array[int]
    """In the same order."""

    @cached_property
    def last_email(self) -> int:
        """The greatest; 0: none."""
        return max(self.emails, default=0)

    async def of_emails(self, emails: Collection[int]) -> set[int]:
        """UIDs of those of the emails that are in the folder."""
        if not emails:
            return set()
        if len(emails) == len(self.emails) and array("Q", emails) == self.emails:
            return set(self.uids)
        return await self._uids_where(frozenset(emails).__contains__)

    async def later_than(self, email: int) -> set[int]:
        """UIDs of later emails."""
        return await self._uids_where(email.__lt__) if self.last_email > email else set()

    async def _uids_where(self, wanted: Callable[[int], bool]) -> set[int]:
        found: set[int] = set()
        for start in range(0, len(self.uids), MESSAGES_A_TURN):
            if start:
                await asyncio.sleep(0)
            turn = slice(start, start + MESSAGES_A_TURN)
            found.update(compress(self.uids[turn], map(wanted, self.emails[turn])))
        return found

    def emails_as_of(self, folder: FolderRow) -> Sequence[int] | None:
        """Of the messages that were there when the row was read, without what came since; None: one of them
        is gone.
        """
        there = bisect_left(self.uids, folder.uid_next)
        return self.emails[:there] if there == folder.messages else None


class FolderMembers:
    def __init__(self, readers: Readers) -> None:
        self._readers = readers
        self._kept: Recent[int, tuple[tuple[int, int], Members]] = Recent(KEPT_MESSAGES_MAX)

    async def of(self, folder: FolderRow) -> Members:
        """As of the row, or a little later."""
        state = (folder.uid_next, folder.messages)
        known = self._kept.get(folder.folder)
        if known is not None and known[0] == state:
            return known[1]
        members = await self._read(folder.folder)
        if len(members.uids) == folder.messages and members.emails_as_of(folder) is not None:
            self._kept.keep(folder.folder, (state, members), folder.messages)
        return members

    async def _read(self, folder: int) -> Members:
        members = Members(array("Q"), array("Q"))
        after = 0

        def query(connection: Connection) -> Members:
            values = {"folder": folder, "after": after, "limit": MESSAGES_A_PAGE}
            rows = statements.MEMBERS_PAGE.rows(connection, values)
            return Members(array("Q", [uid for uid, _ in rows]), array("Q", [email for _, email in rows]))

        while (page := await self._readers.run(query)).uids:
            members.uids.extend(page.uids)
            members.emails.extend(page.emails)
            after = page.uids[-1]
            if len(page.uids) < MESSAGES_A_PAGE:
                break
        return members
