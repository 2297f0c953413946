"""The store as Client Access sees it: implements foundation.interfaces.mailbox_store.MailboxStore.

Promise: what changes something returns after its commit.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection

from foundation.database.spool import Spool, spool_from
from foundation.interfaces.directory import Directory
from foundation.interfaces.mailbox_store import (
    Appended,
    Copied,
    FlagChange,
    FlagOutcome,
    Folder,
    Notice,
    Ranges,
    Role,
    Submission,
)
from foundation.mail.rendering import summarise
from foundation.pressure.levels import Level, refuse_all
from mailboxstore.database import folders, guards, messages
from mailboxstore.database.access import MailboxDatabase
from mailboxstore.database.changes import FolderRow, MailboxChange, refuse_over_quota
from mailboxstore.database.emails import NewEmail, add_email, thread_of
from mailboxstore.database.mailboxes import folder_by_id, open_change, save_change
from mailboxstore.notifications import Notifications
from mailboxstore.outbox.submission import OutboxSubmission
from mailboxstore.outbox.withdrawal import withdraw
from mailboxstore.reads import Reads
from mailboxstore.residents import Residents
from mailboxstore.search.indexes import TextIndexes
from mailboxstore.search.members import FolderMembers

T = TypeVar("T")


@dataclass(frozen=True)
class _Done(Generic[T]):
    value: T
    notices: tuple[tuple[str, Notice], ...]


class Store(Reads):
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
        residents = Residents(database, directory)
        super().__init__(
            database, residents, notifications, members or FolderMembers(database.readers), indexes
        )
        self._submission = submission
        self.message_size_bytes = message_size_bytes
        self._pressure = pressure

    # --- submission ---

    async def submit(self, submission: Submission, content: AsyncIterator[bytes]) -> None:
        await self._residents.ensure(submission.mailbox_id)
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
        await self._residents.ensure(mailbox_id)
        return await self._database.readers.run(lambda c: folders.list_folders(c, mailbox_id))

    async def folder(self, mailbox_id: str, name: str) -> Folder:
        await self._residents.ensure(mailbox_id)

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
        await self._residents.ensure(mailbox_id)
        return await self._database.readers.run(lambda c: folders.list_subscriptions(c, mailbox_id))

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
        await self._residents.ensure(mailbox_id)
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
            if deleted_only:
                rows = messages.deleted_in(connection, folder, wanted)
            else:
                rows = messages.messages_in(connection, folder.folder, wanted)
            withdraw(connection, database, folder, rows, now_ms)
            messages.remove_messages(connection, change, folder, rows, change.mailbox.user_id, now_ms)
            return tuple(row.uid for row in rows)

        return await self._change(mailbox_id, unit)

    # --- help ---

    async def _change(self, mailbox_id: str, unit: Callable[[Connection, MailboxChange], T]) -> T:
        """One unit of work on one mailbox, its numbers saved, its watchers told after the commit."""
        await self._residents.ensure(mailbox_id)

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
