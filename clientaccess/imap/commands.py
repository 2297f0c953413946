"""What a client can ask for, as types: made by the parser, obeyed by the session. Names and strings are bytes
as they came where their meaning depends on the session (mailbox names: UTF-7 or UTF-8)."""

from __future__ import annotations

from typing import Literal

import msgspec

from foundation.interfaces.mailbox_store import Key

Operation = Literal["add", "remove", "replace"]


class SequenceSet(msgspec.Struct, frozen=True):
    """Message numbers or UIDs; 0 is `*`. `saved`: it is `$` (RFC 5182)."""

    ranges: tuple[tuple[int, int], ...] = ()
    saved: bool = False


# --- any state ---


class Capability(msgspec.Struct, frozen=True):
    pass


class Noop(msgspec.Struct, frozen=True):
    pass


class Logout(msgspec.Struct, frozen=True):
    pass


class Identify(msgspec.Struct, frozen=True):
    """ID (RFC 2971)."""

    fields: tuple[tuple[bytes, bytes | None], ...] = ()


# --- not authenticated ---


class StartTls(msgspec.Struct, frozen=True):
    pass


class Login(msgspec.Struct, frozen=True):
    user: bytes
    password: bytes


class Authenticate(msgspec.Struct, frozen=True):
    mechanism: str
    initial: bytes | None = None
    """Base64 as sent (RFC 4959); None: ask for it."""


# --- authenticated ---


class Enable(msgspec.Struct, frozen=True):
    capabilities: tuple[str, ...]


class Select(msgspec.Struct, frozen=True):
    mailbox: bytes
    read_only: bool = False
    condstore: bool = False


class Create(msgspec.Struct, frozen=True):
    mailbox: bytes
    uses: tuple[str, ...] = ()
    """Special-use attributes (RFC 6154 3), lower case."""


class Delete(msgspec.Struct, frozen=True):
    mailbox: bytes


class Rename(msgspec.Struct, frozen=True):
    mailbox: bytes
    new: bytes


class Subscribe(msgspec.Struct, frozen=True):
    mailbox: bytes
    subscribed: bool = True


class ListMailboxes(msgspec.Struct, frozen=True):
    """LIST, with RFC 5258, 5819, 6154."""

    reference: bytes
    patterns: tuple[bytes, ...]
    select_subscribed: bool = False
    select_recursive: bool = False
    select_special_use: bool = False
    return_subscribed: bool = False
    return_status: tuple[str, ...] = ()
    extended: bool = False


class ListSubscribed(msgspec.Struct, frozen=True):
    """LSUB."""

    reference: bytes
    pattern: bytes


class Namespace(msgspec.Struct, frozen=True):
    pass


class Status(msgspec.Struct, frozen=True):
    mailbox: bytes
    items: tuple[str, ...]


class Append(msgspec.Struct, frozen=True):
    """Without its message, which comes apart."""

    mailbox: bytes
    flags: int = 0
    keywords: tuple[str, ...] = ()
    date_ms: int = 0
    """0: now."""
    offset_minutes: int = 0
    utf8: bool = False
    """The message stands in `UTF8 (…)` (RFC 6855 4)."""


class Idle(msgspec.Struct, frozen=True):
    pass


# --- selected ---


class Check(msgspec.Struct, frozen=True):
    pass


class Close(msgspec.Struct, frozen=True):
    expunge: bool = True
    """False: UNSELECT (RFC 3691)."""


class Expunge(msgspec.Struct, frozen=True):
    uids: SequenceSet | None = None
    """UID EXPUNGE (RFC 4315)."""


SectionText = Literal["", "HEADER", "HEADER.FIELDS", "HEADER.FIELDS.NOT", "TEXT", "MIME"]


class Section(msgspec.Struct, frozen=True):
    """BODY[…], BODY.PEEK[…] and the RFC822 forms."""

    label: bytes
    """How the response names it, without the partial's origin."""
    part: tuple[int, ...] = ()
    text: SectionText = ""
    fields: tuple[bytes, ...] = ()
    partial: tuple[int, int] | None = None
    """Origin and length, octets."""
    peek: bool = False


FetchName = Literal[
    "ENVELOPE",
    "FLAGS",
    "INTERNALDATE",
    "RFC822.SIZE",
    "BODYSTRUCTURE",
    "BODY",
    "UID",
    "MODSEQ",
    "EMAILID",
    "THREADID",
    "SAVEDATE",
]

FetchItem = FetchName | Section


class Fetch(msgspec.Struct, frozen=True):
    messages: SequenceSet
    items: tuple[FetchItem, ...]
    uid: bool = False
    changed_since: int | None = None


class Store(msgspec.Struct, frozen=True):
    messages: SequenceSet
    operation: Operation
    flags: int
    keywords: tuple[str, ...]
    silent: bool = False
    uid: bool = False
    unchanged_since: int | None = None


class Copy(msgspec.Struct, frozen=True):
    messages: SequenceSet
    mailbox: bytes
    uid: bool = False
    move: bool = False


# --- search keys that need the session; the others are the store's own ---


class MessageNumbers(msgspec.Struct, frozen=True):
    messages: SequenceSet


class MessageUids(msgspec.Struct, frozen=True):
    uids: SequenceSet


class Recent(msgspec.Struct, frozen=True):
    pass


class AllOf(msgspec.Struct, frozen=True):
    keys: tuple[SearchKey, ...]


class AnyOf(msgspec.Struct, frozen=True):
    left: SearchKey
    right: SearchKey


class Negated(msgspec.Struct, frozen=True):
    key: SearchKey


SearchKey = MessageNumbers | MessageUids | Recent | AllOf | AnyOf | Negated | Key


class Search(msgspec.Struct, frozen=True):
    key: SearchKey
    uid: bool = False
    returns: tuple[str, ...] | None = None
    """RETURN options (RFC 4731, 5182); None: the plain SEARCH response."""
    modseq: bool = False
    """A MODSEQ key is in it (RFC 7162 3.1.5)."""


Command = (
    Capability
    | Noop
    | Logout
    | Identify
    | StartTls
    | Login
    | Authenticate
    | Enable
    | Select
    | Create
    | Delete
    | Rename
    | Subscribe
    | ListMailboxes
    | ListSubscribed
    | Namespace
    | Status
    | Append
    | Idle
    | Check
    | Close
    | Expunge
    | Fetch
    | Store
    | Copy
    | Search
)
