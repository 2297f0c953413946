"""The text indexes of a store's mailboxes: made for a mailbox after a search that had to read many of its
messages, in small steps beside the store's work, and never in a delivery's way.

Promise: what an index does not hold yet is read by the search itself, so answers do not depend on it. An
index that is lost, damaged, or of another database is made anew.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
from array import array
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain, groupby
from pathlib import Path
from typing import NamedTuple, TypeVar

from sqlalchemy import Connection

from foundation.database.executor import Executor
from foundation.mail.errors import MailError, Unavailable
from mailboxstore.database.access import MailboxDatabase
from mailboxstore.database.changes import FolderRow
from mailboxstore.database.emails import StoredEmail, read_email
from mailboxstore.database.mailboxes import find_mailbox, folder_row
from mailboxstore.database.statements import FOLDERS_IN
from mailboxstore.search import statements
from mailboxstore.search.index import BETWEEN_PARTS, MailboxIndex, Place, Text, remove, size_of
from mailboxstore.search.members import FolderMembers
from mailboxstore.search.text import MessageText

T = TypeVar("T")

SCANNED_MIN = 100
"""Reading fewer messages than that at a search is no reason for an index."""
EMAILS_A_STEP = 25
BYTES_A_STEP = 1024 * 1024
BUSY_SECONDS = 0.05
BUSY_TIMES_MAX = 20
"""So often a step waits for deliveries before it takes its turn."""
GONE_MIN = 100
"""With more emails gone than that, and than a quarter of those there, an index is made anew."""
OPEN_MAX = 16
WAITING_MAX = 1000
MAILBOX_BYTES_MAX = 2 * 1024**3
"""An index of this size grows no more: later messages are read."""
ALL_BYTES_MAX = 8 * 1024**3
"""Beyond that, the index that was opened longest ago goes."""
READ_TIMES_MAX = 5
"""So often a mailbox is read until nothing left a folder meanwhile; then it has to wait."""

log = logging.getLogger("waypost.mailboxstore")


class Hits(NamedTuple):
    emails: list[int]
    last_email: int
    """Of all emails up to this one the index knows, but for those in `unfit`."""
    unfit: frozenset[int]


class TextIndexes:
    """`busy` says whether other work should go first."""

    def __init__(
        self,
        folder: Path,
        database: MailboxDatabase,
        members: FolderMembers,
        executor: Executor,
        busy: Callable[[], bool],
    ) -> None:
        self._folder = folder
        self._database = database
        self._members = members
        self._executor = executor
        self._busy = busy
        self._open: OrderedDict[str, MailboxIndex] = OrderedDict()
        """Used in the executor alone."""
        self._waiting: dict[str, None] = {}
        self._task: asyncio.Task[None] | None = None
        self._searches = 0
        self._sizes = {file.stem: size_of(file) for file in folder.glob("*.db")}

    @property
    def size_bytes(self) -> int:
        """Of all of them."""
        return sum(self._sizes.values())

    async def stop(self) -> None:
        self._waiting.clear()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._executor.run(self._close_all)

    @contextmanager
    def searching(self) -> Iterator[None]:
        """Making gives way to a search, too."""
        self._searches += 1
        try:
            yield
        finally:
            self._searches -= 1

    async def asked_of(self, mailbox_id: str) -> Callable[[str, Place], Awaitable[Hits | None]] | None:
        """The mailbox's index, to be asked; None: it has none."""
        return partial(self.find, mailbox_id) if await self._checked(mailbox_id) else None

    async def find(self, mailbox_id: str, needle: str, place: Place) -> Hits | None:
        """None: it can't be asked any more."""
        return await self._executor.run(self._find, mailbox_id, needle, place)

    def wish(self, mailbox_id: str, scanned: int) -> None:
        """A search read so many messages that no index knows: with many, the mailbox is worth one."""
        if scanned < SCANNED_MIN or len(self._waiting) >= WAITING_MAX:
            return
        self._waiting[mailbox_id] = None
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._work())

    async def forget(self, mailbox_id: str) -> None:
        """The mailbox is gone."""
        self._waiting.pop(mailbox_id, None)
        await self._executor.run(self._drop, mailbox_id)

    async def settled(self) -> None:
        """Until nothing is being indexed."""
        if self._task is not None:
            await asyncio.wait([self._task])

    # --- making ---

    async def _work(self) -> None:
        try:
            while self._waiting:
                mailbox_id = next(iter(self._waiting))
                try:
                    await self._build(mailbox_id)
                except MailError as error:
                    log.warning("a text index has to wait", extra={"reason": str(error)})
                except (sqlite3.Error, OSError) as error:
                    facts = {"mailbox_id": mailbox_id, "reason": str(error)}
                    log.warning("a text index is given up, the mailbox is searched without", extra=facts)
                    await self._executor.run(self._drop, mailbox_id)
                except Exception:
                    log.exception("a text index could not be made", extra={"mailbox_id": mailbox_id})
                self._waiting.pop(mailbox_id, None)
        finally:
            self._task = None

    async def _build(self, mailbox_id: str) -> None:
        """Brings the index up to what the mailbox holds now."""
        emails = await self._emails_of(mailbox_id)
        await self._checked(mailbox_id)
        if mailbox_id not in self._waiting:
            return  # forgotten
        last_email = await self._executor.run(self._begin, mailbox_id, emails)
        at = bisect_right(emails, last_email)
        while at < len(emails):
            await self._give_way()
            part = emails[at : at + EMAILS_A_STEP]
            texts, looked_at = await self._database.readers.run(partial(self._texts, emails=part))
            if not await self._executor.run(self._add, mailbox_id, last_email, texts, looked_at):
                return
            last_email = looked_at
            at = bisect_right(emails, last_email)

    async def _give_way(self) -> None:
        for _ in range(BUSY_TIMES_MAX):
            if not (self._searches or self._busy()):
                return
            await asyncio.sleep(BUSY_SECONDS)

    async def _emails_of(self, mailbox_id: str) -> array[int]:
        """All emails of the mailbox at one moment, rising: what is not among them has a greater number.
        Raises Unavailable.
        """
        for _ in range(READ_TIMES_MAX):
            folders = await self._database.readers.run(lambda c: _folders(c, mailbox_id))
            parts = [(await self._members.of(folder)).emails_as_of(folder) for folder in folders]
            whole = [part for part in parts if part is not None]
            if len(whole) == len(parts):
                return await self._executor.run(_rising, whole)
        raise Unavailable("The mailbox changes too often to be indexed now")

    def _texts(self, connection: Connection, emails: Sequence[int]) -> tuple[list[Text], int]:
        """Texts of the first of these emails, and which was the last looked at."""
        rows = connection.execute(statements.TEXT_OF_EMAILS, {"emails": list(emails)}).all()
        texts: list[Text] = []
        bytes_read = 0
        for row in rows:
            stored = StoredEmail(*row[3:])

            def read(offset: int, length: int, stored: StoredEmail = stored) -> bytes:
                return read_email(connection, self._database.contents, stored, offset, length)

            message = MessageText(read, stored.size_bytes, stored.header_size, row.parts)
            texts.append(_text(row.email, row.email_id, message))
            bytes_read += message.bytes_read
            if bytes_read >= BYTES_A_STEP:
                return texts, row.email
        return texts, emails[-1]

    # --- files: in the executor ---

    async def _checked(self, mailbox_id: str) -> bool:
        """Opens the mailbox's index when there is one that belongs to this database."""
        state = await self._executor.run(self._state, mailbox_id)
        if state is None or state[0]:
            return state is not None
        _, last_email, last_email_id = state
        if await self._database.readers.run(lambda c: _belongs(c, last_email, last_email_id)):
            return True
        log.warning("a text index is of another database; it is made anew", extra={"mailbox_id": mailbox_id})
        await self._executor.run(self._drop, mailbox_id)
        return False

    def _state(self, mailbox_id: str) -> tuple[bool, int, str] | None:
        """Whether it was open already, and how far it goes; None: there is none."""
        index = self._open.get(mailbox_id)
        if index is not None:
            return True, index.last_email, index.last_email_id
        file = self._file(mailbox_id)
        if not file.exists():
            return None
        try:
            index = self._opened(mailbox_id)
            os.utime(file)
        except (sqlite3.Error, OSError) as error:
            self._damaged(mailbox_id, error)
            return None
        return False, index.last_email, index.last_email_id

    def _opened(self, mailbox_id: str) -> MailboxIndex:
        index = self._open.get(mailbox_id)
        if index is None:
            index = self._open[mailbox_id] = MailboxIndex(self._file(mailbox_id))
            while len(self._open) > OPEN_MAX:
                self._open.popitem(last=False)[1].close()
        self._open.move_to_end(mailbox_id)
        return index

    def _find(self, mailbox_id: str, needle: str, place: Place) -> Hits | None:
        try:
            index = self._opened(mailbox_id)
            return Hits(index.find(needle, place), index.last_email, index.unfit)
        except (sqlite3.Error, OSError) as error:
            self._damaged(mailbox_id, error)
            return None

    def _begin(self, mailbox_id: str, emails: Sequence[int]) -> int:
        """Up to where the index goes; one with too much of what is gone begins again."""
        index = self._opened(mailbox_id)
        there = bisect_right(emails, index.last_email)
        gone = index.indexed + len(index.unfit) - there
        if gone > max(GONE_MIN, there // 4):
            self._drop(mailbox_id)
            index = self._opened(mailbox_id)
        return index.last_email

    def _add(self, mailbox_id: str, after: int, texts: Sequence[Text], last_email: int) -> bool:
        """False: the index has no room for more, or is not the one that went up to `after`: it was dropped
        meanwhile.
        """
        if not self._file(mailbox_id).exists():
            return False
        index = self._opened(mailbox_id)
        if index.last_email != after or index.size_bytes() > MAILBOX_BYTES_MAX:
            return False
        index.add(texts, last_email)
        self._sizes[mailbox_id] = index.size_bytes()
        if self.size_bytes > ALL_BYTES_MAX:
            self._make_room(mailbox_id)
        return True

    def _make_room(self, but: str) -> None:
        others = [self._file(mailbox_id) for mailbox_id in self._sizes if mailbox_id != but]
        if others:
            self._drop(min(others, key=lambda file: (file.stat().st_mtime, file.name)).stem)

    def _damaged(self, mailbox_id: str, error: Exception) -> None:
        facts = {"mailbox_id": mailbox_id, "reason": str(error)}
        log.warning("a text index can't be read; it is made anew", extra=facts)
        self._drop(mailbox_id)

    def _drop(self, mailbox_id: str) -> None:
        index = self._open.pop(mailbox_id, None)
        if index is not None:
            index.close()
        self._sizes.pop(mailbox_id, None)
        remove(self._file(mailbox_id))

    def _close_all(self) -> None:
        while self._open:
            self._open.popitem()[1].close()

    def _file(self, mailbox_id: str) -> Path:
        return self._folder / f"{mailbox_id}.db"


def _text(email: int, email_id: str, message: MessageText) -> Text:
    return Text(email, email_id, message.header_text(), BETWEEN_PARTS.join(message.body_texts()))


def _rising(parts: Iterable[Sequence[int]]) -> array[int]:
    """All of them, each once."""
    return array("Q", (email for email, _ in groupby(sorted(chain.from_iterable(parts)))))


def _folders(connection: Connection, mailbox_id: str) -> list[FolderRow]:
    mailbox = find_mailbox(connection, mailbox_id)
    if mailbox is None:
        return []
    rows = connection.execute(FOLDERS_IN, {"mailbox": mailbox.mailbox})
    return [folder_row(row) for row in rows]


def _belongs(connection: Connection, last_email: int, last_email_id: str) -> bool:
    """Whether an index that goes so far can be of this database: one restored from a copy gives numbers again
    that an index may know already."""
    row = connection.execute(statements.EMAIL_ID_OF, {"email": last_email}).first()
    if row is not None:
        return last_email_id in ("", row.email_id)
    newest = connection.execute(statements.NEWEST_EMAIL).scalar()
    return last_email <= (newest or 0)
