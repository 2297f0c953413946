"""What Client Access reads of a mailbox: flags, changes, messages as records or by column, their bytes,
searches, and notices.

Promise: reads are short pages, so no transaction lasts while a client is waited for.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

from sqlalchemy import Connection

from foundation.interfaces.mailbox_store import (
    Changes,
    Column,
    Columns,
    Fields,
    FlagColumns,
    Key,
    Notice,
    Ranges,
    Record,
)
from mailboxstore.database import reading
from mailboxstore.database.access import MailboxDatabase
from mailboxstore.database.mailboxes import folder_by_id
from mailboxstore.notifications import Notifications
from mailboxstore.residents import Residents
from mailboxstore.search.indexes import TextIndexes
from mailboxstore.search.keys import asks_index
from mailboxstore.search.members import FolderMembers
from mailboxstore.search.runner import FolderSearch

CONTENT_PAGE_BYTES = 256 * 1024


class Reads:
    """The reading part of foundation.interfaces.mailbox_store.MailboxStore."""

    def __init__(
        self,
        database: MailboxDatabase,
        residents: Residents,
        notifications: Notifications,
        members: FolderMembers,
        indexes: TextIndexes | None,
    ) -> None:
        self._database = database
        self._residents = residents
        self._notifications = notifications
        self._members = members
        self._indexes = indexes

    async def flags(self, mailbox_id: str, folder_id: str) -> AsyncIterator[FlagColumns]:
        await self._residents.ensure(mailbox_id)
        after = 0

        def query(connection: Connection) -> FlagColumns:
            folder = folder_by_id(connection, mailbox_id, folder_id)
            return reading.flags_page(connection, folder.folder, after)

        while (page := await self._database.readers.run(query)).uids:
            yield page
            after = page.uids[-1]
            if len(page.uids) < reading.FLAGS_A_PAGE:
                return

    async def changes(self, mailbox_id: str, folder_id: str, since_modseq: int) -> Changes:
        await self._residents.ensure(mailbox_id)
        return await self._database.readers.run(
            lambda c: reading.changes_since(c, mailbox_id, folder_id, since_modseq)
        )

    async def records(
        self, mailbox_id: str, folder_id: str, uids: Ranges, fields: Fields
    ) -> AsyncIterator[tuple[Record, ...]]:
        await self._residents.ensure(mailbox_id)
        contents = self._database.contents
        after = 0

        def query(connection: Connection) -> reading.RecordPage:
            return reading.records_page(connection, contents, mailbox_id, folder_id, uids, fields, after)

        while True:
            page = await self._database.readers.run(query)
            if page.records:
                yield page.records
            after = page.after_uid
            if not after:
                return

    async def columns(
        self,
        mailbox_id: str,
        folder_id: str,
        uids: Ranges,
        columns: tuple[Column, ...],
        names: tuple[bytes, ...] = (),
    ) -> AsyncIterator[Columns]:
        await self._residents.ensure(mailbox_id)
        contents, wanted = self._database.contents, frozenset(names)

        def ask(after: int) -> asyncio.Task[tuple[Columns, int]]:
            def query(connection: Connection) -> tuple[Columns, int]:
                return reading.columns_page(
                    connection, contents, mailbox_id, folder_id, uids, columns, wanted, after
                )

            return asyncio.get_running_loop().create_task(self._database.readers.run(query))

        asked = ask(0)
        try:
            while True:
                page, after = await asked
                if after:
                    asked = ask(after)  # read while this page is on its way
                if page.uids:
                    for frame in reading.frames_of(page, columns):
                        yield frame
                if not after:
                    return
        finally:
            if not asked.cancel() and not asked.cancelled():
                asked.exception()  # nobody else asks for it when the caller goes away before

    async def content(
        self, mailbox_id: str, folder_id: str, uid: int, offset: int, length: int
    ) -> AsyncIterator[bytes]:
        await self._residents.ensure(mailbox_id)
        contents = self._database.contents
        at, end = max(offset, 0), max(offset, 0) + length

        def query(connection: Connection) -> bytes:
            wanted = min(end - at, CONTENT_PAGE_BYTES)
            return reading.content_page(connection, contents, mailbox_id, folder_id, uid, at, wanted)

        while at < end and (piece := await self._database.readers.run(query)):
            yield piece
            at += len(piece)

    async def search(self, mailbox_id: str, folder_id: str, key: Key) -> tuple[int, ...]:
        await self._residents.ensure(mailbox_id)
        database = self._database
        folder = await database.readers.run(lambda c: folder_by_id(c, mailbox_id, folder_id))
        readers, contents, now_ms = database.readers, database.contents, self._database.clock.now_ms()
        indexes = self._indexes
        if indexes is None or not asks_index(key):
            return await FolderSearch(readers, contents, folder, now_ms, self._members).run(key)
        with indexes.searching():
            index = await indexes.asked_of(mailbox_id)
            search = FolderSearch(readers, contents, folder, now_ms, self._members, index)
            found = await search.run(key)
        indexes.wish(mailbox_id, search.not_indexed)
        return found

    async def watch(self, mailbox_id: str) -> AsyncIterator[Notice]:
        await self._residents.ensure(mailbox_id)
        async with aclosing(self._notifications.watch(mailbox_id)) as notices:
            async for notice in notices:
                yield notice
