"""What differs between SQLite and PostgreSQL: settings of a connection, BEGIN, locks, error codes."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

BUSY_TIMEOUT_MS = 5000
CACHE_SIZE_KIB = 8 * 1024
WAL_PAGES_BEFORE_CHECKPOINT = 4000
WAL_LIMIT_BYTES = 64 * 1024 * 1024

POSTGRESQL_FAILED = 3
"""PQTRANS_INERROR of libpq."""

_CURSOR = "waypost_cursor"

SQLITE_IOERR = 10
SQLITE_FULL = 13

# mmap stays off: an I/O error in a mapped page is a signal that ends the process, not an error to answer.
_PRAGMAS = (
    f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}",
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
    f"PRAGMA cache_size=-{CACHE_SIZE_KIB}",
    "PRAGMA temp_store=MEMORY",  # savepoints keep what they may undo there, not in a file
    f"PRAGMA wal_autocheckpoint={WAL_PAGES_BEFORE_CHECKPOINT}",
    f"PRAGMA journal_size_limit={WAL_LIMIT_BYTES}",
)


def lock_for_schema(connection: Connection) -> None:
    """Keeps a second process from preparing the same schema until this transaction ends."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(727833)")


def transaction_open(connection: Connection) -> bool:
    """Whether the database still has this connection's transaction: some SQLite errors end it silently."""
    if connection.invalidated:
        return False
    driver: Any = connection.connection.dbapi_connection
    if connection.dialect.name == "sqlite":
        return bool(driver.in_transaction)
    # PostgreSQL begins with the first statement, and ends none by itself but with the connection.
    return not driver.closed


def can_commit(connection: Connection) -> bool:
    """Whether a commit keeps what was done: after a failed statement PostgreSQL rolls back without a word."""
    if not transaction_open(connection):
        return False
    driver: Any = connection.connection.dbapi_connection
    return connection.dialect.name == "sqlite" or driver.info.transaction_status != POSTGRESQL_FAILED


def reusable_bytes(connection: Connection) -> int:
    """What is free inside the database file for new rows; 0 where the database does not say."""
    if connection.dialect.name != "sqlite":
        return 0
    pages = int(connection.exec_driver_sql("PRAGMA freelist_count").scalar_one())
    return pages * int(connection.exec_driver_sql("PRAGMA page_size").scalar_one())


def space(connection: Connection) -> tuple[int, int]:
    """How large the database may become, and what of it is free for new rows, in bytes; (0, 0) where the
    database does not say."""
    if connection.dialect.name != "sqlite":
        return 0, 0
    page = int(connection.exec_driver_sql("PRAGMA page_size").scalar_one())
    most = int(connection.exec_driver_sql("PRAGMA max_page_count").scalar_one()) * page
    used = int(connection.exec_driver_sql("PRAGMA page_count").scalar_one()) * page
    return most, most - used + reusable_bytes(connection)


def is_full(error: BaseException) -> bool:
    """The disk or the database's size limit is reached."""
    original = _original(error)
    return _sqlite_code(original) == SQLITE_FULL or getattr(original, "sqlstate", None) == "53100"


def is_input_output(error: BaseException) -> bool:
    """The disk failed under the database."""
    original = _original(error)
    return _sqlite_code(original) == SQLITE_IOERR or getattr(original, "sqlstate", None) == "58030"


def _original(error: BaseException) -> BaseException | None:
    return error.orig if isinstance(error, DBAPIError) else error


def _sqlite_code(error: BaseException | None) -> int | None:
    code = getattr(error, "sqlite_errorcode", None)
    return code & 0xFF if isinstance(code, int) else None


def keep_cursor(driver: Any, record: Any) -> None:
    """For all prepared statements of a connection: to make one costs as much as to find a row by its key."""
    record.info[_CURSOR] = driver.cursor()


def kept_cursor(connection: Connection) -> sqlite3.Cursor:
    cursor: sqlite3.Cursor = connection.connection.info[_CURSOR]
    return cursor


def set_pragmas(driver: Any, record: object) -> None:
    cursor = driver.cursor()
    for pragma in _PRAGMAS:
        cursor.execute(pragma)
    cursor.close()


def limit_size(size_bytes: int) -> Callable[[Any, object], None]:
    """For each new connection; a database that is larger already keeps its size, and grows no more."""

    def limit(driver: Any, record: object) -> None:
        cursor = driver.cursor()
        (page_bytes,) = cursor.execute("PRAGMA page_size").fetchone()
        cursor.execute(f"PRAGMA max_page_count={max(size_bytes // page_bytes, 1)}")
        cursor.close()

    return limit


def begin_sqlite(connection: Connection) -> None:
    run_text(connection, connection.get_execution_options().get("waypost_begin", "BEGIN DEFERRED"))


def run_text(connection: Connection, text: str) -> None:
    """A statement without values and rows; on SQLite by the driver alone, which costs a tenth."""
    if connection.dialect.name != "sqlite":
        connection.exec_driver_sql(text)
        return
    try:
        kept_cursor(connection).execute(text)
    except sqlite3.Error as error:
        raise wrapped(connection, text, error) from error


def wrapped(connection: Connection, text: str, error: sqlite3.Error) -> BaseException:
    """The driver's error as SQLAlchemy's, without the values."""
    return DBAPIError.instance(
        text, None, error, sqlite3.Error, hide_parameters=True, dialect=connection.dialect
    )
