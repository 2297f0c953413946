"""What the database really holds of what tracking says was filed: reads alone, for `waypost audit`."""

from __future__ import annotations

import re
from collections.abc import Sequence

from sqlalchemy import Connection, and_, bindparam, exists, func, select

from foundation.database.content import is_file_whole
from foundation.interfaces.holdings import CopyState, FiledCopy, Miscount
from foundation.mail.headers import find_header
from mailboxstore.database.tables import (
    contents,
    delivered,
    emails,
    folders,
    mailboxes,
    messages,
    tombstones,
    tracking,
)

_FILED = ("DELIVER", "DSN")
"""Events that name the place of a message in a mailbox."""
_IDENTIFIER = re.compile(rb"\sid\s+([^\s;]+)")

_t, _f, _m, _e = tracking.c, folders.c, messages.c, emails.c
_guard = (
    select(func.min(delivered.c.recipient_id))
    .where(delivered.c.network_message_id == _t.network_message_id, delivered.c.mailbox_id == _t.mailbox_id)
    .scalar_subquery()
)
_places = (
    select(
        _t.sequence,
        _t.network_message_id,
        _t.mailbox_id,
        _t.folder_id,
        _t.uid,
        _guard.label("recipient_id"),
        exists().where(mailboxes.c.mailbox_id == _t.mailbox_id).label("has_mailbox"),
        _f.folder.is_not(None).label("has_folder"),
        _m.uid.is_not(None).label("has_message"),
        contents.contents.c.id.is_not(None).label("has_content"),
        contents.contents.c.file,
        (contents.contents.c.file_start + contents.contents.c.size_bytes).label("file_end"),
        tombstones.c.uid.is_not(None).label("has_tombstone"),
    )
    .select_from(tracking)
    .outerjoin(folders, _f.folder_id == _t.folder_id)
    .outerjoin(messages, and_(_m.folder == _f.folder, _m.uid == _t.uid))
    .outerjoin(emails, _e.email == _m.email)
    .outerjoin(contents.contents, contents.contents.c.id == _e.content)
    .outerjoin(tombstones, and_(tombstones.c.folder == _f.folder, tombstones.c.uid == _t.uid))
    .where(_t.event.in_(_FILED), _t.folder_id != "", _t.sequence > bindparam("after"))
    .order_by(_t.sequence)
    .limit(bindparam("limit"))
)
FILED_SINCE = _places.where(_t.at_ms >= bindparam("since_ms"))
FILED_OF = _places.where(_t.network_message_id.in_(bindparam("network_message_ids", expanding=True)))

# Counted in one pass over the messages, which have no index by email.
_counted = select(_m.email, func.count().label("count")).group_by(_m.email).subquery()
_shown = func.coalesce(_counted.c.count, 0)
MISCOUNTED = (
    select(_e.email, _e.email_id, _e.message_id, _e.prefix, _e.reference_count, _shown.label("shown"))
    .outerjoin(_counted, _counted.c.email == _e.email)
    .where(_e.email > bindparam("after"), _shown != _e.reference_count)
    .order_by(_e.email)
    .limit(bindparam("limit"))
)
MAILBOXES_OF_EMAIL = (
    select(mailboxes.c.mailbox_id)
    .join(folders, _f.mailbox == mailboxes.c.mailbox)
    .join(messages, _m.folder == _f.folder)
    .where(_m.email == bindparam("email"))
    .distinct()
    .order_by(mailboxes.c.mailbox_id)
)


def filed(
    connection: Connection, since_ms: int, network_message_ids: Sequence[str], after: int, limit: int
) -> tuple[tuple[FiledCopy, ...], int]:
    """A page in the order of tracking, and the sequence after which the next one begins."""
    values: dict[str, object] = {"after": after, "limit": limit}
    if network_message_ids:
        values["network_message_ids"] = list(network_message_ids)
        rows = connection.execute(FILED_OF, values).all()
    else:
        values["since_ms"] = since_ms
        rows = connection.execute(FILED_SINCE, values).all()
    copies = tuple(
        FiledCopy(
            network_message_id=row.network_message_id,
            recipient_id=row.recipient_id or "",
            mailbox_id=row.mailbox_id,
            folder_id=row.folder_id,
            uid=row.uid,
            state=_state(
                mailbox=row.has_mailbox,
                folder=row.has_folder,
                message=row.has_message,
                content=row.has_content
                and (row.file is None or is_file_whole(connection, row.file, row.file_end)),
                tombstone=row.has_tombstone,
            ),
        )
        for row in rows
    )
    return copies, rows[-1].sequence if rows else after


def miscounts(connection: Connection, after: int, limit: int) -> tuple[tuple[Miscount, ...], int]:
    """A page by email, and the email after which the next one begins."""
    rows = connection.execute(MISCOUNTED, {"after": after, "limit": limit}).all()
    found = tuple(
        Miscount(
            email_id=row.email_id,
            message_id=row.message_id,
            network_message_id=_came_as(row.prefix),
            mailbox_ids=tuple(connection.execute(MAILBOXES_OF_EMAIL, {"email": row.email}).scalars()),
            filed=row.reference_count,
            shown=row.shown,
        )
        for row in rows
    )
    return found, rows[-1].email if rows else after


def _state(*, mailbox: bool, folder: bool, message: bool, content: bool, tombstone: bool) -> CopyState:
    if message:
        return "present" if content else "damaged"
    if tombstone:
        return "removed"
    if folder:
        return "missing"
    return "folder-gone" if mailbox else "mailbox-gone"


def _came_as(prefix: bytes) -> str:
    """The network message id in the Received field that the store put before a delivered message."""
    if not prefix.startswith(b"Return-Path:"):
        return ""
    received = find_header(prefix + b"\r\n", b"received")
    found = _IDENTIFIER.search(received or b"")
    return found[1].decode("ascii", "replace") if found else ""
