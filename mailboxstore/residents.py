"""Which mailboxes live in this store. Promise: one that lives here, as the directory says, is there at first
use.
"""

from __future__ import annotations

from foundation.interfaces.directory import Directory
from foundation.mail.errors import Unavailable
from mailboxstore.database.access import MailboxDatabase
from mailboxstore.database.mailboxes import is_connected, make_mailbox, no_mailbox


class Residents:
    def __init__(self, database: MailboxDatabase, directory: Directory) -> None:
        self._database = database
        self._directory = directory
        self._verified: dict[str, int] = {}
        """Mailboxes that live here and are made, by the directory's revision that said so."""

    async def ensure(self, mailbox_id: str) -> None:
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
            now_ms, identifier = self._database.clock.now_ms(), self._database.identifier
            user_id = user.recipient_id
            await self._database.writer.run(
                lambda c: make_mailbox(c, mailbox_id, user_id, now_ms, identifier)
            )
        self._verified[mailbox_id] = revision
