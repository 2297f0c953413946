"""What a mailbox database really holds of what tracking says was filed: asked by `waypost audit`, answered by
stores from their rows, not from their events.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Literal, Protocol

import msgspec

CopyState = Literal["present", "removed", "folder-gone", "mailbox-gone", "missing", "damaged"]
"""removed: its tombstone is there, a user expunged or moved it. folder-gone, mailbox-gone: it went with it.
missing: neither message nor tombstone. damaged: a message without its content."""


class FiledCopy(msgspec.Struct, frozen=True, kw_only=True):
    """Where a message was filed, and what is there now."""

    network_message_id: str
    recipient_id: str = ""
    """Empty when the guard against doubles has no row of it: an own report, or older than those are kept."""
    mailbox_id: str
    folder_id: str
    uid: int
    state: CopyState


class Miscount(msgspec.Struct, frozen=True, kw_only=True):
    """A stored email that is shown by more or by fewer messages than were filed and copied."""

    email_id: str
    message_id: str
    """Header, without angle brackets."""
    network_message_id: str
    """Empty: it did not come by delivery."""
    mailbox_ids: tuple[str, ...]
    """Where it is shown."""
    filed: int
    shown: int


class Holdings(Protocol):
    """Offered by mailbox stores, to every server and the operator."""

    def filed(
        self, since_ms: int, network_message_ids: tuple[str, ...]
    ) -> AsyncIterator[tuple[FiledCopy, ...]]:
        """Of everything filed by delivery or as a report at or after a time; ids given: of these messages
        alone, whenever."""
        ...

    def miscounts(self) -> AsyncIterator[tuple[Miscount, ...]]:
        """Over the whole database."""
        ...
