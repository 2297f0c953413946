"""What the store does by itself, in small units between the others' work: mailboxes of removed users are
marked disconnected, kept, and purged in the end; content that nobody shows any more is deleted; guards and
tracking events that are old enough go; what an earlier release did not compute of a message is computed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial

from sqlalchemy import Connection

from foundation.interfaces.directory import Directory
from foundation.mail.errors import MailError
from mailboxstore.database import emails, guards, mailboxes
from mailboxstore.database.access import MailboxDatabase

PAUSE_SECONDS = 30.0
COMPARED_AT_ONCE = 200
TRACKING_KEPT_MS = 30 * 24 * 3600 * 1000
TRACKING_BYTES_MAX = 1024**3
DAY_MS = 24 * 3600 * 1000

log = logging.getLogger("waypost.mailboxstore")


class Maintenance:
    def __init__(
        self,
        database: MailboxDatabase,
        directory: Directory,
        *,
        disconnected_keep_days: int,
        disconnected: Callable[[str], None],
        purged: Callable[[str], Awaitable[None]] | None = None,
    ) -> None:
        """`disconnected` is called with a mailbox that has no user here any more, `purged` with one that is
        gone.
        """
        self._disconnected = disconnected
        self._purged = purged
        self._database = database
        self._directory = directory
        self.keep_disconnected(disconnected_keep_days)
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def keep_disconnected(self, days: int) -> None:
        self._keep_ms = days * DAY_MS

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._always())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def directory_changed(self) -> None:
        self._wake.set()

    async def run_once(self) -> None:
        """Everything that is due now."""
        await self._disconnect()
        await self._purge()
        contents = self._database.contents
        await self._repeat(lambda c, now_ms: mailboxes.collect_emails(c, contents))
        await self._repeat(guards.prune)
        tracking = self._database.tracking
        await self._repeat(lambda c, now_ms: tracking.prune(c, now_ms - TRACKING_KEPT_MS, TRACKING_BYTES_MAX))
        await self._repeat(lambda c, now_ms: emails.list_missing_fields(c, contents))

    async def _always(self) -> None:
        while True:
            try:
                await self.run_once()
            except MailError as error:
                log.error("the store's upkeep has to wait", extra={"reason": str(error)})
            except Exception:
                log.exception("the store's upkeep failed; it goes on")
            try:
                async with asyncio.timeout(PAUSE_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()

    async def _repeat(self, step: Callable[[Connection, int], int]) -> None:
        """The step in units of its own, until it has nothing left."""
        now_ms = self._database.clock.now_ms()
        while await self._database.writer.run(lambda connection: step(connection, now_ms)):
            pass

    async def _disconnect(self) -> None:
        """Marks mailboxes that no user of this store has any more. Raises Unavailable."""
        known = set(await self._directory.mailboxes_of(self._database.server))
        after = ""

        def query(connection: Connection) -> list[str]:
            return mailboxes.connected_mailboxes(connection, after, COMPARED_AT_ONCE)

        while page := await self._database.readers.run(query):
            for mailbox_id in page:
                if mailbox_id not in known and not await self._lives_here(mailbox_id):
                    await self._mark(mailbox_id, self._database.clock.now_ms())
                    self._disconnected(mailbox_id)
            after = page[-1]

    async def _purge(self) -> None:
        """Removes what was disconnected for long enough; what has a user again is connected. Raises
        Unavailable.
        """
        before_ms = self._database.clock.now_ms() - self._keep_ms
        after = ""

        def query(connection: Connection) -> list[tuple[str, int]]:
            return mailboxes.disconnected_mailboxes(connection, after, COMPARED_AT_ONCE)

        while page := await self._database.readers.run(query):
            for mailbox_id, since_ms in page:
                if await self._lives_here(mailbox_id):
                    await self._mark(mailbox_id, None)
                elif since_ms < before_ms:
                    log.info("mailbox purged", extra={"mailbox_id": mailbox_id})
                    await self._repeat(partial(_purge_step, mailbox_id))
                    if self._purged is not None:
                        await self._purged(mailbox_id)
            after = page[-1][0]

    async def _lives_here(self, mailbox_id: str) -> bool:
        user = await self._directory.mailbox(mailbox_id)
        return user is not None and user.store == self._database.server

    async def _mark(self, mailbox_id: str, disconnected_at_ms: int | None) -> None:
        said = "mailbox connected again" if disconnected_at_ms is None else "mailbox disconnected"
        log.info(said, extra={"mailbox_id": mailbox_id})
        await self._database.writer.run(
            lambda c: mailboxes.set_disconnected(c, mailbox_id, disconnected_at_ms)
        )


def _purge_step(mailbox_id: str, connection: Connection, now_ms: int) -> int:
    return mailboxes.purge_step(connection, mailbox_id)
