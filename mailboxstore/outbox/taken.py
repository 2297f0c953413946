"""Units that a hub has taken whole, until that is written down: those of one mailbox together.

What is lost of them in a crash is made good by itself: they are found as interrupted, and the hub, asked
again under their keys, says that it has them. So they may wait for each other for a moment, and a mailbox
that sends much is opened once for many.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from foundation.tasks import end_tasks
from mailboxstore.outbox.settlement import Taken

TOGETHER_SECONDS = 0.25
TOGETHER_MAX = 200
"""Of all mailboxes; so many do not wait for more."""

log = logging.getLogger("waypost.mailboxstore")

Write = Callable[[Sequence[Taken]], Awaitable[object]]
"""Commits units of one mailbox."""


class TakenUnits:
    def __init__(self, write: Write) -> None:
        self._write = write
        self._waiting: dict[str, list[Taken]] = {}
        self._count = 0
        self._timer: asyncio.TimerHandle | None = None
        self._writing: dict[asyncio.Task[None], None] = {}

    @property
    def waiting(self) -> int:
        """Units that are not being written yet."""
        return self._count

    def put(self, taken: Taken) -> None:
        self._waiting.setdefault(taken.unit.mailbox_id, []).append(taken)
        self._count += 1
        if self._count >= TOGETHER_MAX:
            self._begin()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TOGETHER_SECONDS, self._begin)

    async def written(self, seconds: float) -> None:
        """Until what was taken is written down; no longer than told."""
        self._begin()
        if self._writing:
            await asyncio.wait(list(self._writing), timeout=seconds)

    async def stop(self, grace_seconds: float) -> None:
        """Writes what waits; what does not end in time is found as interrupted after the start."""
        self._begin()
        await end_tasks(self._writing, grace_seconds)

    def _begin(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting, self._waiting, self._count = self._waiting, {}, 0
        for together in waiting.values():
            task = asyncio.get_running_loop().create_task(self._written(together))
            self._writing[task] = None
            task.add_done_callback(lambda done: self._writing.pop(done, None))

    async def _written(self, together: Sequence[Taken]) -> None:
        try:
            await self._write(together)
        except Exception:
            log.exception("an outbox outcome could not be settled", extra={"hub": together[0].hub})
