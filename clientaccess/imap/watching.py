"""Follows a mailbox for one connection: the store's notices, and a new watch whenever one breaks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from clientaccess.imap.context import streaming
from foundation.interfaces.mailbox_store import MailboxStore, Notice, Refusal
from foundation.interfaces.world import Entropy
from foundation.mail.errors import MailError
from foundation.mail.status import BAD_MAILBOX

_log = logging.getLogger("waypost.clientaccess")

AGAIN_SECONDS = (1.0, 30.0)
"""A broken watch is made again after so long, doubling up to so long, with jitter."""


async def watch(
    store: MailboxStore,
    mailbox_id: str,
    noticed: Callable[[Notice], None],
    gone: Callable[[], None],
    entropy: Entropy,
) -> None:
    """Runs until it is cancelled. The first notice of each watch says "ask", so none is missed between
    two. `gone` is called whenever the store says that there is no such mailbox any more."""
    shortest, longest = AGAIN_SECONDS
    delay = shortest
    while True:
        try:
            async with streaming(store.watch(mailbox_id)) as notices:
                async for notice in notices:
                    delay = shortest
                    noticed(notice)
        except MailError as error:
            if isinstance(error, Refusal) and error.status == BAD_MAILBOX:
                gone()
            _log.info("mailbox can't be watched now", extra={"mailbox_id": mailbox_id, "reason": str(error)})
        except Exception:
            _log.exception("watching a mailbox failed", extra={"mailbox_id": mailbox_id})
        await asyncio.sleep(entropy.uniform(delay / 2, delay))
        delay = min(delay * 2, longest)
