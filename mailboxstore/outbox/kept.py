"""The emails that were submitted last, in memory: what leaves soon is not read from the database again.

Promises: bounded; what is not here is in the database, so nothing depends on it.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from mailboxstore.database.emails import NewEmail

KEPT_BYTES_MAX = 64 * 1024
"""A larger one is not kept."""
ALL_BYTES_MAX = 16 * 1024 * 1024


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


class KeptEmails:
    """By transfer key; the oldest go when they are too much."""

    def __init__(self, all_bytes_max: int = ALL_BYTES_MAX) -> None:
        self._all_bytes_max = all_bytes_max
        self._emails: OrderedDict[str, KeptEmail] = OrderedDict()
        self._bytes = 0

    def add(self, transfer_key: str, email: KeptEmail) -> None:
        self._emails[transfer_key] = email
        self._bytes += len(email.content)
        while self._bytes > self._all_bytes_max:
            _, oldest = self._emails.popitem(last=False)
            self._bytes -= len(oldest.content)

    def take(self, transfer_key: str) -> KeptEmail | None:
        """For its first attempt."""
        email = self._emails.pop(transfer_key, None)
        if email is not None:
            self._bytes -= len(email.content)
        return email
