"""Follows a mailbox for one connection: the store's notices, and a new watch whenever one breaks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from clientaccess.imap.context import streaming
from foundation.interfaces.mailbox_store import MailboxStore, Notice
from foundation.interfaces.world import Entropy
from foundation.mail.errors import MailError

_log = logging.getLogger("waypost.clientaccess")

AGAIN_SECONDS = (1.0, 30.0)
"""A broken watch is made again after so long, doubling up to so long, with jitter."""


async def watch(
    store: MailboxStore, mailbox_id: str, noticed: Callable[[Notice], None], entropy: Entropy
) -> None:
    """Runs until it is cancelled. The first notice of each watch says "ask", so none is missed between
    two."""
    shortest, longest = AGAIN_SECONDS
    delay = shortest
    while True:
        try:
            async with streaming(store.watch(mailbox_id)) as notices:
                async for notice in notices:
                    delay = shortest
                    noticed(notice)
        except MailError as error:
            _log.info("mailbox can't be watched now", extra={"mailbox_id": mailbox_id, "reason": str(error)})
        except Exception:
            _log.exception("watching a mailbox failed", extra={"mailbox_id": mailbox_id})
        await asyncio.sleep(entropy.uniform(delay / 2, delay))
        delay = min(delay * 2, longest)
