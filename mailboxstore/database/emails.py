"""Stored emails: prefix and content once, what was computed from them once, shared by all messages that show
them.

Two emails with the same content (Outbox, Sent and Inbox of one database) share it by its SHA-256.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection

from foundation.database.content import ContentMissing, Contents
from foundation.database.files import ContentUnreadable
from foundation.database.spool import Held, Stored
from foundation.mail.listed_fields import Listed, list_fields
from foundation.mail.rendering import Summary
from mailboxstore.database import statements

LINKS_MAX = 50
"""Message-IDs of one message that its thread is found by."""
IDENTIFIER_LENGTH_MAX = 500
LISTED_AT_ONCE = 100

log = logging.getLogger("waypost.mailboxstore")


@dataclass(frozen=True)
class NewEmail:
    """An email to be stored: `summary` is of the prefix and the content as one run of bytes.

    To make one reads all of the content, for its digest.
    """

    email_id: str
    prefix: bytes
    content: Stored
    summary: Summary
    content_sha256: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "content_sha256", self.content.sha256)

    @property
    def size_bytes(self) -> int:
        return len(self.prefix) + self.content.size_bytes


@dataclass(frozen=True)
class StoredEmail:
    """The bytes of a stored email: where they are."""

    prefix: bytes
    content: int
    content_sha256: str
    size_bytes: int
    header_size: int


def add_email(connection: Connection, contents: Contents, email: NewEmail, references: int) -> int:
    """Stores it for so many messages and returns its number. The content is written only when it is new."""
    digest = email.content_sha256
    content = statements.CONTENT_BY_DIGEST.scalar(connection, {"content_sha256": digest})
    if content is None or not contents.is_whole(connection, content, email.content):
        content = contents.write(connection, email.content)
    else:
        contents.retain(connection, content)
    summary = email.summary
    return statements.ADD_EMAIL.add(
        connection,
        {
            "email_id": email.email_id,
            "reference_count": references,
            "prefix": email.prefix,
            "content": content,
            "content_sha256": digest,
            "size_bytes": email.size_bytes,
            "header_size": summary.header_size,
            "message_id": summary.message_id[:IDENTIFIER_LENGTH_MAX],
            "sent_day": _day_number(summary.sent_date),
            "envelope": summary.envelope,
            "body_structure": summary.body_structure,
            "parts": summary.parts,
            "header_fields": summary.listed.fields,
            "searched_fields": summary.listed.searched,
        },
    )


def held_content(connection: Connection, contents: Contents, content_sha256: str) -> Held | None:
    """Stored content that new emails can refer to by its digest alone; None if it is not here, or not whole.

    Not what goes on with a field of the prefix before it: what is computed of it depends on that.
    """
    content = statements.CONTENT_BY_DIGEST.scalar(connection, {"content_sha256": content_sha256})
    if content is None:
        return None
    try:
        held = Held(content_sha256, contents.size(connection, content))
        whole = contents.is_whole(connection, content, held)
        return held if whole and contents.read(connection, content, 0, 1) not in (b" ", b"\t") else None
    except (ContentMissing, ContentUnreadable):
        return None


def list_missing_fields(connection: Connection, contents: Contents, limit: int = LISTED_AT_ONCE) -> int:
    """Takes header fields out of emails that an earlier release stored; returns of how many. Of one that
    can't be read none are listed: the others are not to wait for it.
    """
    rows = connection.execute(statements.EMAILS_WITHOUT_FIELDS, {"limit": limit}).all()
    for email, *place in rows:
        stored = StoredEmail(*place)
        try:
            listed = list_fields(read_email(connection, contents, stored, 0, stored.header_size))
        except (ContentMissing, ContentUnreadable) as error:
            log.warning("header fields can't be taken out", extra={"email": email, "reason": repr(error)})
            listed = Listed()
        statements.SET_FIELDS.run(
            connection,
            {"of_email": email, "header_fields": listed.fields, "searched_fields": listed.searched},
        )
    return len(rows)


def change_references(connection: Connection, emails: Iterable[int], change: int) -> None:
    """Each time an email is named it gains (or loses) one reference."""
    counted = Counter(emails)
    if counted:
        statements.REFER_TO_EMAIL.run_each(
            connection,
            [{"of_email": email, "change": change * count} for email, count in counted.items()],
        )


def find_email(connection: Connection, email: int) -> StoredEmail | None:
    row = statements.EMAIL_PLACE.first(connection, {"email": email})
    return StoredEmail(*row) if row else None


def read_email(
    connection: Connection, contents: Contents, stored: StoredEmail, offset: int, length: int
) -> bytes:
    """Bytes [offset, offset+length) of prefix and content, cut to the end."""
    prefix = stored.prefix[offset : offset + length]
    missing = length - len(prefix)
    start = max(offset - len(stored.prefix), 0)
    if missing <= 0 or offset + len(prefix) >= stored.size_bytes:
        return bytes(prefix)
    return bytes(prefix) + contents.read(connection, stored.content, start, missing)


ThreadLink = dict[str, int | str]
"""A row: messages that name this one later are of its thread."""


def thread_of(connection: Connection, mailbox: int, summary: Summary, new_thread_id: str) -> str:
    """The thread of a new message, which later ones find."""
    thread_id, links = find_thread(connection, mailbox, summary, new_thread_id)
    add_thread_links(connection, links)
    return thread_id


def find_thread(
    connection: Connection, mailbox: int, summary: Summary, new_thread_id: str
) -> tuple[str, list[ThreadLink]]:
    """The thread of a new message: that of a message with the same base subject which it refers to, or which
    refers to it or to the same one (RFC 8474 5.2 leaves the choice; so RFC 8621 3 suggests); else a new
    one. With the links that are to be added for it.
    """
    named = (summary.message_id, summary.in_reply_to, *summary.references[::-1])
    usable = (name for name in named if name and len(name) <= IDENTIFIER_LENGTH_MAX)
    identifiers = list(dict.fromkeys(usable))[:LINKS_MAX]
    if not identifiers:
        return new_thread_id, []
    subject = summary.subject_base[:IDENTIFIER_LENGTH_MAX]
    known: dict[str, str] = {}
    for name in identifiers:
        values = {"mailbox": mailbox, "subject": subject, "message_id": name}
        for (thread,) in statements.FIND_THREAD.rows(connection, values):
            known[name] = min(thread, known.get(name, thread))
    thread_id = min(known.values(), default=new_thread_id)
    links: list[ThreadLink] = [
        {"mailbox": mailbox, "message_id": name, "subject": subject, "thread_id": thread_id}
        for name in identifiers
        if name not in known
    ]
    return thread_id, links


def add_thread_links(connection: Connection, links: Sequence[ThreadLink]) -> None:
    statements.ADD_THREAD_LINK.run_each(connection, links)


def _day_number(date: tuple[int, int, int] | None) -> int | None:
    if date is None:
        return None
    year, month, day = date
    return year * 10000 + month * 100 + day
