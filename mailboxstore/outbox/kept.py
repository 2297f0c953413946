"""An email as the Outbox keeps it in memory until it leaves: it is not read from the database again."""

from __future__ import annotations

from dataclasses import dataclass

from mailboxstore.database.emails import NewEmail

KEPT_BYTES_MAX = 64 * 1024
"""A larger one is not kept."""
ALL_KEPT_BYTES_MAX = 16 * 1024 * 1024


@dataclass(frozen=True)
class KeptEmail:
    content: bytes
    sha256: str


def kept_email(leaving: NewEmail) -> KeptEmail | None:
    """None: it is too large."""
    content = leaving.content
    if content.size_bytes > KEPT_BYTES_MAX:
        return None
    return KeptEmail(content.read(0, content.size_bytes), leaving.content_sha256)
