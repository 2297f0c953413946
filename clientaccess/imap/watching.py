"""Follows mailboxes for connections: the store's notices, one watch for all connections that follow the same
mailbox, and a new one whenever one breaks.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from foundation.interfaces.mailbox_store import MailboxStore, Notice, Refusal
from foundation.interfaces.world import Entropy
from foundation.mail.errors import MailError
from foundation.mail.status import BAD_MAILBOX
from foundation.streaming import streaming

_log = logging.getLogger("waypost.clientaccess")

AGAIN_SECONDS = (1.0, 30.0)
"""A broken watch is made again after so long, doubling up to so long, with jitter."""


Followed = tuple[MailboxStore, str]
"""A mailbox by its id, and the store as it is reached: by another way after a reload, it is another watch."""


class Follower(Protocol):
    def noticed(self, notice: Notice) -> None:
        """Something may have changed in the folder of the notice; without a folder, anywhere."""
        ...

    def mailbox_gone(self) -> None:
        """The store says that there is no such mailbox any more. Said again until it is left."""
        ...


class Watches:
    """The mailboxes that connections follow here."""

    def __init__(self, entropy: Entropy) -> None:
        self._entropy = entropy
        self._watches: dict[Followed, _Watch] = {}

    def follow(self, followed: Followed, follower: Follower) -> None:
        """From now on. The follower is told at once, or soon, to ask for what it missed."""
        watch = self._watches.get(followed)
        if watch is None:
            watch = self._watches[followed] = _Watch(*followed, self._entropy)
        else:
            follower.noticed(Notice())
        watch.followers[follower] = None

    def leave(self, followed: Followed, follower: Follower) -> None:
        watch = self._watches[followed]
        del watch.followers[follower]
        if not watch.followers:
            del self._watches[followed]
            watch.task.cancel()


class _Watch:
    __slots__ = ("_entropy", "_mailbox_id", "_store", "followers", "task")

    def __init__(self, store: MailboxStore, mailbox_id: str, entropy: Entropy) -> None:
        self.followers: dict[Follower, None] = {}
        self._store = store
        self._mailbox_id = mailbox_id
        self._entropy = entropy
        self.task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        """Until it is cancelled. Each stream's first notice says "ask", so none is missed between two."""
        shortest, longest = AGAIN_SECONDS
        delay = shortest
        while True:
            try:
                async with streaming(self._store.watch(self._mailbox_id)) as notices:
                    async for notice in notices:
                        delay = shortest
                        for follower in tuple(self.followers):
                            follower.noticed(notice)
            except MailError as error:
                if isinstance(error, Refusal) and error.status == BAD_MAILBOX:
                    for follower in tuple(self.followers):
                        follower.mailbox_gone()
                _log.info(
                    "mailbox can't be watched now",
                    extra={"mailbox_id": self._mailbox_id, "reason": str(error)},
                )
            except Exception:
                _log.exception("watching a mailbox failed", extra={"mailbox_id": self._mailbox_id})
            await asyncio.sleep(self._entropy.uniform(delay / 2, delay))
            delay = min(delay * 2, longest)
