"""Reads of a folder, a page at a time: flags, changes, records, bytes. Each call is one short read
transaction.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import Connection

from foundation.database.content import Contents
from foundation.database.prepared import Row
from foundation.interfaces.mailbox_store import (
    CONTENT_IN_COLUMN_BYTES,
    Changes,
    Column,
    Columns,
    Fields,
    FlagColumns,
    FlagEntry,
    Ranges,
    Record,
    Refusal,
)
from foundation.mail.listed_fields import LISTED
from mailboxstore.database import statements
from mailboxstore.database.emails import StoredEmail, find_email, read_email
from mailboxstore.database.mailboxes import find_mailbox, folder_by_id, folder_row
from mailboxstore.database.messages import unpack_keywords
from mailboxstore.database.ranges import locate, windows

FLAGS_A_PAGE = 2000
COLUMNS_A_PAGE = 500
CONTENTS_A_PAGE = 120
RECORDS_A_PAGE = 100
PAGE_BYTES = 1024 * 1024
FRAME_BYTES = 240 * 1024


def flags_page(connection: Connection, folder: int, after_uid: int) -> FlagColumns:
    values = {"folder": folder, "after": after_uid, "limit": FLAGS_A_PAGE}
    rows = statements.FLAGS_PAGE.rows(connection, values)
    if not rows:
        return FlagColumns()
    uids, flags, modseqs, keywords = zip(*rows, strict=True)
    named = {uid: unpack_keywords(words) for uid, words in zip(uids, keywords, strict=True) if words}
    return FlagColumns(uids, bytes(flags), modseqs, named)


def changes_since(connection: Connection, mailbox_id: str, folder_id: str, modseq: int) -> Changes:
    """RFC 7162 3.2.5: everything with a greater modseq. A folder that is not there is `gone`."""
    values = {"mailbox_id": mailbox_id, "folder_id": folder_id}
    found = statements.FOLDER_BY_ID.first(connection, values)
    row = folder_row(found) if found is not None else None
    if row is None or not row.selectable:
        mailbox = find_mailbox(connection, mailbox_id)
        return Changes(highest_modseq=mailbox.modseq if mailbox else 0, uid_next=0, gone=True)
    if row.highest_modseq <= modseq:
        return Changes(highest_modseq=row.highest_modseq, uid_next=row.uid_next)
    values_since = {"folder": row.folder, "modseq": modseq}
    expunged = sorted(statements.EXPUNGED_SINCE.rows(connection, values_since))
    updated = sorted(statements.FLAGS_SINCE.rows(connection, values_since))
    return Changes(
        highest_modseq=row.highest_modseq,
        uid_next=row.uid_next,
        expunged=tuple(uid for (uid,) in expunged),
        updated=tuple(
            FlagEntry(uid, flags, modseq, unpack_keywords(keywords))
            for uid, flags, modseq, keywords in updated
        ),
    )


@dataclass(frozen=True)
class RecordPage:
    records: tuple[Record, ...]
    after_uid: int
    """Where the next page begins; 0: there is none."""


def records_page(
    connection: Connection,
    contents: Contents,
    mailbox_id: str,
    folder_id: str,
    ranges: Ranges,
    fields: Fields,
    after_uid: int,
) -> RecordPage:
    """At most 100 records and about 1 MiB. Refusal NONEXISTENT."""
    folder = folder_by_id(connection, mailbox_id, folder_id).folder
    range_of = locate(ranges)
    statement = statements.RECORDS_IN[_costly(fields)]
    records: list[Record] = []
    size_bytes = 0
    for first, last in windows(ranges):
        if last <= after_uid:
            continue
        begin = max(first, after_uid + 1)
        while begin <= last:
            values = {"folder": folder, "first": begin, "last": last, "limit": RECORDS_A_PAGE}
            rows = connection.execute(statement, values).all()
            for row in rows:
                if range_of(row.uid) < 0:
                    continue
                record = _record(connection, contents, cast(Mapping[str, Any], row._mapping), fields)
                records.append(record)
                size_bytes += _size_of(record)
                if len(records) >= RECORDS_A_PAGE or size_bytes >= PAGE_BYTES:
                    return RecordPage(tuple(records), record.uid)
            if len(rows) < RECORDS_A_PAGE:
                break
            begin = rows[-1].uid + 1
    return RecordPage(tuple(records), 0)


def columns_page(
    connection: Connection,
    contents: Contents,
    mailbox_id: str,
    folder_id: str,
    ranges: Ranges,
    columns: tuple[Column, ...],
    names: frozenset[bytes],
    after_uid: int,
) -> tuple[Columns, int]:
    """Some hundred messages, fewer with their content, and where the next page begins (0: there is none).
    Refusal NONEXISTENT.
    """
    folder = folder_by_id(connection, mailbox_id, folder_id).folder
    if "content" in columns:
        rows, next_uid = _rows_with_content(connection, contents, folder, ranges, columns, after_uid)
    else:
        rows, next_uid = _rows(connection, folder, ranges, columns, after_uid)
    return _columns(rows, columns, names), next_uid


def _rows(
    connection: Connection, folder: int, ranges: Ranges, columns: tuple[Column, ...], after_uid: int
) -> tuple[list[Row], int]:
    statement = statements.columns_in(columns)
    range_of = locate(ranges)
    found: list[Row] = []
    for first, last in windows(ranges):
        if last <= after_uid:
            continue
        missing = COLUMNS_A_PAGE - len(found)
        values = {"folder": folder, "first": max(first, after_uid + 1), "last": last, "limit": missing}
        rows = statement.rows(connection, values)
        found += rows if range_of(first) == range_of(last) else [row for row in rows if range_of(row[0]) >= 0]
        if len(rows) == missing:
            return found, rows[-1][0]
    return found, 0


def _rows_with_content(
    connection: Connection,
    contents: Contents,
    folder: int,
    ranges: Ranges,
    columns: tuple[Column, ...],
    after_uid: int,
) -> tuple[list[Row], int]:
    """Sizes first: what is too much for a page, or for a column, is not read. Gaps are not read over."""
    statement = statements.columns_in(columns)
    place = 1 + columns.index("content")
    found: list[Row] = []
    room = PAGE_BYTES
    for first, last in ranges:
        if last <= after_uid:
            continue
        missing = CONTENTS_A_PAGE - len(found)
        values = {"folder": folder, "first": max(first, after_uid + 1), "last": last, "limit": missing}
        count = 0
        for _, size_bytes in statements.SIZES_IN.rows(connection, values):
            count += 1
            room -= size_bytes if size_bytes <= CONTENT_IN_COLUMN_BYTES else 0
            if room <= 0:
                break
        for *row, email, prefix, size_bytes in statement.rows(connection, {**values, "limit": count}):
            row[place] = _content(connection, contents, email, prefix, size_bytes, row[place])
            found.append(tuple(row))
        if found and (room <= 0 or len(found) == CONTENTS_A_PAGE):
            return found, found[-1][0]
    return found, 0


def _content(
    connection: Connection, contents: Contents, email: int, prefix: bytes, size_bytes: int, data: bytes | None
) -> bytes | None:
    """None: it is too large for a column, or gone. `data` is there where the content is in one row."""
    if size_bytes > CONTENT_IN_COLUMN_BYTES:
        return None
    if data is not None:
        return prefix + data
    stored = find_email(connection, email)
    return read_email(connection, contents, stored, 0, size_bytes) if stored else None


def frames_of(page: Columns, columns: tuple[Column, ...]) -> Iterator[Columns]:
    """The page in pieces of a size that memory is found for at once: contents are large together."""
    if "content" not in columns:
        yield page
        return
    start = size_bytes = 0
    for place, content in enumerate(page.values[columns.index("content")]):
        size_bytes += len(content) if isinstance(content, bytes) else 0
        if size_bytes >= FRAME_BYTES or place == len(page.uids) - 1:
            end = place + 1
            yield Columns(page.uids[start:end], tuple(values[start:end] for values in page.values))
            start, size_bytes = end, 0


def _columns(rows: list[Row], columns: tuple[Column, ...], names: frozenset[bytes]) -> Columns:
    if not rows:
        return Columns((), ())
    uids, *values = zip(*rows, strict=True)
    for place, name in enumerate(columns):
        if name in ("email_id", "thread_id"):
            values[place] = tuple(map(str.encode, values[place]))
        elif name == "header_fields":
            listed = names <= LISTED
            values[place] = tuple(fields or None if listed else None for fields in values[place])
    return Columns(uids, tuple(values))


def email_at(connection: Connection, mailbox_id: str, folder_id: str, uid: int) -> StoredEmail:
    """Refusal EXPUNGED, NONEXISTENT."""
    folder = folder_by_id(connection, mailbox_id, folder_id).folder
    values = {"folder": folder, "uid": uid}
    email = statements.EMAIL_OF_MESSAGE.scalar(connection, values)
    stored = find_email(connection, email) if email is not None else None
    if stored is None:
        raise Refusal("EXPUNGED", "The message is gone")
    return stored


def content_page(
    connection: Connection,
    contents: Contents,
    mailbox_id: str,
    folder_id: str,
    uid: int,
    offset: int,
    length: int,
) -> bytes:
    """Refusal EXPUNGED, also when the message went between two pages."""
    stored = email_at(connection, mailbox_id, folder_id, uid)
    return read_email(connection, contents, stored, offset, length)


def _costly(fields: Fields) -> tuple[str, ...]:
    wanted = {
        "envelope": fields.envelope,
        "body_structure": fields.body_structure,
        "parts": fields.parts,
        "place": fields.header or fields.content_up_to_bytes > 0,
    }
    return tuple(name for name in statements.COSTLY_COLUMNS if wanted[name])


def _record(connection: Connection, contents: Contents, row: Mapping[str, Any], fields: Fields) -> Record:
    values = dict(row)
    values["keywords"] = unpack_keywords(values["keywords"])
    if "content" in values:
        stored = StoredEmail(
            prefix=values.pop("prefix"),
            content=values.pop("content"),
            content_sha256=values.pop("content_sha256"),
            size_bytes=values["size_bytes"],
            header_size=values.pop("header_size"),
        )
        whole = stored.size_bytes <= fields.content_up_to_bytes
        wanted_bytes = stored.size_bytes if whole else stored.header_size if fields.header else 0
        data = read_email(connection, contents, stored, 0, wanted_bytes) if wanted_bytes else b""
        if fields.header:
            values["header"] = data[: stored.header_size]
        if whole:
            values["content"] = data
    return Record(**values)


def _size_of(record: Record) -> int:
    return (
        len(record.envelope)
        + len(record.body_structure)
        + len(record.parts)
        + len(record.header)
        + len(record.content or b"")
    )
