"""Statements on mailboxes, folders, messages and stored emails, each built once; parameters by column
name.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations
from typing import Any

from sqlalchemy import Select, and_, bindparam, delete, insert, literal_column, or_, select, update

from foundation.database.prepared import Prepared
from foundation.interfaces.mailbox_store import DELETED, Column
from mailboxstore.database.tables import (
    contents,
    emails,
    folders,
    mailboxes,
    messages,
    subscriptions,
    thread_links,
    tombstones,
)

_m, _e, _f, _b = messages.c, emails.c, folders.c, mailboxes.c

# --- mailboxes ---

_MAILBOX_COLUMNS = (
    _b.mailbox,
    _b.mailbox_id,
    _b.user_id,
    _b.last_uid_validity,
    _b.modseq,
    _b.messages,
    _b.size_bytes,
    _b.disconnected_at_ms.is_(None),
)
MAILBOX_COLUMN_COUNT = len(_MAILBOX_COLUMNS)
ADD_MAILBOX = insert(mailboxes)
FIND_MAILBOX = Prepared(select(*_MAILBOX_COLUMNS).where(_b.mailbox_id == bindparam("mailbox_id")))
CONNECTED_MAILBOXES = (
    select(_b.mailbox_id)
    .where(_b.disconnected_at_ms.is_(None), _b.mailbox_id > bindparam("after"))
    .order_by(_b.mailbox_id)
    .limit(bindparam("limit"))
)
DISCONNECTED_MAILBOXES = (
    select(_b.mailbox_id, _b.disconnected_at_ms)
    .where(_b.disconnected_at_ms.is_not(None), _b.mailbox_id > bindparam("after"))
    .order_by(_b.mailbox_id)
    .limit(bindparam("limit"))
)
SET_DISCONNECTED = (
    update(mailboxes)
    .where(_b.mailbox_id == bindparam("of_mailbox_id"))
    .values(disconnected_at_ms=bindparam("disconnected_at_ms"))
)
SAVE_MAILBOX = Prepared(
    update(mailboxes)
    .where(_b.mailbox == bindparam("of_mailbox"))
    .values(
        last_uid_validity=bindparam("last_uid_validity"),
        modseq=bindparam("modseq"),
        messages=bindparam("messages"),
        size_bytes=bindparam("size_bytes"),
    )
)
DELETE_MAILBOX = delete(mailboxes).where(_b.mailbox == bindparam("mailbox"))

# --- folders ---

_FOLDER_COLUMNS = (
    _f.folder,
    _f.folder_id,
    _f.mailbox,
    _f.name,
    _f.role,
    _f.selectable,
    _f.uid_validity,
    _f.uid_next,
    _f.highest_modseq,
    _f.recent_from,
    _f.messages,
    _f.unseen,
    _f.deleted,
    _f.size_bytes,
)
ADD_FOLDER = insert(folders)
MAILBOX_WITH_FOLDERS = Prepared(
    select(*_MAILBOX_COLUMNS, *_FOLDER_COLUMNS)
    .outerjoin(
        folders,
        and_(
            _f.mailbox == _b.mailbox,
            or_(_f.role == bindparam("role"), _f.role == bindparam("other_role")),
            _f.selectable,
        ),
    )
    .where(_b.mailbox_id == bindparam("mailbox_id"))
)
MAILBOX_AND_FOLDER = Prepared(
    select(*_MAILBOX_COLUMNS, *_FOLDER_COLUMNS)
    .outerjoin(folders, and_(_f.mailbox == _b.mailbox, _f.folder == bindparam("folder")))
    .where(_b.mailbox_id == bindparam("mailbox_id"))
)
FOLDERS_OF = (
    select(*_FOLDER_COLUMNS)
    .join(mailboxes, _b.mailbox == _f.mailbox)
    .where(_b.mailbox_id == bindparam("mailbox_id"))
    .order_by(_f.name)
)
FOLDER_BY_NAME = select(*_FOLDER_COLUMNS).where(
    _f.mailbox == bindparam("mailbox"), _f.name == bindparam("name")
)
FOLDER_BY_NAME_IN = (
    select(*_FOLDER_COLUMNS)
    .join(mailboxes, _b.mailbox == _f.mailbox)
    .where(_b.mailbox_id == bindparam("mailbox_id"), _f.name == bindparam("name"))
)
FOLDER_BY_ROLE = Prepared(
    select(*_FOLDER_COLUMNS).where(
        _f.mailbox == bindparam("mailbox"), _f.role == bindparam("role"), _f.selectable
    )
)
FOLDER_BY_ID = Prepared(
    select(*_FOLDER_COLUMNS)
    .join(mailboxes, _b.mailbox == _f.mailbox)
    .where(_f.folder_id == bindparam("folder_id"), _b.mailbox_id == bindparam("mailbox_id"))
)
FOLDERS_IN = select(*_FOLDER_COLUMNS).where(_f.mailbox == bindparam("mailbox")).order_by(_f.name)
SAVE_FOLDER = Prepared(
    update(folders)
    .where(_f.folder == bindparam("of_folder"))
    .values(
        name=bindparam("name"),
        role=bindparam("role"),
        selectable=bindparam("selectable"),
        uid_validity=bindparam("uid_validity"),
        uid_next=bindparam("uid_next"),
        highest_modseq=bindparam("highest_modseq"),
        recent_from=bindparam("recent_from"),
        messages=bindparam("messages"),
        unseen=bindparam("unseen"),
        deleted=bindparam("deleted"),
        size_bytes=bindparam("size_bytes"),
    )
)
CLAIM_RECENT = (
    update(folders).where(_f.folder == bindparam("of_folder")).values(recent_from=bindparam("recent_from"))
)
DELETE_FOLDER = delete(folders).where(_f.folder == bindparam("folder"))

# --- subscriptions ---

SUBSCRIBE = insert(subscriptions)
IS_SUBSCRIBED: Select[Any] = select(literal_column("1")).where(
    subscriptions.c.mailbox == bindparam("mailbox"), subscriptions.c.name == bindparam("name")
)
UNSUBSCRIBE = delete(subscriptions).where(
    subscriptions.c.mailbox == bindparam("mailbox"), subscriptions.c.name == bindparam("name")
)
SUBSCRIPTIONS_OF = (
    select(subscriptions.c.name)
    .join(mailboxes, _b.mailbox == subscriptions.c.mailbox)
    .where(_b.mailbox_id == bindparam("mailbox_id"))
    .order_by(subscriptions.c.name)
)
DELETE_SUBSCRIPTIONS = delete(subscriptions).where(subscriptions.c.mailbox == bindparam("mailbox"))

# --- stored emails ---

ADD_EMAIL = Prepared(insert(emails))
CONTENT_BY_DIGEST = Prepared(
    select(_e.content).where(_e.content_sha256 == bindparam("content_sha256")).order_by(_e.email).limit(1)
)
REFER_TO_EMAIL = Prepared(
    update(emails)
    .where(_e.email == bindparam("of_email"))
    .values(reference_count=_e.reference_count + bindparam("change"))
)
UNREFERENCED_EMAILS = Prepared(
    select(_e.email, _e.content)
    .where(_e.reference_count == literal_column("0"))
    .order_by(_e.email)
    .limit(bindparam("limit"))
)
EMAILS_WITHOUT_FIELDS = (
    select(_e.email, _e.prefix, _e.content, _e.content_sha256, _e.size_bytes, _e.header_size)
    .where(_e.header_fields.is_(None))
    .order_by(_e.email)
    .limit(bindparam("limit"))
)
SET_FIELDS = Prepared(
    update(emails)
    .where(_e.email == bindparam("of_email"))
    .values(header_fields=bindparam("header_fields"), searched_fields=bindparam("searched_fields"))
)
DELETE_EMAIL = Prepared(delete(emails).where(_e.email == bindparam("email")))
EMAIL_PLACE = Prepared(
    select(_e.prefix, _e.content, _e.content_sha256, _e.size_bytes, _e.header_size).where(
        _e.email == bindparam("email")
    )
)

# --- messages ---

_in_folder = _m.folder == bindparam("folder")
_in_window = _m.uid.between(bindparam("first"), bindparam("last"))

ADD_MESSAGE = Prepared(insert(messages))
FLAGS_PAGE = Prepared(
    select(_m.uid, _m.flags, _m.modseq, _m.keywords)
    .where(_in_folder, _m.uid > bindparam("after"))
    .order_by(_m.uid)
    .limit(bindparam("limit"))
)
FLAGS_IN = Prepared(
    select(_m.uid, _m.flags, _m.modseq, _m.keywords).where(_in_folder, _in_window).order_by(_m.uid)
)
FLAGS_SINCE = Prepared(
    select(_m.uid, _m.flags, _m.modseq, _m.keywords)
    .where(_in_folder, _m.modseq > bindparam("modseq"))
    .order_by(_m.modseq, _m.uid)
)
"""In the order of the index of modseqs: for another order SQLite walks the whole folder."""
UIDS_IN = select(_m.uid).where(_in_folder, _in_window).order_by(_m.uid)
_messages_in = (
    select(
        _m.uid,
        _m.email,
        _m.thread_id,
        _m.flags,
        _m.keywords,
        _m.internal_date_ms,
        _m.internal_offset_minutes,
        _m.size_bytes,
    )
    .where(_in_folder, _in_window)
    .order_by(_m.uid)
)
MESSAGES_IN = Prepared(_messages_in)
DELETED_IN = Prepared(_messages_in.where(_m.flags.op("&")(DELETED) != 0))
_latest = (
    select(*_messages_in.selected_columns)
    .where(_in_folder)
    .order_by(_m.modseq.desc())
    .limit(bindparam("limit"))
    .subquery()
)
LATEST_DELETED = Prepared(
    select(_latest).where(_latest.c.flags.op("&")(DELETED) != 0).order_by(_latest.c.uid)
)
"""Those among the messages that were changed last, so many of them."""
SOME_MESSAGES = (
    select(_m.uid, _m.email, _m.flags, _m.size_bytes)
    .where(_in_folder)
    .order_by(_m.uid)
    .limit(bindparam("limit"))
)
SET_FLAGS = (
    update(messages)
    .where(
        _m.folder == bindparam("of_folder"),
        _m.uid.between(bindparam("first"), bindparam("last")),
    )
    .values(flags=bindparam("flags"), keywords=bindparam("keywords"), modseq=bindparam("modseq"))
)
DELETE_MESSAGES = Prepared(delete(messages).where(_in_folder, _in_window))
EMAIL_OF_MESSAGE = Prepared(select(_m.email).where(_in_folder, _m.uid == bindparam("uid")))
RECORD_COLUMNS = (
    _m.uid,
    _m.modseq,
    _m.flags,
    _m.keywords,
    _m.internal_date_ms,
    _m.internal_offset_minutes,
    _m.save_date_ms,
    _m.size_bytes,
    _e.email_id,
    _m.thread_id,
)
COSTLY_COLUMNS: dict[str, tuple[Any, ...]] = {
    "envelope": (_e.envelope,),
    "body_structure": (_e.body_structure,),
    "parts": (_e.parts,),
    "place": (_e.prefix, _e.content, _e.content_sha256, _e.header_size),
}
"""`place`: where the bytes of the email are."""
RECORDS_IN: dict[tuple[str, ...], Select[Any]] = {
    wanted: select(*RECORD_COLUMNS, *(column for name in wanted for column in COSTLY_COLUMNS[name]))
    .join(emails, _e.email == _m.email)
    .where(_in_folder, _in_window)
    .order_by(_m.uid)
    .limit(bindparam("limit"))
    for count in range(len(COSTLY_COLUMNS) + 1)
    for wanted in combinations(COSTLY_COLUMNS, count)
}
"""By the costly columns wanted, in the order of `COSTLY_COLUMNS`."""
_CONSTANT_COLUMNS: dict[Column, Any] = {
    "envelope": _e.envelope,
    "body_structure": _e.body_structure,
    "internal_date_ms": _m.internal_date_ms,
    "internal_offset_minutes": _m.internal_offset_minutes,
    "save_date_ms": _m.save_date_ms,
    "size_bytes": _m.size_bytes,
    "email_id": _e.email_id,
    "thread_id": _m.thread_id,
    "header_fields": _e.header_fields,
    "content": contents.contents.c.data,
}
SIZES_IN = Prepared(
    select(_m.uid, _m.size_bytes).where(_in_folder, _in_window).order_by(_m.uid).limit(bindparam("limit"))
)


@lru_cache(maxsize=64)
def columns_in(columns: tuple[Column, ...]) -> Prepared:
    """UIDs and these columns, of messages in a window; with `content` its data where they are in one row, and
    three columns more: email, prefix, size_bytes."""
    wanted = [_CONSTANT_COLUMNS[name] for name in columns]
    whole = (_e.email, _e.prefix, _e.size_bytes) if "content" in columns else ()
    rows = select(_m.uid, *wanted, *whole)
    if whole or any(column.table is emails for column in wanted):
        rows = rows.join(emails, _e.email == _m.email)
    if whole:
        rows = rows.join(contents.contents, contents.contents.c.id == _e.content)
    return Prepared(rows.where(_in_folder, _in_window).order_by(_m.uid).limit(bindparam("limit")))


# --- tombstones ---

ADD_TOMBSTONE = Prepared(insert(tombstones))
EXPUNGED_SINCE = Prepared(
    select(tombstones.c.uid)
    .where(tombstones.c.folder == bindparam("folder"), tombstones.c.modseq > bindparam("modseq"))
    .order_by(tombstones.c.modseq, tombstones.c.uid)
)
DELETE_TOMBSTONES = delete(tombstones).where(tombstones.c.folder == bindparam("folder"))
SOME_TOMBSTONES = (
    select(tombstones.c.uid)
    .where(tombstones.c.folder == bindparam("folder"))
    .order_by(tombstones.c.uid)
    .limit(bindparam("limit"))
)
DELETE_TOMBSTONES_UP_TO = delete(tombstones).where(
    tombstones.c.folder == bindparam("folder"), tombstones.c.uid <= bindparam("last")
)

# --- threads ---

FIND_THREAD = Prepared(
    select(thread_links.c.thread_id).where(
        thread_links.c.mailbox == bindparam("mailbox"),
        thread_links.c.subject == bindparam("subject"),
        thread_links.c.message_id == bindparam("message_id"),
    )
)
ADD_THREAD_LINK = Prepared(insert(thread_links))
DELETE_THREAD_LINKS = delete(thread_links).where(thread_links.c.mailbox == bindparam("mailbox"))
