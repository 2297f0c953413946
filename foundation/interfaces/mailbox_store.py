"""What a mailbox store offers to Client Access: the records, and the calls. Knows no IMAP and no SMTP.

A *mailbox* belongs to one user and holds *folders*; a folder holds *messages*. A stored message is one run
of bytes (trace prefix, then the content as submitted); every offset counts from its first byte. All calls
raise MailError: `Refusal` with a reason where the request can't be done, `Unavailable` where the store
can't answer now. Calls that change something return after their commit.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Literal, Protocol

import msgspec

from foundation.mail.envelope import Recipient, Sender
from foundation.mail.errors import MailError

SEEN, ANSWERED, FLAGGED, DELETED, DRAFT = 1, 2, 4, 8, 16
"""System flags, a bit each; keywords are text beside them."""

Ranges = tuple[tuple[int, int], ...]
"""UIDs as inclusive (first, last) pairs, rising and disjoint."""

RefusalReason = Literal[
    "NONEXISTENT", "ALREADYEXISTS", "INUSE", "CANNOT", "OVERQUOTA", "LIMIT", "TRYCREATE", "TOOBIG", "EXPUNGED"
]

Role = Literal["", "inbox", "outbox", "sent", "drafts", "trash", "junk", "archive"]


class Refusal(MailError):
    """The store will not do this; `reason` says which of RefusalReason."""

    def __init__(self, reason: RefusalReason, sentence: str, code: int = 550, status: str = "5.7.1") -> None:
        super().__init__(code, status, sentence, reason)


class Submission(msgspec.Struct, frozen=True, kw_only=True):
    """One message of an authenticated user, with what Client Access learned about it."""

    key: str
    """Names this submission: a repeat with the same key is the same submission."""
    network_message_id: str
    mailbox_id: str
    user_id: str
    sender: Sender
    recipients: tuple[Recipient, ...]
    received: bytes = b""
    """The Received header that Client Access prepends, with its line end."""
    probe: bool = False
    client: str = ""
    """Where from: address and protocol, for tracking."""
    received_at_ms: int = 0


class Folder(msgspec.Struct, frozen=True, kw_only=True):
    folder_id: str
    name: str
    """Full path, parts joined by `/`, NFC; the inbox is `INBOX`."""
    role: Role = ""
    selectable: bool = True
    uid_validity: int
    uid_next: int
    highest_modseq: int
    messages: int = 0
    unseen: int = 0
    deleted: int = 0
    size_bytes: int = 0
    first_recent_uid: int = 0
    """Messages from this UID on are \\Recent to the session that selected (RFC 3501 2.3.2); else 0 = none."""


class FlagEntry(msgspec.Struct, frozen=True, array_like=True):
    uid: int
    flags: int
    modseq: int
    keywords: tuple[str, ...] = ()


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """What happened in a folder since a modseq."""

    highest_modseq: int
    uid_next: int
    expunged: tuple[int, ...] = ()
    updated: tuple[FlagEntry, ...] = ()
    """New messages and changed flags, by UID."""
    gone: bool = False
    """The folder itself was deleted."""


class FlagColumns(msgspec.Struct, frozen=True, array_like=True):
    """Flags of messages by UID, by column: what stands at one place belongs together."""

    uids: tuple[int, ...] = ()
    flags: bytes = b""
    """One octet a message."""
    modseqs: tuple[int, ...] = ()
    keywords: dict[int, tuple[str, ...]] = {}
    """By UID, of those that have any."""


Column = Literal[
    "envelope",
    "body_structure",
    "internal_date_ms",
    "internal_offset_minutes",
    "save_date_ms",
    "size_bytes",
    "email_id",
    "thread_id",
    "header_fields",
    "content",
]
"""What never changes of a message, in the words of Record. `header_fields`: the fields that were asked for as
they stand, among others; None where only the message itself knows. `content`: the whole message; None where
it has more than CONTENT_IN_COLUMN_BYTES."""

CONTENT_IN_COLUMN_BYTES = 131072


class Columns(msgspec.Struct, frozen=True, array_like=True):
    """Some of what the store knows of messages, by column: lists of thousands at a low cost."""

    uids: tuple[int, ...]
    values: tuple[tuple[bytes | int | None, ...], ...]
    """A column for each that was asked for, in its order; in it a value for each UID. Ids are in ASCII."""


class Fields(msgspec.Struct, frozen=True, kw_only=True):
    """Which costly parts of a record are wanted; uid, flags, dates, size and ids always come."""

    envelope: bool = False
    body_structure: bool = False
    parts: bool = False
    header: bool = False
    content_up_to_bytes: int = 0
    """Whole messages up to this size come within the record."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    uid: int
    modseq: int
    flags: int
    keywords: tuple[str, ...] = ()
    internal_date_ms: int
    internal_offset_minutes: int = 0
    save_date_ms: int
    size_bytes: int
    email_id: str
    thread_id: str
    envelope: bytes = b""
    """Rendered at delivery as RFC 3501 `envelope` (foundation/mail/rendering.py)."""
    body_structure: bytes = b""
    """Rendered at delivery as RFC 3501 `body`, extension data included."""
    parts: bytes = b""
    """msgpack of foundation.mail.mime.Part: the tree with its offsets."""
    header: bytes = b""
    """The whole header with its closing empty line."""
    content: bytes | None = None


class FlagChange(msgspec.Struct, frozen=True, kw_only=True):
    operation: Literal["add", "remove", "replace"]
    flags: int = 0
    keywords: tuple[str, ...] = ()
    unchanged_since: int | None = None
    """Leave out messages with a greater modseq (RFC 7162 3.1.3)."""


class FlagOutcome(msgspec.Struct, frozen=True, kw_only=True):
    updated: tuple[FlagEntry, ...] = ()
    """Every message of the request that exists, with its flags now."""
    refused: tuple[int, ...] = ()
    """UIDs left out for `unchanged_since`."""
    highest_modseq: int = 0


class Appended(msgspec.Struct, frozen=True, kw_only=True):
    uid_validity: int
    uid: int


class Copied(msgspec.Struct, frozen=True, kw_only=True):
    uid_validity: int
    source_uids: tuple[int, ...] = ()
    target_uids: tuple[int, ...] = ()
    """One for each source, in the same order."""


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """Something in the mailbox changed. Only a nudge: ask `changes` or `folders` for what."""

    folder_id: str = ""
    """Empty for the list of folders itself, and for the first notice, sent when the watch stands."""
    highest_modseq: int = 0


# --- search: a tree of keys, meaning as RFC 9051 6.4.4, text compared without case after decoding ---


class And(msgspec.Struct, frozen=True, tag="and"):
    keys: tuple[Key, ...]


class Or(msgspec.Struct, frozen=True, tag="or"):
    keys: tuple[Key, ...]


class Not(msgspec.Struct, frozen=True, tag="not"):
    key: Key


class HasFlag(msgspec.Struct, frozen=True, tag="flag"):
    flag: int


class HasKeyword(msgspec.Struct, frozen=True, tag="keyword"):
    keyword: str


class InUids(msgspec.Struct, frozen=True, tag="uids"):
    ranges: Ranges


class HeaderContains(msgspec.Struct, frozen=True, tag="header"):
    name: str
    text: str
    """Empty: the header is there at all."""


class BodyContains(msgspec.Struct, frozen=True, tag="body"):
    text: str


class TextContains(msgspec.Struct, frozen=True, tag="text"):
    """Header or body."""

    text: str


class DateIs(msgspec.Struct, frozen=True, tag="date"):
    """Compares the day, in the offset the date was given with."""

    which: Literal["internal", "sent", "saved"]
    comparison: Literal["before", "on", "since"]
    year: int
    month: int
    day: int


class YoungerThan(msgspec.Struct, frozen=True, tag="younger"):
    """Internal date within the last so many seconds (RFC 5032); its Not is `older`."""

    seconds: int


class SizeIs(msgspec.Struct, frozen=True, tag="size"):
    comparison: Literal["larger", "smaller"]
    size_bytes: int


class ModseqFrom(msgspec.Struct, frozen=True, tag="modseq"):
    modseq: int


class IdIs(msgspec.Struct, frozen=True, tag="id"):
    which: Literal["email", "thread"]
    identifier: str


class Everything(msgspec.Struct, frozen=True, tag="all"):
    pass


Key = (
    And
    | Or
    | Not
    | HasFlag
    | HasKeyword
    | InUids
    | HeaderContains
    | BodyContains
    | TextContains
    | DateIs
    | YoungerThan
    | SizeIs
    | ModseqFrom
    | IdIs
    | Everything
)


class MailboxStore(Protocol):
    """Served by mailboxstore/api.py, over foundation/rpc or called directly."""

    async def submit(self, submission: Submission, content: AsyncIterator[bytes]) -> None:
        """Outbox entry and Sent copy in one commit (none of it twice for one key)."""
        ...

    async def folders(self, mailbox_id: str) -> tuple[Folder, ...]:
        """All folders by name, counts included; makes the mailbox at first use."""
        ...

    async def folder(self, mailbox_id: str, name: str) -> Folder:
        """Refusal NONEXISTENT."""
        ...

    async def select(self, mailbox_id: str, name: str, read_only: bool) -> Folder:
        """Like `folder`, and claims \\Recent unless read_only."""
        ...

    async def create_folder(self, mailbox_id: str, name: str, role: Role = "") -> Folder:
        """Makes missing parents too. ALREADYEXISTS, CANNOT."""
        ...

    async def delete_folder(self, mailbox_id: str, name: str) -> None:
        """A folder with children stays as a name that can't be selected. CANNOT for inbox and outbox."""
        ...

    async def rename_folder(self, mailbox_id: str, name: str, new_name: str) -> None:
        """With all children. Renaming INBOX moves its messages (RFC 3501 6.3.5)."""
        ...

    async def set_subscribed(self, mailbox_id: str, name: str, subscribed: bool) -> None: ...

    async def subscriptions(self, mailbox_id: str) -> tuple[str, ...]:
        """Names, also of folders that do not exist (RFC 3501 6.3.6)."""
        ...

    def flags(self, mailbox_id: str, folder_id: str) -> AsyncIterator[FlagColumns]:
        """Every message of the folder by UID, in batches."""
        ...

    async def changes(self, mailbox_id: str, folder_id: str, since_modseq: int) -> Changes: ...

    def records(
        self, mailbox_id: str, folder_id: str, uids: Ranges, fields: Fields
    ) -> AsyncIterator[tuple[Record, ...]]:
        """Existing messages among `uids` by UID, in batches of at most 100 records and about 1 MiB."""
        ...

    def columns(
        self,
        mailbox_id: str,
        folder_id: str,
        uids: Ranges,
        columns: tuple[Column, ...],
        names: tuple[bytes, ...] = (),
    ) -> AsyncIterator[Columns]:
        """Existing messages among `uids` by UID, in batches; `names` (lower case) are the header fields
        wanted."""
        ...

    def content(
        self, mailbox_id: str, folder_id: str, uid: int, offset: int, length: int
    ) -> AsyncIterator[bytes]:
        """Bytes [offset, offset+length) cut to the message's end. EXPUNGED."""
        ...

    async def change_flags(
        self, mailbox_id: str, folder_id: str, uids: Ranges, change: FlagChange
    ) -> FlagOutcome: ...

    async def append(
        self,
        mailbox_id: str,
        name: str,
        flags: int,
        keywords: tuple[str, ...],
        internal_date_ms: int,
        internal_offset_minutes: int,
        content: AsyncIterator[bytes],
    ) -> Appended:
        """internal_date_ms 0: now. TRYCREATE, CANNOT (outbox), TOOBIG, OVERQUOTA."""
        ...

    async def copy(self, mailbox_id: str, folder_id: str, uids: Ranges, target: str) -> Copied:
        """All or nothing. TRYCREATE, CANNOT, OVERQUOTA."""
        ...

    async def move(self, mailbox_id: str, folder_id: str, uids: Ranges, target: str) -> Copied:
        """All or nothing (RFC 6851)."""
        ...

    async def expunge(
        self, mailbox_id: str, folder_id: str, uids: Ranges | None, deleted_only: bool = True
    ) -> tuple[int, ...]:
        """Removes for good; None means every message. INUSE for an Outbox entry in transfer."""
        ...

    async def search(self, mailbox_id: str, folder_id: str, key: Key) -> tuple[int, ...]:
        """UIDs, rising."""
        ...

    def watch(self, mailbox_id: str) -> AsyncIterator[Notice]:
        """One notice at once, then one after each commit that changed the mailbox; notices of one folder
        merge."""
        ...
