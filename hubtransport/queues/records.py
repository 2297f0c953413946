"""What waits in a hub, as records: messages, their recipients, and transfer units.

A *message* is one arrival. Its recipients wait for the categorizer, or belong to a transfer unit each; a
*transfer unit* is content, exact recipients, next hop and key, and exists before the first attempt. A
recipient that has ended (delivered, relayed, failed, merged, expanded) has no row any more; the message goes
with its last recipient.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from foundation.mail.envelope import Recipient, Sender

MessageState = Literal["submitted", "queued", "poison"]
"""Of a message's row: recipients wait for the categorizer; all belong to transfer units; set aside."""


class QueuedRecipient(msgspec.Struct, frozen=True, kw_only=True):
    position: int
    """Names the recipient within its message; never used again."""
    recipient: Recipient
    """As it goes on: resolved address, DSN wishes, directory id."""
    original: str
    """As it was given to this organisation."""


class QueuedMessage(msgspec.Struct, frozen=True, kw_only=True):
    id: int = 0
    """Row; 0 before the commit."""
    entry_id: str
    network_message_id: str
    message_id: str = ""
    """Header, without angle brackets."""
    sender: Sender
    content_id: int = 0
    content_bytes: int
    prefix: bytes = b""
    """Trace header of this hub, put before the content when it leaves."""
    carried_prefix_bytes: int = 0
    """Leading bytes of the content that are trace headers of earlier servers."""
    content_sha256: str
    """Of the content after all trace headers."""
    utf8_header: bool = False
    """The header holds octets above 127 (RFC 6532): SMTPUTF8 is needed wherever it goes."""
    assessed: str = ""
    """`server/version` of the compliance rules that assessed it; empty: not yet."""
    probe: bool = False
    received_at_ms: int
    expires_at_ms: int
    delay_at_ms: int = 0
    """When the sender is told of a delay; 0: told already, or never to be."""
    not_before_ms: int = 0
    priority: int = 0
    source: str = ""
    """Where it came from: server, host, or `dsn`."""
    crashes: int = 0
    """How often the categorizer failed unexpectedly on it."""
    next_position: int = 0
    recipients: tuple[QueuedRecipient, ...] = ()
    """Those that wait for the categorizer."""

    @property
    def size_bytes(self) -> int:
        """As it leaves."""
        return len(self.prefix) + self.content_bytes


class Unit(msgspec.Struct, frozen=True, kw_only=True):
    key: str
    """Transfer key."""
    message: QueuedMessage
    recipients: tuple[QueuedRecipient, ...]
    hop: str
    """Name of the delivery queue, as routing makes it."""
    group: tuple[str, ...] = ()
    """The hubs that may take it, when the hop is one of a delivery group."""
    pinned: bool = False
    """An attempt may have succeeded unseen: only this server, under this key, may be asked again."""
    attempts: int = 0
    last_attempt_at_ms: int = 0
    last_reply: str = ""
    next_attempt_at_ms: int = 0
    created_at_ms: int
    expires_at_ms: int
    delay_at_ms: int = 0


class HopState(msgspec.Struct, frozen=True, kw_only=True):
    """A next hop that failed."""

    hop: str
    failures: int
    failing_since_ms: int
    last_attempt_at_ms: int
    next_attempt_at_ms: int
    last_reply: str


class StoredHop(msgspec.Struct, frozen=True):
    """How much of a next hop's queue is only in the database, and when the first of it is due."""

    hop: str
    count: int
    due_at_ms: int
