"""After a commit: tells whoever watches the mailbox. The last station of a message's way inside the store.

Promises: a notice is sent only for what is durable; a slow watcher costs one notice a folder, never more,
and holds up nobody; a notice is a nudge, so merging two of one folder loses nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable

from foundation.interfaces.mailbox_store import Notice, Refusal

WATCHERS_PER_MAILBOX_MAX = 500


class _Watcher:
    __slots__ = ("closed", "pending", "wakened")

    def __init__(self) -> None:
        self.pending: dict[str, int] = {"": 0}
        """Highest modseq by folder; the first notice says that the watch stands."""
        self.wakened = asyncio.Event()
        self.wakened.set()
        self.closed = False


class Notifications:
    def __init__(self) -> None:
        self._watchers: dict[str, dict[int, _Watcher]] = {}
        self._serial = 0

    @property
    def watchers(self) -> int:
        return sum(len(watchers) for watchers in self._watchers.values())

    def publish(self, notices: Iterable[tuple[str, Notice]]) -> None:
        """Pairs of mailbox id and notice; called on the event loop, after the commit."""
        for mailbox_id, notice in notices:
            for watcher in self._watchers.get(mailbox_id, {}).values():
                known = watcher.pending.get(notice.folder_id, 0)
                watcher.pending[notice.folder_id] = max(known, notice.highest_modseq)
                watcher.wakened.set()

    async def watch(self, mailbox_id: str) -> AsyncGenerator[Notice, None]:
        """Ends when the store stops, or the mailbox is disconnected. Refusal LIMIT."""
        watchers = self._watchers.setdefault(mailbox_id, {})
        if len(watchers) >= WATCHERS_PER_MAILBOX_MAX:
            raise Refusal("LIMIT", "Too many sessions watch this mailbox", 450, "4.3.2")
        self._serial += 1
        serial = self._serial
        watcher = watchers[serial] = _Watcher()
        try:
            while not watcher.closed:
                await watcher.wakened.wait()
                watcher.wakened.clear()
                pending, watcher.pending = watcher.pending, {}
                for folder_id, modseq in pending.items():
                    yield Notice(folder_id=folder_id, highest_modseq=modseq)
        finally:
            del watchers[serial]
            if not watchers:
                self._watchers.pop(mailbox_id, None)

    def end(self, mailbox_id: str) -> None:
        """Nothing will come to this mailbox any more: who watches it asks again, and learns why."""
        for watcher in self._watchers.get(mailbox_id, {}).values():
            watcher.closed = True
            watcher.wakened.set()

    def close(self) -> None:
        for mailbox_id in self._watchers:
            self.end(mailbox_id)
