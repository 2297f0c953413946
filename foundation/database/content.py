"""Content of messages in a database: written once, referred to by id, deleted with its last reference.

Small content is in one row, larger content in rows of 256 KiB beside it. Everything here runs inside the
caller's transaction: content and what refers to it are committed together.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    bindparam,
    delete,
    insert,
    select,
    update,
)

from foundation.database.prepared import Prepared
from foundation.database.spool import Spool

INLINE_BYTES = 64 * 1024
CHUNK_BYTES = 256 * 1024

_Id = BigInteger().with_variant(Integer, "sqlite")
"""SQLite numbers rows by itself only in a column of type INTEGER."""


class ContentMissing(LookupError):
    """No content with this id."""


@dataclass(frozen=True)
class ContentTables:
    contents: Table
    chunks: Table


def content_tables(metadata: MetaData) -> ContentTables:
    contents = Table(
        "contents",
        metadata,
        Column("id", _Id, primary_key=True, autoincrement=True),
        Column("size_bytes", BigInteger, nullable=False),
        Column("sha256", String(64), nullable=False),
        Column("reference_count", Integer, nullable=False),
        Column("data", LargeBinary, doc="NULL: in content_chunks"),
        sqlite_autoincrement=True,
    )
    chunks = Table(
        "content_chunks",
        metadata,
        Column("content_id", _Id, ForeignKey("contents.id"), primary_key=True),
        Column("ordinal", Integer, primary_key=True, autoincrement=False),
        Column("data", LargeBinary, nullable=False),
    )
    return ContentTables(contents, chunks)


class Contents:
    """The statements on one database's content tables."""

    def __init__(self, tables: ContentTables) -> None:
        contents, chunks = tables.contents, tables.chunks
        of_content = contents.c.id == bindparam("content_id")
        count = contents.c.reference_count
        self._insert = Prepared(insert(contents))
        self._insert_chunk = Prepared(insert(chunks))
        self._count = Prepared(
            update(contents)
            .where(of_content)
            .values(reference_count=count + bindparam("change", type_=Integer))
            .returning(count)
        )
        self._delete = Prepared(delete(contents).where(of_content))
        self._delete_chunks = Prepared(delete(chunks).where(chunks.c.content_id == bindparam("content_id")))
        self._size = Prepared(select(contents.c.size_bytes).where(of_content))
        self._select = Prepared(select(contents.c.size_bytes, contents.c.data).where(of_content))
        self._select_chunks = Prepared(
            select(chunks.c.data)
            .where(
                chunks.c.content_id == bindparam("content_id"),
                chunks.c.ordinal.between(bindparam("first"), bindparam("last")),
            )
            .order_by(chunks.c.ordinal)
        )

    def write(self, connection: Connection, spool: Spool, references: int = 1) -> int:
        """Stores all of the spool and returns the new content's id. Ids are never given twice."""
        inline = spool.size_bytes <= INLINE_BYTES
        values = {
            "size_bytes": spool.size_bytes,
            "sha256": spool.sha256,
            "reference_count": references,
            "data": spool.read(0, spool.size_bytes) if inline else None,
        }
        content_id = self._insert.add(connection, values)
        if not inline:
            for ordinal, chunk in enumerate(spool.chunks(CHUNK_BYTES)):
                self._insert_chunk.run(
                    connection, {"content_id": content_id, "ordinal": ordinal, "data": chunk}
                )
        return content_id

    def retain(self, connection: Connection, content_id: int, references: int = 1) -> None:
        """Adds references. Raises ContentMissing."""
        self._change(connection, content_id, references)

    def release(self, connection: Connection, content_id: int, references: int = 1) -> None:
        """Takes references away; the last one takes the content along. Raises ContentMissing."""
        if self._change(connection, content_id, -references) <= 0:
            self._delete_chunks.run(connection, {"content_id": content_id})
            self._delete.run(connection, {"content_id": content_id})

    def size(self, connection: Connection, content_id: int) -> int:
        """Raises ContentMissing."""
        size: int | None = self._size.scalar(connection, {"content_id": content_id})
        if size is None:
            raise ContentMissing(content_id)
        return size

    def read(self, connection: Connection, content_id: int, offset: int, length: int) -> bytes:
        """Bytes [offset, offset+length), cut to the end. Raises ContentMissing."""
        row = self._select.first(connection, {"content_id": content_id})
        if row is None:
            raise ContentMissing(content_id)
        size_bytes, data = row
        if data is not None:
            return bytes(data[offset : offset + length])
        end = min(offset + length, size_bytes)
        if offset >= end:
            return b""
        first, last = offset // CHUNK_BYTES, (end - 1) // CHUNK_BYTES
        values = {"content_id": content_id, "first": first, "last": last}
        joined = b"".join(row[0] for row in self._select_chunks.rows(connection, values))
        start = offset - first * CHUNK_BYTES
        return joined[start : start + end - offset]

    def _change(self, connection: Connection, content_id: int, change: int) -> int:
        values = {"content_id": content_id, "change": change}
        count: int | None = self._count.scalar(connection, values)
        if count is None:
            raise ContentMissing(content_id)
        return count
