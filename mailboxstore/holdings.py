"""What the store answers to `waypost audit`: what is really in its mailboxes, in pages.

Promise: it reads and changes nothing, and no page holds the database for long.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from foundation.interfaces.holdings import FiledCopy, Miscount
from mailboxstore.database import holdings
from mailboxstore.database.access import MailboxDatabase

COPIES_A_PAGE = 500
MISCOUNTS_A_PAGE = 1000
"""Each page counts the whole database once."""


class StoreHoldings:
    """Implements foundation.interfaces.holdings.Holdings."""

    def __init__(self, database: MailboxDatabase) -> None:
        self._database = database

    async def filed(
        self, since_ms: int, network_message_ids: tuple[str, ...]
    ) -> AsyncIterator[tuple[FiledCopy, ...]]:
        after = 0
        while True:
            page, last = await self._database.readers.run(
                lambda c, after=after: holdings.filed(  # type: ignore[misc]
                    c, since_ms, network_message_ids, after, COPIES_A_PAGE
                )
            )
            if not page:
                return
            yield page
            after = last

    async def miscounts(self) -> AsyncIterator[tuple[Miscount, ...]]:
        after = 0
        while True:
            page, last = await self._database.readers.run(
                lambda c, after=after: holdings.miscounts(c, after, MISCOUNTS_A_PAGE)  # type: ignore[misc]
            )
            if not page:
                return
            yield page
            after = last
