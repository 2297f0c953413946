"""Views of large folders that sessions left lately: who selects one again asks the store for what changed
since, instead of reading UIDs and flags of every message.

Promise: within a bound for all sessions together, and each view is one session's at a time.
"""

from __future__ import annotations

from collections import OrderedDict

from clientaccess.imap.view import View

MESSAGES_MIN = 500
"""A smaller folder is read as fast as asked for changes."""
MESSAGES_MAX = 500_000
"""In all, about 13 octets each."""
KEYWORDS_COST = 20
"""A message with keywords takes as much memory as so many without."""


class LeftViews:
    def __init__(self, messages_max: int = MESSAGES_MAX) -> None:
        self._messages_max = messages_max
        self._views: OrderedDict[tuple[str, int], tuple[View, int]] = OrderedDict()
        self.messages = 0
        """What is kept, as if it had no keywords."""

    def keep(self, folder_id: str, uid_validity: int, view: View, modseq: int) -> None:
        """A view that nobody uses any more, with everything up to this modseq."""
        if len(view) < MESSAGES_MIN or _cost(view) > self._messages_max // 2:
            return
        self.take(folder_id, uid_validity)
        self._views[folder_id, uid_validity] = view, modseq
        self.messages += _cost(view)
        while self.messages > self._messages_max:
            _, (oldest, _) = self._views.popitem(last=False)
            self.messages -= _cost(oldest)

    def take(self, folder_id: str, uid_validity: int) -> tuple[View, int] | None:
        """The view, which is the caller's from now on."""
        found = self._views.pop((folder_id, uid_validity), None)
        if found is not None:
            self.messages -= _cost(found[0])
        return found


def _cost(view: View) -> int:
    return len(view) + KEYWORDS_COST * view.with_keywords
