"""The databases of a simulation: SQLite's own files, with a hook where commits can fail and a list of what a
crashed process had open."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import Pool

from foundation.database.dialects import SQLITE_FULL, SQLITE_IOERR
from waypost.simulator.journal import Journal
from waypost.simulator.loop import PROCESS


@contextmanager
def simulated_databases(journal: Journal) -> Iterator[None]:
    """While it lasts, every connection belongs to the process that opened it, and its machine's commit
    faults come true."""

    def opened(driver: Any, record: object) -> None:
        process = PROCESS.get()
        if process is not None:
            process.database_connections.append(driver)

    def committing(connection: Connection) -> None:
        process = PROCESS.get()
        if process is None:
            return
        kind = process.machine.commit_fault
        driver: Any = connection.connection.dbapi_connection
        if not kind or not connection.get_execution_options().get("waypost_begin"):
            return
        journal.fault(f"commit {kind}", process.name, "a commit fails")
        if kind == "io-kept":
            driver.commit()
        raise _error(kind)

    event.listen(Pool, "connect", opened)
    event.listen(Engine, "commit", committing)
    try:
        yield
    finally:
        event.remove(Pool, "connect", opened)
        event.remove(Engine, "commit", committing)


def _error(kind: str) -> OperationalError:
    full = kind == "full"
    cause = sqlite3.OperationalError("database or disk is full" if full else "disk I/O error")
    cause.sqlite_errorcode = SQLITE_FULL if full else SQLITE_IOERR
    return OperationalError("COMMIT", {}, cause)
