"""Views of large folders that sessions left lately: who selects one again asks the store for what changed
since, instead of reading UIDs and flags of every message.

Promise: within a bound for all sessions together, and each view is one session's at a time.
"""

from __future__ import annotations

from clientaccess.imap.view import View
from foundation.recent import Recent

MESSAGES_MIN = 500
"""A smaller folder is read as fast as asked for changes."""
MESSAGES_MAX = 500_000
"""In all, about 13 octets each."""
KEYWORDS_COST = 20
"""A message with keywords takes as much memory as so many without."""


class LeftViews:
    def __init__(self, messages_max: int = MESSAGES_MAX) -> None:
        self._messages_max = messages_max
        self._views: Recent[tuple[str, int], tuple[View, int]] = Recent(messages_max)

    @property
    def messages(self) -> int:
        """What is kept, as if it had no keywords."""
        return self._views.cost

    def keep(self, folder_id: str, uid_validity: int, view: View, modseq: int) -> None:
        """A view that nobody uses any more, with everything up to this modseq."""
        cost = len(view) + KEYWORDS_COST * view.with_keywords
        if len(view) >= MESSAGES_MIN and cost <= self._messages_max // 2:
            self._views.keep((folder_id, uid_validity), (view, modseq), cost)

    def take(self, folder_id: str, uid_validity: int) -> tuple[View, int] | None:
        """The view, which is the caller's from now on."""
        return self._views.take((folder_id, uid_validity))
