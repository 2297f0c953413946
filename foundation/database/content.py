"""Content of messages in a database: written once, referred to by id, deleted with its last reference.

Small content is in its row. Larger content is in a file beside the database that its row names
(foundation/database/files.py), or in rows of 256 KiB where there is no folder for files. Everything here runs
inside the caller's transaction: content and what refers to it are committed together.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    ForeignKey,
    Index,
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

from foundation.database.executor import Executor
from foundation.database.files import ContentFile, ContentFiles, ContentUnreadable, Disk
from foundation.database.prepared import Prepared
from foundation.database.spool import Spool, Stored, no_room
from foundation.mail.errors import MailError, Unavailable

log = logging.getLogger("waypost.database")

_OPTION = "waypost_content"

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
        Column("sha256", String(64), nullable=False, doc="Hex; empty: nobody asked for it"),
        Column("reference_count", Integer, nullable=False),
        Column("data", LargeBinary, doc="NULL: in a file or in content_chunks"),
        Column("file", String(36), doc="Name in the folder of content; NULL: it is in the database"),
        Column("file_start", BigInteger, doc="Where in its file the content begins"),
        sqlite_autoincrement=True,
    )
    in_file = contents.c.file.is_not(None)
    Index("contents_file", contents.c.file, unique=True, sqlite_where=in_file, postgresql_where=in_file)
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
            .returning(count, contents.c.file)
        )
        self._delete = Prepared(delete(contents).where(of_content))
        self._delete_chunks = Prepared(delete(chunks).where(chunks.c.content_id == bindparam("content_id")))
        self._size = Prepared(select(contents.c.size_bytes).where(of_content))
        self._select = Prepared(
            select(contents.c.size_bytes, contents.c.data, contents.c.file, contents.c.file_start).where(
                of_content
            )
        )
        self._select_chunks = Prepared(
            select(chunks.c.data)
            .where(
                chunks.c.content_id == bindparam("content_id"),
                chunks.c.ordinal.between(bindparam("first"), bindparam("last")),
            )
            .order_by(chunks.c.ordinal)
        )
        self._named = select(contents.c.file).where(contents.c.file.in_(bindparam("names", expanding=True)))

    # --- writing

    def write(self, connection: Connection, content: Stored, references: int = 1) -> int:
        """Stores all of it and returns the new content's id. Ids are never given twice.

        Raises MailError 452 4.3.1, 451 4.3.0; Unavailable when the spool was closed meanwhile.
        """
        inline = content.size_bytes <= INLINE_BYTES
        file = None if inline else _kept_file(content)
        values = {
            "size_bytes": content.size_bytes,
            "sha256": content.known_sha256,
            "reference_count": references,
            "data": content.read(0, content.size_bytes) if inline else None,
            "file": None if file is None else file.name,
            "file_start": None if file is None else content.start,
        }
        content_id = self._insert.add(connection, values)
        if not inline and file is None:
            for ordinal, chunk in enumerate(content.chunks(CHUNK_BYTES)):
                self._insert_chunk.run(
                    connection, {"content_id": content_id, "ordinal": ordinal, "data": chunk}
                )
        if content.closed:
            # By a server that stops: what was written may be less than the whole.
            raise Unavailable("The message was given up while it was being stored")
        return content_id

    def is_whole(self, connection: Connection, content_id: int, same: Stored) -> bool:
        """Whether stored content can be referred to in the place of the same that has come anew."""
        if same.size_bytes <= INLINE_BYTES:
            return True
        row = self._select.first(connection, {"content_id": content_id})
        if row is None:
            return False
        size_bytes, _, file, file_start = row
        return file is None or is_file_whole(connection, file, file_start + size_bytes)

    def retain(self, connection: Connection, content_id: int, references: int = 1) -> None:
        """Adds references. Raises ContentMissing."""
        self._change(connection, content_id, references)

    def release(self, connection: Connection, content_id: int, references: int = 1) -> None:
        """Takes references away; the last one takes the content along. Raises ContentMissing."""
        count, file = self._change(connection, content_id, -references)
        if count > 0:
            return
        if file is None:
            self._delete_chunks.run(connection, {"content_id": content_id})
        else:
            _folder(connection, file).doubt(file)  # it goes when this is committed
        self._delete.run(connection, {"content_id": content_id})

    # --- reading

    def size(self, connection: Connection, content_id: int) -> int:
        """Raises ContentMissing."""
        size: int | None = self._size.scalar(connection, {"content_id": content_id})
        if size is None:
            raise ContentMissing(content_id)
        return size

    def read(self, connection: Connection, content_id: int, offset: int, length: int) -> bytes:
        """Bytes [offset, offset+length), cut to the end. Raises ContentMissing, ContentUnreadable."""
        row = self._select.first(connection, {"content_id": content_id})
        if row is None:
            raise ContentMissing(content_id)
        size_bytes, data, file, file_start = row
        if data is not None:
            return bytes(data[offset : offset + length])
        end = min(offset + length, size_bytes)
        if offset >= end:
            return b""
        if file is not None:
            return _folder(connection, file).read(file, file_start + offset, end - offset)
        first, last = offset // CHUNK_BYTES, (end - 1) // CHUNK_BYTES
        values = {"content_id": content_id, "first": first, "last": last}
        joined = b"".join(row[0] for row in self._select_chunks.rows(connection, values))
        start = offset - first * CHUNK_BYTES
        return joined[start : start + end - offset]

    # --- files

    def unnamed(self, connection: Connection, names: Sequence[str]) -> tuple[str, ...]:
        """Those of the files that no row names."""
        named = set(connection.execute(self._named, {"names": list(names)}).scalars())
        return tuple(name for name in names if name not in named)

    def _change(self, connection: Connection, content_id: int, change: int) -> tuple[int, str | None]:
        row = self._count.first(connection, {"content_id": content_id, "change": change})
        if row is None:
            raise ContentMissing(content_id)
        count, file = row
        return count, file


def files_beside(
    engine: Engine,
    disk: Disk,
    identifier: Callable[[], str],
    executor: Executor,
    *,
    takes_new: bool,
) -> ContentFiles | None:
    """The folder of a SQLite file's content; None for a database that several machines may use."""
    file = engine.url.database if engine.dialect.name == "sqlite" else None
    if not file:
        return None
    return ContentFiles(Path(f"{file}-content"), disk, identifier, executor, takes_new=takes_new)


def with_files(engine: Engine, files: ContentFiles | None) -> Engine:
    """The same engine and pool, whose connections know the folder of their database's content."""
    return engine if files is None else engine.execution_options(**{_OPTION: files})


def files_of(connection: Connection) -> ContentFiles | None:
    files: ContentFiles | None = connection.get_execution_options().get(_OPTION)
    return files


def content_spool(files: ContentFiles | None) -> Spool:
    """For what is to be stored: large content is written where it will stay."""
    if files is None or not files.takes_new:
        return Spool()
    return Spool(files.create, INLINE_BYTES)


async def secure(files: ContentFiles | None, content: Stored) -> None:
    """Syncs large content before its unit of work, so that no other unit waits for it.

    Raises MailError 452 4.3.1, 451 4.3.0.
    """
    if files is not None and content.file is not None and content.size_bytes > INLINE_BYTES:
        await files.executor.run(_sync, content.file)


def is_file_whole(connection: Connection, file: str, end: int) -> bool:
    """Whether a file that a row names is there, up to its content's end."""
    return _folder(connection, file).size(file) >= end


def _folder(connection: Connection, file: str) -> ContentFiles:
    files = files_of(connection)
    if files is None:
        raise ContentUnreadable(Path(file), "this database has no folder of content")
    return files


def _kept_file(content: Stored) -> ContentFile | None:
    """The content's own file, if it has one: synced, and kept from now on if a committed row names it."""
    file = content.file
    if file is None:
        return None
    _sync(file)
    if not file.claim():
        raise Unavailable("The message was given up while it was being stored")
    return file


def _sync(file: ContentFile) -> None:
    try:
        file.sync()
    except OSError as error:
        log.error("content can't be written: %s", error.strerror)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise no_room() from error
        raise MailError(451, "4.3.0", "The message can't be stored now, try again later") from error
