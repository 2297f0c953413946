"""The store as Client Access sees it: implements foundation.interfaces.mailbox_store.MailboxStore.

Promises: what changes something returns after its commit; reads are short pages, so no transaction lasts
while a client is waited for; a mailbox appears at first use when the directory says that it lives here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection

from foundation.database.spool import Spool, spool_from
from foundation.interfaces.directory import Directory
from foundation.interfaces.mailbox_store import (
    Appended,
    Changes,
    Column,
    Columns,
    Copied,
    Fields,
    FlagChange,
    FlagColumns,
    FlagOutcome,
    Folder,
    Key,
    Notice,
    Ranges,
    Record,
    Role,
    Submission,
)
from foundation.mail.errors import Unavailable
from foundation.mail.rendering import summarise
from foundation.pressure.levels import Level, refuse_all
from mailboxstore.database import folders, guards, messages, reading
from mailboxstore.database.access import MailboxDatabase
from mailboxstore.database.changes import FolderRow, MailboxChange, refuse_over_quota
from mailboxstore.database.emails import NewEmail, add_email, thread_of
from mailboxstore.database.mailboxes import (
    folder_by_id,
    is_connected,
    make_mailbox,
    no_mailbox,
    open_change,
    save_change,
)
from mailboxstore.notifications import Notifications
from mailboxstore.outbox.submission import OutboxSubmission
from mailboxstore.outbox.withdrawal import withdraw
from mailboxstore.search.indexes import TextIndexes
from mailboxstore.search.keys import asks_index
from mailboxstore.search.members import FolderMembers
from mailboxstore.search.runner import FolderSearch

T = TypeVar("T")

CONTENT_PAGE_BYTES = 256 * 1024


@dataclass(frozen=True)
class _Done(Generic[T]):
    value: T
    notices: tuple[tuple[str, Notice], ...]


class Store:
    """Every access server of the organisation may call it for every mailbox that lives here."""

    def __init__(
        self,
        database: MailboxDatabase,
        directory: Directory,
        notifications: Notifications,
        submission: OutboxSubmission,
        *,
        message_size_bytes: int,
        pressure: Callable[[], Level] = lambda: "normal",
        members: FolderMembers | None = None,
        indexes: TextIndexes | None = None,
    ) -> None:
        """Without `indexes` every search in text reads the messages."""
        self._database = database
        self._directory = directory
        self._notifications = notifications
        self._submission = submission
        self.message_size_bytes = message_size_bytes
        self._pressure = pressure
        self._members = members or FolderMembers(database.readers)
        self._indexes = indexes
        self._verified: dict[str, int] = {}
        """Mailboxes that live here and are made, by the directory's revision that said so."""

    # --- submission ---

    async def submit(self, submission: Submission, content: AsyncIterator[bytes]) -> None:
        await self._mailbox(submission.mailbox_id)
        if self._pressure() == "high" and not await self._submitted_before(submission.key):
            refuse_all(self._pressure())
        await _to_its_end(self._submit(submission, await self._spool(content)))

    async def _submit(self, submission: Submission, content: Spool) -> None:
        with content:
            await self._submission.submit(submission, content)

    async def _submitted_before(self, key: str) -> bool:
        return await self._database.readers.run(lambda c: guards.was_submitted(c, key))

    # --- folders ---

    async def folders(self, mailbox_id: str) -> tuple[Folder, ...]:
        await self._mailbox(mailbox_id)
        return await self._database.readers.run(lambda c: folders.list_folders(c, mailbox_id))

    async def folder(self, mailbox_id: str, name: str) -> Folder:
        await self._mailbox(mailbox_id)

        def query(connection: Connection) -> Folder:
            row = folders.find_folder(connection, mailbox_id, name)
            return folders.to_interface(row, folders.recent_uid(row))

        return await self._database.readers.run(query)

    async def select(self, mailbox_id: str, name: str, read_only: bool) -> Folder:
        folder = await self.folder(mailbox_id, name)
        if read_only or not folder.first_recent_uid:
            return folder
        return await self._database.writer.run(lambda c: folders.claim_recent(c, mailbox_id, name))

    async def create_folder(self, mailbox_id: str, name: str, role: Role = "") -> Folder:
        now_ms, identifier = self._now_ms(), self._database.identifier

        def unit(connection: Connection, change: MailboxChange) -> Folder:
            row = folders.create_folder(connection, change, name, role, now_ms, identifier)
            return folders.to_interface(row)

        return await self._change(mailbox_id, unit)

    async def delete_folder(self, mailbox_id: str, name: str) -> None:
        now_ms, identifier = self._now_ms(), self._database.identifier
        await self._change(mailbox_id, lambda c, ch: folders.delete_folder(c, ch, name, now_ms, identifier))

    async def rename_folder(self, mailbox_id: str, name: str, new_name: str) -> None:
        now_ms, identifier = self._now_ms(), self._database.identifier
        await self._change(
            mailbox_id, lambda c, ch: folders.rename_folder(c, ch, name, new_name, now_ms, identifier)
        )

    async def set_subscribed(self, mailbox_id: str, name: str, subscribed: bool) -> None:
        await self._change(mailbox_id, lambda c, ch: folders.set_subscribed(c, ch, name, subscribed))

    async def subscriptions(self, mailbox_id: str) -> tuple[str, ...]:
        await self._mailbox(mailbox_id)
        return await self._database.readers.run(lambda c: folders.list_subscriptions(c, mailbox_id))

    # --- reads ---

    async def flags(self, mailbox_id: str, folder_id: str) -> AsyncIterator[FlagColumns]:
        await self._mailbox(mailbox_id)
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
        await self._mailbox(mailbox_id)
        return await self._database.readers.run(
            lambda c: reading.changes_since(c, mailbox_id, folder_id, since_modseq)
        )

    async def records(
        self, mailbox_id: str, folder_id: str, uids: Ranges, fields: Fields
    ) -> AsyncIterator[tuple[Record, ...]]:
        await self._mailbox(mailbox_id)
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
        await self._mailbox(mailbox_id)
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
        await self._mailbox(mailbox_id)
        contents = self._database.contents
        at, end = max(offset, 0), max(offset, 0) + length

        def query(connection: Connection) -> bytes:
            wanted = min(end - at, CONTENT_PAGE_BYTES)
            return reading.content_page(connection, contents, mailbox_id, folder_id, uid, at, wanted)

        while at < end and (piece := await self._database.readers.run(query)):
            yield piece
            at += len(piece)

    async def search(self, mailbox_id: str, folder_id: str, key: Key) -> tuple[int, ...]:
        await self._mailbox(mailbox_id)
        database = self._database
        folder = await database.readers.run(lambda c: folder_by_id(c, mailbox_id, folder_id))
        readers, contents, now_ms = database.readers, database.contents, self._now_ms()
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
        await self._mailbox(mailbox_id)
        async with aclosing(self._notifications.watch(mailbox_id)) as notices:
            async for notice in notices:
                yield notice

    # --- changes of messages ---

    async def change_flags(
        self, mailbox_id: str, folder_id: str, uids: Ranges, change: FlagChange
    ) -> FlagOutcome:
        def unit(connection: Connection, mailbox: MailboxChange) -> FlagOutcome:
            folder = folder_by_id(connection, mailbox_id, folder_id)
            return messages.change_flags(connection, mailbox, folder, uids, change)

        return await self._change(mailbox_id, unit)

    async def append(
        self,
        mailbox_id: str,
        name: str,
        flags: int,
        keywords: tuple[str, ...],
        internal_date_ms: int,
        internal_offset_minutes: int,
        content: AsyncIterator[bytes],
    ) -> Appended:
        messages.check_keywords(keywords)
        refuse_all(self._pressure())
        await self._mailbox(mailbox_id)
        # Before the content is read: a client learns at once that the folder is not there.
        await self._database.readers.run(lambda c: folders.target_folder(c, open_change(c, mailbox_id), name))
        spool = await self._spool(content)
        return await _to_its_end(
            self._append(mailbox_id, name, flags, keywords, internal_date_ms, internal_offset_minutes, spool)
        )

    async def _append(
        self,
        mailbox_id: str,
        name: str,
        flags: int,
        keywords: tuple[str, ...],
        internal_date_ms: int,
        internal_offset_minutes: int,
        spool: Spool,
    ) -> Appended:
        database = self._database
        with spool:
            email = await database.compute(
                spool.size_bytes,
                lambda: NewEmail(database.identifier(), b"", spool, summarise(spool.buffer())),
            )
            summary = email.summary
            await database.secure(email)
            now_ms = self._now_ms()

            def unit(connection: Connection, change: MailboxChange) -> Appended:
                folder = folders.target_folder(connection, change, name)
                refuse_over_quota(change.mailbox, email.size_bytes, database.quota_bytes)
                placement = messages.Placement(
                    email=add_email(connection, database.contents, email, 1),
                    thread_id=thread_of(connection, change.mailbox.mailbox, summary, email.email_id),
                    size_bytes=email.size_bytes,
                    now_ms=now_ms,
                    flags=flags,
                    keywords=keywords,
                    internal_date_ms=internal_date_ms,
                    internal_offset_minutes=internal_offset_minutes,
                )
                uid = messages.place_message(connection, change, folder, placement)
                if folder.role == "sent" and summary.message_id:
                    self._replace_sent_copy(connection, change, folder, summary.message_id, now_ms)
                return Appended(uid_validity=folder.uid_validity, uid=uid)

            return await self._change(mailbox_id, unit)

    async def copy(self, mailbox_id: str, folder_id: str, uids: Ranges, target: str) -> Copied:
        now_ms, quota_bytes = self._now_ms(), self._database.quota_bytes

        def unit(connection: Connection, change: MailboxChange) -> Copied:
            source = folder_by_id(connection, mailbox_id, folder_id)
            into = folders.target_folder(connection, change, target)
            rows = messages.messages_in(connection, source.folder, uids)
            refuse_over_quota(change.mailbox, sum(row.size_bytes for row in rows), quota_bytes)
            placed = messages.copy_messages(connection, change, rows, into, now_ms)
            return _copied(into, rows, placed)

        return await self._change(mailbox_id, unit)

    async def move(self, mailbox_id: str, folder_id: str, uids: Ranges, target: str) -> Copied:
        database, now_ms = self._database, self._now_ms()

        def unit(connection: Connection, change: MailboxChange) -> Copied:
            source = folder_by_id(connection, mailbox_id, folder_id)
            into = folders.target_folder(connection, change, target)
            if into.folder == source.folder:
                into = source
            rows = messages.messages_in(connection, source.folder, uids)
            withdraw(connection, database, source, rows, now_ms)
            placed = messages.copy_messages(connection, change, rows, into, now_ms)
            messages.remove_messages(connection, change, source, rows, change.mailbox.user_id, now_ms)
            return _copied(into, rows, placed)

        return await self._change(mailbox_id, unit)

    async def expunge(
        self, mailbox_id: str, folder_id: str, uids: Ranges | None, deleted_only: bool = True
    ) -> tuple[int, ...]:
        database, now_ms = self._database, self._now_ms()
        wanted = messages.EVERYTHING if uids is None else uids

        def unit(connection: Connection, change: MailboxChange) -> tuple[int, ...]:
            folder = folder_by_id(connection, mailbox_id, folder_id)
            rows = messages.messages_in(connection, folder.folder, wanted)
            if deleted_only:
                rows = messages.deleted_only(rows)
            withdraw(connection, database, folder, rows, now_ms)
            messages.remove_messages(connection, change, folder, rows, change.mailbox.user_id, now_ms)
            return tuple(row.uid for row in rows)

        return await self._change(mailbox_id, unit)

    # --- help ---

    async def _mailbox(self, mailbox_id: str) -> None:
        """Makes sure that the mailbox lives here and is there. Refusal NONEXISTENT (550 5.1.1),
        Unavailable.
        """
        revision = self._directory.revision()
        if self._verified.get(mailbox_id) == revision:
            return
        user = await self._directory.mailbox(mailbox_id)
        if user is None:
            self._verified.pop(mailbox_id, None)
            raise no_mailbox()
        if user.store != self._database.server:
            self._verified.pop(mailbox_id, None)
            raise Unavailable("The mailbox lives on another server")
        if not await self._database.readers.run(lambda c: is_connected(c, mailbox_id)):
            now_ms, identifier = self._now_ms(), self._database.identifier
            user_id = user.recipient_id
            await self._database.writer.run(
                lambda c: make_mailbox(c, mailbox_id, user_id, now_ms, identifier)
            )
        self._verified[mailbox_id] = revision

    async def _change(self, mailbox_id: str, unit: Callable[[Connection, MailboxChange], T]) -> T:
        """One unit of work on one mailbox, its numbers saved, its watchers told after the commit."""
        await self._mailbox(mailbox_id)

        def work(connection: Connection) -> _Done[T]:
            change = open_change(connection, mailbox_id)
            value = unit(connection, change)
            notices = change.all_notices(mailbox_id)
            if notices:
                save_change(connection, change)
            return _Done(value, notices)

        done = await self._database.writer.run(work, lambda done: self._notifications.publish(done.notices))
        return done.value

    async def _spool(self, content: AsyncIterator[bytes]) -> Spool:
        """Refusal TOOBIG as MailError 552 5.3.4."""
        return await spool_from(content, self.message_size_bytes, self._database.spool)

    def _now_ms(self) -> int:
        return self._database.clock.now_ms()

    def _replace_sent_copy(
        self, connection: Connection, change: MailboxChange, folder: FolderRow, message_id: str, now_ms: int
    ) -> None:
        """The client filed its own copy of what it sent: the store's goes, so that nobody sees doubles."""
        mailbox = change.mailbox
        for uid in guards.sent_copies(connection, mailbox.mailbox, message_id, folder.folder, now_ms):
            guards.forget_sent_copy(connection, mailbox.mailbox, message_id, folder.folder, uid)
            rows = messages.messages_in(connection, folder.folder, ((uid, uid),))
            if rows:
                messages.remove_messages(connection, change, folder, rows, mailbox.user_id, now_ms)
                return


async def _to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """A caller that goes away does not cancel it: the content it holds is needed until the commit."""
    return await asyncio.shield(asyncio.get_running_loop().create_task(work))


def _copied(into: FolderRow, rows: list[messages.MessageRow], placed: list[int]) -> Copied:
    return Copied(
        uid_validity=into.uid_validity,
        source_uids=tuple(row.uid for row in rows),
        target_uids=tuple(placed),
    )
